"""xarray, Dask, Parquet references and Icechunk read published containers as netCDF4 and h5py read them."""
# requires: zarr.txt
# only: h5lake
# schemes: file,s3
# needs: tool

import json
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
from s3_object import put  # noqa: E402
from zarr_views import agrees, datasets, is_same, publish, remote, run, shown  # noqa: E402

NAME = "a.nc"
RNG = np.random.default_rng(5)


def protocol():
    refs = json.loads(Path("refs.json").read_text())["refs"].values()
    return next(value[0].split(":")[0] for value in refs if isinstance(value, list))


def storage():
    kind = protocol()
    options = {key: value for key, value in remote().get(kind, {}).items() if key != "asynchronous"}
    return {"remote_protocol": kind, "remote_options": options}


def weather():
    """Creates a file as xarray writes it through netCDF4: scales, packed values, missing values, a group."""
    made = xr.Dataset(
        {"t": (("time", "y", "x"), RNG.normal(280, 5, (40, 60, 70)).astype("f4")), "packed": (("time", "x"), RNG.normal(0, 1, (40, 70)))},
        {"time": np.arange("2026-01-01", "2026-02-10", dtype="M8[D]").astype("M8[ns]"), "y": np.linspace(40, 50, 60), "x": np.linspace(0, 9, 70)},
        {"title": "weather"})
    made.t.attrs["units"] = "K"
    made.t.values[3, 4, 5] = np.nan
    encoding = {"t": {"zlib": True, "shuffle": True, "chunksizes": (7, 60, 70), "_FillValue": np.float32(-999)},
                "packed": {"dtype": "i2", "scale_factor": 0.001, "add_offset": 0.5, "_FillValue": -32768, "zlib": True}}
    made.to_netcdf(NAME, encoding=encoding, engine="netcdf4")
    made.drop_vars("packed").to_netcdf(NAME, mode="a", group="deep/er", engine="netcdf4")


def check_xarray(folder):
    weather()
    told = publish(NAME)
    agrees(NAME)
    assert not told["left_out"], told["left_out"]
    with xr.open_dataset(NAME, engine="netcdf4") as wanted:
        for chunks in (None, {}, "auto"):
            with xr.open_dataset("refs.json", engine="kerchunk", chunks=chunks, storage_options=storage()) as got:
                xr.testing.assert_identical(got.load(), wanted.load())
    # kerchunk's engine does not read consolidated metadata, and without it zarr-python lists no nested groups.
    with xr.open_dataset(NAME, group="deep/er", engine="netcdf4") as wanted:
        options = storage()
        if options["remote_options"]:
            options["remote_options"]["asynchronous"] = True
        options = {"storage_options": {"fo": "refs.json", **options}}
        with xr.open_dataset("reference://", engine="zarr", group="deep/er", backend_kwargs=options) as got:
            xr.testing.assert_identical(got.load(), wanted.load())


def check_values_are_not_masked(folder):
    with h5py.File(NAME, "w") as f:
        for name, fill in (("zero", 0), ("minus", -1)):
            f.create_dataset(name, data=np.array([-1, 0, 1, 2]), chunks=(2,), fillvalue=fill, maxshape=(None,)).resize((6,))
        f.create_dataset("float", data=np.array([-1.0, 0, 1]), fillvalue=-1.0)
    publish(NAME)
    with xr.open_dataset("refs.json", engine="kerchunk", storage_options={}) as got, h5py.File(NAME) as f:
        for name in f:
            is_same(got[name].values, f[name][...], name)


def check_compounds_beside_other_data(folder):
    """xarray cannot decode the fill value of a compound, and would therefore open nothing of the group."""
    pair = np.dtype([("a", "i4"), ("b", "f8"), ("c", "S3")])
    with h5py.File(NAME, "w") as f:
        f["pair"] = np.array([(1, 2.5, b"x")], pair)
        f.create_dataset("sparse", (60,), pair, chunks=(10,))[15] = np.array((1, 2.5, b"abc"), pair)
        f.create_dataset("filled", (40,), pair, chunks=(10,), fillvalue=np.array((7, 8.5, b"y"), pair))[3] = np.array((1, 2.5, b"z"), pair)
        f["plain"] = np.arange(5)
    publish(NAME)
    agrees(NAME)
    with xr.open_dataset("refs.json", engine="kerchunk", storage_options={}) as got, h5py.File(NAME) as f:
        for name in f:
            is_same(got[name].values, f[name][...], name)
    # Too many chunks are missing to copy them.
    with h5py.File("vast.nc", "w") as f:
        f.create_dataset("vast", (3_000_000,), pair, chunks=(300_000,))
    [vast] = publish("vast.nc", "vast.json")["datasets"]
    assert vast["masked"] and not vast["copied"], vast
    with xr.open_dataset("vast.json", engine="kerchunk", storage_options={}, mask_and_scale=False) as got:
        is_same(got["vast"][-2:].values, np.zeros(2, pair), "vast")


