"""Data in raw files of the user: several parts, offsets, growing, prefixes, and refused cases."""

import os

import h5py
import numpy as np
from cases import main, raises, same

UNLIMITED = h5py.h5s.UNLIMITED


def check_parts(_folder):
    data = np.arange(30, dtype="<i4").reshape(6, 5)
    parts = [("a.raw", 16, 40), ("b.raw", 0, 60), ("a.raw", 100, UNLIMITED)]
    with h5py.File("f.h5", "w") as f:
        f.create_dataset("d", data=data, external=parts)
    raw = data.tobytes()
    with open("a.raw", "rb") as a, open("b.raw", "rb") as b:
        first, second = a.read(), b.read()
    assert first[:16] == bytes(16) and first[16:56] == raw[:40] and second == raw[40:100]
    assert first[100:] == raw[100:]
    with h5py.File("f.h5", "r+") as f:
        d = f["d"]
        same(d[...], data)
        same(d[::2, 1:4], data[::2, 1:4])
        assert d.external == [("a.raw", 16, 40), ("b.raw", 0, 60), ("a.raw", 100, UNLIMITED)]
        assert d.chunks is None and d.id.get_storage_size() == 120
        d[1:3, 2] = [-1, -2]
    data[1:3, 2] = [-1, -2]
    with open("a.raw", "rb") as a, open("b.raw", "rb") as b:
        assert a.read()[16:56] + b.read() == data.tobytes()[:100]


def check_data_that_is_there(_folder):
    values = np.linspace(0, 1, 50)
    with open("values.raw", "wb") as raw:
        raw.write(b"header: " + values.tobytes())
    with h5py.File("f.h5", "w") as f:
        f.create_dataset("d", (50,), "f8", external=[("values.raw", 8, 400)])
        f.create_dataset("beyond", (60,), "f8", external=[("values.raw", 8, UNLIMITED)])
        f.create_dataset("big", (50,), ">f4", external=[("big.raw", 0, UNLIMITED)])
        f["big"][...] = values
    with h5py.File("f.h5", "r") as f:
        same(f["d"][...], values)
        same(f["d"][3:40:7], values[3:40:7])
        same(f["beyond"][...], np.concatenate([values, np.zeros(10)]))  # behind the end there are zeros
        same(f["big"][...], values.astype(">f4"))
    assert open("big.raw", "rb").read() == values.astype(">f4").tobytes()


def check_missing_file(_folder):
    with h5py.File("f.h5", "w") as f:
        d = f.create_dataset("d", (4,), "i4", external=[("none.raw", 0, UNLIMITED)], fillvalue=3)
        assert not os.path.exists("none.raw")
        raises(OSError, d.__getitem__, ...)
        d[1] = 5
        same(d[...], np.array([0, 5, 0, 0], "i4"))  # no fill value in the user's files


def check_growing(_folder):
    with h5py.File("f.h5", "w") as f:
        space = h5py.h5s.create_simple((2, 3), (UNLIMITED, 3))
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_external(b"g.raw", 0, UNLIMITED)
        h5py.h5d.create(f.id, b"d", h5py.h5t.STD_I16LE, space, dcpl=dcpl)
        f["d"][...] = 1
        f["d"].id.set_extent((4, 3))
        f["d"][3] = 4
    with h5py.File("f.h5", "r") as f:
        same(f["d"][...], np.array([[1] * 3, [1] * 3, [0] * 3, [4] * 3], "i2"))
    assert os.path.getsize("g.raw") == 24


def check_refused(_folder):
    with h5py.File("f.h5", "w") as f:
        raises(ValueError, f.create_dataset, "small", (5,), "i4", external=[("x.raw", 0, 19)])
        raises(ValueError, f.create_dataset, "chunked", (5,), "i4", chunks=(5,), external=[("x.raw", 0, 20)])
        assert list(f) == []
        d = f.create_dataset("d", data=np.arange(5, dtype="i4"), external=[("x.raw", 0, 20)])
        f.flush()
        same(d[...], np.arange(5, dtype="i4"))
    with h5py.File("f.h5", "r") as f:
        raises(OSError, f["d"].__setitem__, 0, 7)
    os.remove("x.raw")
    os.mkdir("x.raw")
    with h5py.File("f.h5", "r") as f:
        raises(OSError, f["d"].__getitem__, 0)


def check_prefix(folder):
    os.mkdir("raw")
    data = np.arange(6, dtype="u2")
    with h5py.File("f.h5", "w") as f:
        f.create_dataset("d", data=data, external=[("d.raw", 0, 12)], efile_prefix="${ORIGIN}/raw")
    assert open("raw/d.raw", "rb").read() == data.tobytes()
    with h5py.File("f.h5", "r") as f:
        raises(OSError, f["d"].__getitem__, ...)  # by itself it is looked for in the working folder
    with h5py.File("f.h5", "r") as f:
        dapl = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        dapl.set_efile_prefix(str(folder / "raw").encode())
        found = h5py.Dataset(h5py.h5d.open(f.id, b"d", dapl))
        same(found[...], data)
        raises(KeyError, f.__getitem__, "d")  # open with another prefix already


def check_deleted(_folder):
    with h5py.File("f.h5", "w") as f:
        f.create_dataset("d", data=np.arange(5), external=[("x.raw", 0, 40)])
        del f["d"]
    assert os.path.getsize("x.raw") == 40  # the files belong to the user


main(globals())
