"""One case of the benchmark of stores, in a process of its own. Prints the seconds of the timed part.

    worker.py CASE PREFIX"""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext

import h5py
import numpy as np

SMALL, MANY, COMMITS, MIB = 10_000, 100_000, 1_000, 1 << 20
WORKERS, TASKS = 8, 5
seconds = 0.0


@contextmanager
def timed():
    """Adds the time of a block to the result of the case."""
    global seconds
    begun = time.perf_counter()
    yield
    seconds += time.perf_counter() - begun


def file(name, mode="r"):
    """Opens a container of the benchmark."""
    return h5py.File(name, mode)


def tool(*arguments):
    """Runs the tool h5lake."""
    with timed():
        subprocess.run([os.environ["TOOL"], *arguments], check=True, stdout=subprocess.DEVNULL)


def datasets(name, count):
    """Makes a container with small datasets, 100 in each group."""
    with file(name, "w") as f:
        for i in range(count):
            if i % 100 == 0:
                group = f.create_group(f"g{i // 100:04}")
            group[f"d{i:06}"] = np.arange(i, i + 10)


def checked(f, i):
    """Reads a small dataset."""
    assert f[f"g{i // 100:04}/d{i:06}"][3] == i + 3


def make():
    """Makes what the other cases read."""
    datasets("small.h5", SMALL)
    datasets("many.h5", MANY)
    with file("plain.h5", "w") as f:
        f["x"] = np.arange(MIB)
        f["x"].attrs["a"] = 1
        f.create_dataset("log", (0,), "u1", maxshape=(None,), chunks=(65536,))
    with file("array.h5", "w") as f:
        f["x"] = np.random.default_rng(1).random(8 * MIB)
    with file("versions.h5", "w") as f:
        for i in range(COMMITS):
            f.attrs["i"] = i
            f.flush()


def scattered():
    """200 of 10,000 small datasets, scattered."""
    chosen = np.random.default_rng(2).permutation(SMALL)[:200].tolist()
    with timed(), file("small.h5") as f:
        for i in chosen:
            checked(f, i)


def in_order():
    """All of 10,000 small datasets, in order."""
    with timed(), file("small.h5") as f:
        for i in range(SMALL):
            checked(f, i)


def reopen():
    """Open, change an attribute, close."""
    with timed(), file("plain.h5", "r+") as f:
        f.attrs["k"] = 1


def reopen_often():
    """Open, change an attribute, close, after the probe."""
    for i in range(21):
        with timed() if i else nullcontext(), file("plain.h5", "r+") as f:
            f.attrs["k"] = i
    return 20


def refresh():
    """Refresh with nothing new."""
    with h5py.File("plain.h5", "r", swmr=True) as f:
        x = f["x"]
        x.id.refresh()
        with timed():
            x.id.refresh()


def versions():
    """h5lake versions, of 1,000."""
    tool("versions", "versions.h5")


def old_version():
    """Open @v=500 of 1,000 versions."""
    with timed(), file("versions.h5@v=500") as f:
        assert f.attrs["i"] > 480


def created():
    """10,000 new small datasets."""
    with timed():
        datasets("new.h5", SMALL)


def listed():
    """Names of 100,000 datasets, by a program."""
    with timed(), file("many.h5") as f:
        assert sum(len(list(group)) for group in f.values()) == MANY


def ls():
    """h5lake ls, of 100,000 datasets."""
    tool("ls", "many.h5")


def many_in_order():
    """100,000 small datasets, in order."""
    with timed(), file("many.h5") as f:
        for i in range(MANY):
            checked(f, i)


def copy():
    """h5lake copy of 100,000 datasets to a local file."""
    tool("copy", "many.h5", f"file:{os.getcwd()}/copy{os.getpid()}.h5")


def verify():
    """h5lake verify of 100,000 datasets."""
    tool("verify", "many.h5")


def look():
    """Open, read a slice and an attribute."""
    with timed(), file("plain.h5") as f:
        assert f["x"][500_000:500_100][5] == 500_005 and f["x"].attrs["a"] == 1


def append():
    """Append 4 KiB and flush."""
    with file("plain.h5", "r+") as f:
        log = f["log"]
        for i in range(6):
            if i:
                with timed():
                    log.resize((len(log) + 4096,))
                    log[-4096:] = 7
                    f.flush()
            else:
                f.attrs["first"] = 1
                f.flush()
    return 5


def attribute():
    """An attribute and flush."""
    with file("plain.h5", "r+") as f:
        f.attrs["n"] = -1
        f.flush()
        for i in range(5):
            with timed():
                f.attrs["n"] = i
                f.flush()
    return 5


def task(k):
    """Opens, writes 80 KB, flushes, closes."""
    with file("tasks.h5", "r+") as f:
        f["x"][k] = np.full(10_000, k, "f8")
        f.flush()


def tasks():
    """A task that opens, writes 80 KB, flushes and closes; eight workers."""
    with file("tasks.h5", "w") as f:
        f.create_dataset("x", (WORKERS * TASKS, 10_000), "f8", chunks=(1, 10_000))
    with timed(), ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(task, range(WORKERS * TASKS)))
    return WORKERS * TASKS


def read_all():
    """Read 64 MiB."""
    out = np.empty(8 * MIB)
    with timed(), file("array.h5") as f:
        f["x"].read_direct(out)


def write_all():
    """Write 64 MiB."""
    data = np.random.default_rng(3).random(8 * MIB)
    with timed(), file("written.h5", "w") as f:
        f["x"] = data


CASES = {case.__name__: case for case in (
    scattered, in_order, reopen, reopen_often, refresh, versions, old_version, created, listed, ls, many_in_order, copy, verify, look,
    append, attribute, tasks, read_all, write_all)}

if __name__ == "__main__":
    case, folder = sys.argv[1:]
    os.chdir(folder)
    times = {"make": make, **CASES}[case]() or 1
    print(seconds / times, times)
