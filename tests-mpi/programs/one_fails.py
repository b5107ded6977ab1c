"""The failure of one process is reported to all processes, and no process hangs.

In this test, one process has invalid settings.
"""

import os
import sys

NAME = "fails.h5"


def together():
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    ours = "h5lake" in os.environ.get("HDF5_VOL_CONNECTOR", "")
    if comm.rank == comm.size - 1:
        os.environ["H5LAKE_CACHE"] = "nonsense"  # read when HDF5 starts
    import h5py

    for mode in ("w", "r") if ours else ():
        try:
            h5py.File("bad.h5", mode, driver="mpio", comm=comm)
        except OSError as error:
            assert "H5LAKE_CACHE" in str(error), error
            assert comm.rank == comm.size - 1 or f"process {comm.size - 1}" in str(error), error
        else:
            raise AssertionError("a file was opened in spite of bad settings")
        comm.Barrier()
        assert not os.path.exists("bad.h5")
    # The processes with valid settings can continue without the other process.
    able = comm.Split(comm.rank == comm.size - 1, comm.rank)
    if not ours or comm.rank < comm.size - 1:
        with h5py.File(NAME if comm.rank < comm.size - 1 else "other.h5", "w", driver="mpio", comm=able) as f:
            f.create_dataset("x", (able.size,), "i4")[able.rank] = able.rank
    able.Free()


def after(ranks):
    import h5py

    with h5py.File(NAME, "r") as f:
        assert f["x"][:].tolist() == list(range(ranks - 1))


together() if sys.argv[1] == "together" else after(int(sys.argv[2]))
