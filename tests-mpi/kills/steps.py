"""Writes the number of each step into all parts of three datasets, in collective calls, and flushes after each step.
The first process prints the ids of all processes. Runs until it is killed, or for so many steps.

    mpiexec -n 4 python steps.py FILE STEPS
"""

import os
import sys

import h5py
from mpi4py import MPI

EACH = 3000
comm = MPI.COMM_WORLD
name, steps = sys.argv[1], int(sys.argv[2])
with h5py.File(name, "w", driver="mpio", comm=comm) as f:
    # Parts of several processes are in one chunk, and one dataset is filtered.
    layouts = dict(plain=dict(chunks=(1024,)), packed=dict(chunks=(700,), compression="gzip"), whole={})
    datasets = [f.create_dataset(key, (comm.size * EACH,), "i4", **layout) for key, layout in layouts.items()]
    f.flush()
    ids = comm.gather(os.getpid())
    if comm.rank == 0:
        print(*ids, flush=True)
    for step in range(1, steps + 1):
        for dataset in datasets:
            with dataset.collective:
                dataset[comm.rank * EACH:(comm.rank + 1) * EACH] = step
        f.flush()
