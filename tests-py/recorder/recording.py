"""What every recorder shares: outcomes are written down the moment they are known, so that a crash loses
nothing, and each file that h5py or PyTables opens is noted with the connector it really is on. No test is
changed by it.

One JSON object a line in $RECORD: {"collected": [...]}, {"start": id}, {"outcome": ..., "test": id},
{"end": id}, {"file": connector, ...}. Tests named in $RECORD_DONE (one a line) are left out: an earlier
process ran them."""

import ctypes
import functools
import importlib.util
import json
import os

_record = open(os.environ["RECORD"], "a", buffering=1)
done = set()
if os.path.exists(os.environ.get("RECORD_DONE", "")):
    done = set(open(os.environ["RECORD_DONE"]).read().splitlines())
running = ""


def write(**entry):
    """Writes one entry; it is in the file when this returns."""
    global running
    if "start" in entry or "end" in entry:
        running = entry.get("start", "")
    _record.write(json.dumps(entry) + "\n")


def _libhdf5(package):
    """The libhdf5 that a client's wheel carries and has loaded, or None."""
    for line in open("/proc/self/maps"):
        folder, _, name = line.split()[-1].rpartition("/")
        if name.startswith("libhdf5") and not name.startswith("libhdf5_hl") and folder.endswith(f"{package}.libs"):
            return ctypes.CDLL(f"{folder}/{name}")
    return None


@functools.cache
def _name_function(package):
    library = _libhdf5(package)
    function = library and library.H5VLget_connector_name
    if function:
        function.argtypes = (ctypes.c_int64, ctypes.c_char_p, ctypes.c_size_t)
        function.restype = ctypes.c_ssize_t
    return function


def _head(name):
    try:
        with open(name, "rb") as file:
            return file.read(16)
    except (OSError, TypeError, ValueError):
        return b""


def note(package, file_id, path, mode, driver):
    """Notes the connector of an open file and what kind of head lies at its path."""
    buffer = ctypes.create_string_buffer(64)
    function = _name_function(package)
    length = function(file_id, buffer, len(buffer)) if function else 0
    connector = buffer.value.decode() if length > 0 else "unknown"
    write(file=connector, by=package, mode=mode, driver=str(driver) if driver else None, head=_head(path).hex(),
          test=os.environ.get("PYTEST_CURRENT_TEST") or running)


def _watch_h5py():
    import h5py

    init = h5py.File.__init__

    def noting_init(self, name, mode="r", driver=None, *args, **kwargs):
        init(self, name, mode, driver, *args, **kwargs)
        if not isinstance(name, h5py.h5f.FileID) and isinstance(name, (str, bytes, os.PathLike)):
            with h5py._hl.base.phil:
                note("h5py", self.id.id, self.filename, mode, driver)

    noting_init.__doc__ = init.__doc__
    noting_init.__wrapped__ = init  # its signature stays the one that users see
    h5py.File.__init__ = noting_init


def _watch_tables():
    import tables

    init = tables.File.__init__

    def noting_init(self, filename, mode="r", *args, **kwargs):
        init(self, filename, mode, *args, **kwargs)
        # PyTables takes the mode "w" for a file in memory too.
        driver = kwargs.get("driver") or kwargs.get("DRIVER")
        note("tables", self._get_file_id(), self.filename, mode, driver)

    noting_init.__doc__ = init.__doc__
    noting_init.__wrapped__ = init
    tables.File.__init__ = noting_init


def watch():
    """Has every file noted that the clients open which are installed."""
    for package, start in (("h5py", _watch_h5py), ("tables", _watch_tables)):
        if importlib.util.find_spec(package):
            start()
