"""Actions after the import of a client: its library is checked, and h5py receives the driver "h5lake"."""

import os
import sys

from . import _enable, _libraries
from ._settings import info_string

CLIENTS = ("h5py", "tables", "netCDF4")


def install() -> None:
    """Registers for the clients that are already imported, and for those that will be."""
    if "h5py" in sys.modules:
        register_driver(sys.modules["h5py"])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def imported(module) -> None:
    """Handles the import of a client: if h5lake is enabled, the client's library must use it."""
    if module.__name__ == "h5py":
        register_driver(module)
    if _enable.is_enabled():
        _libraries.switch(os.environ.get("HDF5_PLUGIN_PATH", ""), True)


def register_driver(h5py) -> None:
    """Adds `h5py.File(name, driver="h5lake", sync="commit")`: one file is a container, independent of all other
    files."""

    def set_driver(access, **settings):
        hdf5 = _libraries.of_module(h5py)
        if hdf5 is None:
            raise _libraries.LibraryError("h5py's libhdf5 is no library of its own; set HDF5_VOL_CONNECTOR before it starts")
        plugins = _enable._plugin.search_path(os.environ.get("HDF5_PLUGIN_PATH"))
        # A program that names the driver has chosen it for this file, whatever the variable H5LAKE_ONLY says.
        hdf5.set_connector(access.id, plugins, info_string(**{"only": "*", **settings}))

    h5py.register_driver("h5lake", set_driver)


# Neither of the two classes derives from a class of importlib.abc, because that module takes 15 ms to import.
class _Finder:
    """Finds no module itself: it makes the loaders of clients report when they are done."""

    def find_spec(self, name, path=None, target=None):
        if name not in CLIENTS:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """A client's loader, which calls a function after the import."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        # The module keeps its own loader, which knows the module's resources.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        imported(module)
