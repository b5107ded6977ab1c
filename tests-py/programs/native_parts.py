"""Native files with datasets that can be joined, and the joined result, for tests that join them."""

import ctypes
import os

import h5py
import hdf5plugin
import native_kinds
import numpy as np
from cases import hdf5_path

OLD = (1_700_000_000, 1_700_000_000)


def _how(rng, rank, shape):
    """Returns arguments that create a dataset of one kind in each file."""
    kind = rng.integers(4)
    if kind == 0:
        return {}
    most = [tuple(None for _ in shape), (*shape[:-1], None), None][rng.integers(3)]
    chunks = tuple(int(rng.integers(1, n + 1)) for n in shape)
    return {"chunks": chunks, "maxshape": most} | native_kinds.filters(rng)


def random_parts(folder, seed, files, axis, fits):
    """Creates files with datasets of random kinds that can be joined along an axis, or stacked if the axis is
    negative. If `fits` is true, they can be joined without copies. Returns the names of the files and the paths
    of the datasets."""
    rng = np.random.default_rng(seed)
    kinds = []
    for n in range(8):
        dtype = native_kinds.TYPES[rng.integers(len(native_kinds.TYPES))]
        if dtype.kind == "V" and dtype.names is None:
            dtype = np.dtype("<i4")
        rank = int(rng.integers(max(axis, 0) + 1, 4))
        shape = tuple(int(size) for size in rng.integers(1, 20, rank))
        kinds.append((f"g{n % 2}/d{n}", dtype, shape, _how(rng, rank, shape)))
    names = []
    for part in range(files):
        name = f"{folder}/native-{seed}-{part}.h5"
        with h5py.File(name, "w", userblock_size=512 * (part % 2), libver=["earliest", "latest"][seed % 2]) as f:
            for path, dtype, shape, how in kinds:
                extent = list(shape)
                if axis >= 0 and how.get("maxshape") and how["maxshape"][axis] is None:
                    step = how["chunks"][axis] if fits and part < files - 1 else 1
                    extent[axis] = step * int(rng.integers(0, 4))
                elif axis >= 0 and how and fits:
                    extent[axis] = how["chunks"][axis] * (1 if part < files - 1 else extent[axis] // how["chunks"][axis])
                made = f.create_dataset(path, extent, dtype, **how)
                if rng.integers(5):
                    made[...] = native_kinds.elements(rng, dtype, extent)
                made.attrs["part"] = part
            f.attrs["part"] = part
            f["alone"] = part
        os.utime(name, OLD)
        names.append(name)
    return names, [kind[0] for kind in kinds]


def together(names, axis, paths, out):
    """Writes the joined datasets, as NumPy joins them."""
    parts = {}
    for name in names:
        with h5py.File(name) as f:
            for path in paths:
                parts.setdefault(path, []).append(f[path][()])
    np.savez(out, **{path: np.stack(found) if axis < 0 else np.concatenate(found, axis) for path, found in parts.items()})


def climate(folder, days):
    """Creates files like netCDF files of one day each: dimension scales, an unlimited dimension, variables, strings."""
    names = []
    for day in range(days):
        name = f"{folder}/native-day-{day}.h5"
        with h5py.File(name, "w") as f:
            f.create_dataset("time", data=np.arange(24) + 24 * day, maxshape=(None,), chunks=(24,))
            f["lat"] = np.linspace(-90, 90, 19)
            f["time"].make_scale("time")
            f["lat"].make_scale("lat")
            t = f.create_dataset("t", (24, 19), "f4", maxshape=(None, 19), chunks=(12, 19), compression="gzip", shuffle=True)
            t[...] = np.arange(24 * 19).reshape(24, 19) + 1000 * day
            t.dims[0].attach_scale(f["time"])
            t.dims[1].attach_scale(f["lat"])
            t.attrs["units"] = "K"
            f.create_dataset("notes", data=[f"day {day}", "ä" * day], dtype=h5py.string_dtype())
            f.create_dataset("places", (1,), h5py.ref_dtype)[0] = f["t"].ref
        os.utime(name, OLD)
        names.append(name)
    return names


def small(folder, count):
    """Creates many files with one small contiguous dataset, a compressed one and a scalar."""
    names = []
    for n in range(count):
        name = f"{folder}/native-{n:04}.h5"
        with h5py.File(name, "w") as f:
            f["x"] = np.arange(10) + n
            f.create_dataset("z", data=np.full((4, 4), n), chunks=(4, 4), **hdf5plugin.Zstd())
            f["s"] = n
        os.utime(name, OLD)
        names.append(name)
    return names


def odd(name, **datasets):
    """Creates a file with datasets of these arguments; `None` makes a group, and strings select other kinds."""
    with h5py.File(name, "w") as f:
        for path, how in datasets.items():
            if how is None:
                f.create_group(path)
            elif how == "link":
                f[path] = h5py.ExternalLink("native.h5", "/x")
            elif how == "references":
                f.create_dataset(path, (3,), h5py.ref_dtype)
            elif how == "scaled":
                f["scale"] = np.arange(3)
                f["scale"].make_scale("scale")
                f[path] = np.arange(3)
                f[path].dims[0].attach_scale(f["scale"])
            elif how == "virtual":
                layout = h5py.VirtualLayout((3,), "i4")
                layout[:] = h5py.VirtualSource("native-away.h5", "x", (3,))
                f.create_virtual_dataset(path, layout)
            elif isinstance(how, str) and how.startswith("/"):
                f[path] = f[how]
            elif how.pop("plain_edges", False):
                plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                plist.set_chunk(how["chunks"])
                plist.set_shuffle()
                hdf5 = ctypes.CDLL(hdf5_path())
                hdf5.H5Pset_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]
                assert hdf5.H5Pset_chunk_opts(plist.id, 2) >= 0  # H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS
                data = np.array(how["data"], how["dtype"])
                space = h5py.h5s.create_simple(data.shape)
                h5py.Dataset(h5py.h5d.create(f.id, path.encode(), h5py.h5t.py_create(data.dtype), space, plist))[...] = data
            else:
                attributes = how.pop("attrs", {})
                if how.pop("texts", False):
                    how["dtype"] = h5py.string_dtype()
                f.create_dataset(path, **how).attrs.update(attributes)
    os.utime(name, OLD)
