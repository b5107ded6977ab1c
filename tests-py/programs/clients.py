"""h5py, PyTables and netCDF4 in one process, each with a libhdf5 of its own, reading each other's files."""
# requires: clients.txt

import concurrent.futures
import contextlib
import os
import threading

import h5py
import netCDF4
import numpy as np
import tables
from cases import main

DATA = np.arange(60, dtype="f8").reshape(6, 10)


def by_h5py(path):
    with h5py.File(path, "w") as f:
        f.create_dataset("data", data=DATA, chunks=(2, 5))
        f.attrs["made"] = "h5py"


def by_tables(path):
    with tables.open_file(path, "w", title="made by tables") as f:
        f.create_carray("/", "data", obj=DATA)
        table = f.create_table("/", "table", {"n": tables.Int32Col(), "x": tables.Float64Col()})
        for i in range(10):
            row = table.row
            row["n"], row["x"] = i, i / 2
            row.append()


def by_netcdf(path):
    with netCDF4.Dataset(path, "w") as f:
        f.createDimension("t", None)
        f.createDimension("x", 10)
        f.createVariable("data", "f8", ("t", "x"))[:] = DATA
        f.title = "made by netCDF4"


def check_h5py(folder):
    by_h5py("a.h5")
    with tables.open_file("a.h5") as f:
        assert (f.root.data[:] == DATA).all() and f.root._v_attrs.made in ("h5py", b"h5py")
    with netCDF4.Dataset("a.h5") as f:
        assert (f["data"][:] == DATA).all()


def check_tables(folder):
    by_tables("b.h5")
    with tables.open_file("b.h5") as f:
        assert [r["n"] for r in f.root.table.where("x > 3")] == [7, 8, 9]
        assert [n._v_name for n in f.walk_nodes("/")] == ["/", "data", "table"]
    with h5py.File("b.h5") as f:
        assert (f["data"][:] == DATA).all() and f["table"]["n"].tolist() == list(range(10))


def check_threads(folder):
    # PyTables documents that each thread needs a handle of its own, and a lock for opening and closing. Both with and
    # without the lock.
    if tuple(map(int, tables.__version__.split(".")[:2])) < (3, 11):
        return  # the libhdf5 of earlier wheels is not made for threads
    with tables.open_file("shared.h5", "w") as f:
        f.create_carray("/", "data", obj=np.arange(100_000).reshape(1000, 100), chunkshape=(50, 100),
                        filters=tables.Filters(5, "zlib"))

    def part(lock, name, start):
        with lock:
            f = tables.open_file(name)
        try:
            return int(f.root.data[start:start + 100].sum())
        finally:
            with lock:
                f.close()

    # PyTables reads every handle of the same name, even one that another thread is closing and that has no mode any
    # more (open_file and File.close in its file.py). So without a lock each thread spells the name in its own way.
    own_names = ["./" * i + "shared.h5" for i in range(10)]
    for lock, names in ((threading.Lock(), ["shared.h5"] * 10), (contextlib.nullcontext(), own_names)):
        for _ in range(5):
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                sums = pool.map(part, [lock] * 10, names, range(0, 1000, 100))
                assert sum(sums) == 100_000 * 99_999 // 2


def check_descriptor(folder):
    # pandas' HDFStore.flush(fsync=True) gets it from PyTables.
    with tables.open_file("d.h5", "w") as f:
        f.create_array("/", "data", DATA)
        f.flush()
        assert os.fstat(f.fileno()).st_ino == os.stat("d.h5").st_ino
        os.fsync(f.fileno())


def check_netcdf(folder):
    by_netcdf("c.nc")
    with netCDF4.Dataset("c.nc", "a") as f:
        f["data"][6, :] = -1
        assert f.dimensions["t"].isunlimited() and len(f.dimensions["t"]) == 7
    with h5py.File("c.nc") as f:
        assert (f["data"][:6] == DATA).all() and (f["data"][6] == -1).all()
        assert f["data"].dims[0][0] == f["t"]


def check_together(folder):
    # All three hold a file open at once, and one of them a native file in memory too.
    with h5py.File("h.h5", "w") as h, tables.open_file("t.h5", "w") as t, netCDF4.Dataset("n.nc", "w") as n, \
            h5py.File("core", "w", driver="core", backing_store=False) as core:
        for i in range(5):
            h[f"d{i}"] = DATA + i
            t.create_array("/", f"d{i}", DATA + i)
            n.createDimension(f"x{i}", 10)
            n.createVariable(f"d{i}", "f8", (f"x{i}",))[:] = DATA[i]
            core[f"d{i}"] = DATA
        assert len(h) == 5 and len(core) == 5 and len(t.list_nodes("/")) == 5 and len(n.variables) == 5
    with h5py.File("h.h5") as h, h5py.File("t.h5") as t, h5py.File("n.nc") as n:
        assert (h["d4"][:] == DATA + 4).all() and (t["d4"][:] == DATA + 4).all() and (n["d4"][:] == DATA[4]).all()


main(globals())
