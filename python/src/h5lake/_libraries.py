"""The libhdf5 libraries that this process has loaded, and the change of their default connector.

A library reads `HDF5_VOL_CONNECTOR` when it is initialized. `H5VL__set_def_conn` reads it again; libhdf5 has exported
this function since 1.12 (H5VLint.c). The other functions are public."""

import contextlib
import ctypes
import os
import re
import sys
import threading

from . import _plugin
from ._errors import LibraryError

OLDEST = (1, 14, 0)
CONNECTOR = b"h5lake"
_CHANGING = threading.RLock()
_NAME = re.compile(r"/libhdf5(?:_serial|_openmpi|_mpich|_parallel)?[-.][^/]*$")
_ACCESS, _CLASS = "H5P_CLS_FILE_ACCESS_ID_g", ctypes.c_int64


# The container that is opened to request statistics, and has none itself; H5VL_SUBCLS_FILE; the name of the operation.
_ASKED, _FILE_OPERATIONS, _STATISTICS = b"memory:h5lake.statistics/empty", 6, b"h5lake.statistics"


class _Wanted(ctypes.Structure):
    """The arguments of the operation: a buffer, its size, and a place for the length of the text."""

    _fields_ = [("buffer", ctypes.c_void_p), ("size", ctypes.c_size_t), ("length", ctypes.c_void_p)]


class _Arguments(ctypes.Structure):
    """H5VL_optional_args_t."""

    _fields_ = [("op_type", ctypes.c_int), ("args", ctypes.c_void_p)]


def switch(plugins: str, is_wanted: bool) -> None:
    """Makes each loaded library read `HDF5_VOL_CONNECTOR` again. `plugins` is the folder in which it finds the plugin
    from now on.

    Raises LibraryError if a library does not accept the connector; the libraries before it are switched then."""
    with locked():
        for hdf5 in loaded():
            hdf5.switch(plugins, is_wanted)


@contextlib.contextmanager
def locked():
    """A block during which no thread is in h5py, for changes of the libraries."""
    objects = sys.modules.get("h5py._objects")
    with getattr(objects, "phil", None) or contextlib.nullcontext(), _CHANGING:
        yield


def loaded() -> "list[Hdf5]":
    paths = {}
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            path = os.fsdecode(line.rstrip(b"\n").split(None, 5)[5]) if line.count(b" /") else ""
            if _NAME.search(path):
                paths.setdefault(path)
    return [Hdf5(path) for path in paths]


