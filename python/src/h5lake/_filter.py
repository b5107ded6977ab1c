"""Searches of datasets, with the tool that the wheel contains."""

import json
import re
from dataclasses import dataclass
from typing import Any

from ._tool import Name, _run


@dataclass(frozen=True)
class Matches:
    """The matches that `filter` found. `indices` and `values` are numpy arrays if numpy is installed; otherwise
    lists."""

    #: The coordinates in the dataset: an array (matches, dimensions) of uint64, or a list of tuples. Empty if matches
    #: are only counted.
    indices: Any
    #: The elements, in the type that h5py reads. A list if their type has parts other than numbers, such as text,
    #: references or arrays, or floats that are not of IEEE 754; such bytes are a text `0x…`.
    values: Any
    #: The number of matches; with a limit, at most the limit.
    count: int
    #: Whether the whole dataset was searched, because no limit ended the search.
    complete: bool
    #: The numbers of written chunks and of chunks that were read; None for a dataset without chunks.
    chunks: "int | None"
    chunks_read: "int | None"
    #: The stored bytes of the dataset, and the bytes that were read.
    bytes: int
    bytes_read: int
    #: The number of chunks that the store itself searched; None for a dataset without chunks.
    chunks_searched: "int | None" = None


def filter(name: Name, dataset: str, expression: str, *, limit: "int | None" = None, count: bool = False, local: bool = False,
           **settings) -> Matches:
    """Returns the elements of a dataset that match an expression such as `"x > 5"` or `"10 <= time < 20 and not flag ==
    1"`: `x` is the element, and members of a compound have their own names. Only chunks that can have such elements are
    read. A store that can compare numbers itself does so, and its result is trusted; with `local`, chunks are read and
    their checksums verified. `name` may name a version (`NAME@v=3`). With `limit`, the search ends after this many
    matches; with `count`, matches are only counted. Raises `ToolError` for a mistake in the expression, with its
    position."""
    more = [*(["--limit", str(limit)] if limit is not None else []), *(["--count"] if count else []),
            *(["--local"] if local else [])]
    out, _ = _run("filter", "--json", *more, "--", name, dataset, expression, settings=settings)
    found = json.loads(out)
    matches, chunks = found.get("matches", []), found["chunks"] or {}
    indices, values = _arrays(found["type"], len(found["shape"] or ()), matches)
    return Matches(indices, values, found["count"], found["complete"], chunks.get("written"), chunks.get("read"),
                   found["bytes"]["stored"], found["bytes"]["read"], chunks.get("searched"))


def _arrays(of, rank, matches):
    try:
        import numpy
    except ImportError:
        return [tuple(match["index"]) for match in matches], [_value(of, match["value"]) for match in matches]
    indices = numpy.array([match["index"] for match in matches], "u8").reshape(len(matches), rank)
    dtype, values = _dtype(numpy, of), [_value(of, match["value"]) for match in matches]
    return indices, (values if dtype is None else numpy.array(values, dtype))


#: The floats that JSON does not have, as the tool writes them.
_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _value(of, value):
    """Converts a value of the tool's JSON: floats that JSON does not have, integers beyond 64 bits and names of
    enumerations become numbers. Bytes of numbers without such a form, `0x…`, are not changed."""
    kind = of["class"]
    if kind == "float":
        return _FLOATS.get(value, value) if isinstance(value, str) else value
    if kind in ("integer", "time"):
        return int(value) if isinstance(value, str) and re.fullmatch("-?[0-9]+", value) else value
    if kind == "enum":
        return _value(of["base"], of["values"].get(value, value)) if isinstance(value, str) else value
    if kind == "compound" and isinstance(value, dict):
        return tuple(_value(member["type"], value[member["name"]]) for member in of["members"])
    if kind in ("array", "vlen", "complex"):
        return _nested(of["base"], len(of["shape"]) if kind == "array" else 1, value)
    return value


def _nested(of, depth, value):
    """Converts the elements of nested lists."""
    return [_nested(of, depth - 1, part) for part in value] if depth else _value(of, value)


def _dtype(numpy, of):
    """Returns the numpy type that h5py would use; None if numbers alone have no such type."""
    if of["class"] == "enum":
        if of["values"] == {"FALSE": 0, "TRUE": 1} and of["size"] == 1:
            return numpy.dtype(bool)
        return _dtype(numpy, of["base"])
    if of["class"] == "compound":
        formats = [_dtype(numpy, member["type"]) for member in of["members"]]
        if any(dtype is None for dtype in formats):
            return None
        names, offsets = zip(*((member["name"], member["offset"]) for member in of["members"]))
        return numpy.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": of["size"]})
    words = of["text"].split()
    known = {f"{kind}{bits}" for kind in ("int", "uint", "bitfield") for bits in (8, 16, 32, 64)} | {"float16", "float32", "float64"}
    if of["class"] not in ("integer", "bitfield", "float") or words[0] not in known or words[1:] not in ([], ["LE"], ["BE"]):
        return None
    return numpy.dtype(words[0].replace("bitfield", "uint")).newbyteorder(">" if words[1:] == ["BE"] else "<")
