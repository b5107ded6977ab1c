"""Containers that refer to the raw data of native files."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ._tool import Name, _library, _run


#: The tool's exit code if other files are still needed.
FOUND = 2


@dataclass(frozen=True)
class Adopted:
    """The result of adopting the raw data of native files."""

    #: Chunks and contiguous datasets that are referred to, and their bytes.
    chunks: int
    datasets: int
    referenced_bytes: int
    #: Datasets with copied elements: `path` and `reason` of each.
    copied: "list[dict]"
    #: With several files: datasets that were not joined; those of the first file were used.
    not_joined: "list[str]"


@dataclass(frozen=True)
class Reference:
    """The references of a container's newest version to one native file."""

    #: The path or URL of the native file.
    source: str
    #: Chunks, and segments of contiguous datasets, that have bytes in the file.
    blocks: int
    bytes: int


@dataclass(frozen=True)
class NeededFile:
    """A file beside a container that has the elements of datasets."""

    #: The name of the file, as the datasets store it.
    file: str
    #: `virtual` or `external`.
    kind: str
    #: The number of datasets of this kind that need the file.
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
    """Makes a container that refers to the raw data of native HDF5 files, given as paths or URLs, and copies everything
    else. The native files are never written, and must remain unchanged: if one changes, reading its data is an error.
    With several files, the datasets `concat` are joined along `dimension`, and the datasets `stack` along a new first
    dimension; a group stands for all datasets below it. Everything else is taken from the first file. With `checksums`
    all data is read once, and the stored checksums detect every change. `library` is a libhdf5, or a program that loads
    one, if it is not the one of this process. When this returns, the container is complete."""
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    more = [*(["--checksums"] if checksums else []), *_library(library)]
    for option, paths in (("concat", concat), ("stack", stack)):
        more += [f"--{option}={path}" for path in ([paths] if isinstance(paths, str) else paths)]
    if dimension:
        more.append(f"--dimension={dimension}")
    done = json.loads(_run("adopt", "--json", *more, "--", *map(os.fspath, sources), target, settings=settings)[0])
    return Adopted(**{field: done[field] for field in Adopted.__dataclass_fields__})


def references(name: Name, **settings) -> "list[Reference]":
    """Returns a container's references to native files; an empty list if it has none."""
    done = json.loads(_run("materialize", "--dry-run", "--json", "--", name, settings=settings, allowed=(FOUND,))[0])
    return [Reference(**entry) for entry in done["sources"]]


def needed_files(name: Name, **settings) -> "list[NeededFile]":
    """Returns the files that virtual datasets and external storage of a container need. `materialize` copies nothing
    from these files."""
    done = json.loads(_run("materialize", "--dry-run", "--json", "--", name, settings=settings, allowed=(FOUND,))[0])
    return [NeededFile(**entry) for entry in done["needed"]]


def materialize(name: Name, **settings) -> int:
    """Copies the data that the newest version refers to, and returns the number of bytes. When this returns, that
    version needs no other files except those of `needed_files`."""
    return json.loads(_run("materialize", "--json", "--", name, settings=settings, allowed=(FOUND,))[0])["bytes"]
