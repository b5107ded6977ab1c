"""Optional operations without functions in h5py behave as in native HDF5. They are called in the libhdf5 that h5py has loaded."""

import ctypes

import h5py
import numpy as np
from cases import hdf5_path, main

OBJECT, DATASET, FILE = 9, 4, 6  # H5VL_subclass_t
ID, SIZE = ctypes.c_int64, ctypes.c_size_t


def hdf5():
    return ctypes.CDLL(hdf5_path())


def file(name):
    f = h5py.File(name, "w")
    f.create_dataset("x", data=np.arange(100, dtype="i4"), chunks=(50,))
    f.flush()
    return f


def check_a_chunk_in_a_buffer_of_another_size(_):
    """The call returns the size and the mask, and does not read a chunk that does not fit into the buffer."""
    library = hdf5()
    if not hasattr(library, "H5Dread_chunk2"):
        return  # HDF5 1.14 takes no size
    with file("chunk.h5") as f:
        d = f["x"]
        for room, is_read in (0, False), (10, False), (199, False), (200, True), (300, True):
            buffer, size = ctypes.create_string_buffer(b"." * 300, 300), SIZE(room)
            mask = ctypes.c_uint32(9)
            done = library.H5Dread_chunk2(ID(d.id.id), ID(0), (ctypes.c_uint64 * 1)(50), ctypes.byref(mask), buffer, ctypes.byref(size))
            assert (done >= 0, size.value, mask.value) == (True, 200, 0), (room, done, size.value, mask.value)
            wanted = np.arange(50, 100, dtype="i4").tobytes() if is_read else b"." * 200
            assert buffer.raw == wanted + b"." * 100, room


def check_operations_that_work_are_supported(_):
    library = hdf5()
    with file("supported.h5") as f:
        d = f["x"]
        h5py.h5o.set_comment(d.id, b"a comment")
        text = ctypes.create_string_buffer(b"." * 10, 10)
        assert library.H5Oget_comment(ID(d.id.id), text, SIZE(9)) == 9 and text.raw == b"a comment."
        for of, kind, operations in (d, OBJECT, (0, 1)), (d, DATASET, (2, 3, 4, 5, 6, 7, 8)), (f, FILE, (1, 8, 13, 16, 20, 21, 28)):
            for operation in operations:
                flags = ctypes.c_uint64(0)
                done = library.H5VLquery_optional(ID(of.id.id), kind, operation, ctypes.byref(flags))
                assert done >= 0 and flags.value & 1, (kind, operation, done, flags.value)


def check_calls_that_change_nothing(_):
    library = hdf5()
    with file("changed.h5") as f:
        d = f["x"]
        assert library.H5Dformat_convert(ID(d.id.id)) >= 0 and library.H5Fformat_convert(ID(f.id.id)) >= 0
        assert library.H5Fincrement_filesize(ID(f.id.id), ctypes.c_uint64(1000)) >= 0
        enabled, now = ctypes.c_bool(True), ctypes.c_bool(True)
        assert library.H5Fget_mdc_logging_status(ID(f.id.id), ctypes.byref(enabled), ctypes.byref(now)) >= 0
        assert not enabled and not now
        address, length = ctypes.c_uint64(5), ctypes.c_uint64(5)
        assert library.H5Fget_mdc_image_info(ID(f.id.id), ctypes.byref(address), ctypes.byref(length)) >= 0
        assert (address.value, length.value) == (2**64 - 1, 0)
    with h5py.File("changed.h5") as f:
        assert list(f["x"]) == list(range(100))


main(globals())
