"""Publications: retained versions, and references to their chunks for readers of Zarr."""

import json
import os
from dataclasses import dataclass

from ._tool import Name, _run


@dataclass(frozen=True)
class Publication:
    """A version that is retained for readers of Zarr until it is withdrawn."""

    version: int
    #: The time of the version's commit: UTC, RFC 3339.
    time: "str | None"
    #: The time of its publication: UTC, RFC 3339.
    published: "str | None"
    #: The bytes that the publication keeps from being reused. In a file, the newest version may use a part of them, too; in a store,
    #: only bytes that no other version needs are counted.
    holds_bytes: int


@dataclass(frozen=True)
class Published:
    """The content and the form of a publication."""

    version: int
    #: Chunks that are referenced in the container's own files or objects, and their bytes.
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
    """Publishes the newest version, or that of `NAME@v=3`: writes references to its chunks, and keeps them valid until
    the publication is withdrawn. `kerchunk` names a file of references (`.json`, or a folder `.parquet`), `icechunk`
    the folder of a repository. `url` is used in references instead of the container's own URL. When this returns, the
    version is retained, and the references are complete."""
    more = []
    for option, value in (("--kerchunk", kerchunk), ("--icechunk", icechunk), ("--url", url)):
        if value is not None:
            more += [option, os.fspath(value)]
    if kerchunk is None and icechunk is None:
        raise ValueError("name a file of references (kerchunk=) or a folder for Icechunk (icechunk=)")
    done = json.loads(_run("publish", "--json", *more, "--", name, settings=settings)[0])
    return Published(**{field: done[field] for field in Published.__dataclass_fields__})


def publications(name: Name, **settings) -> "list[Publication]":
    """Returns the published versions of a container, the newest first."""
    return [Publication(**entry) for entry in json.loads(_run("publish", "--json", "--", name, settings=settings)[0])]


def withdraw(name: Name, **settings) -> None:
    """Withdraws a publication: the only one, or that of `NAME@v=3`. From then on, readers of its references may read
    any bytes."""
    _run("publish", "--withdraw", "--", name, settings=settings)
