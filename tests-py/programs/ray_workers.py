"""Eight workers of Ray write one container at once, as dask's do in dask_workers. Ray's wheel is large, so that this
program runs only if it is named."""
# only: h5lake
# requires: ray.txt
# run: alone

import os
import sys
import tempfile

os.environ.setdefault("H5LAKE_WRITERS", "many")
# A task must find worker_tasks in its worker.
os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(os.path.abspath(__file__)), *sys.path[1:]])

import ray  # noqa: E402
import worker_tasks  # noqa: E402
from cases import main  # noqa: E402


@ray.remote(num_cpus=1, max_retries=10)
def call(task, n):
    return task(n)


def run(task, numbers):
    """Runs the tasks with one processor each, so that each task has a process of its own."""
    return ray.get([call.remote(task, n) for n in numbers])


def start(task, numbers):
    futures = [call.remote(task, n) for n in numbers]

    def results(seconds):
        waiting = ray.wait(futures, num_returns=len(futures), timeout=seconds)[1]
        return None if waiting else ray.get(futures)

    return results


def check_disjoint_regions(folder):
    worker_tasks.disjoint_regions(folder, run)


def check_overlapping_regions(folder):
    worker_tasks.overlapping_regions(folder, run)


def check_killed_workers(folder):
    worker_tasks.killed_workers(folder, start)


def check_the_recipe_of_the_page(folder):
    worker_tasks.recipe(folder, "Ray", RAY_ADDRESS=ray.get_runtime_context().gcs_address)


if __name__ == "__main__":
    # The paths of Ray's sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as scratch:
        ray.init(num_cpus=worker_tasks.WORKERS, include_dashboard=False, _temp_dir=scratch, log_to_driver=False,
                 object_store_memory=100 * 2**20)
        main(dict(globals()))
        ray.shutdown()
