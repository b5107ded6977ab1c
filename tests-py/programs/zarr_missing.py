"""Missing values in copies between containers and Zarr: xarray masks exactly the same values on both sides."""
# store: any
# requires: zarr.txt
# only: h5lake
# needs: tool

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from packaged import installed  # noqa: E402
from zarr_views import run  # noqa: E402

#: Missing values by dataset, or None. The dtypes are those of the elements.
KINDS = {"single": ("f4", -999), "double": (">f8", 1e20), "nan": ("f8", np.nan), "short": ("i2", -1), "byte": ("u1", 255), "zero": ("i4", 0),
         "wide": ("i8", -(2**62) - 1), "complex": ("c16", 1 + 2j), "plain": ("i4", None), "measured": ("f4", None)}


def made(name):
    """Creates a container with each kind: the third of four elements is the missing value, or zero for a kind without one."""
    with h5py.File(name, "w") as f:
        f["x"] = np.arange(4)
        f["x"].make_scale("x")
        for n, (kind, (dtype, missing)) in enumerate(KINDS.items()):
            data = f.create_dataset(kind, data=np.array([1, 2, missing or 0, 3]).astype(dtype), chunks=(2,))
            data.dims[0].attach_scale(f["x"])
            if missing is not None:
                # With one element as netCDF stores it, and as a scalar as h5py stores it.
                data.attrs["_FillValue"] = np.array([missing] if n % 2 else missing, dtype)
        # HDF5's fill value is no missing value.
        data = f.create_dataset("filled", data=np.array([-1.0, 0, 1, 2]), chunks=(2,), fillvalue=-1.0)
        data.dims[0].attach_scale(f["x"])


