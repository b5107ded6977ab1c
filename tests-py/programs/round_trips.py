"""Round trips of libraries for storing data: written here, read in a new process, and the same script on a native
file, read by the same reader. All three must be equal."""
# requires: science.txt

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
from cases import main

TIMES = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]").astype("datetime64[ns]")


def flat(value, path="", into=None):
    """Returns a result as {path: array or plain value}."""
    into = {} if into is None else into
    if isinstance(value, dict):
        into[f"{path} keys"] = list(value)
        for key, item in value.items():
            flat(item, f"{path}/{key}", into)
    else:
        into[path] = value
    return into


def same_result(got, wanted, what):
    got, wanted = flat(got), flat(wanted)
    assert list(got) == list(wanted), f"{what}: {list(got)} instead of {list(wanted)}"
    for path, value in wanted.items():
        assert type(got[path]) is type(value), f"{what}: {path} is a {type(got[path])}, not a {type(value)}"
        if isinstance(value, np.ndarray):
            assert got[path].dtype == value.dtype, f"{what}: {path} has the type {got[path].dtype}"
            np.testing.assert_array_equal(got[path], value, err_msg=f"{what}: {path}")
        else:
            assert got[path] == value or (got[path] != got[path] and value != value), f"{what}: {path}"


def elsewhere(function, path, native=False):
    """Calls a function of this program in a new process, and returns its result."""
    env = {k: v for k, v in os.environ.items() if not (native and k.startswith("HDF5_"))}
    env["PYTHONPATH"] = str(Path(__file__).parent)
    code = ("import sys, pickle, round_trips as r; got = getattr(r, sys.argv[1])(sys.argv[2]);"
            "sys.stdout.buffer.write(b'#' + pickle.dumps(got))")
    run = subprocess.run([sys.executable, "-c", code, function.__name__, path], env=env, capture_output=True,
                         cwd=os.getcwd(), timeout=150)
    assert run.returncode == 0, f"{function.__name__}: {run.returncode} {run.stderr.decode()[-1500:]}"
    return pickle.loads(run.stdout[run.stdout.index(b"#\x80") + 1:])


def round_trip(write, read, name):
    """Writes and reads a file here, in new processes, and natively."""
    written = write(name)
    read_again = elsewhere(read, name)
    if written is not None:
        same_result(read_again, written, "what was written")
    native = f"native-{name}"
    elsewhere(write, native, native=True)
    same_result(elsewhere(read, native, native=True), read_again, "native HDF5")
    # Also reads the native file through the connector, which passes it to the native connector.
    same_result(elsewhere(read, native), read_again, "a native file in a process of ours")
    assert Path(name).read_bytes()[:8] == Path(native).read_bytes()[:8]


# netCDF4-python: groups, unlimited dimensions, types of its own, strings, packed and compressed variables.

def put_netcdf4(path):
    import netCDF4

    with netCDF4.Dataset(path, "w") as f:
        f.title, f.levels = "made by netCDF4", np.arange(3, dtype="i2")
        f.createDimension("time", None)
        f.createDimension("x", 7)
        t = f.createVariable("time", "f8", ("time",))
        t.units, t.calendar = "days since 2024-01-01", "standard"
        v = f.createVariable("v", "f4", ("time", "x"), zlib=True, complevel=4, shuffle=True, fletcher32=True,
                             chunksizes=(2, 7), fill_value=-9.0)
        packed = f.createVariable("packed", "i2", ("time", "x"), zlib=True)
        packed.scale_factor, packed.add_offset = 0.25, 5.0
        t[:] = np.arange(5)
        v[:4] = np.arange(28, dtype="f4").reshape(4, 7)
        packed[:] = np.arange(35).reshape(5, 7) / 4 + 5
        group = f.createGroup("inner/deep")
        pair = group.createCompoundType(np.dtype([("a", "f8"), ("b", "i4")]), "pair")
        ragged = group.createVLType("i4", "ragged")
        colour = group.createEnumType("u1", "colour", {"red": 0, "green": 1})
        group.createDimension("n", 3)
        group.createVariable("pairs", pair, ("n",))[:] = np.array([(1, 2), (3, 4), (5, 6)], pair.dtype)
        rows = group.createVariable("rows", ragged, ("n",))
        for i in range(3):
            rows[i] = np.arange(i + 1, dtype="i4")
        group.createVariable("colours", colour, ("n",), fill_value=1)[:2] = [0, 1]
        names = group.createVariable("names", str, ("n",))
        names[:] = np.array(["smörgås", "", "☃"], object)
    with netCDF4.Dataset(path, "a") as f:
        f["v"][5] = np.full(7, 50)
        f.renameVariable("packed", "repacked")
        f["inner"].note = "added"


