"""Tests independent and collective transfers, with contiguous and chunked datasets.

Several processes share chunks. Attributes and groups are created collectively. Data that was flushed collectively is
read by all processes.
"""

import sys

import numpy as np

NAME = "transfers.h5"
ROWS, COLUMNS = 40, 30


def wanted(ranks):
    """Returns the elements. The processes own the rows in turn, so that every chunk contains elements of every
    process."""
    return (np.arange(ROWS)[:, None] % ranks) * 1000.0 + np.arange(COLUMNS)


def together():
    from mpi4py import MPI
    import h5py

    comm = MPI.COMM_WORLD
    rank, size = comm.rank, comm.size
    whole = wanted(size)
    with h5py.File(NAME, "w", driver="mpio", comm=comm) as f:
        f.attrs["title"] = "written together"
        f.attrs["ranks"] = size
        group = f.create_group("deep/er")
        independent = group.create_dataset("independent", (ROWS, COLUMNS), "f8")
        chunked = group.create_dataset("chunked", (ROWS, COLUMNS), "f4", chunks=(7, 8))
        collective = f.create_dataset("collective", (ROWS, COLUMNS), "f8", chunks=(16, 16))
        filtered = f.create_dataset("filtered", (ROWS, COLUMNS), "i8", chunks=(16, 16), compression="gzip", shuffle=True)
        for row in range(rank, ROWS, size):
            independent[row] = whole[row]
            chunked[row] = whole[row]
        with collective.collective:
            collective[rank::size] = whole[rank::size]
        with filtered.collective:
            filtered[rank::size] = whole[rank::size].astype("i8")
        # Only one process writes.
        only = f.create_dataset("only", (size,), "i4", fillvalue=-1)
        if rank == size - 1:
            only[rank] = 42
        f.flush()
        comm.Barrier()
        for d in (independent, chunked, collective, filtered):
            np.testing.assert_array_equal(d[...], whole)
            with d.collective:
                np.testing.assert_array_equal(d[3:9], whole[3:9])
        # Changes after a flush, by all processes at once, and in turn.
        grown = f.create_dataset("grown", (0,), "i8", maxshape=(None,), chunks=(5,))
        for n in range(3):
            grown.resize(((n + 1) * size,))
            grown[n * size + rank] = n * size + rank
            f.flush()
        del f["only"]
        f["link"] = h5py.SoftLink("/deep/er/chunked")
        f["deep"].attrs.create("text", "ä" * 6000)
        f["deep"].attrs["words"] = np.array(["a", "bc", "def"], dtype=object)


def after(ranks):
    import h5py

    whole = wanted(ranks)
    with h5py.File(NAME, "r") as f:
        assert sorted(f) == ["collective", "deep", "filtered", "grown", "link"], list(f)
        assert f.attrs["title"] == "written together" and f.attrs["ranks"] == ranks
        assert f["deep"].attrs["text"] == "ä" * 6000
        assert list(f["deep"].attrs["words"]) == ["a", "bc", "def"]
        for name in ("deep/er/independent", "link", "collective", "filtered"):
            np.testing.assert_array_equal(f[name][...], whole)
        np.testing.assert_array_equal(f["grown"][...], np.arange(3 * ranks))
    # A single process continues with the file.
    with h5py.File(NAME, "r+") as f:
        f["grown"][0] = -5
        f.create_group("alone")
    with h5py.File(NAME, "r") as f:
        assert f["grown"][0] == -5 and "alone" in f


together() if sys.argv[1] == "together" else after(int(sys.argv[2]))
