"""The recipes of docs/many-machines.md, without their schedulers: each has the loop that repeats a batch after a
conflict. The task of the Slurm recipe runs unchanged: beside a writer that commits the same region first, and
twice for the same part."""
# only: h5lake

import os
import re
import subprocess
import sys

import h5py
import numpy as np
from cases import main, same
from worker_tasks import PAGE

MANY = {**os.environ, "H5LAKE_WRITERS": "many"}
# Another writer commits the same rows between the change and the first flush of the recipe.
RIVAL = """
import subprocess, sys
import h5py

plain = h5py.File.flush
rival = "import h5py, os; f = h5py.File(os.environ['RUN'], 'r+'); f['field'][2000:3000] = -1; f.close()"

def flush(f):
    h5py.File.flush = plain
    subprocess.run([sys.executable, "-c", rival], check=True)
    print("a rival was first")
    plain(f)

h5py.File.flush = flush
"""


def section(heading):
    return PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def program(heading):
    return re.search(r"```python\n(.*?)```", section(heading), re.S)[1]


def part(path, text, n=2):
    run = subprocess.run([sys.executable, "-c", text], env={**MANY, "RUN": path, "SLURM_ARRAY_TASK_ID": str(n)},
                         capture_output=True, text=True)
    assert run.returncode == 0, run
    return run.stdout


def create(path):
    with h5py.File(path, "w") as f:
        f.create_dataset("field", (16000, 100), "f8", chunks=(1000, 100), compression="gzip")


def values(path):
    with h5py.File(path, "r") as f:
        return f["field"][:, 0].reshape(16, 1000)


def check_each_recipe_repeats_a_batch_in_conflict(folder):
    loop = program("What happens at a conflict")
    assert "def commit(f, change):" in loop
    for heading in "Dask", "Ray", "Spark", "Slurm":
        assert loop in program(heading), f"{heading} has another loop"
        assert program(heading).count(".flush()") == 1, f"{heading} flushes beside the loop"


def check_a_part_of_a_job_beside_a_rival(folder):
    path = str(folder / "run.h5")
    create(path)
    assert "a rival was first" in part(path, RIVAL + program("Slurm"))
    wanted = np.zeros((16, 1000))
    wanted[2] = 3
    same(values(path), wanted)


def check_a_part_of_a_job_that_runs_twice(folder):
    path = str(folder / "run.h5")
    create(path)
    for n in 0, 15, 15, 0:
        part(path, program("Slurm"), n)
    wanted = np.zeros((16, 1000))
    wanted[0], wanted[15] = 1, 16
    same(values(path), wanted)


if __name__ == "__main__":
    main(dict(globals()))
