"""The location of the plugin, and the folders of other plugins."""

import ctypes
import os
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from ._errors import LibraryError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "libh5lake.so"
# The folder in which HDF5 searches if HDF5_PLUGIN_PATH is not set (H5PL_DEFAULT_PATH).
DEFAULT = "/usr/local/hdf5/lib/plugin"


def folder() -> "Path":
    """Returns the folder that holds only the plugin; `HDF5_PLUGIN_PATH` must name it."""
    from pathlib import Path
    return Path(os.path.dirname(_plugin()))


def _plugin() -> str:
    """Returns the path of the plugin, beside this module or in the checkout that contains this module."""
    installed = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugin", NAME)
    for found in (installed, *(os.path.join(root, "target", "plugin", NAME) for root in checkout())):
        if os.path.exists(found):
            return found
    raise ImportError(missing(installed, "make plugin"))


def checkout() -> "list[str]":
    """Returns the root of the checkout that contains this module; an empty list if the module was installed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return [root] if os.path.isfile(os.path.join(root, "Cargo.toml")) else []


def missing(what: str, command: str) -> str:
    """Returns the message that a part of the package is missing, and how to get it. `command` builds it in a
    checkout."""
    remedy = [f"run '{command}' in {root}" for root in checkout()] or ["install the wheel again: pip install --force-reinstall h5lake-*.whl"]
    return f"{what} is missing; {remedy[0]}"


def check(connector: str) -> None:
    """Raises ValueError if the plugin refuses a setting of this connector string, or a variable H5LAKE_*. Raises
    LibraryError if the plugin cannot be loaded: HDF5 2.x crashes when the connector that it should use is missing."""
    call("h5lake_check_settings", connector)


def call(function: str, text: str) -> None:
    """Calls an exported function of the plugin with a text. Raises ValueError with its reason if it refuses the text.
    Raises LibraryError if the plugin cannot be loaded."""
    plugin = _plugin()
    try:
        # PyDLL keeps the interpreter's lock, so that no other Python thread changes the environment meanwhile.
        called = getattr(ctypes.PyDLL(plugin), function)
    except (OSError, AttributeError) as error:
        raise LibraryError(f"{plugin} cannot be loaded: {error}") from None
    why = ctypes.create_string_buffer(4096)
    if called(os.fsencode(text), why, ctypes.c_size_t(len(why))):
        raise ValueError(why.value.decode())


def search_path(present: "str | None") -> str:
    """Returns HDF5_PLUGIN_PATH with our folder first. If the variable is not set, the folders follow that HDF5 and
    netCDF4's wheel would have used: netCDF4 adds its own folder only if the variable is not set."""
    if present is not None:
        others = [part for part in present.split(os.pathsep) if part]
    else:
        others = [part for part in (DEFAULT, *_of_netcdf4()) if os.path.isdir(part)]
    own = os.path.dirname(_plugin())
    return os.pathsep.join([own, *(part for part in others if part != own)])


def _of_netcdf4() -> "list[str]":
    """Returns the folder of filters in netCDF4's wheel, which need not be imported."""
    spec = PathFinder.find_spec("netCDF4")
    if spec is None or not spec.origin:
        return []
    plugins = os.path.join(os.path.dirname(spec.origin), "plugins")
    names = os.listdir(plugins) if os.path.isdir(plugins) else []
    return [plugins] if any(name.startswith("lib") and ".so" in name for name in names) else []
