"""Searches of datasets, with the tool that the wheel brings."""

import json
import re
from dataclasses import dataclass
from typing import Any

from ._tool import Name, _run


@dataclass(frozen=True)
class Matches:
    """What `filter` found. `indices` and `values` are numpy arrays where numpy is there; else lists."""

    #: Coordinates in the dataset, an array (matches, dimensions) of uint64, or a list of tuples. Empty if only counted.
    indices: Any
    #: The elements, in the type that h5py reads. A list if their type has other parts than numbers: text, references, arrays and
    #: the like, or floats that are not of IEEE 754, whose bytes are a text `0x…`.
    values: Any
    #: How many match; with a limit, at most so many.
    count: int
    #: Whether all of the dataset was searched: no limit ended it.
    complete: bool
    #: Chunks that were written, and those of them that were read; None for a dataset without chunks.
    chunks: "int | None"
    chunks_read: "int | None"
    #: Stored bytes of the dataset, and those of them that were read.
    bytes: int
    bytes_read: int
    #: Chunks in which the store itself looked for matches; None for a dataset without chunks.
    chunks_searched: "int | None" = None


def filter(name: Name, dataset: str, expression: str, *, limit: "int | None" = None, count: bool = False, local: bool = False,
           **settings) -> Matches:
    """The elements of a dataset that match an expression such as `"x > 5"` or `"10 <= time < 20 and not flag == 1"`: `x` is the
    element, and members of a compound go by their names. Only chunks that can have such elements are read. A store that compares
    numbers where they are does so, and is believed; with `local`, chunks are read and their checksums compared. `name` may name a
    version (`NAME@v=3`). With `limit`, ends after so many matches; with `count`, counts them alone. Raises `ToolError` for a
    mistake in the expression, and says where it is."""
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


#: Floats that JSON does not have, as the tool writes them.
_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _value(of, value):
    """A value from the tool's JSON: floats that JSON does not have, integers beyond 64 bits and names of enumerations become
    numbers. Bytes of numbers that have no such form, `0x…`, stay as they are."""
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
    """The elements of lists within lists."""
    return [_nested(of, depth - 1, part) for part in value] if depth else _value(of, value)


def _dtype(numpy, of):
    """The type in numpy, as h5py has it; None if there is none for numbers alone."""
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
