"""What all objects of a file have: a path, attributes, and a handle of the library. Committed datatypes have nothing more."""

import ctypes
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from . import _reader
from ._reader import Bytes, call, take
from ._reader_types import Datatype

if TYPE_CHECKING:
    from ._reader_objects import File, Group


class Empty:
    """The value of a dataset or an attribute with a null dataspace."""

    shape = None
    size = None

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)

    def __eq__(self, other):
        return getattr(other, "shape", ()) is None and getattr(other, "dtype", None) == self.dtype

    __hash__ = None

    def __repr__(self):
        return f"Empty(dtype={self.dtype!r})"


def joined(base: str, path) -> str:
    """Returns a path from the root without empty components."""
    path = os.fsdecode(path)
    whole = path if path.startswith("/") else f"{base}/{path}"
    return "/" + "/".join(part for part in whole.split("/") if part not in ("", "."))


def encoded(text) -> bytes:
    return os.fsencode(text)


def name_of(described) -> "str | bytes":
    """Returns the name of a link or an attribute: bytes if it is not UTF-8, as in h5py."""
    return bytes.fromhex(described["raw"]) if "raw" in described else described["name"]


class Handle:
    """A handle of the library, which is closed with its last user."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int):
        self.number = number

    def __del__(self, reader=_reader):
        # The interpreter deletes the names of modules before the last objects when it ends.
        functions = reader._functions
        if functions is not None:
            functions.close(self.number, None)


class Attributes(Mapping):
    """The attributes of an object, with the values that h5py returns."""

    def __init__(self, owner):
        self._owner = owner

    def __getitem__(self, name):
        described, elements, pool = self._read(name)
        of, shape = Datatype(described["type"]), described["shape"]
        if shape is None:
            return Empty(of.dtype)
        raw = np.ndarray(tuple(shape), of.raw, bytearray(elements))
        array = of.finished(raw, pool)
        if (of.dtype.metadata or {}).get("vlen") in (str, bytes):
            decoded = np.empty(array.size, of.dtype)
            decoded[:] = [value.decode("utf-8", "surrogateescape") for value in array.reshape(-1).tolist()]
            array = decoded.reshape(array.shape)
        return array[()] if array.ndim == 0 else array

    def _read(self, name):
        answers = Bytes(), Bytes(), Bytes()
        owner = self._owner
        call(_reader.functions().attribute, owner.file._number(), encoded(owner.name), encoded(name),
             *map(ctypes.addressof, answers))
        described, elements, pool = map(take, answers)
        return _reader.json.loads(described), elements, pool

    def __iter__(self):
        owner = self._owner
        listed = _reader.ask(_reader.functions().attributes, owner.file._number(), encoded(owner.name))
        return iter([name_of(one) for one in listed])

    def __len__(self):
        return len(list(iter(self)))

    def __contains__(self, name):
        return name in set(iter(self))

    def __repr__(self):
        return f"<Attributes of {self._owner!r}>"


class Object:
    """An object of a file, by its path."""

    def __init__(self, file: "File", path: str):
        self._file, self._path = file, path

    @property
    def file(self) -> "File":
        return self._file

    @property
    def name(self) -> str:
        return self._path

    @property
    def parent(self) -> "Group":
        return self.file[os.path.dirname(self._path)]

    @property
    def attrs(self) -> Attributes:
        return Attributes(self)

    def __eq__(self, other):
        return isinstance(other, Object) and self.file is other.file and self.name == other.name

    def __hash__(self):
        return hash((id(self.file), self.name))

    def __bool__(self):
        return bool(self.file)

    def __reduce__(self):
        return _object_of, (self.file, self.name)


def _object_of(file: "File", path: str) -> Object:
    return file[path]


class CommittedDatatype(Object):
    """A committed datatype."""

    def __init__(self, file, path, described):
        super().__init__(file, path)
        self.dtype = Datatype(described["type"]).dtype

    def __repr__(self):
        return f"<h5lake committed datatype {self.name!r}: {self.dtype}>"