class Hdf5:
    """The functions of one loaded libhdf5. PyDLL keeps the interpreter's lock, so that no other thread of Python calls it."""

    def __init__(self, path: str):
        self.path = path
        self._dll = ctypes.PyDLL(path, os.RTLD_NOLOAD | os.RTLD_NOW)
        numbers = [ctypes.c_uint() for _ in range(3)]
        self._dll.H5get_libversion(*map(ctypes.byref, numbers))
        self.version = tuple(number.value for number in numbers)

    def _call(self, name: str, *arguments, result=ctypes.c_int, types=()):
        try:
            function = getattr(self._dll, name)
        except AttributeError:
            raise LibraryError(f"{self.path} hides {name}, so its connector cannot be changed any more; call h5lake.enable() "
                               "before this library is loaded, or run the program by 'h5lake run'") from None
        function.restype, function.argtypes = result, list(types)
        return function(*arguments)

    def check_version(self) -> None:
        """Checks the version: a library before 1.14 does not support connectors like this one, and would silently use
        native files."""
        if self.version < OLDEST:
            shown = ".".join(map(str, self.version))
            raise LibraryError(f"{self.path} is HDF5 {shown}; h5lake needs 1.14.0 or later. Its files would be native ones")

    @contextlib.contextmanager
    def _silent(self):
        """A block during which errors are not printed."""
        types = [_CLASS, ctypes.c_void_p, ctypes.c_void_p]
        function, data = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("H5Eget_auto2", 0, ctypes.byref(function), ctypes.byref(data), types=types)
        self._call("H5Eset_auto2", 0, None, None, types=types)
        try:
            yield
        finally:
            self._call("H5Eset_auto2", 0, function, data, types=types)

    def default_connector(self) -> str:
        """Returns the name of the connector of a new access list; "native" for a library without connectors."""
        if self.version < OLDEST:
            return "native"
        self._call("H5open")
        with self._silent():
            access = self._call("H5Pcreate", _CLASS.in_dll(self._dll, _ACCESS), result=_CLASS, types=[_CLASS])
            connector = _CLASS(-1)
            self._call("H5Pget_vol_id", access, ctypes.byref(connector), types=[_CLASS, ctypes.c_void_p])
            try:
                for name in (CONNECTOR, b"native", b"pass_through"):
                    if self._is(name, connector):
                        return name.decode()
                return "another"
            finally:
                if connector.value >= 0:
                    self._call("H5VLclose", connector, types=[_CLASS])
                self._call("H5Pclose", access, types=[_CLASS])

    def _is(self, name: bytes, connector) -> bool:
        """Returns whether a connector's identifier stands for the connector with a name."""
        if self._call("H5VLis_connector_registered_by_name", name, types=[ctypes.c_char_p]) <= 0:
            return False
        known = self._call("H5VLget_connector_id_by_name", name, result=_CLASS, types=[ctypes.c_char_p])
        differ = ctypes.c_int(1)
        self._call("H5VLcmp_connector_cls", ctypes.byref(differ), known, connector, types=[ctypes.c_void_p, _CLASS, _CLASS])
        self._call("H5VLclose", known, types=[_CLASS])
        return differ.value == 0

    def add_plugins(self, plugins: str) -> None:
        """Makes the library search this folder for plugins, too, because it has read HDF5_PLUGIN_PATH already."""
        self._call("H5open")
        count = ctypes.c_uint()
        self._call("H5PLsize", ctypes.byref(count), types=[ctypes.c_void_p])
        known = set()
        for index in range(count.value):
            buffer = ctypes.create_string_buffer(4096)
            if self._call("H5PLget", index, buffer, len(buffer), result=ctypes.c_ssize_t,
                          types=[ctypes.c_uint, ctypes.c_char_p, ctypes.c_size_t]) > 0:
                known.add(os.fsdecode(buffer.value))
        for folder in reversed(plugins.split(os.pathsep)):
            if folder not in known:
                self._call("H5PLprepend", os.fsencode(folder), types=[ctypes.c_char_p])

    def switch(self, plugins: str, is_wanted: bool) -> None:
        """Makes the library read HDF5_VOL_CONNECTOR again, and checks that it uses the requested connector."""
        if self.version < OLDEST and not is_wanted:
            return
        self.check_version()
        if is_wanted:
            self.add_plugins(plugins)
        self._call("H5open")
        with self._silent():
            failed = self._call("H5VL__set_def_conn") < 0
        name = self.default_connector()
        if is_wanted and (failed or name != CONNECTOR.decode()):
            raise LibraryError(f"{self.path} does not load the plugin in {_plugin.folder()}; its files would be {name} ones. "
                               "'h5lake doctor' shows why")

    def statistics(self) -> "str | None":
        """Returns the costs of this process's containers as JSON; None if this library has never had the connector. The
        costs are requested by an optional operation on a file, so an empty container in memory is opened for it."""
        if self.version < OLDEST or self._call("H5VLis_connector_registered_by_name", CONNECTOR, types=[ctypes.c_char_p]) <= 0:
            return None
        access = self._call("H5Pcreate", _CLASS.in_dll(self._dll, _ACCESS), result=_CLASS, types=[_CLASS])
        try:
            self.set_connector(access, _plugin.search_path(os.environ.get("HDF5_PLUGIN_PATH")), "")
            with self._silent():
                file = self._call("H5Fopen", _ASKED, 0, access, result=_CLASS, types=[ctypes.c_char_p, ctypes.c_uint, _CLASS])
                if file < 0:
                    file = self._call("H5Fcreate", _ASKED, 2, 0, access, result=_CLASS,
                                      types=[ctypes.c_char_p, ctypes.c_uint, _CLASS, _CLASS])
            if file < 0:
                raise LibraryError(f"{self.path}: h5lake cannot be asked; its settings may be wrong")
            try:
                return self._statistics_by(file)
            finally:
                self._call("H5Fclose", file, types=[_CLASS])
        finally:
            self._call("H5Pclose", access, types=[_CLASS])

    def _statistics_by(self, file: int) -> str:
        operation, room, length = ctypes.c_int(-1), 0, ctypes.c_size_t(1)
        number = [_FILE_OPERATIONS, _STATISTICS, ctypes.byref(operation)], [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
        with self._silent():
            if self._call("H5VLfind_opt_operation", *number[0], types=number[1]) < 0:
                self._call("H5VLregister_opt_operation", *number[0], types=number[1])
        # Other threads may use containers meanwhile, and the text may grow.
        while room <= length.value:
            room = length.value + 1024
            buffer = ctypes.create_string_buffer(room)
            wanted = _Wanted(ctypes.addressof(buffer), room, ctypes.addressof(length))
            arguments = _Arguments(operation.value, ctypes.addressof(wanted))
            if self._call("H5VLfile_optional_op", b"", b"stats", 0, file, ctypes.byref(arguments), 0, 0,
                          types=[ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint, _CLASS, ctypes.c_void_p, _CLASS, _CLASS]) < 0:
                raise LibraryError(f"{self.path}: this h5lake plugin does not tell what containers cost; it is another version")
        return buffer.value.decode()

    def set_connector(self, access: int, plugins: str, info: str) -> None:
        """Makes one file access list use h5lake with these settings."""
        self.check_version()
        self.add_plugins(plugins)
        connector = self._call("H5VLregister_connector_by_name", CONNECTOR, 0, result=_CLASS, types=[ctypes.c_char_p, _CLASS])
        if connector < 0:
            raise LibraryError(f"{self.path} does not load the plugin in {_plugin.folder()}")
        settings = ctypes.c_void_p()
        try:
            if info and self._call("H5VLconnector_str_to_info", info.encode(), connector, ctypes.byref(settings),
                                   types=[ctypes.c_char_p, _CLASS, ctypes.c_void_p]) < 0:
                raise ValueError(f"h5lake does not take the settings {info!r}")
            if self._call("H5Pset_vol", access, connector, settings, types=[_CLASS, _CLASS, ctypes.c_void_p]) < 0:
                raise LibraryError(f"{self.path} does not take the connector for an access list")
        finally:
            if settings.value:
                self._call("H5VLfree_connector_info", connector, settings, types=[_CLASS, ctypes.c_void_p])
            self._call("H5VLclose", connector, types=[_CLASS])


def of_module(module) -> "Hdf5 | None":
    """Returns the libhdf5 that an extension module calls, if it is loaded as a library of its own."""
    names = [module.__name__, *(f"{module.__name__}.{part}" for part in ("h5p", "utilsextension", "_netCDF4"))]
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        if ".so" not in os.path.basename(file):
            continue
        with contextlib.suppress(OSError, AttributeError):
            address = ctypes.cast(ctypes.PyDLL(file).H5get_libversion, ctypes.c_void_p).value
            path = _path_at(address)
            if path and _NAME.search(path):
                return Hdf5(path)
    return None


def _path_at(address: int) -> str:
    """Returns the file that is mapped at an address."""
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            fields = line.rstrip(b"\n").split(None, 5)
            begin, end = (int(part, 16) for part in fields[0].split(b"-"))
            if begin <= address < end:
                return os.fsdecode(fields[5]) if len(fields) > 5 else ""
    return ""