def check_dimensions(folder):
    with h5py.File(NAME, "w") as f:
        f["x"], f["y"] = np.arange(4.0), np.arange(3)
        f["grid"] = RNG.normal(size=(3, 4))
        f["square"], f["other"] = np.ones((4, 4)), np.ones((7, 3))
        for name in ("x", "y"):
            f[name].make_scale(name)
        f["grid"].dims[0].attach_scale(f["y"])
        f["grid"].dims[1].attach_scale(f["x"])
        f["square"].dims[0].attach_scale(f["x"])
    publish(NAME)
    with xr.open_dataset("refs.json", engine="kerchunk", storage_options={}) as got:
        assert got.grid.dims == ("y", "x") and got.x.dims == ("x",) and set(got.coords) == {"x", "y"}
        assert got.square.dims[0] == "x" and got.square.dims[1].startswith("phony_dim") and not got.grid.attrs
        assert got.other.shape == (7, 3)


def check_dask(folder):
    import dask.array

    from zarr_views import opened
    with h5py.File(NAME, "w") as f:
        data = f.create_dataset("x", data=RNG.normal(size=(500, 400)), chunks=(120, 100), compression="gzip")[...]
        f.create_dataset("raw", data=data, chunks=(120, 100))
    publish(NAME)
    group = opened()
    for name in ("x", "raw"):
        lazy = dask.array.from_zarr(group[name])
        assert lazy.chunks[0] == (120, 120, 120, 120, 20)
        assert np.isclose(lazy.mean().compute(), data.mean()) and np.array_equal(lazy.compute(), data)


def packages(folder):
    """Returns an environment in which the tool finds the Python package."""
    return {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def many_kinds():
    with h5py.File(NAME, "w") as f:
        f.create_dataset("a/gzip", data=RNG.integers(0, 99, (300, 300)), chunks=(100, 70), compression="gzip", shuffle=True, fletcher32=True)
        f.create_dataset("a/raw", data=RNG.normal(size=30_000).astype(">f4"), chunks=(7_000,))
        f.create_dataset("contiguous", data=RNG.normal(size=(500, 501)))
        f.create_dataset("minus", (1000,), "f8", chunks=(100,), fillvalue=-1.0)[3] = 7
        f["text"] = np.array(["a", "ä"], object)
        f["fixed"] = np.array([b"a", b"bc"], "S2")
        f["pair"] = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])
        f["scalar"] = 3
        f["a"].attrs["k"] = [1, 2]
        f.attrs["title"] = "t"


def check_parquet(folder):
    many_kinds()
    env = packages(folder)
    publish(NAME)
    for _ in range(2):
        told = json.loads(run("publish", "--json", NAME, "--kerchunk", "refs.parquet", **env))
    assert not told["left_out"] and not [path for path in Path(".").iterdir() if path.suffix == ".json" and path.name != "refs.json"]
    import fsspec
    options = storage()
    fs = fsspec.filesystem("reference", fo="refs.parquet", asynchronous=True, remote_protocol=options["remote_protocol"],
                           remote_options={**options["remote_options"], "asynchronous": True})
    group = zarr.open_group(zarr.storage.FsspecStore(fs, read_only=True), mode="r", zarr_format=2)
    with h5py.File(NAME) as f:
        for path, dataset in datasets(f).items():
            is_same(group[path[1:]][...], shown(dataset), path)
    Path("mine").mkdir()
    Path("mine/precious").touch()
    Path("mine").rename("mine.parquet")
    assert "something else is there" in run("publish", NAME, "--kerchunk", "mine.parquet", code=1, **env)
    assert Path("mine.parquet/precious").exists()


def check_icechunk(folder):
    import icechunk

    many_kinds()
    publish(NAME)
    env = packages(folder)
    run("publish", NAME, "--icechunk", "ice", **env)
    with h5py.File(NAME, "r+") as f:
        wanted_before = f["a/raw"][...]
        f["a/raw"][...] = 5
    run("publish", NAME, "--icechunk", "ice", **env)
    config = icechunk.Repository.fetch_config(icechunk.local_filesystem_storage("ice"))
    access = {prefix: None if prefix.startswith("file") else icechunk.s3_credentials(from_env=True) for prefix in config.virtual_chunk_containers}
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage("ice"), authorize_virtual_chunk_access=icechunk.containers_credentials(access))
    group = zarr.open_group(repository.readonly_session("main").store, mode="r")
    with h5py.File(NAME) as f:
        for path, dataset in datasets(f).items():
            is_same(group[path[1:]][...], shown(dataset), path)
    Path("mine").mkdir()
    Path("mine/precious").touch()
    assert "something else is there" in run("publish", NAME, "--icechunk", "mine", code=1, **env)
    assert [path.name for path in Path("mine").iterdir()] == ["precious"]
    snapshots = list(repository.ancestry(branch="main"))
    before = zarr.open_group(repository.readonly_session(snapshot_id=snapshots[1].id).store, mode="r")
    is_same(before["a/raw"][...], wanted_before, "the snapshot before")
    with xr.open_dataset(repository.readonly_session("main").store, engine="zarr", consolidated=False, group="a") as got:
        assert got.gzip.shape == (300, 300) and got.attrs["k"] == [1, 2]


