"""Event sets in every libhdf5 that the wheels of clients load into one process. The clients have no event sets: the
libraries' functions are called directly."""
# requires: clients.txt

import os

os.environ["H5LAKE_ASYNC"] = "on"  # before any library starts

import ctypes  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402

import h5py  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
import tables  # noqa: E402
from cases import OURS, main, same  # noqa: E402

ALL, DEFAULT, TRUNCATE, FOREVER = 0, 0, 2, 2**64 - 1
HERE = (b"client_event_sets.py", b"check", 1)  # the caller's file, function and line
ID, SIZE, POINTER, TEXT = ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
PLACE = [TEXT, TEXT, ctypes.c_uint]
FUNCTIONS = {
    "H5open": ([], ctypes.c_int), "H5Fcreate": ([TEXT, ctypes.c_uint, ID, ID], ID), "H5Fclose": ([ID], ctypes.c_int),
    "H5Screate_simple": ([ctypes.c_int, POINTER, POINTER], ID), "H5Pcreate": ([ID], ID),
    "H5Pset_chunk": ([ID, ctypes.c_int, POINTER], ctypes.c_int), "H5Pset_deflate": ([ID, ctypes.c_uint], ctypes.c_int),
    "H5Dcreate2": ([ID, TEXT, ID, ID, ID, ID, ID], ID), "H5Dclose": ([ID], ctypes.c_int),
    "H5Dread": ([ID, ID, ID, ID, ID, POINTER], ctypes.c_int), "H5EScreate": ([], ID), "H5ESclose": ([ID], ctypes.c_int),
    "H5ESget_count": ([ID, POINTER], ctypes.c_int), "H5ESwait": ([ID, ctypes.c_uint64, POINTER, POINTER], ctypes.c_int),
    "H5Dwrite_async": ([*PLACE, ID, ID, ID, ID, ID, POINTER, ID], ctypes.c_int),
    "H5Fflush_async": ([*PLACE, ID, ctypes.c_int, ID], ctypes.c_int)}


class Library:
    """One libhdf5. Few wheels have a thread-safe library, so that calls keep the interpreter's lock."""

    def __init__(self, path):
        self.path, library = path, ctypes.PyDLL(path)
        for name, (arguments, result) in FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, ctypes.c_int64 if result is ID else result
            setattr(self, name, self.checked(name, function))
        self.H5open()
        self.int64 = ID.in_dll(library, "H5T_NATIVE_INT64_g").value
        self.creation = ID.in_dll(library, "H5P_CLS_DATASET_CREATE_ID_g").value

    def checked(self, name, function):
        def call(*arguments):
            result = function(*arguments)
            assert result >= 0, f"{name} in {self.path}"
            return result
        return call

    def dataset(self, file, name, count, level=None):
        room = (ctypes.c_uint64 * 1)(count)
        properties = DEFAULT
        if level:
            properties = self.H5Pcreate(self.creation)
            self.H5Pset_chunk(properties, 1, (ctypes.c_uint64 * 1)(1 << 14))
            self.H5Pset_deflate(properties, level)
        return self.H5Dcreate2(file, name, self.int64, self.H5Screate_simple(1, room, None), DEFAULT, properties, DEFAULT)

    def count(self, events):
        count = SIZE()
        self.H5ESget_count(events, ctypes.byref(count))
        return count.value

    def wait(self, events, time):
        left, failed = SIZE(), ctypes.c_bool()
        self.H5ESwait(events, time, ctypes.byref(left), ctypes.byref(failed))
        assert not failed.value
        return left.value


def libraries():
    h5py.h5.get_libversion()
    mapped = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line)}
    found = [Library(path) for path in sorted(mapped) if "_hl" not in path]
    assert len(found) >= 2 and netCDF4 and tables, mapped
    return found


def ends_at_random(library, tag, chance):
    values = np.random.default_rng(3).integers(0, 2**63, 1 << 17, "i8")
    files = [library.H5Fcreate(f"{tag}-{n}.h5".encode(), TRUNCATE, DEFAULT, DEFAULT) for n in range(4)]
    quick = [library.dataset(file, b"quick", 16) for file in files]
    slow = [library.dataset(file, b"slow", len(values), 4) for file in files]
    for _round in range(8):
        events, begun = library.H5EScreate(), 0
        for _operation in range(30):
            before, n, kind = library.count(events), chance.randrange(4), chance.randrange(8)
            if kind == 0:
                library.H5Fflush_async(*HERE, files[n], 0, events)
            else:
                library.H5Dwrite_async(*HERE, slow[n] if kind == 1 else quick[n], library.int64, ALL, ALL, DEFAULT,
                                       values.ctypes.data, events)
            begun += library.count(events) - before
            if chance.randrange(2):
                assert library.wait(events, chance.choice((0, 100_000, 2_000_000))) == library.count(events)
        assert begun == (30 if OURS else 0), begun
        assert library.wait(events, FOREVER) == 0 and library.count(events) == 0
        library.H5ESclose(events)
    for n, file in enumerate(files):
        seen = np.zeros(16, "i8")
        library.H5Dread(quick[n], library.int64, ALL, ALL, DEFAULT, seen.ctypes.data)
        same(seen, values[:16])
        library.H5Dclose(quick[n])
        library.H5Dclose(slow[n])
        library.H5Fclose(file)


def check_random_ends_in_every_library(folder):
    """Operations of several files in one set end in any order while the program waits briefly again and again: none
    is lost."""
    chance = random.Random(11)
    for number, library in enumerate(libraries()):
        ends_at_random(library, number, chance)


if __name__ == "__main__":
    main(globals())
