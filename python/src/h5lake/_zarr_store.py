"""A store of zarr-python 3 over an open container: zarr.open(h5lake.ZarrStore("run.h5"), mode="r")."""

import asyncio
import base64
import itertools
import json
import math
import struct

import numpy as np
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from . import _reader_objects
from ._reader_dimensions import attributes, dimensions

#: The names of Zarr's data types, by NumPy's kinds and sizes.
_NAMES = {"b1": "bool", **{f"{kind}{size}": f"{name}{8 * size}" for kind, name in (("i", "int"), ("u", "uint")) for size in (1, 2, 4, 8)},
          "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128"}
#: The bytes of a chunk of a dataset that has no chunks of its own.
_CHUNK_BYTES = 4 << 20
_METADATA = "zarr.json"


class ZarrStore(Store):
    """The datasets and groups of a container as a hierarchy of Zarr 3, to read. Nothing is published or copied.

    h5lake decodes the chunks, in as many threads as zarr-python asks for, so that all built-in filters work. Datasets of
    numbers and booleans are arrays; other datasets are left out. `settings` are those of `h5lake.open`."""

    def __init__(self, name, **settings):
        super().__init__(read_only=True)
        self._file = name if isinstance(name, _reader_objects.File) else _reader_objects.open(name, **settings)
        self._datasets = {}

    supports_writes = supports_deletes = supports_partial_writes = False
    supports_listing = True

    def __eq__(self, other):
        return isinstance(other, ZarrStore) and other._file is self._file

    __hash__ = None

    def __repr__(self):
        return f"ZarrStore({self._file.filename!r})"

    def __getstate__(self):
        return self._file

    def __setstate__(self, file):
        self.__init__(file)
        self._is_open = True

    def refresh(self) -> bool:
        """Moves to the newest version. Arrays that are open keep their metadata: open them again."""
        self._datasets = {}
        return self._file.refresh()

    async def get(self, key, prototype, byte_range=None):
        found = await asyncio.to_thread(self._value, key)
        return None if found is None else prototype.buffer.from_bytes(_part(found, byte_range))

    async def get_partial_values(self, prototype, key_ranges):
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key):
        path, chunk = _split(key)
        found = await asyncio.to_thread(self._find, path)
        return found is not None and (chunk is None or isinstance(found, _reader_objects.Dataset) and _in_grid(found, chunk))

    async def set(self, key, value):
        raise NotImplementedError("h5lake.ZarrStore can only be read; write with h5py")

    async def set_partial_values(self, key_start_values):
        raise NotImplementedError("h5lake.ZarrStore can only be read; write with h5py")

    async def delete(self, key):
        raise NotImplementedError("h5lake.ZarrStore can only be read; write with h5py")

    async def list(self):
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix):
        for key in await asyncio.to_thread(lambda: [key for key in self._keys() if key.startswith(prefix)]):
            yield key

    async def list_dir(self, prefix):
        for name in await asyncio.to_thread(self._names, prefix.rstrip("/")):
            yield name

    def _find(self, path):
        """Returns the group or dataset at a path, or None. Open datasets are kept."""
        known = self._datasets.get(path)
        if known is not None:
            return known
        found = self._file.get(path or "/")
        if isinstance(found, _reader_objects.Dataset):
            if _name_of(found) is None:
                return None
            self._datasets[path] = found
        return found if isinstance(found, (_reader_objects.Group, _reader_objects.Dataset)) else None

    def _value(self, key):
        path, chunk = _split(key)
        found = self._find(path)
        if found is None:
            return None
        if chunk is None:
            return json.dumps(_metadata(found)).encode()
        return _chunk(found, chunk) if isinstance(found, _reader_objects.Dataset) and _in_grid(found, chunk) else None

    def _names(self, path):
        found = self._find(path)
        if isinstance(found, _reader_objects.Group):
            return [_METADATA, *(name for name in found if self._find(f"{path}/{name}".lstrip("/")) is not None)]
        return [] if found is None else [_METADATA, "c"]

    def _keys(self, path=""):
        found = self._find(path)
        begin = f"{path}/" if path else ""
        if found is None:
            return
        yield begin + _METADATA
        if isinstance(found, _reader_objects.Group):
            for name in found:
                yield from self._keys(begin + name)
        else:
            counts = [range(-(-size // chunk)) for size, chunk in zip(found.shape, _grid(found))]
            for at in itertools.product(*counts):
                yield begin + "/".join(["c", *map(str, at)])


def _split(key):
    """Returns the path of an object, and the coordinates of a chunk or None for the metadata."""
    path, _, last = key.rpartition("/")
    if last == _METADATA:
        return path, None
    parts = key.split("/")
    at = len(parts)
    while at and parts[at - 1].isdecimal():
        at -= 1
    if at and parts[at - 1] == "c":
        return "/".join(parts[:at - 1]), tuple(map(int, parts[at:]))
    return key, ()


def _part(value, byte_range):
    if isinstance(byte_range, RangeByteRequest):
        return value[byte_range.start:byte_range.end]
    if isinstance(byte_range, OffsetByteRequest):
        return value[byte_range.offset:]
    return value[-byte_range.suffix:] if isinstance(byte_range, SuffixByteRequest) else value


def _name_of(dataset):
    """Returns Zarr's name of a dataset's type, or None."""
    return None if dataset.shape is None else _NAMES.get(dataset.dtype.str[1:])


def _grid(dataset):
    """Returns the shape of a chunk."""
    if dataset.chunks is not None:
        return dataset.chunks
    shape, length = [max(size, 1) for size in dataset.shape], dataset.dtype.itemsize
    for d in range(len(shape)):
        inner = length * math.prod(shape[d + 1:])
        shape[d] = max(1, min(shape[d], _CHUNK_BYTES // inner))
    return tuple(shape)


def _in_grid(dataset, chunk) -> bool:
    return len(chunk) == dataset.ndim and all(n * length < size for n, length, size in zip(chunk, _grid(dataset), dataset.shape))


def _chunk(dataset, at) -> bytes:
    """Returns the elements of a chunk, filled beyond the extent of the dataset."""
    grid = _grid(dataset)
    whole = tuple(slice(n * length, (n + 1) * length) for n, length in zip(at, grid))
    elements = np.asarray(dataset[whole])
    if elements.shape == tuple(grid):
        return elements.tobytes()
    made = np.full(grid, dataset.fillvalue, dataset.dtype)
    made[tuple(slice(0, size) for size in elements.shape)] = elements
    return made.tobytes()


def _metadata(found):
    plain = {name: _json(value) for name, value in attributes(found).items()}
    made = {"zarr_format": 3, "node_type": "group", "attributes": plain}
    if isinstance(found, _reader_objects.Group):
        return made
    if "_FillValue" in plain and found.dtype.kind == "f":
        # As xarray stores it, because JSON has no exact floats.
        plain["_FillValue"] = base64.b64encode(struct.pack("<d", float(attributes(found)["_FillValue"]))).decode()
    order = "big" if found.dtype.byteorder == ">" else "little"
    codec = {"name": "bytes", "configuration": {"endian": order}} if found.dtype.itemsize > 1 else {"name": "bytes"}
    return made | {
        "node_type": "array", "shape": list(found.shape), "data_type": _name_of(found), "fill_value": _fill(found.fillvalue),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(_grid(found))}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "codecs": [codec],
        "dimension_names": list(dimensions(found)),
    }


def _fill(value):
    if isinstance(value, np.complexfloating):
        return [_fill(value.real), _fill(value.imag)]
    return _json(value)


def _json(value):
    """Returns a value as JSON. Floats that are not finite become the words of Zarr."""
    if isinstance(value, np.ndarray):
        return [_json(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, complex):
        return [_json(value.real), _json(value.imag)]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    return value
