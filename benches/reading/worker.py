"""One measurement of benches/reading, in a process of its own: worker.py CASE SIDE FOLDER. Prints seconds. The libraries are loaded and
the file is open before the clock starts, except where the case is about opening."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# The whole dataset: 256 chunks of 1 MiB. In the store: 1,000 chunks of 64 KiB.
SHAPE, CHUNK = (256, 512, 512), (1, 512, 512)
STORED, STORED_CHUNK = (1000, 128, 128), (1, 128, 128)
CODECS = ("gzip", "zstd", "none")
FILES = 50
SMALL_READS = 10_000


def data(shape):
    random = np.random.default_rng(1)
    return np.cumsum(random.integers(-9, 9, shape, "i2"), 2, dtype="i4").astype("f4")


def hdf5_options(codec):
    if codec == "zstd":
        import hdf5plugin

        return dict(hdf5plugin.Zstd(clevel=3))
    return {"compression": 1} if codec == "gzip" else {}


def make_hdf5(name, codec, chunk, values):
    import h5py

    with h5py.File(name, "w") as f:
        f.create_dataset("x", data=values, chunks=chunk, **hdf5_options(codec))
        f["small"] = np.arange(SMALL_READS, dtype="f8")
        f["long"] = np.arange(100 * SMALL_READS, dtype="f8")


def zarr_codecs(codec):
    import zarr

    return {"gzip": zarr.codecs.GzipCodec(level=1), "zstd": zarr.codecs.ZstdCodec(level=3), "none": None}[codec]


def make_zarr(store, codec, chunk, values):
    import zarr

    group = zarr.open_group(store, mode="w", zarr_format=3)
    made = group.create_array("x", shape=values.shape, dtype="f4", chunks=chunk, compressors=zarr_codecs(codec), filters=None)
    made[...] = values


def make_local(folder):
    """Makes the local files of all sides but the containers."""
    values = data(SHAPE)
    for codec in CODECS:
        make_hdf5(f"{folder}/{codec}.native.h5", codec, CHUNK, values)
        make_zarr(f"{folder}/{codec}.zarr", codec, CHUNK, values)
    make_many(folder, "native")


def make_many(folder, kind):
    import xarray

    for n in range(FILES):
        time = np.arange(24 * n, 24 * n + 24)
        made = xarray.Dataset({"t": (("time", "y", "x"), np.full((24, 60, 80), n, "f4"))}, {"time": time, "y": np.arange(60), "x": np.arange(80)})
        made.to_netcdf(f"{folder}/many.{kind}.{n:02}.nc", engine="h5netcdf", encoding={"t": {"zlib": True, "chunksizes": (24, 60, 80)}})


def make_ours(folder):
    """Makes the containers; the connector is on."""
    values = data(SHAPE)
    for codec in CODECS:
        make_hdf5(f"{folder}/{codec}.h5", codec, CHUNK, values)
    make_many(folder, "h5lake")


def make_stored(kind):
    values = data(STORED)
    if kind == "h5lake":
        make_hdf5("s3://lake/run.h5", "gzip", STORED_CHUNK, values)
    else:
        make_zarr(obstore(), "gzip", STORED_CHUNK, values)


def obstore():
    import zarr
    from obstore.store import S3Store

    store = S3Store("lake", prefix="run.zarr", endpoint=os.environ["AWS_ENDPOINT_URL"], region="us-east-1", client_options={"allow_http": True})
    return zarr.storage.ObjectStore(store)


def opened(side, folder, codec, stored=False):
    """Returns the array of a side; it reads slices as NumPy arrays."""
    if side in ("h5py", "h5py-h5lake"):
        import h5py

        if codec == "zstd":
            import hdf5plugin  # noqa: F401
        return h5py.File("s3://lake/run.h5" if stored else f"{folder}/{codec}.native.h5" if side == "h5py" else f"{folder}/{codec}.h5")["x"]
    if side in ("h5lake", "h5lake-native"):
        import h5lake

        return h5lake.open("s3://lake/run.h5" if stored else f"{folder}/{codec}{'.native' if side == 'h5lake-native' else ''}.h5")["x"]
    if side in ("zarr", "zarrs"):
        import zarr

        if side == "zarrs":
            import zarrs  # noqa: F401

            zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
        # One thread of ours reads one chunk; the threads of the library are its own.
        return zarr.open_group(obstore() if stored else f"{folder}/{codec}.zarr", mode="r")["x"]
    import tensorstore

    place = {"driver": "file", "path": f"{folder}/{codec}.zarr/x/"}
    if stored:
        place = {"driver": "s3", "bucket": "lake", "path": "run.zarr/x/", "endpoint": os.environ["AWS_ENDPOINT_URL"], "aws_region": "us-east-1",
                 "aws_credentials": {"type": "environment"}}
    array = tensorstore.open({"driver": "zarr3", "kvstore": place}, read=True, context=tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}})).result()

    class Array:
        def __getitem__(self, index):
            return array[index].read().result()

    return Array()


def whole(side, folder, codec, threads, stored=False):
    """Reads all chunks with so many threads, one chunk a call."""
    x, shape = opened(side, folder, codec, stored), STORED if stored else SHAPE
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        sizes = sum(pool.map(lambda n: x[n : n + 1].size, range(shape[0])))
    taken = time.perf_counter() - begun
    assert sizes == np.prod(shape)
    return taken


def dask_sum(side, folder, codec, threads):
    import dask.array

    x = opened(side, folder, codec)
    whole = dask.array.from_array(x, chunks=CHUNK)
    begun = time.perf_counter()
    whole.sum().compute(scheduler="threads", num_workers=threads)
    return time.perf_counter() - begun


def opened(side, folder):
    if side == "h5py":
        import h5py

        return h5py.File(f"{folder}/none.native.h5")
    import h5lake

    return h5lake.open(f"{folder}/none{'.native' if side == 'h5lake-native' else ''}.h5")


def small(side, folder):
    """Elements of 80 KB, one after the other."""
    x = opened(side, folder)["small"]
    begun = time.perf_counter()
    for n in range(SMALL_READS):
        assert x[n] == n
    return time.perf_counter() - begun


def scattered_indices():
    return np.random.default_rng(1).permutation(100 * SMALL_READS)[:SMALL_READS]


def scattered(side, folder):
    """Elements of 8 MB, in any order."""
    x, indices = opened(side, folder)["long"], scattered_indices().tolist()
    begun = time.perf_counter()
    for n in indices:
        assert x[n] == n
    return time.perf_counter() - begun


def listed(side, folder):
    """The same elements, by one list of indices."""
    x, indices = opened(side, folder)["long"], np.sort(scattered_indices())
    begun = time.perf_counter()
    values = x[indices]
    took = time.perf_counter() - begun
    assert (values == indices).all()
    return took


def many(side, folder):
    import xarray

    kind, engine = {"h5netcdf": ("native", "h5netcdf"), "h5lake": ("h5lake", "h5lake"), "h5lake-native": ("native", "h5lake")}[side]
    if engine == "h5lake":
        from h5lake._xarray import H5lakeBackend as engine
    paths = [f"{folder}/many.{kind}.{n:02}.nc" for n in range(FILES)]
    begun = time.perf_counter()
    with xarray.open_mfdataset(paths, engine=engine, chunks={}, parallel=False) as found:
        assert float(found.t.isel(x=0, y=0).sum().compute(scheduler="threads", num_workers=8)) == 24 * FILES * (FILES - 1) / 2
    return time.perf_counter() - begun


CASES = {
    **{f"{codec}, {threads} thread{'s' * (threads > 1)}": (whole, codec, threads) for codec in CODECS for threads in (1, 8)},
    "dask sum of gzip, 1 thread": (dask_sum, "gzip", 1),
    "dask sum of gzip, 8 threads": (dask_sum, "gzip", 8),
    "10,000 small reads": (small,),
    "10,000 small reads, scattered": (scattered,),
    "10,000 small reads by one list": (listed,),
    "open_mfdataset of 50 files": (many,),
    "S3 at 20 ms, 1,000 chunks, 32 threads": (whole, "gzip", 32, True),
}


def main():
    case, side, folder = sys.argv[1:]
    if case.startswith("make"):
        {"make local": make_local, "make ours": make_ours, "make stored": lambda _: make_stored(side)}[case](folder)
        return
    function, *arguments = CASES[case]
    print(json.dumps(function(side, folder, *arguments)))


if __name__ == "__main__":
    main()
