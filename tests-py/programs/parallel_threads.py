"""Many threads open, read, refresh and close containers with h5lake.open while a writer commits in another process. The
memory of the process stays bounded, and no exception is unexpected."""
# only: h5lake
# schemes: file

import os
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
from cases import main
from parallel_reader import h5lake, outcome

ROWS = 400
WRITER = """
import sys, time, h5py, numpy as np
f = h5py.File("w.h5", "a")
end, n = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    n += 1
    f["x"][:] = np.full(f["x"].shape, n)
    f["grows"].resize((n % 50 + 1,))
    f["grows"][:] = n
    f["texts"][:] = [f"text {n}"] * 20
    f.attrs["n"] = n
    if n % 7 == 0:
        f.require_group("g").attrs["n"] = n
    elif n % 7 == 3 and "g" in f:
        del f["g"]
    f.flush()
print(n)
"""


def make(name):
    with h5py.File(name, "w") as f:
        f.create_dataset("x", (ROWS, 100), "i8", chunks=(50, 100), compression="gzip")
        f.create_dataset("grows", (1,), "i8", maxshape=(None,), chunks=(10,))
        f.create_dataset("texts", (20,), h5py.string_dtype())
        f.attrs["n"] = 0


def look(f):
    """Reads everything of one version; all of it has one number."""
    version = f.attrs["n"]
    whole = f["x"][:]
    assert (whole == whole[0, 0]).all(), np.unique(whole)
    texts = f["texts"][:]
    assert len(set(texts.tolist())) == 1
    assert len(set(f["grows"][:].tolist())) <= 1
    return version, whole[0, 0], texts[0]


def own(stop):
    """Opens, reads and closes a file of its own: all data is of one version."""
    while not stop.is_set():
        with h5lake.open("w.h5") as f:
            before = look(f)
            assert before[0] == before[1] and (before[2] == f"text {before[0]}".encode() or not before[0])
            f.refresh()
            assert look(f)[0] >= before[0]


def shared(f, stop):
    """Reads a file that other threads refresh meanwhile: each read is of one version."""
    x, texts = f["x"], f["texts"]
    while not stop.is_set():
        rows = x[:100]
        assert (rows == rows[0, 0]).all(), np.unique(rows)
        assert len(set(texts[:].tolist())) == 1
        "g" in f, list(f), f.attrs["n"], f["grows"].shape


def refreshing(f, stop):
    while not stop.is_set():
        f.refresh()
        time.sleep(0.005)


def closing(stop):
    """Closes files while other threads read them: the reads end, or fail with ValueError."""
    while not stop.is_set():
        f = h5lake.open("w.h5")
        x = f["x"]
        readers = [threading.Thread(target=lambda: [outcome(lambda: x[n]) for n in range(20)]) for _ in range(2)]
        for reader in readers:
            reader.start()
        f.close()
        for reader in readers:
            reader.join()


def check_threads_read_while_a_writer_commits(folder):
    make("w.h5")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, "8"], stdout=subprocess.PIPE, text=True)
    stop, failed = threading.Event(), []

    def guarded(function, *arguments):
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - the outcome is data here
            failed.append((function.__name__, repr(error)))
            stop.set()

    with h5lake.open("w.h5") as common:
        jobs = [(own, stop)] * 5 + [(shared, common, stop)] * 8 + [(refreshing, common, stop), (closing, stop), (closing, stop)]
        threads = [threading.Thread(target=guarded, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        written = int(writer.communicate()[0])
        stop.set()
        for thread in threads:
            thread.join()
        assert not failed, failed
        assert written > 5 and writer.returncode == 0
        common.refresh()
        assert common.attrs["n"] == written and (common["x"][:] == written).all()


def check_reads_beside_h5py_in_one_process(folder):
    """A writer of the same process: libhdf5's calls and the reader's calls run at the same time."""
    make("w.h5")
    stop = threading.Event()

    def read():
        count = 0
        while not stop.is_set():
            with h5lake.open("w.h5") as f:
                version, first, _ = look(f)
                assert version == first
                count += 1
        return count

    failed = []
    threads = [threading.Thread(target=lambda: failed.extend([error for error in [outcome(read)] if isinstance(error, BaseException)]))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    with h5py.File("w.h5", "a") as f:
        for n in range(1, 60):
            f["x"][:] = n
            f["texts"][:] = [f"text {n}"] * 20
            f.attrs["n"] = n
            f.flush()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed, failed


def check_memory_is_bounded(folder):
    """Many open files of one large container share the bound of the block cache."""
    with h5py.File("big.h5", "w") as f:
        f.create_dataset("x", data=np.random.default_rng(1).integers(0, 9, (256, 1 << 17)), chunks=(1, 1 << 17), compression="gzip",
                         compression_opts=1)
    resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")  # noqa: E731
    before = resident()
    files = [h5lake.open("big.h5") for _ in range(6)]
    for f in files:
        for _ in range(2):
            assert all(f["x"][n, 5] < 9 for n in range(256))
    assert resident() - before < 320 << 20, (resident() - before) >> 20


if __name__ == "__main__":
    main(globals())
