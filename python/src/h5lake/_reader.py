"""The plugin's table of C functions for reading (h5lake_reader.h). ctypes releases the interpreter's lock in each call, so
that threads read at the same time."""

import ctypes
import errno
import json
import os
from ctypes import c_int32, c_uint32, c_uint64, c_void_p

from . import _plugin
from ._errors import LibraryError

VERSION = 1
#: The offset of a null span.
NULL = (1 << 64) - 1

(_NOT_FOUND, _WRONG_KIND, _INVALID, _UNSUPPORTED, _OUT_OF_RANGE, _TOO_MANY_LINKS, _DAMAGED, _LOCKED, _DENIED, NO_MEMORY, _GONE,
 _NOT_A_CONTAINER, _FAILED, _NATIVE) = range(1, 15)


class ReadError(OSError):
    """A container cannot be read: stored bytes are damaged, the version was reclaimed, or the store failed."""


class NativeFile(ReadError):
    """The file is a native HDF5 file."""


class _Error(ctypes.Structure):
    """h5lake_reader_error."""

    _fields_ = [("kind", c_int32), ("errno_value", c_int32), ("text", ctypes.c_char * 1016)]


class Bytes(ctypes.Structure):
    """h5lake_reader_bytes."""

    _fields_ = [("data", c_void_p), ("size", c_uint64), ("reserved", c_uint64)]


class Read(ctypes.Structure):
    """h5lake_reader_read."""

    _fields_ = [("dataset", c_uint64), ("selection", c_void_p), ("buffer", c_void_p), ("size", c_uint64), ("pool", Bytes),
                ("rank", c_uint32), ("reserved", c_uint32)]


_STRING = ctypes.c_char_p
_ASK = ctypes.CFUNCTYPE(c_int32, c_uint64, _STRING, c_void_p, c_void_p)
_FUNCTIONS = [
    ("open", ctypes.CFUNCTYPE(c_int32, _STRING, _STRING, c_void_p, c_void_p)),
    ("close", ctypes.CFUNCTYPE(c_int32, c_uint64, c_void_p)),
    ("refresh", ctypes.CFUNCTYPE(c_int32, c_uint64, c_void_p, c_void_p)),
    ("describe", _ASK),
    ("list", _ASK),
    ("attributes", _ASK),
    ("attribute", ctypes.CFUNCTYPE(c_int32, c_uint64, _STRING, _STRING, c_void_p, c_void_p, c_void_p, c_void_p)),
    ("open_dataset", ctypes.CFUNCTYPE(c_int32, c_uint64, _STRING, c_void_p, c_void_p)),
    ("describe_dataset", ctypes.CFUNCTYPE(c_int32, c_uint64, c_void_p, c_void_p)),
    ("read", ctypes.CFUNCTYPE(c_int32, c_uint64, c_uint32, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p)),
    ("read_many", ctypes.CFUNCTYPE(c_int32, c_void_p, c_uint64, c_uint32, c_void_p)),
    ("read_chunk", ctypes.CFUNCTYPE(c_int32, c_uint64, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p)),
    ("release", ctypes.CFUNCTYPE(None, c_void_p)),
    ("open_adopted", ctypes.CFUNCTYPE(c_int32, _STRING, _STRING, _STRING, c_void_p, c_void_p)),
]


class _Table(ctypes.Structure):
    """h5lake_reader_table."""

    _fields_ = [("size", c_uint32), ("version", c_uint32), *_FUNCTIONS]


class _Functions:
    """The functions of the table, which is never freed."""

    def __init__(self):
        path = os.path.join(os.fspath(_plugin.folder()), _plugin.NAME)
        try:
            api = ctypes.CDLL(path).h5lake_reader_api
        except (OSError, AttributeError) as error:
            raise LibraryError(f"{path} cannot be loaded for reading: {error}") from None
        api.restype, api.argtypes = c_void_p, [c_uint32]
        address = api(VERSION)
        if not address:
            raise LibraryError(f"{path} has no reader of version {VERSION}; install the plugin and the module of one release")
        table = _Table.from_address(address)
        for name, _ in _FUNCTIONS:
            setattr(self, name, getattr(table, name))


_functions = None


def functions() -> _Functions:
    """Returns the functions; loads the plugin once."""
    global _functions
    if _functions is None:
        _functions = _Functions()
    return _functions


_CLASSES = {_NOT_FOUND: KeyError, _WRONG_KIND: TypeError, _INVALID: ValueError, _UNSUPPORTED: NotImplementedError,
            _OUT_OF_RANGE: IndexError, NO_MEMORY: MemoryError, _DENIED: PermissionError}


def _exception(error: _Error, is_open: bool) -> Exception:
    text = error.text.decode(errors="replace")
    if error.kind == _NATIVE:
        return NativeFile(text)
    if is_open and error.kind not in (_INVALID, _UNSUPPORTED, NO_MEMORY):
        # OSError chooses the class by the number: FileNotFoundError, PermissionError, BlockingIOError.
        number = error.errno_value or {_NOT_FOUND: errno.ENOENT, _DENIED: errno.EACCES, _LOCKED: errno.EAGAIN}.get(error.kind, 0)
        return OSError(number, text) if number else ReadError(text)
    made = _CLASSES.get(error.kind)
    if made is None:
        return ReadError(error.errno_value, text) if error.errno_value else ReadError(text)
    return made(error.errno_value, text) if made is PermissionError else made(text)


def call(function, *arguments, is_open=False) -> None:
    """Calls a function of the table with an error as its last argument. Raises the exception for the error."""
    error = _Error()
    if function(*arguments, ctypes.addressof(error)):
        raise _exception(error, is_open)


def take(answer: Bytes) -> bytes:
    """Returns a copy of bytes of the library, and releases them."""
    try:
        return ctypes.string_at(answer.data, answer.size) if answer.size else b""
    finally:
        functions().release(ctypes.addressof(answer))


def ask(function, *arguments):
    """Calls a function that answers with JSON, and returns the answer."""
    answer = Bytes()
    call(function, *arguments, ctypes.addressof(answer))
    return json.loads(take(answer))


def number(function, *arguments, is_open=False) -> int:
    """Calls a function that answers with a handle, and returns the handle."""
    answer = c_uint64()
    call(function, *arguments, ctypes.addressof(answer), is_open=is_open)
    return answer.value
