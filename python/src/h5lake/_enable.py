"""Switches the whole process to h5lake and back."""

import os
import threading
from contextlib import contextmanager

from . import _libraries, _plugin
from ._settings import connector_string

VARIABLES = ("HDF5_VOL_CONNECTOR", "HDF5_PLUGIN_PATH")
_lock = threading.RLock()
# The values of the variables before the first enable(); None while h5lake is not enabled in this process.
_before: "dict[str, str | None] | None" = None


def enable(**settings) -> None:
    """Makes all files that are created from now on containers: those of h5py, PyTables, netCDF4 and each other client
    with a libhdf5 of its own, whether it is imported before or after. Child processes inherit this. Open files stay as
    they are. `settings` are those that `h5lake settings` lists; a second call replaces all settings of the first.

    When this returns, each loaded library was switched and uses h5lake. A library that is loaded later is switched when
    h5py, PyTables or netCDF4 has been imported. Raises LibraryError if a library is too old or cannot be switched, and
    ValueError if a setting is wrong; then everything is as before."""
    global _before
    string = connector_string(**settings)
    with _lock:
        present = {name: os.environ.get(name) for name in VARIABLES}
        plugins = _plugin.search_path((_before or present)["HDF5_PLUGIN_PATH"])
        _plugin.check(string)
        os.environ.update(HDF5_VOL_CONNECTOR=string, HDF5_PLUGIN_PATH=plugins)
        try:
            _libraries.switch(plugins, True)
        except BaseException:
            _restore(present)
            raise
        _before = _before or present


def disable() -> None:
    """Undoes `enable`: new files are again of the kind that they were before the first call. Open files stay as they
    are. HDF5 1.14 still opens containers, because it tries the plugins that it knows; 2.x does not."""
    global _before
    with _lock:
        if _before is not None:
            _restore(_before)
            _before = None


@contextmanager
def enabled(**settings):
    """Enables h5lake as `enable` does, for a `with` block. Afterwards the settings are those from before the block."""
    global _before
    with _lock:
        present, outer = {name: os.environ.get(name) for name in VARIABLES}, _before
        enable(**settings)
    try:
        yield
    finally:
        with _lock:
            _restore(present)
            _before = outer


def is_enabled() -> bool:
    """Returns whether `enable` is in force."""
    return _before is not None


def _restore(variables: "dict[str, str | None]") -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    is_ours = (variables["HDF5_VOL_CONNECTOR"] or "").split()[:1] == ["h5lake"]
    _libraries.switch(variables["HDF5_PLUGIN_PATH"] or "", is_ours)
