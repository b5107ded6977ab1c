"""Selections of every kind against a model in NumPy; random, with a fixed seed."""

import numpy as np
from cases import main, raises, same

SHAPE = (31, 17, 12)
LAYOUTS = {"contiguous": {}, "chunked": {"chunks": (8, 5, 7)}, "single_rows": {"chunks": (1, 17, 12)},
           "compressed": {"chunks": (10, 10, 10), "compression": "gzip", "shuffle": True}}


def model():
    return np.random.default_rng(3).integers(0, 10**6, SHAPE).astype("i4")


def some_slice(rng, length):
    start = int(rng.integers(0, length))
    stop = int(rng.integers(start + 1, length + 1))
    return slice(start, stop, int(rng.integers(1, 5)))


def some_key(rng):
    """Returns a key that h5py and NumPy interpret in the same way."""
    key = [some_slice(rng, n) for n in SHAPE]
    kind = rng.integers(0, 6)
    axis = int(rng.integers(0, 3))
    if kind == 1:
        key[axis] = int(rng.integers(0, SHAPE[axis]))
    elif kind == 2:
        count = int(rng.integers(1, SHAPE[axis]))
        key[axis] = sorted(rng.choice(SHAPE[axis], count, replace=False).tolist())
    elif kind == 3:
        key[axis] = rng.random(SHAPE[axis]) > 0.6
        if not key[axis].any():
            key[axis][0] = True
    elif kind == 4:
        return tuple(key[:axis]) + (Ellipsis,)
    return tuple(key)


def write_reading(f):
    for name, options in LAYOUTS.items():
        if name != "compressed":
            f.create_dataset(name, data=model(), **options)


def read_reading(f):
    rng, data = np.random.default_rng(5), model()
    for _ in range(150):
        key = some_key(rng)
        for name in f:
            same(f[name][key], data[key])
    mask = data % 3 == 0
    for name in f:
        same(f[name][mask], data[mask])
        same(f[name][5:5, :, 2:9], data[5:5, :, 2:9])
        out = np.zeros((40, 17, 12), "f8")
        f[name].read_direct(out, np.s_[3:9], np.s_[30:36])
        same(out[30:36], data[3:9].astype("f8"))


def write_writing(f):
    sets = {n: f.create_dataset(n, SHAPE, "i4", fillvalue=-1, **o) for n, o in LAYOUTS.items() if n != "compressed"}
    rng = np.random.default_rng(9)
    for _ in range(150):
        key = some_key(rng)
        values = rng.integers(0, 10**6, np.zeros(SHAPE)[key].shape).astype("i4")
        for dataset in sets.values():
            dataset[key] = values
            if rng.random() < 0.05:
                f.flush()


def read_writing(f):
    data, rng = np.full(SHAPE, -1, "i4"), np.random.default_rng(9)
    for _ in range(150):
        key = some_key(rng)
        data[key] = rng.integers(0, 10**6, np.zeros(SHAPE)[key].shape).astype("i4")
        for _ in range(3):
            rng.random()
    for name in f:
        same(f[name][:], data)


def write_points(f):
    data = f.create_dataset("points", (50, 50), "f4", chunks=(16, 16), fillvalue=np.nan)
    space = data.id.get_space()
    coordinates = np.random.default_rng(13).permutation(2500)[:400]
    where = np.stack(np.unravel_index(coordinates, (50, 50)), axis=1)
    space.select_elements(where)
    import h5py
    memory = h5py.h5s.create_simple((400,))
    data.id.write(memory, space, np.arange(400, dtype="f4"))


def read_points(f):
    wanted = np.full((50, 50), np.nan, "f4")
    wanted.ravel()[np.random.default_rng(13).permutation(2500)[:400]] = np.arange(400)
    same(f["points"][:], wanted)
    mask = ~np.isnan(wanted)
    same(f["points"][mask], wanted[mask])


def write_broadcast(f):
    d = f.create_dataset("d", (20, 30), "i8", chunks=(7, 7))
    d[...] = 5
    d[2] = np.arange(30)
    d[:, 3] = 77
    d[10:12, 4:8] = [[1, 2, 3, 4]]
    raises(TypeError, d.__setitem__, np.s_[0:3], np.arange(7))
    raises(IndexError, lambda: d[20])
    raises(ValueError, lambda: d[0, 0, 0])


def read_broadcast(f):
    wanted = np.full((20, 30), 5, "i8")
    wanted[2], wanted[:, 3] = np.arange(30), 77
    wanted[10:12, 4:8] = [1, 2, 3, 4]
    same(f["d"][:], wanted)


def write_filters(f):
    f.create_dataset("compressed", data=model(), **LAYOUTS["compressed"])
    f.create_dataset("lzf", data=model(), chunks=(9, 9, 9), compression="lzf", fletcher32=True)
    f.create_dataset("scaled", data=model(), chunks=(9, 9, 9), scaleoffset=0)


def read_filters(f):
    rng, data = np.random.default_rng(5), model()
    for _ in range(40):
        key = some_key(rng)
        for name in ("compressed", "lzf", "scaled"):
            same(f[name][key], data[key])
    assert f["compressed"].compression == "gzip" and f["compressed"].shuffle and f["lzf"].fletcher32


LONG = 18 << 20


def numbers(start):
    return np.arange(start, start + LONG, dtype="u4")


def write_long(f):
    """Writes more than 64 MiB, which stores put into several objects at once: a whole dataset, a part beside
    existing data, rows that are longer than blocks, and from memory in another form than the stored one."""
    f.create_dataset("blocks", data=numbers(1), chunks=(1 << 18,))
    f.create_dataset("whole", data=numbers(2))
    d = f.create_dataset("beside", (LONG + 1000,), "u4", chunks=(300_000,), fillvalue=7)
    d[500:500 + LONG] = numbers(3)
    d[1000:2000] = 8
    rows = f.create_dataset("rows", (LONG // 4096, 4096), "u4", chunks=(100, 4096))
    rows[...] = numbers(4).reshape(rows.shape)
    rows[7:] = numbers(5).reshape(rows.shape)[7:]
    f.create_dataset("narrow", data=numbers(6)[:LONG // 2].astype("f8"), dtype="f4", chunks=(1 << 20,))
    f["whole"][...] = numbers(9)


def read_long(f):
    same(f["blocks"][...], numbers(1))
    same(f["whole"][...], numbers(9))
    wanted = np.full(LONG + 1000, 7, "u4")
    wanted[500:500 + LONG] = numbers(3)
    wanted[1000:2000] = 8
    same(f["beside"][...], wanted)
    wanted = numbers(5).reshape(f["rows"].shape)
    wanted[:7] = numbers(4).reshape(wanted.shape)[:7]
    same(f["rows"][...], wanted)
    same(f["narrow"][...], numbers(6)[:LONG // 2].astype("f4"))


main(globals())
