"""Datasets that are read in several threads, without libhdf5 and without h5py."""

import ctypes
import os
import struct
from typing import TYPE_CHECKING

import numpy as np

from . import _reader, _reader_selection
from ._reader import Bytes, Read, call, take
from ._reader_object import Empty, Handle, Object, encoded
from ._reader_types import Datatype

if TYPE_CHECKING:
    from ._reader_objects import File

#: The bytes that are read together for a list of indices or a boolean mask.
_BOX_BYTES = 64 << 20
#: Up to this many bytes, a buffer of Python is made in less time than one of NumPy.
_SMALL_BYTES = 1 << 16


class Dataset(Object):
    """A dataset. An index expression reads elements as h5py does, into NumPy arrays."""

    def __init__(self, file: "File", path: str, described):
        super().__init__(file, path)
        self._set(described, file._edition)
        self._function = _reader.functions().read
        self._handle = Handle(_reader.number(_reader.functions().open_dataset, file._number(), encoded(path)))

    def _set(self, described, edition):
        self._type = Datatype(described["type"])
        shape = described["shape"]
        self._shape = None if shape is None else tuple(shape)
        rank = len(self._shape or ())
        self._pack = struct.Struct(f"={3 * rank}Q").pack
        # Selections of integers and slices take a short way if no element is converted.
        is_short = self._type.convert is None and rank > 0 and self._type.dtype.subdtype is None
        self._short = (self._type.dtype, self._type.dtype.itemsize) if is_short else None
        # Last, so that other threads that see this edition see the new shape, too.
        self._described, self._edition = described, edition

    def _fresh(self):
        """Returns the description as it is in the version that the file shows."""
        if self._edition != self._file._edition:
            edition = self._file._edition
            self._set(_reader.ask(_reader.functions().describe_dataset, self._handle.number), edition)
        return self._described

    @property
    def shape(self):
        self._fresh()
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        return self._type.dtype

    @property
    def ndim(self) -> int:
        return len(self._shape or ())

    @property
    def size(self):
        shape = self.shape
        return None if shape is None else int(np.prod(shape, dtype=object))

    @property
    def nbytes(self) -> int:
        return (self.size or 0) * self.dtype.itemsize

    @property
    def maxshape(self):
        shape = self._fresh()["maxshape"]
        return None if shape is None else tuple(shape)

    @property
    def chunks(self):
        chunks = self._described["chunks"]
        return None if chunks is None else tuple(chunks)

    @property
    def fillvalue(self):
        fill = self._described["fill"]
        if fill is None:
            return np.zeros((), self.dtype)[()] if self.dtype.kind != "O" or self._type.dtype.metadata is None else self._null()
        raw = np.ndarray((), self._type.raw, bytearray.fromhex(fill))
        return self._type.finished(raw, bytes.fromhex(self._described["fill_pool"]))[()]

    def _null(self):
        return b"" if (self.dtype.metadata or {}).get("vlen") in (str, bytes) else np.zeros((), self.dtype)[()]

    @property
    def filters(self) -> "list[dict]":
        """The filter pipeline: for each filter its `id`, `name`, `parameters`, and whether it is `optional`."""
        return self._described["filters"]

    def _filter(self, number):
        return next((one for one in self.filters if one["id"] == number), None)

    @property
    def compression(self):
        """The name that h5py has for the compression, or None."""
        names = {1: "gzip", 4: "szip", 32000: "lzf"}
        return next((names[one["id"]] for one in self.filters if one["id"] in names), None)

    @property
    def compression_opts(self):
        gzip = self._filter(1)
        return gzip["parameters"][0] if gzip else None

    @property
    def shuffle(self) -> bool:
        return self._filter(2) is not None

    @property
    def fletcher32(self) -> bool:
        return self._filter(3) is not None

    @property
    def is_virtual(self) -> bool:
        return self._described["layout"] == "virtual"

    def __len__(self):
        if not self.shape:
            raise TypeError("Attempt to take len() of scalar dataset")
        return self._shape[0]

    def len(self):
        return len(self)

    def __iter__(self):
        if not self.shape:
            raise TypeError("Can't iterate over a scalar dataset")
        for n in range(self._shape[0]):
            yield self[n]

    def refresh(self) -> None:
        """Moves the whole file to the newest version."""
        self.file.refresh()

    def __getitem__(self, arguments):
        if self._short is not None and self._edition == self._file._edition and self._file._handle is not None:
            found = self._basic(arguments if type(arguments) is tuple else (arguments,))
            if found is not None:
                return found
        return self.read(arguments)

    def _basic(self, arguments):
        """Reads a selection of integers and slices. Returns None for any other selection, and if no element is selected."""
        shape, starts, counts, steps, result = self._shape, [], [], [], []
        if len(arguments) > len(shape):
            return None
        dtype, bytes_read = self._short
        for argument, length in zip(arguments, shape):
            if type(argument) is int:
                start, count, step = argument + length if argument < 0 else argument, 1, 1
                if not 0 <= start < length:
                    return None
            elif type(argument) is slice:
                start, stop, step = argument.indices(length)
                count = (stop - start + step - 1) // step
                if step < 1 or count < 1:
                    return None
                result.append(count)
            else:
                return None
            starts.append(start), counts.append(count), steps.append(step)
            bytes_read *= count
        for length in shape[len(arguments):]:
            starts.append(0), counts.append(length), steps.append(1), result.append(length)
            bytes_read *= length
        if not bytes_read:
            return None
        # NumPy allocates large arrays in large pages.
        buffer = bytearray(bytes_read) if bytes_read < _SMALL_BYTES else np.empty(bytes_read, "u1")
        self._into(self._pack(*starts, *counts, *steps), buffer, bytes_read, None)
        array = np.ndarray(result, dtype, buffer)
        return array if result else array[()]

    def read(self, selection=(), out=None, fields=None):
        """Reads the selected elements, and returns them as `dataset[selection]` does. `out` is a C-contiguous array of the
        result's shape, to which they are read; the result is `out` then. `fields` are names of members of a compound."""
        arguments = selection if isinstance(selection, tuple) else (selection,)
        if any(argument is None for argument in arguments):
            raise TypeError("Indexing with None (or np.newaxis) is not supported")
        named = [argument for argument in arguments if isinstance(argument, str)]
        names = named[0] if len(named) == 1 else named or fields
        if names:
            arguments = tuple(argument for argument in arguments if not isinstance(argument, str))
            return _given(self._fields(self._read(arguments, None), names), out)
        return self._read(arguments, out)

    def _fields(self, array, names):
        wanted = [names] if isinstance(names, str) else list(names)
        if self.dtype.names is None:
            raise ValueError("Field names only allowed for compound types")
        for name in wanted:
            if name not in self.dtype.names:
                raise ValueError(f"Field {name} does not appear in this type.")
        if isinstance(names, str):
            return array[names]
        made = np.zeros(np.shape(array), [(name, self.dtype.fields[name][0]) for name in wanted])
        for name in wanted:
            made[name] = array[name]
        return made if made.shape else made[()]

    def _read(self, arguments, out):
        self._fresh()
        shape = self._shape
        if not self._file:
            self._file._number()
        if shape is None:
            if arguments == () or len(arguments) == 1 and arguments[0] is Ellipsis:
                return Empty(self.dtype)
            raise ValueError("Empty datasets cannot be sliced")
        if shape == ():
            return _given(self._scalar(arguments), out)
        first = arguments[0] if len(arguments) == 1 else None
        if isinstance(first, np.ndarray) and first.dtype.kind == "b" and first.shape == shape and len(shape) > 1:
            return _given(self._masked(first), out)
        if isinstance(first, np.ndarray) and first.dtype.kind == "b" and first.shape not in (shape, shape[:1]):
            raise TypeError("Boolean indexing array has incompatible shape")
        axes = _reader_selection.axes(arguments, shape)
        fancy = next((n for n, axis in enumerate(axes) if axis.indices is not None), None)
        result = tuple(axis.count for axis in axes if not axis.is_scalar)
        if fancy is not None:
            array = self._listed(axes, fancy)
        elif out is not None and self._type.convert is None and _fits(out, self._type.dtype, result):
            return self._direct(axes, out)
        else:
            array = self._slab(axes)
        array = array.reshape(result + array.shape[len(axes):])
        return _given(array[()] if array.shape == () else array, out)

    def _scalar(self, arguments):
        if arguments not in ((), (Ellipsis,)):
            raise ValueError("Illegal slicing argument for scalar dataspace")
        array = self._elements((), None)
        return array if arguments else array[()]

    def _direct(self, axes, out):
        if out.size:
            view = out.reshape(-1).view("u1")
            self._into(self._selection(axes), view, view.nbytes, None)
        return out

    def _selection(self, axes):
        return self._pack(*(axis.start for axis in axes), *(axis.count for axis in axes), *(axis.step for axis in axes))

    def _slab(self, axes):
        """Reads a regular selection. The result has all dimensions."""
        return self._elements(tuple(axis.count for axis in axes), self._selection(axes))

    def _elements(self, shape, selection):
        raw = self._type.raw
        count = 1
        for length in shape:
            count *= length
        size = count * raw.itemsize
        if not size:
            return self._type.finished(np.zeros(shape, raw), b"")
        buffer = bytearray(size) if size < _SMALL_BYTES else np.empty(size, "u1")
        array = np.ndarray(shape, raw, buffer)
        if self._type.convert is None:
            self._into(selection, buffer, size, None)
            return array
        pool = Bytes()
        self._into(selection, buffer, size, ctypes.addressof(pool))
        return self._type.finished(array, take(pool))

    def _into(self, selection, buffer, size, pool):
        """Reads elements in value form to a buffer."""
        handle, rank = self._handle, len(self._shape)
        read, address = self._function, ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        if read(handle.number, rank, selection, address, size, pool, None):
            # The read is repeated, because the first one had no place for its error.
            call(read, handle.number, rank, selection, address, size, pool)

    def _listed(self, axes, n):
        """Reads a selection with a list of indices in dimension `n`."""
        others = [axis.count for axis in (*axes[:n], *axes[n + 1:])]
        row = max(self._type.raw.itemsize * int(np.prod(others, dtype=object)), 1)
        parts, batch, batch_bytes = [], [], 0
        for group in _reader_selection.groups(axes[n].indices, row, _BOX_BYTES):
            batch.append(group)
            batch_bytes += (int(group[-1] - group[0]) + 1) * row
            if batch_bytes >= _BOX_BYTES:
                parts += self._taken(axes, n, batch)
                batch, batch_bytes = [], 0
        return _concatenated(parts + (self._taken(axes, n, batch) if batch else []), n)

    def _taken(self, axes, n, groups):
        """Reads the bounding box of each group of indices in dimension `n`, and returns the elements at the indices."""
        spans = [_reader_selection.Axis(int(group[0]), int(group[-1] - group[0]) + 1) for group in groups]
        boxes = self._many([[*axes[:n], span, *axes[n + 1:]] for span in spans])
        return [np.take(box, group - group[0], axis=n) for box, group in zip(boxes, groups)]

    def _masked(self, mask):
        """Reads the elements at which a mask of the dataset's shape is true, in C order."""
        places = mask.nonzero()
        if not places[0].size:
            return np.zeros((0,), self.dtype)
        lows, highs = [int(at.min()) for at in places], [int(at.max()) + 1 for at in places]
        row = self.dtype.itemsize * int(np.prod([high - low for low, high in zip(lows[1:], highs[1:])], dtype=object))
        rows = max(1, _BOX_BYTES // max(row, 1))
        parts = []
        for begin in range(lows[0], highs[0], rows):
            box = [(begin, min(begin + rows, highs[0])), *zip(lows[1:], highs[1:])]
            part = mask[tuple(slice(*bounds) for bounds in box)]
            if part.any():
                parts.append(self._slab([_reader_selection.Axis(low, high - low) for low, high in box])[part])
        return _concatenated(parts)

    def _many(self, parts):
        """Reads several regular selections in one call. The results have all dimensions."""
        raw, functions = self._type.raw, _reader.functions()
        shapes = [tuple(axis.count for axis in axes) for axes in parts]
        arrays = [np.zeros(shape, raw) for shape in shapes]
        packed = [self._selection(axes) for axes in parts]
        reads = (Read * len(parts))()
        for one, array, selection in zip(reads, arrays, packed):
            one.dataset, one.rank, one.size = self._handle.number, self.ndim, array.nbytes
            one.selection = ctypes.cast(ctypes.c_char_p(selection), ctypes.c_void_p)
            one.buffer = array.ctypes.data
        threads = min(len(parts), os.cpu_count() or 1)
        call(functions.read_many, ctypes.addressof(reads), len(parts), threads)
        pools = [take(one.pool) for one in reads]
        return [self._type.finished(array, pool) for array, pool in zip(arrays, pools)]

    def read_many(self, selections) -> "list":
        """Reads several selections in one call, in parallel. Each consists of integers, slices and an ellipsis."""
        self._fresh()
        found = []
        for selection in selections:
            axes = _reader_selection.axes(selection if isinstance(selection, tuple) else (selection,), self._shape)
            if any(axis.indices is not None for axis in axes):
                raise TypeError("read_many takes no lists of indices")
            found.append(axes)
        arrays = self._many(found) if found else []
        shapes = [tuple(axis.count for axis in axes if not axis.is_scalar) for axes in found]
        made = [array.reshape(shape + array.shape[self.ndim:]) for array, shape in zip(arrays, shapes)]
        return [array[()] if array.shape == () else array for array in made]

    def read_direct(self, dest, source_sel=None, dest_sel=None):
        """Reads to an existing array, as h5py does."""
        source = () if source_sel is None else source_sel
        if dest_sel is None:
            self.read(source, out=dest) if dest.flags.c_contiguous else dest.__setitem__(..., self.read(source))
        else:
            dest[dest_sel] = self.read(source)

    def read_chunk(self, offset) -> "tuple[int, bytes]":
        """Returns the filter mask and the stored bytes of the chunk with its first element at `offset`. Raises KeyError if
        the chunk has no storage."""
        offset, mask, chunk = tuple(offset), ctypes.c_uint32(), Bytes()
        coords = struct.pack(f"={len(offset)}Q", *offset)
        call(_reader.functions().read_chunk, self._handle.number, len(offset), coords, ctypes.addressof(chunk), ctypes.addressof(mask))
        return mask.value, take(chunk)

    def iter_chunks(self):
        """Yields the slices of all chunks of the extent."""
        if self.chunks is None:
            raise TypeError("Chunked dataset required")
        counts = [-(-size // chunk) for size, chunk in zip(self.shape, self.chunks)]
        for at in np.ndindex(*counts):
            yield tuple(slice(n * chunk, min((n + 1) * chunk, size)) for n, chunk, size in zip(at, self.chunks, self.shape))

    def astype(self, dtype) -> "View":
        """Returns a view that converts elements to another type when they are read; also NumPy's `StringDType` for strings."""
        return View(self, lambda array: _as_type(array, dtype), np.dtype(dtype))

    def asstr(self, encoding=None, errors="strict") -> "View":
        """Returns a view of strings that are `str` when they are read."""
        text = _encoding(self.dtype)
        if text is None:
            raise TypeError("dset.asstr() can only be used on datasets with an HDF5 string datatype")
        return View(self, lambda array: _decoded(array, encoding or text, errors), np.dtype(object))

    def fields(self, names) -> "View":
        """Returns a view of some members of a compound."""
        return View(self, lambda array: self._fields(array, names), None)

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("the elements of a dataset cannot be an array without a copy")
        return np.asarray(self[()], dtype=dtype or (None if self.dtype.subdtype else self.dtype))

    def __repr__(self):
        return f"<h5lake dataset {self.name!r}: shape {self._shape}, type {self.dtype.str!r}>" if self else "<closed h5lake dataset>"


class View:
    """A dataset that converts elements when they are read."""

    def __init__(self, dataset, convert, dtype):
        self._dataset, self._convert, self.dtype = dataset, convert, dtype

    def __getitem__(self, arguments):
        return self._convert(self._dataset[arguments])

    def __len__(self):
        return len(self._dataset)

    @property
    def shape(self):
        return self._dataset.shape

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[()], dtype=dtype)


def _concatenated(parts, axis=0):
    """Returns arrays as one. NumPy's byte order would be that of the machine."""
    return np.concatenate(parts, axis=axis, dtype=parts[0].dtype)


def _encoding(dtype):
    """Returns the encoding of the strings of a type, or None."""
    metadata = dtype.metadata or {}
    if metadata.get("vlen") in (str, bytes):
        return "utf-8" if metadata["vlen"] is str else "ascii"
    return metadata.get("h5py_encoding") if dtype.kind == "S" else None


def _decoded(array, encoding, errors):
    if isinstance(array, bytes):
        return array.decode(encoding, errors)
    made = np.empty(array.size, dtype=object)
    made[:] = [value.decode(encoding, errors) for value in array.reshape(-1).tolist()]
    return made.reshape(array.shape)


def _as_type(array, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind != "T":
        return np.asarray(array).astype(dtype)[()]
    made = np.array(_decoded(np.asarray(array, dtype=object), "utf-8", "strict").tolist(), dtype=dtype)
    return made[()]


def _fits(out, dtype, shape) -> bool:
    return isinstance(out, np.ndarray) and out.flags.c_contiguous and out.flags.writeable and out.dtype == dtype and out.shape == shape


def _given(array, out):
    """Returns a result, in `out` if the caller gave one."""
    if out is None:
        return array
    if out.shape != np.shape(array):
        raise TypeError(f"the selected elements have the shape {np.shape(array)}, and 'out' has {out.shape}")
    out[...] = array
    return out
