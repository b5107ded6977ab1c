"""h5lake for Python: HDF5 files of h5py, PyTables, netCDF4 and what stands on them in transactional containers.

    import h5lake
    h5lake.enable(sync="commit")              # every client, imported before or after
    with h5lake.enabled(store="s3://lab/run"):
        ...
    h5py.File("run.h5", "w", driver="h5lake")  # one file alone

    python -m h5lake run script.py             # a script that cannot be changed

    with h5lake.open("run.h5") as f:           # in several threads, without libhdf5
        f["x"][:10]

`enable` takes the settings that `h5lake settings` lists. Errors of settings are `ValueError`; a libhdf5 that cannot use h5lake is a
`LibraryError`."""

import importlib
from typing import TYPE_CHECKING

from ._enable import connector_string, disable, enable, enabled
from ._errors import LibraryError, ToolError
from ._hooks import install as _install
from ._plugin import folder as plugin_folder

if TYPE_CHECKING:
    from ._adopt import Adopted, NeededFile, Reference, adopt, materialize, needed_files, references
    from ._branch import Branch, branch, branches, delete_branch, merge
    from ._display import display
    from ._filter import Matches, filter
    from ._message import message
    from ._publish import Publication, Published, publications, publish, withdraw
    from ._reader import ReadError
    from ._reader_objects import Dataset, File, Group, open
    from ._report import Library, libraries, stats
    from ._tool import (Copied, Difference, Drained, Finding, Listed, Tag, Version, copy, diff, drain, export_native, import_native,
                        link, remove, repair, restore, tag, tags, unlock, untag, vacuum, verify, versions)
    from ._zarr import export_zarr, import_zarr
    from ._zarr_store import ZarrStore

# These names at run time. Their modules are imported when a program first uses a name, because most programs use
# only `enable`.
_MODULES = {
    "_adopt": ["Adopted", "NeededFile", "Reference", "adopt", "materialize", "needed_files", "references"],
    "_branch": ["Branch", "branch", "branches", "delete_branch", "merge"],
    "_display": ["display"],
    "_filter": ["Matches", "filter"],
    "_message": ["message"],
    "_publish": ["Publication", "Published", "publications", "publish", "withdraw"],
    "_reader": ["ReadError"],
    "_reader_objects": ["Dataset", "File", "Group", "open"],
    "_report": ["Library", "libraries", "stats"],
    "_tool": ["Copied", "Difference", "Drained", "Finding", "Listed", "Tag", "Version", "copy", "diff", "drain",
              "export_native", "import_native", "link", "remove", "repair", "restore", "tag", "tags", "unlock", "untag", "vacuum", "verify",
              "versions"],
    "_zarr": ["export_zarr", "import_zarr"],
    "_zarr_store": ["ZarrStore"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
# `list` and `open` are not in __all__, because an import of all names would hide the built-in functions. ZarrStore is not,
# because it needs zarr-python.
_MODULE_OF["list"] = "_tool"

__all__ = ["Adopted", "Branch", "Copied", "Dataset", "Difference", "Drained", "File", "Finding", "Group", "Library", "LibraryError", "Listed", "Matches", "NeededFile", "Publication", "Published",
           "ReadError", "Reference", "Tag", "ToolError", "Version", "adopt", "branch", "branches", "connector_string", "copy",
           "delete_branch", "diff", "disable", "display", "drain", "enable", "enabled", "export_native", "export_zarr", "filter",
           "import_native", "import_zarr", "libraries", "link", "materialize", "merge", "message", "needed_files", "plugin_folder", "publications",
           "publish", "references", "remove", "repair", "restore", "stats", "tag", "tags", "unlock", "untag", "vacuum",
           "verify", "versions", "withdraw"]

#: The version of this package, of its plugin and of its tool.
__version__ = "0.1.0"


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_MODULE_OF[name]}", __name__)
    value = globals()[name] = getattr(module, "list_containers" if name == "list" else name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})


_install()
