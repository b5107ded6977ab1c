"""Runs a program's cases: write_NAME(f) and read_NAME(f) in two processes on one file, check_NAME(folder) in one
process. The programs are ordinary h5py programs."""

import os
import re
import signal
import subprocess
import sys
import time
import traceback
import zlib
from pathlib import Path

# A short run tries every PART-th case of the longest series of random cases.
PART = int(os.environ.get("H5LAKE_TEST_PART", "1"))
# True if files are containers unless a case asks for native files. The programs also run on native HDF5.
OURS = os.environ.get("HDF5_VOL_CONNECTOR", "").split(" ")[0] == "h5lake"
# True if containers are objects of a store unless a case asks for files.
IN_STORE = "store=" in os.environ.get("HDF5_VOL_CONNECTOR", "")


def hdf5_path():
    """Returns the path of the libhdf5 that h5py has loaded, for functions that h5py lacks and that are called by
    ctypes."""
    import h5py

    h5py.h5.get_libversion()
    mapped = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line)}
    return next(path for path in mapped if "_hl" not in path)


def part_of(cases, part=PART):
    """Returns the cases of a short run: the same each time, and not at a fixed interval."""
    return [case for n, case in enumerate(cases) if zlib.crc32(b"%d" % n) % part == 0]


def deleting(path):
    """Returns a program that deletes a container and prints 0, or fails. H5Fdelete is not among h5py's functions, so
    that it is called in the libhdf5 that h5py has loaded."""
    return f"""
import ctypes, re, h5py
h5py.h5.get_libversion()
mapped = {{line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line)}}
hdf5 = ctypes.CDLL(next(path for path in mapped if "_hl" not in path))
hdf5.H5Fdelete.argtypes, hdf5.H5Fdelete.restype = [ctypes.c_char_p, ctypes.c_int64], ctypes.c_int
status = hdf5.H5Fdelete({os.fsencode(path)!r}, 0)
print(status)
assert status == 0
"""


def _run(kind, name, function, folder):
    import h5py

    path = folder / f"{name}.h5"
    begun = time.monotonic()
    try:
        if kind == "check":
            (folder / name).mkdir(exist_ok=True)
            os.chdir(folder / name)
            function(folder / name)
        else:
            with h5py.File(path, "w" if kind == "write" else "r") as file:
                function(file)
    except BaseException:  # noqa: BLE001 - the outcome is data here
        traceback.print_exc(file=sys.stdout)
        outcome = "failed"
    else:
        outcome = "passed"
    print(f"\n{outcome} {kind}_{name} {time.monotonic() - begun:.3f}", flush=True)


def main(scope):
    """`program FOLDER CASE...`, each case being the name of a function."""
    for full in sys.argv[2:]:
        kind, name = full.split("_", 1)
        print(f"\nrunning {full}", flush=True)
        _run(kind, name, scope[full], Path(sys.argv[1]))


def files_in(folder):
    """Returns the size and time (ns) of each file below a folder, by path. Other processes may create and delete
    files and folders meanwhile: files that disappear during the walk are left out."""
    found = {}
    for place, _, names in os.walk(folder):  # skips a folder that is gone; Path.rglob raises
        for path in (Path(place) / name for name in names):
            try:
                found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
    return found


def bytes_in(folder):
    """Returns the total size in bytes of the files below a folder."""
    return sum(size for size, _ in files_in(folder).values())


def killed_midway(start, folder, more, is_done, how=signal.SIGKILL):
    """Kills the process that `start()` returns once the files below a folder have `more` additional bytes. Returns
    whether the work was still under way: on a busy machine the process may end first, or be killed after its last
    step. Callers try again."""
    until, process = bytes_in(folder) + more, start()
    while bytes_in(folder) < until and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(how)
    return process.wait() != 0 and not is_done()


def is_container(name):
    """Returns whether the tool finds a complete container under a name."""
    return subprocess.run([os.environ["TOOL"], "ls", name], capture_output=True, timeout=120).returncode == 0


def raises(kind, function, *args, **kwargs):
    """Asserts that a call raises exactly `kind`, and returns the exception."""
    try:
        function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def same(got, wanted):
    """Asserts that two arrays are equal to the bit, types and shapes included, NaN equal to NaN."""
    import numpy as np

    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype, f"type {got.dtype}, wanted {wanted.dtype}"
    assert got.shape == wanted.shape, f"shape {got.shape}, wanted {wanted.shape}"
    np.testing.assert_array_equal(got, wanted)
