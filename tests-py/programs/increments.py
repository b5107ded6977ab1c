"""Read, modify, write: the loop of docs/design/030-snapshot-isolation.md, in several processes. No update is lost."""
# only: h5lake

import multiprocessing
import os

os.environ.setdefault("H5LAKE_WRITERS", "many")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main  # noqa: E402

spawn = multiprocessing.get_context("spawn")
WORKERS, TIMES = 4, 25


def again_until_committed(f, change):
    """Changes and flushes until no other writer committed first. Returns the number of conflicts."""
    tries = 0
    while True:
        change()
        try:
            f.flush()
            return tries
        except RuntimeError as error:
            assert "was changed by another writer" in str(error) and "read again and retry" in str(error), error
            tries += 1


def increment(work):
    what, _ = work
    with h5py.File(f"{what}.h5", "r+") as f:
        def change():
            if what == "element":
                f["n"][3] = f["n"][3] + 1
            elif what == "filtered":
                f["gzip"][70] = f["gzip"][70] + 1
            elif what == "attribute":
                f.attrs["n"] = f.attrs["n"] + 1
            else:
                end = len(f["log"])
                f["log"].resize((end + 1,))
                f["log"][end] = end

        return sum(again_until_committed(f, change) for _ in range(TIMES))


def count(what, read):
    with h5py.File(f"{what}.h5", "w") as f:
        f["n"] = np.zeros(10, "i8")
        f.create_dataset("gzip", (100,), "i4", chunks=(50,), compression="gzip")
        f.create_dataset("log", (0,), "i8", maxshape=(None,), chunks=(16,))
        f.attrs["n"] = 0
    with spawn.Pool(WORKERS) as pool:
        pool.map(increment, [(what, n) for n in range(WORKERS)], chunksize=1)
    with h5py.File(f"{what}.h5") as f:
        assert read(f) == WORKERS * TIMES, read(f)


def check_an_element(folder):
    count("element", lambda f: f["n"][3])


def check_an_element_of_a_filtered_chunk(folder):
    count("filtered", lambda f: f["gzip"][70])


def check_an_attribute(folder):
    count("attribute", lambda f: f.attrs["n"])


def check_rows_that_all_append(folder):
    count("log", lambda f: f["log"].size)
    with h5py.File("log.h5") as f:
        assert f["log"][:].tolist() == list(range(WORKERS * TIMES))


if __name__ == "__main__":
    main(dict(globals()))
