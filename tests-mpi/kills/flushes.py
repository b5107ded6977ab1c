"""Writes steps in several processes, which are committed before the flush too, because the processes read in between.

    python flushes.py FILE
"""

import sys

import h5py
from mpi4py import MPI

comm = MPI.COMM_WORLD
f = h5py.File(sys.argv[1], "w", driver="mpio", comm=comm)
x = f.create_dataset("x", (comm.size, 1000), "i4")


def write(step):
    with x.collective:
        x[comm.rank] = step


write(1)
f.flush()
write(2)
with x.collective:
    assert (x[...] == 2).all()
# Everything is committed already.
f.flush()
f.flush()
write(3)
with x.collective:
    assert (x[...] == 3).all()
write(4)
f.flush()
x[comm.rank] = 5
f.close()