def shown_by_icechunk(name="ice"):
    import icechunk

    storage = icechunk.local_filesystem_storage(name)
    prefixes = icechunk.Repository.fetch_config(storage).virtual_chunk_containers or {}
    access = {prefix: None if prefix.startswith("file") else icechunk.s3_credentials(from_env=True) for prefix in prefixes}
    repository = icechunk.Repository.open(storage, authorize_virtual_chunk_access=icechunk.containers_credentials(access))
    return zarr.open_group(repository.readonly_session("main").store, mode="r")


def check_icechunk_refuses_an_object_that_changed(folder):
    code = """
import h5py, numpy as np
with h5py.File("native.h5", "w") as f:
    f.create_dataset("x", data=np.arange(5000), chunks=(1000,), compression="gzip")
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "HDF5_VOL_CONNECTOR": "native"}, check=True)
    os.utime("native.h5", (1_700_000_000, 1_700_000_000))
    is_folder = "store=file:" in os.environ["HDF5_VOL_CONNECTOR"]
    env = {**packages(folder), "HDF5_VOL_CONNECTOR": "h5lake"}
    is_stored = bool(os.environ.get("AWS_ENDPOINT_URL"))
    place = f"s3://lake/ice-{os.getpid()}/" if is_stored else f"file://{folder.resolve()}/objects/" if is_folder else ""
    native = f"{place}native.h5" if is_stored else "native.h5"
    data = Path("native.h5").read_bytes()
    if is_stored:
        put(native, data)
    # The container's own chunks, some of which are stored in objects, and the chunks of a native file.
    run("adopt", native, place + "run.h5", **env)
    with h5py.File(place + "run.h5", "r+") as f:
        f.create_dataset("own", data=RNG.normal(size=(400, 500)), chunks=(100, 500))
    for kind, made in (("--kerchunk", "refs.json"), ("--icechunk", "ice")):
        run("publish", place + "run.h5", kind, made, **env)
    objects = json.loads(Path("refs.json").read_text())["objects"]
    [source] = [known for url, known in objects.items() if url.endswith("/native.h5")]
    if is_stored:
        assert len(objects) > 1 and all(known["etag"].startswith('"') and known["modified"] > 0 for known in objects.values()), objects
    elif is_folder:
        assert len(objects) > 1 and all(known["etag"] is None and known["modified"] > 0 for known in objects.values()), objects
    else:
        assert objects == {f"file://{folder.resolve()}/native.h5": {"etag": None, "modified": 1_700_000_000}}, objects
    group = shown_by_icechunk()
    with h5py.File(place + "run.h5") as f:
        for name in ("x", "own"):
            is_same(group[name][...], f[name][...], name)
    changed = data[:-100] + bytes(100)
    if is_stored:
        put(native, changed)
    else:
        Path("native.h5").write_bytes(changed)
    group = shown_by_icechunk()
    try:
        got = group["x"][...]
    except Exception as error:  # Icechunk's own.
        assert "changed" in str(error).lower() or "modified" in str(error).lower() or "precondition" in str(error).lower(), error
    else:
        raise AssertionError(f"no error: {got}")
    with h5py.File(place + "run.h5") as f:
        is_same(group["own"][...], f["own"][...], "own")


def check_what_is_missing_is_named(folder):
    many_kinds()
    site = installed(folder)
    (site / "pyarrow.py").write_text("raise ImportError('no pyarrow here')")
    (site / "icechunk.py").write_text("raise ImportError('no icechunk here')")
    env = {"PYTHONPATH": str(site), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    before = run("publish", "--json", NAME)
    assert "the package pyarrow is missing" in run("publish", NAME, "--kerchunk", "refs.parquet", code=1, **env)
    assert "the package icechunk is missing" in run("publish", NAME, "--icechunk", "ice", code=1, **env)
    assert run("publish", "--json", NAME) == before == "[]\n", "nothing is held for what could not be made"


def check_python_functions(folder):
    many_kinds()
    code = f"""
import h5lake
done = h5lake.publish({NAME!r}, kerchunk="refs.json")
assert done.referenced > 0 and not done.left_out and done.datasets, done
[there] = h5lake.publications({NAME!r})
assert there.version == done.version and there.holds_bytes == done.holds_bytes
# In a file a publication holds the space of its version, in a store only what no other version needs.
assert (done.holds_bytes > 0) != {"store=" in os.environ["HDF5_VOL_CONNECTOR"]}, done
h5lake.withdraw({NAME!r})
assert h5lake.publications({NAME!r}) == []
try: h5lake.publish({NAME!r})
except ValueError as error: assert "kerchunk" in str(error)
else: raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **packages(folder)}, check=True)


if __name__ == "__main__":
    main(globals())
