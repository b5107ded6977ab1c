"""Where the plugin lies, and the folders of other plugins beside it."""

import ctypes
import importlib.util
import os
from pathlib import Path

from ._errors import LibraryError

NAME = "libh5lake.so"
# Where HDF5 looks if HDF5_PLUGIN_PATH is not set (H5PL_DEFAULT_PATH).
DEFAULT = Path("/usr/local/hdf5/lib/plugin")


def folder() -> Path:
    """The folder that holds the plugin alone; `HDF5_PLUGIN_PATH` has to name it."""
    places = [Path(__file__).parent / "plugin", *(root / "target" / "plugin" for root in checkout())]
    found = next((place for place in places if (place / NAME).exists()), None)
    if found is None:
        raise ImportError(missing(places[0] / NAME, "make plugin"))
    return found


def checkout() -> "list[Path]":
    """The root of the checkout that this module lies in; nothing if it was installed."""
    roots = list(Path(__file__).parents)[3:4]
    return [root for root in roots if (root / "Cargo.toml").is_file()]


def missing(what, command: str) -> str:
    """Says that a part of the package is missing, and how to get it. `command` builds it in a checkout."""
    remedy = [f"run '{command}' in {root}" for root in checkout()] or ["install the wheel again: pip install --force-reinstall h5lake-*.whl"]
    return f"{what} is missing; {remedy[0]}"


def check() -> None:
    """Raises LibraryError if the plugin cannot be loaded: HDF5 2.x crashes when the connector that it is to use is missing."""
    plugin = folder() / NAME
    try:
        ctypes.CDLL(str(plugin))
    except OSError as error:
        raise LibraryError(f"{plugin} cannot be loaded: {error}") from None


def search_path(present: "str | None") -> str:
    """HDF5_PLUGIN_PATH with our folder, before what was there. Where nothing was, the folders follow that HDF5 and netCDF4's
    wheel would have taken then: netCDF4 names its own only if the variable is not set."""
    if present is not None:
        others = [part for part in present.split(os.pathsep) if part]
    else:
        others = [str(part) for part in (DEFAULT, *_of_netcdf4()) if part.is_dir()]
    own = str(folder())
    return os.pathsep.join([own, *(part for part in others if part != own)])


def _of_netcdf4() -> "list[Path]":
    """The folder of filters in netCDF4's wheel, which need not be imported."""
    try:
        spec = importlib.util.find_spec("netCDF4")
    except (ImportError, ValueError):
        return []
    if spec is None or not spec.origin:
        return []
    plugins = Path(spec.origin).parent / "plugins"
    return [plugins] if any(plugins.glob("lib*.so*")) else []
