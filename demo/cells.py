"""A native HDF5 file of single-cell measurements, copied and compared: plain h5py, which knows of no connector.

    cells.py copy SOURCE FILE
    cells.py compare SOURCE FILE     compares every dataset and attribute
"""

import sys

import h5py
import numpy as np


def copy(source, target):
    """Copies the whole content of a file; returns the number of objects."""
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
        return objects(new)


def objects(file):
    """Returns the number of groups and datasets in a file."""
    names = []
    file.visit(names.append)
    return len(names)


def same(first, second):
    """Returns whether two values are equal, where NaN is equal to NaN."""
    first, second = np.asarray(first), np.asarray(second)
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if first.dtype.kind == "V":
        return first.tobytes() == second.tobytes()  # compounds, which may contain NaN
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"))


def compare(source, target):
    """Compares two files; returns the number of equal objects."""
    with h5py.File(source, "r") as old, h5py.File(target, "r") as new:
        assert objects(old) == objects(new), "other objects"

        def check(name, one):
            other = new[name]
            assert type(one) is type(other), name
            if isinstance(one, h5py.Dataset):
                assert one.dtype == other.dtype and same(one[()], other[()]), f"{name}: other data"
                assert (one.chunks, one.compression) == (other.chunks, other.compression), f"{name}: other layout"
            assert list(one.attrs) == list(other.attrs), f"{name}: other attributes"
            for key, value in one.attrs.items():
                assert same(value, other.attrs[key]), f"{name}: attribute {key} differs"

        old.visititems(check)
        return objects(new)


if __name__ == "__main__":
    print({"copy": copy, "compare": compare}[sys.argv[1]](*sys.argv[2:]))
