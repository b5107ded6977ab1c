"""Publications: versions that stay, and references to their chunks for readers of Zarr."""

import json
import os
from dataclasses import dataclass

from ._tool import Name, _run


@dataclass(frozen=True)
class Publication:
    """A version that is kept for readers of Zarr until it is withdrawn."""

    version: int
    #: When the version was committed: UTC, RFC 3339.
    time: "str | None"
    #: When it was published, likewise.
    published: "str | None"
    #: Bytes that it keeps from being used again. The newest version may use a part of them too.
    holds_bytes: int


@dataclass(frozen=True)
class Published:
    """What a publication shows, and how."""

    version: int
    #: Chunks that are referenced where they lie, and their bytes.
    referenced: int
    referenced_bytes: int
    #: Chunks that are copied into the references, and their bytes.
    copied: int
    copied_bytes: int
    #: For each dataset: path, the same counts, and `reasons` for copies.
    datasets: "list[dict]"
    #: Paths that are not shown, each with a `reason`.
    left_out: "list[dict]"
    holds_bytes: int


def publish(name: Name, *, kerchunk: "Name | None" = None, icechunk: "Name | None" = None, url: "str | None" = None,
            **settings) -> Published:
    """Publishes the newest version, or that of `NAME@v=3`: writes references to its chunks, and keeps them right until the publication
    is withdrawn. `kerchunk` names a file of references (`.json`, or a folder `.parquet`), `icechunk` the folder of a repository.
    `url` is what references say instead of the container's own URL. When this returns, the version is held, and the references are
    whole."""
    more = []
    for option, value in (("--kerchunk", kerchunk), ("--icechunk", icechunk), ("--url", url)):
        if value is not None:
            more += [option, os.fspath(value)]
    if kerchunk is None and icechunk is None:
        raise ValueError("name a file of references (kerchunk=) or a folder for Icechunk (icechunk=)")
    done = json.loads(_run("publish", "--json", *more, "--", name, settings=settings)[0])
    return Published(**{field: done[field] for field in Published.__dataclass_fields__})


def publications(name: Name, **settings) -> "list[Publication]":
    """The published versions of a container, the newest first."""
    return [Publication(**entry) for entry in json.loads(_run("publish", "--json", "--", name, settings=settings)[0])]


def withdraw(name: Name, **settings) -> None:
    """Withdraws a publication: the only one, or that of `NAME@v=3`. Its references may read anything from then on."""
    _run("publish", "--withdraw", "--", name, settings=settings)
