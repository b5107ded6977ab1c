"""Threads that read one file with h5py, through one handle and through their own, while one writes another file."""

import concurrent.futures
import threading

import h5py
import numpy as np
from cases import main, same

ROWS = np.arange(200_000, dtype="i4").reshape(2000, 100)


def check_many_threads_read(folder):
    with h5py.File("shared.h5", "w") as f:
        f.create_dataset("x", data=ROWS, chunks=(50, 100), compression="gzip")
        f.create_dataset("words", data=[f"word {n}" for n in range(500)], dtype=h5py.string_dtype())
        for n in range(50):
            f.create_group(f"g{n}").attrs["n"] = n
    stop = threading.Event()

    def write():
        n = 0
        with h5py.File("other.h5", "w") as f:
            d = f.create_dataset("y", (0,), maxshape=(None,), dtype="i8", chunks=(100,))
            while not stop.is_set():
                d.resize((n + 1,))
                d[n] = n
                f.flush()
                n += 1
        return n

    def read(job):
        kind, n = job % 4, job % 50
        if kind == 0:
            return same(common["x"][n * 40 : n * 40 + 40], ROWS[n * 40 : n * 40 + 40])
        if kind == 1:
            with h5py.File("shared.h5", "r") as own:
                return same(own["x"][::97, n], ROWS[::97, n])
        if kind == 2:
            assert common["words"].asstr()[n * 10] == f"word {n * 10}"
            return None
        assert sorted(common)[n] in common and common[f"g{n}"].attrs["n"] == n
        return None

    with h5py.File("shared.h5", "r") as common, concurrent.futures.ThreadPoolExecutor(9) as pool:
        writer = pool.submit(write)
        try:
            list(pool.map(read, range(800)))
        finally:
            stop.set()
        written = writer.result()
    with h5py.File("other.h5", "r") as f:
        assert written > 5
        same(f["y"][:], np.arange(written, dtype="i8"))


if __name__ == "__main__":
    main(globals())
