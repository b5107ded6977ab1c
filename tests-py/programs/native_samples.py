"""Makes one of the native files that native_objects.py reads from stores: native_samples.py KIND PATH."""

import sys

import h5py
import numpy as np

random = np.random.default_rng(1)
what, path = sys.argv[1:]
if what == "mixed":
    with h5py.File(path, "w") as f:
        f.attrs["title"] = "native"
        f["x"] = np.arange(10)
        f["x"].attrs["unit"] = "m"
        f.create_dataset("gzip", data=random.integers(0, 99, (512, 1024)).astype("f4"), chunks=(64, 256), compression="gzip",
                         shuffle=True, fletcher32=True)
        f.create_dataset("plain", data=random.normal(size=(300, 300)), chunks=(64, 64))
        f.create_dataset("sparse", (1000, 1000), "i4", chunks=(100, 100), fillvalue=7)[150:160, 450:460] = 1
        f.create_dataset("line", data=np.arange(700_000.))
        f.create_dataset("text", data=["a", "bé", "☃"], dtype=h5py.string_dtype())
        f["deep/er/y"] = random.normal(size=5)
        f["soft"] = h5py.SoftLink("/deep/er/y")
elif what == "block":
    with h5py.File(path, "w", userblock_size=2048) as f:
        f.create_dataset("x", data=np.arange(100_000), chunks=(1000,))
    with open(path, "r+b") as f:
        f.write(b"my own block")
elif what == "scattered":  # 44 MB, 100 datasets, gzip
    with h5py.File(path, "w") as f:
        for n in range(100):
            f.create_dataset(f"d{n}", data=random.integers(0, 1 << 30, (55, 2000), "u4"), chunks=(11, 2000), compression=1)
        f["d50"].attrs["unit"] = "K"
elif what == "long":  # 96 MB: never fetched whole
    with h5py.File(path, "w") as f:
        f.create_dataset("d", data=random.integers(0, 1 << 62, (96, 131072), "i8"), chunks=(1, 131072), compression=1)
        f["x"] = np.arange(10)
elif what == "links":
    with h5py.File(path, "w") as f:
        f["out"] = h5py.ExternalLink("mixed.h5", "/x")
        layout = h5py.VirtualLayout((10,), "i8")
        layout[:] = h5py.VirtualSource("mixed.h5", "x", (10,))
        f.create_virtual_dataset("virtual", layout, fillvalue=-1)
        f["own"] = np.arange(10)
        layout = h5py.VirtualLayout((10,), "i8")
        layout[:] = h5py.VirtualSource(".", "own", (10,))
        f.create_virtual_dataset("inner", layout)
        f.create_dataset("raw", (3,), "i4", external=[("raw.bin", 0, 12)])
        f.create_dataset("two", (3,), "i4", external=[("raw.bin", 0, 8), ("raw.bin", 0x7A7A7A7A7A7A, 4)])
        for name, source, shape, kind in (("inner of inner", "inner", 10, "i8"), ("inner of none", "none", 10, "i8"),
                                          ("inner of raw", "raw", 3, "i4"), ("inner of out", "out", 10, "i8"),
                                          ("inner of virtual", "virtual", 10, "i8"), ("inner of inner of raw", "inner of raw", 3, "i4")):
            layout = h5py.VirtualLayout((shape,), kind)
            layout[:] = h5py.VirtualSource(".", source, (shape,))
            f.create_virtual_dataset(name, layout, fillvalue=-1)
elif what == "far":  # The header of a source lies behind 3 MiB.
    with h5py.File(path, "w", meta_block_size=1) as f:
        for name, most, part in (("fixed", 10, slice(None)), ("grows", None, slice(0, h5py.h5s.UNLIMITED))):
            layout = h5py.VirtualLayout((10,), "i8", maxshape=(most,))
            layout[part] = h5py.VirtualSource(".", "far", (10,), maxshape=(most,))[part]
            f.create_virtual_dataset(name, layout, fillvalue=-1)
        f["long"] = np.zeros(3 << 17)
        f.create_dataset("far", data=np.arange(12), chunks=(5,), maxshape=(None,))
elif what == "writing":  # A copy that was made while a writer had the file open: its end is not there yet.
    with h5py.File(path + ".open", "w", libver="latest") as f:
        f.create_dataset("x", data=np.arange(1000), chunks=(100,), maxshape=(None,))
        f.swmr_mode = True
        f["x"].resize((1100,))
        f["x"][1000:] = 7
        f.flush()
        with open(path + ".open", "rb") as whole, open(path, "wb") as copy:
            copy.write(whole.read()[:-8])
elif what == "netcdf":
    import netCDF4

    with netCDF4.Dataset(path, "w") as f:
        f.createDimension("t", 50)
        f.createDimension("x", 2000)
        f.createVariable("t", "f8", ("t",))[:] = np.arange(50)
        v = f.createVariable("v", "f4", ("t", "x"), zlib=True, chunksizes=(10, 500))
        v[:] = random.normal(size=(50, 2000))
        v.units = "m"
elif what == "tables":
    import tables

    with tables.open_file(path, "w") as f:
        f.create_carray("/", "a", obj=np.arange(5000).reshape(50, 100), filters=tables.Filters(5))
        f.create_table("/", "t", np.rec.fromarrays([np.arange(99), np.arange(99.)], names="i,f"))
