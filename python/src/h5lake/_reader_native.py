"""Native HDF5 files for `h5lake.open`: each is read through a temporary container that refers to its raw data."""

import os
import re
import tempfile

from . import _reader
from ._settings import info_string
from ._tool import _finished, _library, _said

#: The words of a connector string. Blanks in quotation marks belong to a word.
_WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")
_PLACES = ("store=", "root=")


def open_adopted(name: str, settings: "str | None") -> int:
    """Opens a native file by its path or URL. Returns the handle of a container that refers to its raw data, as `h5lake
    adopt` makes one. `settings` are a connector string without the connector's name; None for the environment's.

    The container is in a temporary folder, which is deleted when this returns: the file of the container then exists
    until the handle is closed. Raises ReadError with the tool's text if the file cannot be adopted."""
    is_local = os.path.exists(name)
    if not is_local and "://" not in name:
        raise _reader.NativeFile(f"{name}: is a native HDF5 file in the store that the settings name; open it by its URL")
    words = _without_places(settings)
    with tempfile.TemporaryDirectory(prefix="h5lake-native-") as folder:
        made = os.path.join(folder, "native.h5")
        _adopt(name, made, words)
        # No name in the folder has a key in a store, so that this one is the path of a file. With the store of its URL, a
        # native file may refer to the same objects as if it were opened by that URL.
        places = {"root": os.path.join(folder, "none"), "store": None if is_local else os.path.dirname(name)}
        opened = " ".join([*words, info_string(**places)]).encode()
        return _reader.number(_reader.functions().open, os.fsencode(made), opened, is_open=True)


def _without_places(settings) -> "list[str]":
    """Returns the settings as words, without those that say where containers are stored."""
    if settings is None:
        name, _, settings = os.environ.get("HDF5_VOL_CONNECTOR", "").strip().partition(" ")
        settings = settings if name == "h5lake" else ""
    return [word for word in _WORD.findall(settings) if not word.startswith(_PLACES)]


def _adopt(name, made, words):
    connector = " ".join(["h5lake", *words])
    done = _finished("adopt", "--quiet", *_library(None), "--", name, made, connector=connector, without=("H5LAKE_STORE", "H5LAKE_ROOT"))
    # Links that no container can have are left out, with an exit code of their own.
    if not os.path.exists(made):
        raise _reader.ReadError(_said(done))
