"""The content of a container after step n of a generation. A check can tell which step is present completely, or
which problem there is."""

import zlib

import h5py
import numpy as np

NAME = "x.h5"
BULK = 40  # datasets of 15 KiB each, which are inline in the map: together more than the log may hold


class Mixed(Exception):
    """A container that can be read, but has no step of any generation."""


def content(made, n):
    """Returns the numbers of one dataset: inline in the map, or in payloads, depending on n."""
    rng = np.random.default_rng([n, zlib.crc32(made.encode())])
    return rng.integers(0, 1 << 30, size=[10, 2_000, 30_000][n % 3], dtype="u4")


def word(n):
    return f"word {n} " * (n % 7 + 1)


def put(group, name, **how):
    """Creates a dataset again, whether an earlier try created it or not."""
    if name in group:
        del group[name]
    return group.create_dataset(name, **how)


def step(f, made, n, bulk=False):
    """Changes a container from step n - 1, or from a failed try of step n, to step n."""
    if n == 0:
        put(f, "rows", shape=(0,), maxshape=(None,), dtype="u8", chunks=(64,))
        put(f, "whole", shape=(20_000,), dtype="u4", chunks=(5_000,), compression="gzip")
        put(f, "words", shape=(0,), maxshape=(None,), dtype=h5py.string_dtype(), chunks=(16,))
    f["rows"].resize(n + 1, axis=0)
    f["rows"][n] = n * 1000 + len(made)
    f["whole"][:] = n
    f["words"].resize(n + 1, axis=0)
    f["words"][n] = word(n)
    if f"data{n - 3}" in f:
        del f[f"data{n - 3}"]
    put(f, f"data{n}", data=content(made, n))
    for old in [name for name in f if name.startswith("group")]:
        del f[old]
    f.create_group(f"group{n}").attrs["text"] = word(n)
    if bulk:
        for k in range(BULK):
            put(f, f"bulk/{k}", data=np.full(1875, n, "u8"))
    f.attrs["made"] = made
    f.attrs["n"] = n


def equal(got, wanted, what):
    if not np.array_equal(got, wanted):
        raise Mixed(f"{what}: {got!r} instead of {wanted!r}"[:300])


def look(f):
    """Returns (generation, step) of the content, or (None, -1) for an empty container."""
    if "n" not in f.attrs:
        if list(f) or "made" in f.attrs:
            raise Mixed(f"no step, but {list(f)}, {list(f.attrs)}")
        return None, -1
    made, n = f.attrs["made"], int(f.attrs["n"])
    equal(f["rows"][:], np.arange(n + 1) * 1000 + len(made), "rows")
    equal(f["whole"][:], np.full(20_000, n), "whole")
    equal(list(f["words"].asstr()[:]), [word(k) for k in range(n + 1)], "words")
    kept = range(max(0, n - 2), n + 1)
    names = sorted(name for name in f if name != "bulk")
    equal(names, sorted([f"data{k}" for k in kept] + [f"group{n}", "rows", "whole", "words"]), "links")
    for k in kept:
        equal(f[f"data{k}"][:], content(made, k), f"data{k}")
    equal(f[f"group{n}"].attrs["text"], word(n), "text")
    if "bulk" in f:
        found = {int(f[f"bulk/{k}"][j]) for k in f["bulk"] for j in (0, -1)}
        equal(len(found), 1, "bulk")
    return made, n


def read_all(f):
    """Reads all content. Every error is an error of the container."""
    def visit(name, item):
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            item[...]
    dict(f.attrs)
    f.visititems(visit)
