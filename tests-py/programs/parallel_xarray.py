"""xarray and zarr-python read containers through h5lake.open: the same as through netCDF4, h5netcdf and h5py."""
# only: h5lake
# schemes: file
# requires: zarr.txt
# needs: tool

import pickle

import h5py
import numpy as np
import xarray
import zarr
from cases import IN_STORE, main
from parallel_reader import h5lake, outcome
from tool import natively

from h5lake._xarray import H5lakeBackend


def opened(name, **options):
    return xarray.open_dataset(name, engine=H5lakeBackend, **options)


def make(name):
    times = np.arange(5)
    made = xarray.Dataset(
        {"t2m": (("time", "y", "x"), np.linspace(250, 300, 60, dtype="f4").reshape(5, 3, 4), {"units": "K", "levels": [1, 2]}),
         "packed": (("y", "x"), np.arange(12.0).reshape(3, 4)), "label": (("y",), np.array(["a", "ü", "ccc"], object)), "one": ((), 7)},
        {"time": ("time", times, {"units": "hours since 2026-01-01"}), "y": [10.0, 20.0, 30.0]}, {"title": "a title"})
    encoding = {"t2m": {"zlib": True, "chunksizes": (2, 3, 4)}, "packed": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}}
    made.to_netcdf(name, engine="h5netcdf", encoding=encoding, unlimited_dims=["time"])
    with h5py.File(name, "a") as f:
        f["inner/deep/z"] = np.arange(4)
        f["inner"].attrs["n"] = 3


def check_datasets_are_those_of_h5netcdf(folder):
    make("a.nc")
    for options in ({}, {"decode_times": False, "mask_and_scale": False}, {"drop_variables": ["one"]}, {"group": "inner/deep"}):
        with opened("a.nc", **options) as ours, xarray.open_dataset("a.nc", engine="h5netcdf", phony_dims="sort", **options) as theirs:
            theirs = theirs.rename({name: own for name, own in zip(theirs.sizes, ours.sizes) if name.startswith("phony")})
            xarray.testing.assert_identical(ours.load(), theirs.load())
            # h5netcdf reads a list of texts as text of a fixed length.
        assert all(ours[name].dtype == theirs[name].dtype for name in theirs.variables if name != "label")
    with opened("a.nc") as ours:
        assert ours.t2m.encoding["preferred_chunks"] == {"time": 2, "y": 3, "x": 4} and ours.encoding["unlimited_dims"] == {"time"}
        assert (ours.t2m[::-1, 1, 3:0:-2].values == ours.t2m.values[::-1, 1, 3:0:-2]).all()
        assert (ours.t2m.isel(x=[0, 3, 2]).values == ours.t2m.values[:, :, [0, 3, 2]]).all()


def check_names_that_are_taken_for_containers(folder):
    make("a.nc")
    # A name in a store has a pointer file.
    assert H5lakeBackend().guess_can_open("a.nc") != IN_STORE and not H5lakeBackend().guess_can_open("none.nc")
    natively("parallel_xarray", "make", "native.nc")
    assert not H5lakeBackend().guess_can_open("native.nc")
    (folder / "native.nc").unlink()


def check_dask_and_groups(folder):
    make("b.nc")
    with opened("b.nc", chunks={}) as ours:
        assert ours.t2m.chunks == ((2, 2, 1), (3,), (4,))
        copy = pickle.loads(pickle.dumps(ours))
        with opened("b.nc") as plain:
            assert (copy.t2m.sum("time").compute(scheduler="threads", num_workers=8).values == plain.t2m.sum("time").values).all()
    tree = H5lakeBackend().open_datatree("b.nc")
    assert sorted(tree.groups) == ["/", "/inner", "/inner/deep"] and tree["inner/deep"].dataset.z[3] == 3


def check_versions(folder):
    make("c.nc")
    with h5py.File("c.nc", "a") as f:
        f["one"][()] = 8
    with opened("c.nc") as ours:
        assert ours.one == 8


def check_zarr(folder):
    make("d.nc")
    with h5py.File("d.nc", "a") as f:
        f.create_dataset("inner/big", data=np.arange(35, dtype=">i4").reshape(5, 7), chunks=(2, 3), fillvalue=-5)
        f.create_dataset("inner/nan", (3,), "f8", fillvalue=np.nan)
        f["inner/text"] = "not an array"
        f["inner/flags"], f["inner/z"] = np.array([True, False]), np.array([1 + 2j])
    store = h5lake.ZarrStore("d.nc")
    group = zarr.open(store, mode="r")
    with h5py.File("d.nc", "r") as f:
        for name in ("t2m", "packed", "y", "one", "inner/big", "inner/nan", "inner/flags", "inner/z", "inner/deep/z"):
            array = group[name]
            np.testing.assert_array_equal(array[...], f[name][...])
            assert array.shape == f[name].shape and (f[name].chunks is None or array.chunks == f[name].chunks), name
    assert group["inner/big"][1:4, 2:6].tolist() == np.arange(35).reshape(5, 7)[1:4, 2:6].tolist()
    assert sorted(group["inner"].keys()) == ["big", "deep", "flags", "nan", "z"] and group.attrs["title"] == "a title"
    assert pickle.loads(pickle.dumps(group["y"]))[:].tolist() == [10, 20, 30]
    assert isinstance(outcome(lambda: group.create_group("x")), Exception)
    read = xarray.open_zarr(store, consolidated=False, decode_times=False)
    assert read.t2m.dims == ("time", "y", "x") and read.t2m.attrs["units"] == "K"


def check_native_files(folder):
    for task in ("check_datasets_are_those_of_h5netcdf", "check_dask_and_groups", "check_zarr"):
        natively("parallel_native", "in_folder", task, str(folder / task), "parallel_xarray")


if __name__ == "__main__":
    main(globals())
