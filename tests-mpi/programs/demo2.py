"""The example in h5py's documentation: a dataset to which each process writes its own element. h5dump shows 0, 1, 2,
3."""

import os
import re
import subprocess
import sys

NAME = "parallel_test.h5"


def together():
    from mpi4py import MPI
    import h5py

    rank = MPI.COMM_WORLD.rank
    f = h5py.File(NAME, "w", driver="mpio", comm=MPI.COMM_WORLD)
    assert f.driver == "mpio"
    dset = f.create_dataset("test", (MPI.COMM_WORLD.size,), dtype="i")
    dset[rank] = rank
    f.close()


def after(ranks):
    run = subprocess.run([os.environ["H5DUMP"], NAME], capture_output=True, text=True)
    text = " ".join(run.stdout.split())
    assert run.returncode == 0, run
    assert f"DATATYPE H5T_STD_I32LE DATASPACE SIMPLE {{ ( {ranks} ) / ( {ranks} ) }}" in text, text
    assert re.search(r"\(0\): ([\d, ]+)", text)[1].strip() == ", ".join(map(str, range(ranks))), text


together() if sys.argv[1] == "together" else after(int(sys.argv[2]))
