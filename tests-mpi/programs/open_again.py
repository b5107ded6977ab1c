"""A file is opened again collectively: for reading, for changes, and with collective metadata. Failures are reported
to all processes."""

import sys

import numpy as np

NAME = "again.h5"


def together():
    from mpi4py import MPI
    import h5py

    comm = MPI.COMM_WORLD
    rank, size = comm.rank, comm.size
    with h5py.File(NAME, "w", driver="mpio", comm=comm) as f:
        f.create_dataset("x", (size * 1000,), "i4")[rank * 1000 : (rank + 1) * 1000] = rank
    with h5py.File(NAME, "r", driver="mpio", comm=comm) as f:
        np.testing.assert_array_equal(f["x"][:], np.repeat(np.arange(size), 1000))
        try:
            f.create_group("no")
        except ValueError:
            pass
        else:
            raise AssertionError("a file opened to read was changed")
    for n in range(3):
        with h5py.File(NAME, "r+", driver="mpio", comm=comm) as f:
            f.create_dataset(f"round{n}", data=np.full(10, n))
            f["x"][rank * 1000 + n] = -1
    # Programs in C request collective metadata in this way.
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_mpio(comm, MPI.Info())
    access.set_all_coll_metadata_ops(True) if hasattr(access, "set_all_coll_metadata_ops") else None
    with h5py.File(h5py.h5f.open(NAME.encode(), h5py.h5f.ACC_RDWR, access)) as f:
        assert sorted(f) == ["round0", "round1", "round2", "x"], list(f)
        f["round0"].attrs["n"] = 7
        f.move("round2", "moved")
    # Each open fails in the same way in all processes, and no process hangs.
    for mode, name in (("r", "missing.h5"), ("w", "missing/folder.h5"), ("x", NAME)):
        try:
            h5py.File(name, mode, driver="mpio", comm=comm)
        except OSError:
            comm.Barrier()
        else:
            raise AssertionError(f"{name} was opened")
    # Each half of the processes has a separate file.
    half = comm.Split(rank % 2, rank)
    with h5py.File(f"half{rank % 2}.h5", "w", driver="mpio", comm=half) as f:
        f.create_dataset("x", (half.size,), "i4")[half.rank] = rank
    half.Free()


def after(ranks):
    import h5py

    with h5py.File(NAME, "r") as f:
        assert sorted(f) == ["moved", "round0", "round1", "x"] and f["round0"].attrs["n"] == 7
        x = np.repeat(np.arange(ranks), 1000)
        for n in range(3):
            x[np.arange(ranks) * 1000 + n] = -1
        np.testing.assert_array_equal(f["x"][:], x)
        np.testing.assert_array_equal(f["moved"][:], np.full(10, 2))
    for half in (0, 1):
        with h5py.File(f"half{half}.h5", "r") as f:
            assert f["x"][:].tolist() == list(range(half, ranks, 2))


together() if sys.argv[1] == "together" else after(int(sys.argv[2]))
