"""A pytest plugin (-p recorder): writes every outcome down the moment it is known, so that a crash loses
nothing, and notes whose file every h5py.File really is. It changes no test.

One JSON object a line in $RECORD: {"collected": [...]}, {"start": id}, {"end": id, ...}, {"file": kind, ...}.
Tests named in $RECORD_DONE (one a line) are left out: an earlier process ran them."""

import ctypes
import json
import os

import h5py

_record = open(os.environ["RECORD"], "a", buffering=1)
_done = set()
if os.path.exists(os.environ.get("RECORD_DONE", "")):
    _done = set(open(os.environ["RECORD_DONE"]).read().splitlines())


def _write(**entry):
    _record.write(json.dumps(entry) + "\n")


def _libhdf5():
    """The libhdf5 that h5py itself has loaded, whatever its wheel calls it."""
    for line in open("/proc/self/maps"):
        path = line.split()[-1]
        name = os.path.basename(path)
        if name.startswith("libhdf5") and ".so" in name and not name.startswith("libhdf5_hl"):
            return ctypes.CDLL(path)
    raise RuntimeError("h5py has loaded no libhdf5")


_name_of = _libhdf5().H5VLget_connector_name
_name_of.argtypes = (ctypes.c_int64, ctypes.c_char_p, ctypes.c_size_t)
_name_of.restype = ctypes.c_ssize_t


def _head(name):
    try:
        with open(name, "rb") as file:
            return file.read(16)
    except (OSError, TypeError, ValueError):
        return b""


def _note(file, mode, driver):
    """Notes the connector of an open file and what kind of head lies at its path."""
    buffer = ctypes.create_string_buffer(64)
    with h5py._hl.base.phil:
        length = _name_of(file.id.id, buffer, len(buffer))
    connector = buffer.value.decode() if length > 0 else "unknown"
    _write(file=connector, mode=mode, driver=str(driver) if driver else None, head=_head(file.filename).hex(),
           test=os.environ.get("PYTEST_CURRENT_TEST", ""))


_init = h5py.File.__init__


def _noting_init(self, name, mode="r", driver=None, *args, **kwargs):
    _init(self, name, mode, driver, *args, **kwargs)
    if not isinstance(name, h5py.h5f.FileID) and isinstance(name, (str, bytes, os.PathLike)):
        _note(self, mode, driver)


_noting_init.__doc__ = _init.__doc__
_noting_init.__wrapped__ = _init  # its signature stays the one that users see
h5py.File.__init__ = _noting_init


def pytest_collection_modifyitems(config, items):
    if not _done:
        _write(collected=[item.nodeid for item in items])
    left_out = [item for item in items if item.nodeid in _done]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in _done]


def pytest_collectreport(report):
    if report.failed:
        _write(broken=report.nodeid, detail=str(report.longrepr)[-1500:])


def pytest_runtest_logstart(nodeid):
    _write(start=nodeid)


def pytest_runtest_logreport(report):
    outcome = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "skipped"  # expected to fail, by the suite itself
    if report.when == "call" or outcome != "passed":
        _write(outcome=outcome, test=report.nodeid, when=report.when, detail=str(report.longrepr or "")[-1500:])


def pytest_runtest_logfinish(nodeid):
    _write(end=nodeid)
