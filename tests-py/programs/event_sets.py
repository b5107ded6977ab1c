"""Event sets of h5py's libhdf5. h5py has no event sets: the library's functions are called directly."""

import os

os.environ["H5LAKE_ASYNC"] = "on"  # before the library starts

import ctypes  # noqa: E402
import random  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import OURS, hdf5_path, main, same  # noqa: E402

ALL, DEFAULT, FOREVER = 0, 0, 2**64 - 1
ID, SIZE, POINTER = ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p
PLACE = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]  # the caller's file, function and line


def library():
    """Returns the libhdf5 of h5py. h5py's wheels are not thread-safe, so that calls keep the interpreter's lock."""
    found = ctypes.PyDLL(hdf5_path())
    for name, arguments, result in (
            ("H5EScreate", [], ID), ("H5ESclose", [ID], ctypes.c_int), ("H5ESget_count", [ID, POINTER], ctypes.c_int),
            ("H5ESwait", [ID, ctypes.c_uint64, POINTER, POINTER], ctypes.c_int),
            ("H5EScancel", [ID, POINTER, POINTER], ctypes.c_int),
            ("H5Dwrite_async", [*PLACE, ID, ID, ID, ID, ID, POINTER, ID], ctypes.c_int),
            ("H5Dread_async", [*PLACE, ID, ID, ID, ID, ID, POINTER, ID], ctypes.c_int),
            ("H5Dclose_async", [*PLACE, ID, ID], ctypes.c_int),
            ("H5Fflush_async", [*PLACE, ID, ctypes.c_int, ID], ctypes.c_int)):
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, result
    return found


HDF5 = library()
HERE = (b"event_sets.py", b"check", 1)


class Events:
    """An event set."""

    def __init__(self):
        self.id = HDF5.H5EScreate()
        assert self.id >= 0

    def write(self, dataset, values):
        kind = h5py.h5t.py_create(values.dtype)  # kept until the call
        assert HDF5.H5Dwrite_async(*HERE, dataset.id.id, kind.id, ALL, ALL, DEFAULT, values.ctypes.data, self.id) >= 0

    def read(self, dataset, values):
        kind = h5py.h5t.py_create(values.dtype)  # kept until the call
        assert HDF5.H5Dread_async(*HERE, dataset.id.id, kind.id, ALL, ALL, DEFAULT, values.ctypes.data, self.id) >= 0

    def flush(self, file):
        assert HDF5.H5Fflush_async(*HERE, file.id.id, 0, self.id) >= 0

    def count(self):
        count = SIZE()
        assert HDF5.H5ESget_count(self.id, ctypes.byref(count)) >= 0
        return count.value

    def wait(self, time=FOREVER):
        """Waits, and returns the number of unfinished operations."""
        left, failed = SIZE(), ctypes.c_bool()
        assert HDF5.H5ESwait(self.id, time, ctypes.byref(left), ctypes.byref(failed)) >= 0
        assert not failed.value
        return left.value

    def close(self):
        assert HDF5.H5ESclose(self.id) >= 0


def noise(count):
    return np.random.default_rng(count).integers(0, 2**63, count, "i8")


def check_order(folder):
    events, values, seen, few = Events(), noise(1 << 20), np.zeros(1 << 20, "i8"), np.arange(50, dtype="i4")
    with h5py.File("x.h5", "w") as f:
        big = f.create_dataset("big", values.shape, "i8", chunks=(1 << 16,), compression="gzip", compression_opts=1)
        small = f.create_dataset("small", (50,), "i8")
        events.write(big, values)
        events.write(small, few)
        events.flush(f)
        events.read(big, seen)
        assert events.count() == (4 if OURS else 0)
        same(small[:], few.astype("i8"))
        same(seen, values)
        assert events.wait() == 0 and events.count() == 0
    with h5py.File("x.h5") as f:
        same(f["big"][:], values)
    events.close()


def check_random_ends(folder):
    """Operations of several files end in any order while the program waits briefly again and again: none is lost."""
    chance, values = random.Random(7), noise(1 << 17)
    few = values[:16].copy()
    files = [h5py.File(f"{n}.h5", "w") for n in range(4)]
    quick = [f.create_dataset("quick", (16,), "i8") for f in files]
    slow = [f.create_dataset("slow", values.shape, "i8", chunks=(1 << 14,), compression="gzip") for f in files]
    for _round in range(15):
        events, begun = Events(), 0
        for _operation in range(30):
            before, n = events.count(), chance.randrange(4)
            kind = chance.randrange(8)
            if kind == 0:
                events.flush(files[n])
            elif kind == 1:
                events.write(slow[n], values)
            else:
                events.write(quick[n], few)
            begun += events.count() - before
            if chance.randrange(2):
                assert events.wait(chance.choice((0, 100_000, 2_000_000))) == events.count()
        assert begun == (30 if OURS else 0), begun
        assert events.wait() == 0 and events.count() == 0
        events.close()
    for f in files:
        same(f["quick"][:], few)
        f.close()


def check_closes_give_no_token(folder):
    events, values = Events(), noise(1 << 20)
    f = h5py.File("x.h5", "w")
    x = f.create_dataset("x", values.shape, "i8", chunks=(1 << 16,), compression="gzip")
    events.write(x, values)
    before = events.count()
    assert HDF5.H5Dclose_async(*HERE, x.id.id, events.id) >= 0
    assert events.count() == before
    f.close()
    with h5py.File("x.h5") as f:
        same(f["x"][:], values)
    assert events.wait() == 0
    events.close()


def check_program_ends_with_pending_writes(folder):
    code = """
import ctypes, os, sys
sys.path.insert(0, os.environ["HERE"])
import event_sets as e
f = e.h5py.File("x.h5", "w")
values = e.noise(1 << 20)
x = f.create_dataset("x", values.shape, "i8", chunks=(1 << 16,), compression="gzip")
f.flush()
events = e.Events()
ctypes.pythonapi.Py_IncRef(ctypes.py_object(values))  # the buffer outlives the interpreter
events.write(x, values)
events.flush(f)
"""
    here = os.path.dirname(os.path.abspath(__file__))
    for ending, code_of in (("", 0), ("; os._exit(3)", 3)):
        done = subprocess.run([sys.executable, "-c", code + "pass" + ending], env={**os.environ, "HERE": here})
        assert done.returncode == code_of, done
        with h5py.File("x.h5") as f:
            seen = f["x"][:]
        if not ending:
            same(seen, noise(1 << 20))


if __name__ == "__main__":
    main(globals())
