"""Programs that end without closing their files, and processes that are started while files are open."""

import os
import signal
import subprocess
import sys
from multiprocessing import get_context

import h5py
import numpy as np
from cases import main, same

SPAWN = get_context("spawn")

WRITE = """
import os, signal, sys
import h5py
f = h5py.File("left.h5", "w")
d = f.create_dataset("x", (10,), "i4", chunks=(4,))
d[:] = 1
f.attrs["n"] = 1
f.flush()
"""


def left(ending):
    """Returns the content of a file that a program left open."""
    code = subprocess.run([sys.executable, "-c", WRITE + ending]).returncode
    with h5py.File("left.h5", "r") as f:
        found = f["x"][:].tolist(), {k: int(v) for k, v in f.attrs.items()}, sorted(f)
    return code, found


FLUSHED = ([1] * 10, {"n": 1}, ["x"])


def check_normal_end(folder):
    # HDF5 closes the open files when a program ends, including those that a global or a cycle refers to.
    for ending in ("d[0] = 2; f.attrs['m'] = 3; g = f.create_group('g')", "d[0] = 2; f.attrs['m'] = 3; f['g'] = f['x']; sys.exit(0)",
                   "d[0] = 2; f.attrs['m'] = 3; f.create_group('g'); h5py.h5i.inc_ref(f.id); h5py.h5i.inc_ref(d.id)",
                   "d[0] = 2; f.attrs['m'] = 3; cycle = [f]; cycle.append(cycle); f.create_group('g')"):
        assert left(ending) == (0, ([2] + [1] * 9, {"n": 1, "m": 3}, ["g", "x"])), ending


def check_exception(folder):
    code, found = left("d[0] = 2; f.attrs['m'] = 3; f.create_group('g'); raise RuntimeError('at the end')")
    assert (code, found) == (1, ([2] + [1] * 9, {"n": 1, "m": 3}, ["g", "x"]))


def check_flushed_and_nothing_after(folder):
    # Native HDF5 may write metadata at any time, but flushed data is always present.
    for ending, code in (("os._exit(5)", 5), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
                         ("os.abort()", -signal.SIGABRT)):
        assert left(ending) == (code, FLUSHED), ending


def total(name):
    with h5py.File(name, "r") as f:
        return int(f["x"][:].sum())


def check_spawned_readers(folder):
    with h5py.File("shared.h5", "w") as f:
        f["x"] = np.arange(1000)
    with h5py.File("shared.h5", "r") as f, SPAWN.Pool(3) as pool:
        assert pool.map(total, ["shared.h5"] * 12) == [499500] * 12
        same(f["x"][:], np.arange(1000))


if __name__ == "__main__":
    main(globals())