def get_netcdf4(path):
    import netCDF4

    def told(group):
        found = {f"@{k}": group.getncattr(k) for k in group.ncattrs()}
        found |= {f"#{k}": [len(d), d.isunlimited()] for k, d in group.dimensions.items()}
        for name, v in group.variables.items():
            v.set_auto_mask(False)
            data = np.asarray(v[:])
            found[name] = {"data": [r.tolist() for r in data] if data.dtype == object and name == "rows" else
                           data.tolist() if data.dtype == object else data, "dims": list(v.dimensions),
                           "chunks": v.chunking(), "filters": v.filters() and
                           {k: x for k, x in v.filters().items()},
                           **{f"@{k}": v.getncattr(k) for k in v.ncattrs()}}
        return found | {f"{k}/": told(g) for k, g in group.groups.items()}

    with netCDF4.Dataset(path) as f:
        return told(f)


def check_netcdf4(folder):
    round_trip(put_netcdf4, get_netcdf4, "n.nc")


# xarray, by both of its engines for netCDF 4, each file read by the other engine too.

def weather():
    import xarray

    random = np.random.default_rng(1)
    return xarray.Dataset(
        {"temperature": (("time", "y", "x"), random.normal(size=(10, 4, 5)).astype("f4"), {"units": "K"}),
         "rain": (("time",), np.where(np.arange(10) % 3, np.arange(10.0), np.nan)),
         "station": (("y",), np.array(["a", "bé", "", "☃☃"], object)),
         "flag": ((), np.int8(3))},
        {"time": TIMES, "y": np.arange(4) * 10, "x": np.linspace(0, 1, 5)}, {"title": "weather", "version": 2})


def put_xarray(path, engine):
    encoding = {"temperature": {"zlib": True, "chunksizes": (5, 4, 5)}, "rain": {"_FillValue": -1.0}}
    weather().to_netcdf(path, engine=engine, encoding=encoding, unlimited_dims=["time"])
    other = weather().isel(time=slice(0, 2)).rename(time="hour")
    other.to_netcdf(path, mode="a", group="part", engine=engine)


def put_xarray_netcdf4(path):
    put_xarray(path, "netcdf4")


def put_xarray_h5netcdf(path):
    put_xarray(path, "h5netcdf")


def get_xarray(path):
    import xarray

    found = {}
    for engine in ("netcdf4", "h5netcdf"):
        for group in (None, "part"):
            with xarray.open_dataset(path, engine=engine, group=group) as f:
                f.load()
                found[f"{engine} {group}"] = {
                    name: {"data": v.values, "dims": list(v.dims), "attrs": dict(v.attrs)}
                    for name, v in sorted(f.variables.items())} | {"attrs": dict(f.attrs)}
        with xarray.open_dataset(path, engine=engine) as f:
            part = f["temperature"][3:8:2, 1, ::-1].values  # lazily: only what is asked for is read
            assert f.drop_vars("station").equals(weather().drop_vars("station"))
        found[f"{engine} part of it"] = part
    return found


def check_xarray_netcdf4(folder):
    round_trip(put_xarray_netcdf4, get_xarray, "x.nc")


def check_xarray_h5netcdf(folder):
    round_trip(put_xarray_h5netcdf, get_xarray, "x.nc")


