"""Copies between containers and Zarr: h5lake.export_zarr into versions 2 and 3, h5lake.import_zarr out of both."""
# store: any
# requires: zarr.txt
# only: h5lake
# needs: tool

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from packaged import fails, installed, works  # noqa: E402
from zarr_views import datasets, is_same, run, shown  # noqa: E402

RNG = np.random.default_rng(3)


def container(name="a.h5"):
    with h5py.File(name, "w") as f:
        f.attrs.update({"title": "ä", "list": [1, 2]})
        f.create_dataset("a/gzip", data=RNG.integers(0, 99, (300, 301)), chunks=(100, 70), compression="gzip", shuffle=True)
        f.create_dataset("a/raw", data=RNG.normal(size=30_000).astype(">f4"), chunks=(7_000,))
        f.create_dataset("contiguous", data=RNG.normal(size=(500, 501)))
        f.create_dataset("minus", (1000,), "f8", chunks=(100,), fillvalue=-1.0)[3] = 7
        f["text"] = np.array(["a", "ä"], object)
        f["fixed"] = np.array([b"a", b"bc"], "S2")
        f["flags"] = np.array([True, False])
        f["scalar"] = 3.5
        f.create_dataset("empty", (0, 3), "i2")
        f["x"], f["y"] = np.arange(4.0), np.arange(3)
        f["grid"] = RNG.normal(size=(3, 4))
        f["grid"].attrs["units"] = "K"
        for name in "xy":
            f[name].make_scale(name)
        f["grid"].dims[0].attach_scale(f["y"])
        f["grid"].dims[1].attach_scale(f["x"])
        f.create_dataset("sequences", (3,), h5py.vlen_dtype("i4"))
        f["soft"] = h5py.SoftLink("/x")


def call(folder, code):
    site = installed(folder) if not (folder / "site").exists() else folder / "site"
    return works(site, f"import h5lake\n{code}", **{key: value for key, value in os.environ.items() if key.startswith(("AWS_", "H5LAKE_", "HDF5_VOL"))})


def check_out_and_back(folder):
    container()
    for version in (2, 3):
        left = call(folder, f"print(h5lake.export_zarr('a.h5', 'a{version}.zarr', format={version}))")
        assert "/sequences" in left and "/soft" in left and left.count("(") == 2, left
        group = zarr.open_group(f"a{version}.zarr", mode="r")
        assert group.metadata.zarr_format == version and group.attrs["title"] == "ä" and group["grid"].attrs["units"] == "K"
        with h5py.File("a.h5", "r") as f:
            for path, dataset in datasets(f).items():
                if path != "/sequences":
                    is_same(group[path[1:]][...], shown(dataset), path)
                    assert dataset.chunks is None or group[path[1:]].chunks == dataset.chunks, path
        assert call(folder, f"print(h5lake.import_zarr('a{version}.zarr', 'b{version}.h5'))") == "[]"
        with h5py.File("a.h5", "r") as f, h5py.File(f"b{version}.h5", "r") as g:
            for path, dataset in datasets(f).items():
                if path != "/sequences":
                    is_same(shown(g[path]), shown(dataset), path)
            assert g["a/gzip"].chunks == (100, 70) and g["a/gzip"].compression == "gzip" and g["minus"].fillvalue == -1
            assert [d[0].name for d in g["grid"].dims] == ["/y", "/x"] and g["grid"].attrs["units"] == "K"
            assert g.attrs["title"] == "ä" and g.attrs["list"].tolist() == [1, 2]


def check_what_xarray_wrote(folder):
    made = xr.Dataset({"t": (("time", "x"), RNG.normal(size=(20, 30)))}, {"time": np.arange(20), "x": np.linspace(0, 1, 30)}, {"title": "w"})
    for version in (2, 3):
        made.to_zarr(f"x{version}.zarr", zarr_format=version)
        call(folder, f"h5lake.import_zarr('x{version}.zarr', 'x{version}.nc')")
        with xr.open_dataset(f"x{version}.nc", engine="h5netcdf", phony_dims="sort") as got:
            assert got.t.dims == ("time", "x") and set(got.coords) == {"time", "x"}
            np.testing.assert_array_equal(got.t.values, made.t.values)


def check_old_versions_and_errors(folder):
    container()
    call(folder, "h5lake.tag('a.h5', 'then')")
    with h5py.File("a.h5", "r+") as f:
        f["scalar"][()] = 4
    call(folder, "h5lake.export_zarr('a.h5@tag=then', 'then.zarr')")
    assert zarr.open_group("then.zarr", mode="r")["scalar"][()] == 3.5
    site = folder / "site"
    settings = {"HDF5_VOL_CONNECTOR": os.environ["HDF5_VOL_CONNECTOR"]}
    fails(["something is there"], site, "import h5lake; h5lake.export_zarr('a.h5', 'then.zarr')", **settings)
    fails(["none.h5"], site, "import h5lake; h5lake.export_zarr('none.h5', 'none.zarr')", **settings)
    assert not Path("none.zarr").exists() and not list(Path(".").glob(".none*"))
    (site / "zarr.py").write_text("raise ImportError('no zarr here')")
    fails(["the package zarr is missing"], site, "import h5lake; h5lake.import_zarr('then.zarr', 'no.h5')", **settings)
    (site / "zarr.py").unlink()


def check_the_tool(folder):
    container()
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = run("export", "--zarr", "a.h5", "tool.zarr", **env)
    assert "/sequences" in told
    run("import", "--zarr", "tool.zarr", "tool.h5", **env)
    with h5py.File("tool.h5", "r") as f, h5py.File("a.h5", "r") as g:
        is_same(f["a/gzip"][...], g["a/gzip"][...], "gzip")
    assert "something is there" in run("export", "--zarr", "a.h5", "tool.zarr", code=1, **env)


if __name__ == "__main__":
    main(globals())
