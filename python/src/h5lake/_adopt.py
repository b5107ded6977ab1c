"""Containers that refer to the raw data of native files."""

import json
import os
from dataclasses import dataclass

from ._tool import Name, _library, _run


@dataclass(frozen=True)
class Adopted:
    """What became of a native file's raw data."""

    #: Chunks and contiguous datasets that are referred to, and their bytes.
    chunks: int
    datasets: int
    referenced_bytes: int
    #: Datasets whose elements were copied: `path` and `reason` of each.
    copied: "list[dict]"


@dataclass(frozen=True)
class Reference:
    """What the newest version of a container refers to in one native file."""

    #: Its path or URL.
    source: str
    #: Chunks, and segments of contiguous datasets, that have bytes there.
    blocks: int
    bytes: int


def adopt(source: Name, target: Name, *, checksums: bool = False, library: "Name | None" = None, **settings) -> Adopted:
    """Makes a container that refers to the raw data of a native HDF5 file, a path or a URL, and copies the rest. The native file is never
    written, and must stay as it is: if it changes, reading that data is an error. With `checksums` all of it is read once, and kept
    checksums find every change. `library` is a libhdf5 or a program that loads one, if it is to be another one than this process has.
    When this returns, the container is whole."""
    more = [*(["--checksums"] if checksums else []), *_library(library)]
    done = json.loads(_run("adopt", "--json", *more, "--", os.fspath(source), target, settings=settings)[0])
    return Adopted(**{field: done[field] for field in Adopted.__dataclass_fields__})


def references(name: Name, **settings) -> "list[Reference]":
    """What a container refers to in native files; nothing if it needs none."""
    done = json.loads(_run("materialize", "--dry-run", "--json", "--", name, settings=settings)[0])
    return [Reference(**entry) for entry in done["sources"]]


def materialize(name: Name, **settings) -> int:
    """Copies what the newest version refers to, and returns how many bytes. When this returns, that version needs no other file."""
    return json.loads(_run("materialize", "--json", "--", name, settings=settings)[0])["bytes"]