# anndata, on the cells that scanpy's wheel carries: a native file, read through, written as a container.

def cells():
    (package,) = importlib.util.find_spec("scanpy").submodule_search_locations
    return Path(package) / "datasets" / "10x_pbmc68k_reduced.h5ad"


def put_cells(path):
    import anndata

    data = anndata.read_h5ad(cells())
    data.obs["by hand"] = np.arange(data.n_obs) % 7
    data.write_h5ad(path, compression="gzip")
    return told_cells(data)


def told_cells(data):
    def plain(x):
        if hasattr(x, "toarray"):
            return {"form": x.format, "data": x.toarray()}
        if hasattr(x, "to_records"):
            return {"index": np.asarray(x.index).astype(str), **{
                str(c): {"values": np.asarray(x[c].astype(str) if x[c].dtype.name == "category" else x[c]),
                         "type": x[c].dtype.name} for c in x.columns}}
        if hasattr(x, "items"):
            return {k: plain(v) for k, v in sorted(x.items())}
        if isinstance(x, str):
            return str(x)
        if np.asarray(x).dtype.names:
            return {name: plain(x[name]) for name in x.dtype.names}
        # anndata itself reads strings as objects that were fixed-size strings when it wrote them, from native files
        # too.
        return np.asarray(x).astype(str).tolist() if np.asarray(x).dtype.kind in "OTU" else np.asarray(x)

    return {"X": plain(data.X), "raw": plain(data.raw.X), "obs": plain(data.obs), "var": plain(data.var),
            **{k: plain(getattr(data, k)) for k in ("obsm", "varm", "obsp", "uns", "layers")}}


def get_cells(path):
    import anndata

    told = told_cells(anndata.read_h5ad(path))
    backed = anndata.read_h5ad(path, backed="r")
    np.testing.assert_array_equal(backed[5:9].to_memory().X, told["X"][5:9])
    backed.file.close()
    return told


def check_anndata(folder):
    import h5py

    round_trip(put_cells, get_cells, "cells.h5ad")
    with h5py.File(cells()) as native, h5py.File("cells.h5ad") as ours:
        # The values that passed through both connectors are equal to the bit.
        assert ours["X"].dtype == native["X"].dtype and (ours["X"][:] == native["X"][:]).all()


# pandas, through PyTables.

def frame():
    import pandas

    return pandas.DataFrame({"n": np.arange(200), "x": np.linspace(0, 1, 200),
                             "word": [f"wört {i % 5}" for i in range(200)],
                             "when": pandas.date_range("2024-01-01", periods=200, freq="h", tz="Europe/Berlin"),
                             "kind": pandas.Categorical(["a", "b"] * 100)})


def put_pandas(path):
    with __import__("pandas").HDFStore(path, "w", complevel=5, complib="blosc") as store:
        store.put("plain", frame().drop(columns=["kind", "when"]))
        store.append("table", frame()[:100], data_columns=["n", "word"], min_itemsize={"word": 20})
        store.append("table", frame()[100:])
        store.get_storer("table").attrs.note = {"any": "thing"}
    with __import__("pandas").HDFStore(path, "a") as store:
        store.remove("table", where="n < 10")
        store.put("late", frame()["x"])


def get_pandas(path):
    import pandas

    def plain(f):
        return {str(c): np.asarray(f[c].astype(str)) if f[c].dtype.name in ("category", "object") else
                f[c].dt.tz_convert("UTC").to_numpy("M8[ns]") if c == "when" else f[c].to_numpy() for c in f}

    with pandas.HDFStore(path, "r") as store:
        return {"keys": store.keys(), "plain": plain(store["plain"]), "table": plain(store["table"]),
                "chosen": plain(store.select("table", "n > 150 & word == 'wört 2'", columns=["n", "x"])),
                "note": store.get_storer("table").attrs.note, "late": store["late"].to_numpy()}


def check_pandas(folder):
    round_trip(put_pandas, get_pandas, "p.h5")


if __name__ == "__main__":
    main(globals())
