"""Chunked and resizable datasets: growing, shrinking, fill values and fill times, sparse ones."""

import zlib

import h5py
import numpy as np
from cases import main, raises, same


def write_resizing(f):
    d = f.create_dataset("d", (4, 4), "i4", maxshape=(None, 40), chunks=(3, 5), fillvalue=9)
    d[...] = np.arange(16).reshape(4, 4)
    d.resize((7, 11))
    d[6, 10] = 1
    d.resize((2, 3))  # elements that are cut off ...
    d.resize((8, 8))  # ... does not come back
    d.resize(12, axis=0)
    raises(RuntimeError, d.resize, (5, 41))  # beyond maxshape


def read_resizing(f):
    wanted = np.full((12, 8), 9, "i4")
    wanted[:2, :3] = np.arange(16).reshape(4, 4)[:2, :3]
    same(f["d"][:], wanted)
    assert f["d"].maxshape == (None, 40) and f["d"].chunks == (3, 5)


def check_what_was_outside_is_cleared_by_shrinking(folder):
    """The part of a directly written chunk that is outside of the extent may contain arbitrary bytes."""
    for filters in ({}, {"compression": "gzip"}):
        with h5py.File("outside.h5", "w") as f:
            d = f.create_dataset("d", (4, 3), "i4", maxshape=(8, 8), chunks=(4, 4), fillvalue=9, **filters)
            chunk = np.arange(1, 17, dtype="i4").reshape(4, 4)
            stored = zlib.compress(chunk.tobytes()) if filters else chunk.tobytes()
            d.id.write_direct_chunk((0, 0), stored)
            d.resize((2, 3))
            d.resize((4, 4))
            wanted = np.full((4, 4), 9, "i4")
            wanted[:2, :3] = chunk[:2, :3]
            same(d[:], wanted)
        with h5py.File("outside.h5", "r") as f:
            same(f["d"][:], wanted)


def write_random(f):
    rng = np.random.default_rng(21)
    d = f.create_dataset("d", (5, 5), "f4", maxshape=(None, None), chunks=(4, 6), fillvalue=0.5)
    for _ in range(60):
        shape = tuple(int(n) for n in rng.integers(0, 25, 2))
        d.resize(shape)
        if all(shape):
            row, column = (int(rng.integers(0, n)) for n in shape)
            d[row:, :column + 1] = float(rng.integers(0, 1000))


def read_random(f):
    rng, data = np.random.default_rng(21), np.full((5, 5), 0.5, "f4")
    for _ in range(60):
        shape = tuple(int(n) for n in rng.integers(0, 25, 2))
        old, data = data, np.full(shape, 0.5, "f4")
        both = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, shape))
        data[both] = old[both]
        if all(shape):
            row, column = (int(rng.integers(0, n)) for n in shape)
            data[row:, :column + 1] = float(rng.integers(0, 1000))
    same(f["d"][:], data)


def write_fill(f):
    f.create_dataset("default", (10,), "f8")
    f.create_dataset("value", (10,), "i2", fillvalue=-7)
    f.create_dataset("never", (10,), "i4", chunks=(5,), fill_time="never")
    f.create_dataset("early", (10, 10), "u1", chunks=(3, 3), fillvalue=200, fill_time="alloc")
    f.create_dataset("text", (3,), "S4", fillvalue=b"none")
    table = np.dtype([("a", "i4"), ("b", "f4")])
    f.create_dataset("table", (4,), table, fillvalue=np.array((3, 1.5), table))
    f["early"][0, 0] = 1


def read_fill(f):
    same(f["default"][:], np.zeros(10))
    same(f["value"][:], np.full(10, -7, "i2"))
    assert f["value"].fillvalue == -7 and f["default"].fillvalue == 0
    early = np.full((10, 10), 200, "u1")
    early[0, 0] = 1
    same(f["early"][:], early)
    assert f["text"][:].tolist() == [b"none"] * 3
    assert f["table"][:].tolist() == [(3, 1.5)] * 4 and f["never"].shape == (10,)


def write_sparse(f):
    d = f.create_dataset("huge", (10**6, 10**6), "u2", chunks=(100, 100), fillvalue=6)
    d[123456, 654321] = 1
    d[-1, -1] = 2


def read_sparse(f):
    d = f["huge"]
    assert d[123456, 654321] == 1 and d[123456, 654322] == 6 and d[-1, -1] == 2
    assert d.id.get_num_chunks() == 2 and d.id.get_storage_size() <= 4 * 20000
    assert d[123450:123460, 654320:654324].sum() == 40 * 6 - 5


def write_append(f):
    log = f.create_dataset("log", (0,), "i8", maxshape=(None,), chunks=(1000,))
    for block in range(100):
        log.resize((block + 1) * 77, axis=0)
        log[-77:] = np.arange(block * 77, (block + 1) * 77)
        if block % 10 == 0:
            f.flush()


def read_append(f):
    same(f["log"][:], np.arange(7700))


def write_large(f):
    data = np.random.default_rng(2).random((1500, 1000))  # 12 MB: beyond every small-data path
    f["contiguous"] = data
    f.create_dataset("chunked", data=data, chunks=(256, 256))
    f["contiguous"][700:800, 13] = 0


def read_large(f):
    data = np.random.default_rng(2).random((1500, 1000))
    same(f["chunked"][:], data)
    data[700:800, 13] = 0
    same(f["contiguous"][:], data)


main(globals())
