"""Files and groups that are read in several threads, without libhdf5 and without h5py."""

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping

from . import _reader
from ._names import without_version
from ._reader import call
from ._reader_dataset import Dataset
from ._reader_object import CommittedDatatype, Handle, Object, encoded, joined, name_of
from ._reader_types import Reference
from ._settings import info_string


def open(name, **settings) -> "File":
    """Opens a container for reading: a path or a URL, which may select a version (`run.h5@v=12`, `…@tag=paper`).

    All objects of the file may be used from several threads at the same time, and read in parallel. The file shows one
    version until `refresh` is called. `settings` are those of `h5lake.enable`; without any, the environment applies.

    A native HDF5 file opens by its path or URL, too, if a libhdf5 is installed (h5py or netCDF4 has one): a process of
    `h5lake adopt` lists its objects and the locations of their data, and threads of this process read the data without
    libhdf5. The file must not change while it is open: reading changed data is an error."""
    return File(name, **settings)


class Group(Object, Mapping):
    """A group: a mapping from names to groups, datasets and committed datatypes."""

    def __getitem__(self, path):
        if isinstance(path, Reference):
            if not path:
                raise ValueError("a null reference leads to no object")
            path = str(path) or "/"
        if not isinstance(path, (str, bytes)):
            raise TypeError(f"Accessing a group is done with bytes or str, not {type(path)}")
        path = joined(self.name, path)
        return self.file._object(path, self.file._describe(path))

    def get(self, name, default=None, getclass=False):
        try:
            found = self[name]
        except KeyError:
            return default
        return type(found) if getclass else found

    def _links(self):
        return _reader.ask(_reader.functions().list, self.file._number(), encoded(self.name))

    def __iter__(self):
        return iter([name_of(link) for link in self._links()])

    def __len__(self):
        return self.file._describe(self.name)["links"]

    def __contains__(self, path):
        if not isinstance(path, (str, bytes)):
            return False
        path = joined(self.name, path)
        try:
            self.file._describe(path)
        except TypeError:
            return False
        except KeyError:
            return self._has_link(path)
        return True

    def _has_link(self, path) -> bool:
        """Returns whether a link without a target is at a path, which h5py counts as a member."""
        group = self.get(os.path.dirname(path))
        return isinstance(group, Group) and os.path.basename(path) in map(os.fsdecode, group)

    def __reversed__(self):
        return reversed(list(self))

    def links(self) -> "dict[str, dict]":
        """Returns the links of the group: for each name its kind (`hard`, `soft`, `external`, `user-defined`), and the
        target of a link that is not hard."""
        return {name_of(link): {key: value for key, value in link.items() if key not in ("name", "raw")} for link in self._links()}

    def visit(self, function):
        """Calls `function` with the path of each object below, as h5py does, until it returns something but None."""
        return self.visititems(lambda path, _: function(path))

    def visititems(self, function):
        """Calls `function` with the path of each object below and the object, until it returns something but None. Each
        object is visited once; soft and external links are not followed."""
        return self._visit("", {self.file._describe(self.name)["token"]}, function)

    def _visit(self, below, seen, function):
        for link in sorted(self._links(), key=lambda link: encoded(name_of(link))):
            if link["link"] != "hard" or link["token"] in seen:
                continue
            seen.add(link["token"])
            name = name_of(link)
            found, path = self[name], name if isinstance(name, bytes) and not below else below + os.fsdecode(name)
            result = function(path, found)
            if result is None and isinstance(found, Group):
                result = found._visit(f"{os.fsdecode(path)}/", seen, function)
            if result is not None:
                return result
        return None

    def __repr__(self):
        return f"<h5lake group {self.name!r} ({len(self)} members)>" if self else "<closed h5lake group>"

    __eq__, __hash__ = Object.__eq__, Object.__hash__


class File(Group):
    """A container that is open for reading, and its root group. Use it as a context manager, or call `close`."""

    def __init__(self, name, **settings):
        # h5lake.open and pickles make files.
        self._given = os.fspath(name)
        self._settings = settings
        self._is_native = False
        self._handle = self._opened()
        self._edition, self._pid = 0, os.getpid()
        # Without a reference to itself, so that the handle is closed with the last user.
        self._path = "/"

    def _opened(self) -> Handle:
        given = os.fsencode(info_string(**self._settings)) if self._settings else None
        try:
            return Handle(_reader.number(_reader.functions().open, encoded(self._given), given, is_open=True))
        except _reader.NativeFile:
            self._is_native = True
        # Most files are containers, and reading these does not need the tool.
        from . import _reader_native

        return Handle(_reader_native.open_adopted(self._given, self._settings))

    @property
    def file(self) -> "File":
        return self

    @property
    def filename(self) -> str:
        return os.fsdecode(self._given)

    @property
    def mode(self) -> str:
        return "r"

    def _number(self) -> int:
        handle = self._handle
        if handle is None:
            raise ValueError(f"{self.filename} is closed; open it again")
        return handle.number

    def _describe(self, path):
        return _reader.ask(_reader.functions().describe, self._number(), encoded(path))

    def _object(self, path, described):
        if described["kind"] == "group":
            return self if path == "/" else Group(self, path)
        if described["kind"] == "dataset":
            return Dataset(self, path, described)
        return CommittedDatatype(self, path, described)

    def refresh(self) -> bool:
        """Moves the file and its datasets to the newest version, after the reads that are under way. Returns whether the
        version changed. A native file stays as it was opened."""
        if self._is_native:
            return False
        moved = ctypes.c_int32()
        call(_reader.functions().refresh, self._number(), ctypes.addressof(moved))
        if moved.value:
            self._edition += 1
        return bool(moved.value)

    def close(self) -> None:
        """Closes the file. Reads that are under way in other threads end normally."""
        self._handle = None

    def __bool__(self):
        return self._handle is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __reduce__(self):
        name = self.filename
        if os.path.exists(without_version(name)) and "store" not in self._settings:
            name = os.path.abspath(name)
        return _shared, (name, tuple(sorted(self._settings.items())))

    def __repr__(self):
        return f"<h5lake file {self.filename!r}>" if self else "<closed h5lake file>"


# The files that pickles have opened in this process, while somebody uses them.
_SHARED = weakref.WeakValueDictionary()
_SHARING = threading.Lock()


def _shared(name, settings) -> File:
    """Opens a file for a pickle. Objects of one file that arrive in a process share one handle."""
    key = name, settings, os.getpid()
    with _SHARING:
        found = _SHARED.get(key)
        if not found:
            found = _SHARED[key] = File(name, **dict(settings))
        return found
