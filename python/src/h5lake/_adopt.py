"""Containers that refer to the raw data of native files."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ._tool import Name, _library, _run


#: The tool's exit code where other files stay needed.
FOUND = 2


@dataclass(frozen=True)
class Adopted:
    """What became of native files' raw data."""

    #: Chunks and contiguous datasets that are referred to, and their bytes.
    chunks: int
    datasets: int
    referenced_bytes: int
    #: Datasets whose elements were copied: `path` and `reason` of each.
    copied: "list[dict]"
    #: Of several files: datasets that were not joined, and are those of the first file.
    not_joined: "list[str]"


@dataclass(frozen=True)
class Reference:
    """What the newest version of a container refers to in one native file."""

    #: Its path or URL.
    source: str
    #: Chunks, and segments of contiguous datasets, that have bytes there.
    blocks: int
    bytes: int


@dataclass(frozen=True)
class NeededFile:
    """A file beside a container in which datasets have their elements."""

    #: Its name, as the datasets have it.
    file: str
    #: `virtual` or `external`.
    kind: str
    #: How many datasets of this kind need it.
    datasets: int


def adopt(
    source: "Name | Sequence[Name]",
    target: Name,
    *,
    concat: "str | Sequence[str]" = (),
    stack: "str | Sequence[str]" = (),
    dimension: int = 0,
    checksums: bool = False,
    library: "Name | None" = None,
    **settings,
) -> Adopted:
    """Makes a container that refers to the raw data of native HDF5 files, paths or URLs, and copies the rest. The native files are never
    written, and must stay as they are: if one changes, reading its data is an error. Of several files, the datasets `concat` become one
    along `dimension`, and the datasets `stack` along a new first dimension; a group stands for all datasets below it. All else is that of
    the first file. With `checksums` all data is read once, and kept checksums find every change. `library` is a libhdf5 or a program that
    loads one, if it is to be another one than this process has. When this returns, the container is whole."""
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    more = [*(["--checksums"] if checksums else []), *_library(library)]
    for option, paths in (("concat", concat), ("stack", stack)):
        more += [f"--{option}={path}" for path in ([paths] if isinstance(paths, str) else paths)]
    if dimension:
        more.append(f"--dimension={dimension}")
    done = json.loads(_run("adopt", "--json", *more, "--", *map(os.fspath, sources), target, settings=settings)[0])
    return Adopted(**{field: done[field] for field in Adopted.__dataclass_fields__})


def references(name: Name, **settings) -> "list[Reference]":
    """What a container refers to in native files; nothing if it needs none."""
    done = json.loads(_run("materialize", "--dry-run", "--json", "--", name, settings=settings, allowed=(FOUND,))[0])
    return [Reference(**entry) for entry in done["sources"]]


def needed_files(name: Name, **settings) -> "list[NeededFile]":
    """The files that virtual datasets and external storage of a container need, of which `materialize` copies nothing."""
    done = json.loads(_run("materialize", "--dry-run", "--json", "--", name, settings=settings, allowed=(FOUND,))[0])
    return [NeededFile(**entry) for entry in done["needed"]]


def materialize(name: Name, **settings) -> int:
    """Copies what the newest version refers to, and returns how many bytes. When this returns, that version needs no other file but
    those of `needed_files`."""
    return json.loads(_run("materialize", "--json", "--", name, settings=settings, allowed=(FOUND,))[0])["bytes"]
