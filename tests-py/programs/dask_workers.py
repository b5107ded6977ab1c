"""Eight workers of dask, in processes, write one container at once: regions that are disjoint or overlap, and
workers that are killed during the work. This is the recipe of docs/many-machines.md.

WORKER_COMMITS is the number of commits of each worker in a case."""
# only: h5lake
# requires: loaders.txt
# run: alone

import contextlib
import os
import time

os.environ.setdefault("H5LAKE_WRITERS", "many")

import dask  # noqa: E402
import dask.array  # noqa: E402
import distributed  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import worker_tasks  # noqa: E402
from cases import main, same  # noqa: E402

STARTED = contextlib.ExitStack()


def client():
    """Returns the client of one cluster for all cases, because starting a worker takes a second."""
    if not hasattr(STARTED, "client"):
        # dask gives a task an error if its workers died too often.
        dask.config.set({"distributed.scheduler.allowed-failures": 10})
        cluster = STARTED.enter_context(distributed.LocalCluster(
            n_workers=worker_tasks.WORKERS, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=os.environ["TMPDIR"]))
        STARTED.client = STARTED.enter_context(distributed.Client(cluster))
    return STARTED.client


def run(task, numbers):
    """Runs each task on a worker of its own."""
    client().wait_for_workers(worker_tasks.WORKERS, timeout=60)
    names = list(client().scheduler_info(n_workers=-1)["workers"])
    return client().gather([client().submit(task, n, workers=[names[n]], pure=False) for n in numbers])


def start(task, numbers):
    """Starts the tasks. The scheduler chooses the workers, and chooses again when one dies. Each result is fetched
    as soon as it exists, because it would be lost with its worker."""
    futures, got = dict(zip(numbers, client().map(task, numbers, pure=False))), {}

    def results(seconds):
        time.sleep(seconds)
        for n, future in list(futures.items()):
            if future.done():
                with contextlib.suppress(distributed.TimeoutError):
                    got[n] = future.result(timeout=5)
                    del futures[n]
        return None if futures else [got[n] for n in numbers]

    return results


def check_disjoint_regions(folder):
    worker_tasks.disjoint_regions(folder, run)


def check_overlapping_regions(folder):
    worker_tasks.overlapping_regions(folder, run)


class Region:
    """The target of dask.array.store: each block is a commit of its worker."""

    def __init__(self, path, name):
        self.path, self.name = path, name

    def __setitem__(self, region, block):
        with h5py.File(self.path, "r+") as f:
            f[self.name][region] = block


def check_blocks_of_a_dask_array(folder):
    path, shape = str(folder / "blocks.h5"), (60, 70)
    with h5py.File(path, "w") as f:
        f.create_dataset("field", shape, "i8", chunks=(25, 30), compression="gzip")
    client()
    blocks = dask.array.arange(shape[0] * shape[1], chunks=-1).reshape(shape).rechunk((20, 20))
    dask.array.store(blocks, Region(path, "field"), lock=False)
    with h5py.File(path) as f:
        same(f["field"][:], np.arange(shape[0] * shape[1]).reshape(shape))


def check_the_recipe_of_the_page(folder):
    worker_tasks.recipe(folder, "Dask", DASK_SCHEDULER_ADDRESS=client().scheduler.address)


def check_killed_workers(folder):
    worker_tasks.killed_workers(folder, start)


if __name__ == "__main__":
    with STARTED:
        main(dict(globals()))