def call(folder, code):
    site = folder / "site" if (folder / "site").exists() else installed(folder)
    done = subprocess.run([sys.executable, "-c", f"import h5lake\n{code}"], env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def masks_are_right(got, where):
    """Asserts that xarray masks the missing values of all kinds that it supports, and no measured zero."""
    for kind, (_, missing) in KINDS.items():
        if kind not in got:
            continue
        values = got[kind].values
        is_masked = list(np.isnan(values)) if values.dtype.kind in "fc" else [False] * 4
        assert is_masked == [False, False, missing is not None, False], (where, kind, values)
    assert got.filled.values.tolist() == [-1, 0, 1, 2], where


def hdf5_masks(name, where):
    """Asserts the same for the attributes of a container, which have the datasets' own types, as netCDF needs them."""
    with h5py.File(name, "r") as f:
        for kind, (dtype, missing) in KINDS.items():
            value = f[kind].attrs.get("_FillValue")
            assert (value is None) == (missing is None), (where, kind, value)
            if missing is not None:
                # A scalar that h5py returns has lost its byte order.
                stored = f[kind].attrs.get_id("_FillValue").dtype
                assert stored == f[kind].dtype and stored.newbyteorder("=") == np.dtype(dtype).newbyteorder("="), (where, kind, stored)
                np.testing.assert_array_equal(np.ravel(value), np.array([missing], dtype), err_msg=f"{where} {kind}")
        assert "_FillValue" not in f["filled"].attrs and "_FillValue" not in f["x"].attrs


def check_round_trips(folder):
    made("a.h5")
    call(folder, "for v in (2, 3): h5lake.export_zarr('a.h5', f'a{v}.zarr', format=v); h5lake.import_zarr(f'a{v}.zarr', f'b{v}.h5')")
    for version in (2, 3):
        with xr.open_zarr(f"a{version}.zarr", consolidated=False) as got:
            masks_are_right(got, version)
        hdf5_masks(f"b{version}.h5", version)


def check_what_xarray_wrote(folder):
    values = np.array([1.0, np.nan, 0, 4])
    data = xr.Dataset({name: ("x", values) for name in ("default", "single", "packed")} | {"whole": ("x", np.arange(4)), "flags": ("x", np.arange(4) > 1)})
    encoding = {"single": {"dtype": "f4", "_FillValue": np.float32(-999)},
                "packed": {"dtype": "i2", "_FillValue": -32768, "scale_factor": 0.5}}
    for version in (2, 3):
        data.to_zarr(f"x{version}.zarr", zarr_format=version, encoding=encoding)
        call(folder, f"h5lake.import_zarr('x{version}.zarr', 'x{version}.nc')")
        with h5py.File(f"x{version}.nc", "r") as f:
            assert f["single"].attrs["_FillValue"] == np.float32(-999) and f["single"].attrs["_FillValue"].dtype == "f4"
            assert f["packed"].attrs["_FillValue"] == -32768 and f["packed"].attrs["_FillValue"].dtype == "i2"
            assert "_FillValue" not in f["whole"].attrs
        with xr.open_dataset(f"x{version}.nc", engine="h5netcdf", phony_dims="sort") as got:
            for name in data:
                np.testing.assert_array_equal(got[name].values, data[name].values, err_msg=f"{version} {name}")


def check_fill_values_of_zarr_itself(folder):
    root = zarr.open_group(zarr.storage.LocalStore("z.zarr"), mode="w", zarr_format=2)
    for name, more in (("default", {}), ("zero", {"fill_value": 0}), ("null", {"fill_value": None}), ("minus", {"fill_value": -1})):
        root.create_array(name, data=np.array([0, -1, 2]), **more)
    # With xarray's dimension names, a fill value of zero is a missing value.
    root.create_array("named", data=np.array([0, -1, 2]), fill_value=0, attributes={"_ARRAY_DIMENSIONS": ["x"]})
    call(folder, "h5lake.import_zarr('z.zarr', 'z.h5')")
    with h5py.File("z.h5", "r") as f:
        found = {name: f[name].attrs.get("_FillValue") for name in f}
    assert found == {"default": None, "zero": None, "null": None, "minus": -1, "named": 0}, found
    root = zarr.open_group(zarr.storage.LocalStore("w.zarr"), mode="w", zarr_format=3)
    for name, value in (("number", -999.0), ("word", "NaN"), ("wrong", "mine"), ("list", [1, 2])):
        root.create_array(name, data=np.arange(3.0), attributes={"_FillValue": value})
    left = dict(eval(call(folder, "print(h5lake.import_zarr('w.zarr', 'w.h5'))")))
    with h5py.File("w.h5", "r") as f:
        assert f["number"].attrs["_FillValue"] == -999 and np.isnan(f["word"].attrs["_FillValue"]) and set(f) == {"number", "word", "wrong", "list"}
    assert set(left) == {"/wrong@_FillValue", "/list@_FillValue"}, left


def check_missing_values_that_no_element_can_have(folder):
    #: By dataset: its elements, and the value of its attribute.
    wrong = {"infinite": (np.arange(3), np.inf), "nan": (np.arange(3), np.nan), "part": (np.arange(3), 0.5), "word": (np.arange(3), "none"),
             "flag": (np.array([True, False]), 255), "flagged": (np.array([True, False]), np.int8(-1)), "flags": (np.array([True, False]), "yes")}
    kept = {"one": (np.array([True, False]), 1), "yes": (np.array([True, False]), True), "no": (np.array([True, False]), np.uint8(0)), "float": (np.arange(3), -1.0)}
    with h5py.File("a.h5", "w") as f:
        for name, (data, missing) in {**wrong, **kept}.items():
            f[name] = data
            f[name].attrs["_FillValue"] = missing
    for version in (2, 3):
        left = dict(eval(call(folder, f"print(h5lake.export_zarr('a.h5', 'a{version}.zarr', format={version}))")))
        assert set(left) == {f"/{name}@_FillValue" for name in wrong}, left
        group = zarr.open_group(zarr.storage.LocalStore(f"a{version}.zarr"), mode="r")
        for name, (data, missing) in {**wrong, **kept}.items():
            assert group[name][...].tolist() == data.tolist() and group[name].attrs.get("_FillValue") == (missing if version == 3 and name in kept else None), name
    root = zarr.open_group(zarr.storage.LocalStore("b.zarr"), mode="w", zarr_format=3)
    for name, (data, missing) in {**wrong, **kept}.items():
        root.create_array(name, data=data, attributes={"_FillValue": missing.item() if isinstance(missing, np.generic) else missing})
    left = dict(eval(call(folder, "print(h5lake.import_zarr('b.zarr', 'b.h5'))")))
    assert set(left) == {f"/{name}@_FillValue" for name in wrong}, left


def check_icechunk(folder):
    from zarr_readers import shown_by_icechunk

    made("a.h5")
    with h5py.File("a.h5", "r+") as f:
        # These are too many missing chunks to copy, so the fill value defines their elements.
        for name, dtype, fill in (("parts", "c16", 1 + 2j), ("times", h5py.opaque_dtype(np.dtype(">M8[s]")), np.datetime64(5, "s"))):
            f.create_dataset(name, (3_000_000,), dtype, chunks=(300_000,), fillvalue=np.array(fill, dtype))
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = run("publish", "a.h5", "--icechunk", "ice", **env)
    assert "not shown: /complex@_FillValue" in told, told
    with xr.open_dataset(shown_by_icechunk().store, engine="zarr", consolidated=False) as got:
        masks_are_right(got.drop_vars("complex"), "Icechunk")
        assert got.parts.values[-1] == 1 + 2j and got.times.values[-1] == np.datetime64(5, "s")


def check_icechunk_lists_missing_values_that_are_none(folder):
    from zarr_readers import shown_by_icechunk

    with h5py.File("a.h5", "w") as f:
        for name, data, missing in (("infinite", np.arange(3), np.inf), ("flag", np.array([True, False]), 255), ("right", np.arange(3), -1)):
            f[name] = data
            f[name].attrs["_FillValue"] = missing
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = run("publish", "a.h5", "--icechunk", "ice", **env)
    assert "not shown: /infinite@_FillValue" in told and "not shown: /flag@_FillValue" in told and "/right" not in told.split("not shown", 1)[1], told
    group = shown_by_icechunk()
    assert sorted(group) == ["flag", "infinite", "right"] and group["right"].attrs["_FillValue"] == -1 and group["flag"][...].tolist() == [True, False]


def check_icechunk_shows_no_compound_in_a_wrong_order(folder):
    from zarr_readers import shown_by_icechunk

    orders = {"little": ("<i4", "<f8"), "big": (">i4", ">f8"), "mixed": ("<i4", ">f8"), "one": ("u1", ">i2"), "bytes": ("u1", "S3")}
    with h5py.File("a.h5", "w") as f:
        for name, members in orders.items():
            f.create_dataset(name, data=np.array([(1, 2), (3, 4)], [("a", members[0]), ("b", members[1])]))
        f["number"] = np.array([1, 2], ">i4")
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = run("publish", "a.h5", "--icechunk", "ice", **env)
    group = shown_by_icechunk()
    assert all(f"not shown: /{name}: Zarr 3" in told for name in ("big", "mixed", "one")), told
    assert sorted(group) == ["bytes", "little", "number"] and group["number"][...].tolist() == [1, 2]
    with h5py.File("a.h5", "r") as f:
        for name in ("little", "bytes"):
            assert group[name][...].tolist() == f[name][...].tolist(), name


if __name__ == "__main__":
    main(globals())
