"""The module h5lake.open without libhdf5: helpers for the programs that compare it with h5py."""

import os
import sys
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python" / "src"))
import h5lake  # noqa: E402
from h5lake import _plugin, _reader_native, _tool  # noqa: E402

# The plugin under test, wherever the harness has it.
_plugin._plugin = lambda: os.path.join(os.environ["HDF5_PLUGIN_PATH"].split(":")[0], _plugin.NAME)
if "TOOL" in os.environ:
    _tool.find = _reader_native.find = lambda: os.environ["TOOL"]


def same(ours, theirs, where, file=None, is_inner=False):
    """Compares a value of h5lake with the value of h5py. References are compared by the paths of their objects. The types of
    inner sequences have no metadata in h5py."""
    if isinstance(theirs, h5py.Empty):
        assert ours.shape is None and ours.dtype == theirs.dtype, (where, ours, theirs)
        return
    if isinstance(theirs, h5py.Reference):
        assert ours == (file[theirs].name if theirs else ""), (where, ours, theirs)
        return
    if isinstance(theirs, np.ndarray) or isinstance(ours, np.ndarray):
        assert type(ours) is type(theirs) and ours.shape == theirs.shape, (where, ours, theirs)
        assert ours.dtype == theirs.dtype if is_inner or theirs.dtype.metadata is None else same_types(ours.dtype, theirs.dtype), (where, ours.dtype, theirs.dtype)
        if not theirs.dtype.hasobject:
            assert plain(ours) == plain(theirs), (where, ours, theirs)
            return
        if theirs.dtype.names:
            for name in theirs.dtype.names:
                same(ours[name], theirs[name], f"{where}.{name}", file, is_inner)
            return
        for one, other in zip(ours.reshape(-1), theirs.reshape(-1)):
            same(one, other, where, file, True)
        return
    if isinstance(theirs, np.void) and theirs.dtype.names:
        same(np.asarray(ours), np.asarray(theirs), where, file)
        return
    assert type(ours) is type(theirs), (where, type(ours), type(theirs))
    assert ours == theirs or ours != ours and theirs != theirs, (where, ours, theirs)


def plain(array):
    """Returns the bytes of an array without the gaps of compounds."""
    if array.dtype.names:
        return [plain(np.ascontiguousarray(array[name])) for name in array.dtype.names]
    if array.dtype.kind in "fc" and array.dtype.itemsize in (16, 32) and array.dtype.kind != "c":
        # The unused bytes of a long double have any value.
        return array.tolist().__repr__()
    return array.tobytes()


def same_types(ours, theirs):
    """Returns whether two types are equal, with what their metadata says about strings, enumerations and lists."""
    if ours != theirs:
        return False
    if theirs.names:
        return all(same_types(ours.fields[name][0], theirs.fields[name][0]) for name in theirs.names)
    return (h5py.check_string_dtype(ours) == h5py.check_string_dtype(theirs)
            and h5py.check_enum_dtype(ours) == h5py.check_enum_dtype(theirs)
            and (h5py.check_ref_dtype(ours) is None) == (h5py.check_ref_dtype(theirs) is None)
            and h5py.check_vlen_dtype(ours) == h5py.check_vlen_dtype(theirs))


def outcome(call):
    """Returns the result of a call, or its exception."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the outcome is data here
        return error


def agree(path, names=None):
    """Compares everything in a file."""
    with h5py.File(path, "r") as theirs, h5lake.open(path) as ours:
        assert list(ours) == list(theirs) and len(ours) == len(theirs)
        paths, visited = [], []
        theirs.visit(paths.append)
        ours.visit(visited.append)
        assert visited == paths, (visited, paths)
        for name in ["/", *paths]:
            if names is None or name in names:
                agree_on(ours[name], theirs[name], theirs)


def agree_on(ours, theirs, file):
    where = theirs.name
    assert ours.name == theirs.name and list(ours.attrs) == list(theirs.attrs), where
    for name in theirs.attrs:
        same(ours.attrs[name], theirs.attrs[name], f"{where}@{name}", file)
    if isinstance(theirs, h5py.Group):
        assert isinstance(ours, h5lake._reader_objects.Group) and list(ours) == list(theirs)
        assert all((name in ours) == (name in theirs) for name in [*theirs, "nothing"])
    elif isinstance(theirs, h5py.Dataset):
        agree_on_dataset(ours, theirs, file)
    else:
        assert same_types(ours.dtype, theirs.dtype), where


def agree_on_dataset(ours, theirs, file):
    where = theirs.name
    for question in ("shape", "maxshape", "chunks", "ndim", "size", "compression", "compression_opts", "shuffle", "fletcher32",
                     "is_virtual", "nbytes"):
        wanted, found = getattr(theirs, question), getattr(ours, question)
        assert wanted == found, (where, question, found, wanted)
    assert same_types(ours.dtype, theirs.dtype), (where, ours.dtype, theirs.dtype)
    fill = outcome(lambda: theirs.fillvalue)
    if not isinstance(fill, Exception) and not theirs.dtype.hasobject:
        same(ours.fillvalue, fill, f"{where} fill", file)
    wanted = outcome(lambda: theirs[()])
    if isinstance(wanted, TypeError):
        # h5py does not convert sequences of compounds.
        ours[()]
        return
    same(ours[()], wanted, where, file)
    if theirs.shape and theirs.size:
        same(ours[...], theirs[...], where, file)
        same(ours[0], theirs[0], where, file)
        same(ours[-1:], theirs[-1:], where, file)
        same(ours[::2], theirs[::2], where, file)
