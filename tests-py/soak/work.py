"""Works on containers without end, and records its own heap, descriptors, threads, conversion paths and file sizes.

    work.py SECONDS          a line of JSON at the end"""

import ctypes
import gc
import json
import os
import sys
import threading  # noqa: F401
import time
from pathlib import Path

import h5py
import numpy as np

TEXT = h5py.string_dtype()
ROW = np.dtype([("n", "i4"), ("text", TEXT), ("x", ">f8"), ("numbers", h5py.vlen_dtype("i2"))])


class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


def heap():
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Heap
    gc.collect()
    now = mallinfo2()
    return now.uordblks + now.hblkhd


def conversion_paths():
    """Returns how many conversion paths libhdf5 keeps, or None if the library does not say."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libhdf5-" in line or "libhdf5.so" in line:
            library = ctypes.CDLL(line.split()[-1])
            count = getattr(library, "H5T__get_path_table_npaths", None)
            return count() if count else None
    return None


def rows(n):
    made = np.empty(5, ROW)
    for k in range(5):
        made[k] = n, f"row {n} " * k, n / 7, np.arange(k, dtype="i2")
    return made


def create(n):
    with h5py.File("made.h5", "w") as f:
        f["x"] = np.arange(1000)
        f.attrs["n"] = n


def rewrite(n):
    with h5py.File("kept.h5", "a") as f:
        if "data" not in f:
            f["data"] = np.zeros(300_000, "u4")
            f.create_dataset("chunks", (400, 400), "f4", chunks=(64, 64), compression="gzip", shuffle=True)
            f.create_dataset("rows", (5,), ROW)
            f.create_dataset("texts", (100,), TEXT)
            f.create_dataset("to", (3,), h5py.ref_dtype)
            f.create_dataset("regions", (3,), h5py.regionref_dtype)
        f["data"][n % 1000 * 100:][:5000] = n
        f["data"][n % 300 * 1000:n % 300 * 1000 + 5000] = n
        f["chunks"][n % 300:n % 300 + 40] = n
        f["rows"][...] = rows(n)
        assert f["rows"][4]["text"].decode() == f"row {n} " * 4
        f["texts"][n % 100] = f"text {n}"
        f["to"][n % 3], f["regions"][n % 3] = f["data"].ref, f["chunks"].regionref[n % 9:20]
        assert f[f["to"][n % 3]].name == "/data" and f[f["regions"][n % 3]].name == "/chunks"
        f.attrs["rows"], f.attrs["text"] = rows(n), [f"{n}", "b"]
        f.flush()
        g = f.create_group(f"group{n}")
        g["soft"] = h5py.SoftLink("/data")
        if f"group{n - 3}" in f:
            del f[f"group{n - 3}"]
        f.copy("rows", g, "copy")


def read(n):
    with h5py.File("kept.h5", "r") as f:
        f.visititems(lambda name, item: [item.attrs[k] for k in item.attrs] and None)
        f["rows"][()], f["texts"][()], f["chunks"][5:90, 7]
        assert (f["data"][n % 300 * 1000:][:10] == n).all()
        for error in (KeyError, OSError):
            try:
                f["not there"] if error is KeyError else h5py.File("not there.h5", "r")
            except error:
                pass


def sizes():
    """Returns the bytes of the stored files, including the objects in the store."""
    return sum(p.stat().st_size for p in Path("..").rglob("*") if p.is_file() and p.suffix != ".txt")


def main():
    end, samples, n = time.monotonic() + float(sys.argv[1]), [], 0
    # With fewer rounds, only the filling of caches would be visible, and no growth after it.
    while time.monotonic() < end or n < 200:
        for act in create, rewrite, read:
            act(n)
        n += 1
        if n % 5 == 0:
            samples.append({"cycle": n, "heap": heap(), "descriptors": len(os.listdir("/proc/self/fd")),
                            "threads": len(os.listdir("/proc/self/task")), "paths": conversion_paths(), "bytes": sizes()})
    print(json.dumps(samples))


main()
