"""Checks the statements of docs/clients.md about each client: which ones accept a URL as a name, and that all accept
a pointer file."""
# store: any
# only: h5lake
# requires: science.txt
# needs: tool

import os
import subprocess
import warnings
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"
warnings.simplefilter("ignore")

import anndata  # noqa: E402
import h5netcdf  # noqa: E402
import h5py  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tables  # noqa: E402
import xarray as xr  # noqa: E402
from cases import main  # noqa: E402


def numbers(name):
    """Creates a container with a netCDF variable, by h5netcdf."""
    with h5netcdf.File(name, "w") as f:
        f.dimensions = {"x": 2}
        f.create_variable("a", ("x",), "f8", data=[1.0, 2.0])


def fails(function, *arguments, **more):
    try:
        function(*arguments, **more)
    except (OSError, ValueError) as error:
        return str(error)
    raise AssertionError(f"{function} takes it")


def check_urls(folder):
    (folder / "store").mkdir()
    url = f"file://{folder}/store"
    with h5py.File(f"{url}/h5py.h5", "w") as f:
        f["x"] = [1, 2]
    with h5py.File(f"{url}/h5py.h5", "a") as f:
        assert f["x"][:].tolist() == [1, 2]
    numbers(f"{url}/a.nc")
    with h5netcdf.File(f"{url}/a.nc", "r") as f:
        assert f["a"][:].tolist() == [1, 2]
        with xr.open_dataset(xr.backends.H5NetCDFStore(f)) as d:
            assert d.a.values.tolist() == [1, 2]
    with h5netcdf.File(f"{url}/b.nc", "w") as f:
        xr.Dataset({"a": ("x", [3.0])}).dump_to_store(xr.backends.H5NetCDFStore(f))
    with h5py.File(f"{url}/b.nc") as f:
        assert f["a"][:].tolist() == [3]
    anndata.AnnData(np.ones((2, 3))).write_h5ad(f"{url}/a.h5ad")
    assert anndata.read_h5ad(f"{url}/a.h5ad").X.sum() == 6
    # These clients check the path themselves, or use URLs for protocols of their own.
    fails(tables.open_file, f"{url}/t.h5", "w")
    fails(pd.DataFrame({"a": [1]}).to_hdf, f"{url}/p.h5", key="d")
    fails(netCDF4.Dataset, f"{url}/n.nc", "w")
    fails(netCDF4.Dataset, f"{url}/a.nc")
    fails(xr.Dataset().to_netcdf, f"{url}/x.nc", engine="netcdf4")
    assert sorted(path.name for path in folder.iterdir()) == ["store"], "nothing beside the store"
    names = {path.name for path in (folder / "store").iterdir() if path.is_file() and not path.name.startswith(".")}
    assert names == {"h5py.h5", "a.nc", "b.nc", "a.h5ad"}, names


def check_pointer_files(folder):
    (folder / "store").mkdir()
    url = f"file://{folder}/store"
    for name in ("a.nc", "t.h5", "p.h5"):
        numbers(f"{url}/{name}")
        subprocess.run([os.environ["TOOL"], "link", f"{url}/{name}", name], check=True, stdout=subprocess.DEVNULL)
    with netCDF4.Dataset("a.nc", "a") as f:
        f.createDimension("y", 3)
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset("a.nc", engine=engine) as d:
            assert d.a.values.tolist() == [1, 2]
    with tables.open_file("t.h5", "a") as f:
        f.create_array("/", "z", [7])
    with pd.HDFStore("p.h5", "a") as f:
        f["d"] = pd.DataFrame({"q": [1]})
    assert pd.read_hdf("p.h5", "d").q.tolist() == [1]
    for name, member in (("a.nc", "y"), ("t.h5", "z"), ("p.h5", "d")):
        with h5py.File(f"{url}/{name}") as f:
            assert member in f and "a" in f
        assert Path(name).stat().st_size < 4096, "it is a pointer"


main(globals())
