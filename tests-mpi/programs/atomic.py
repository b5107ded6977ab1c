"""Atomic mode: elements that one process has written are visible to the other processes without a flush."""

import sys

import numpy as np

NAME = "atomic.h5"
ROUNDS = 5


def together():
    from mpi4py import MPI
    import h5py

    comm = MPI.COMM_WORLD
    rank, size = comm.rank, comm.size
    f = h5py.File(NAME, "w", driver="mpio", comm=comm)
    assert f.atomic is False
    f.atomic = True
    assert f.atomic is True
    d = f.create_dataset("x", (size, 100), "i8")
    for n in range(ROUNDS):
        d[rank] = n * 100 + rank
        comm.Barrier()
        np.testing.assert_array_equal(d[:], n * 100 + np.arange(size)[:, None] + np.zeros((size, 100), "i8"))
        comm.Barrier()
    f.attrs["rounds"] = ROUNDS
    # A change of metadata is pending while elements are written.
    f.create_group("g")
    if rank == 0:
        d[0, 0] = -1
    comm.Barrier()
    assert d[0, 0] == -1
    f.atomic = False
    assert f.atomic is False
    f.close()


def after(ranks):
    import h5py

    with h5py.File(NAME, "r") as f:
        wanted = (ROUNDS - 1) * 100 + np.arange(ranks)[:, None] + np.zeros((ranks, 100), "i8")
        wanted[0, 0] = -1
        np.testing.assert_array_equal(f["x"][:], wanted)
        assert f.attrs["rounds"] == ROUNDS and "g" in f


together() if sys.argv[1] == "together" else after(int(sys.argv[2]))
