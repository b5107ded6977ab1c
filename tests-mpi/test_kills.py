"""Kills all processes of an MPI program at a random moment, while a reader looks on. Each version that the container
retains has one step in the parts of all processes.

H5LAKE_TEST_KILLS is the number of runs, H5LAKE_TEST_SEED the seed of the first one.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import cargo, connector as connectors, mpi
from harness.suite import Failure

KILLS = Path(__file__).resolve().parent / "kills"
RUNS = int(os.environ.get("H5LAKE_TEST_KILLS", "6"))
SEED = int(os.environ.get("H5LAKE_TEST_SEED", "1"))


def stop(process, pids, chance):
    """Kills all processes, in a random order and at random moments."""
    for pid in chance.sample(pids, len(pids)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        time.sleep(chance.choice([0, 0, 0.0005, 0.003]))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output(suite, env, folder, *command):
    done = subprocess.run([str(word) for word in (suite.python, *command)], env=env, cwd=folder, text=True,
                          capture_output=True, timeout=suite.limit)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {done.stderr[-1500:]}")
    return done.stdout.strip()


@pytest.mark.parametrize("seed", range(SEED, SEED + RUNS))
def test_killed_at_a_random_moment(suite, work, seed):
    if suite.connector.files == "native":
        pytest.skip("native HDF5: a killed program leaves a file that cannot be opened")
    chance = random.Random(seed)
    folder = work / f"killed-{seed}"
    folder.mkdir()
    ranks = chance.choice([2, 2, 3] if suite.part else [2, 3, 4, 8])
    env = suite.connector.like(f"{suite.connector.string} retention=1h").at(folder).env(TMPDIR=folder, **mpi.variables())
    command = ["mpiexec", "-n", str(ranks), str(suite.python), str(KILLS / "steps.py"), "x.h5", "100000"]
    process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL, text=True, start_new_session=True)
    pids = []
    try:
        # The first process prints it when all have opened the file.
        said = process.stdout.readline()
        pids = [int(pid) for pid in said.split()]
        if len(pids) != ranks:
            raise Failure(f"the processes did not begin: {said!r}")
        seen = output(suite, env, folder, KILLS / "look.py", "x.h5", chance.uniform(0.1, 1.5))
    finally:
        stop(process, pids, chance)
    versions = output(suite, env, folder, KILLS / "look.py", "x.h5", cargo.tool())
    print(f"  seed {seed}: {ranks} processes, {seen} states seen, {versions} versions")
    suite.sightings.append(("x.h5", connectors.kind_of(folder / "x.h5")))
