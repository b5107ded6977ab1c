"""MPI programs on file systems without locks, or whose locks other nodes do not see.

With HDF5_USE_FILE_LOCKING=BEST_EFFORT or FALSE the processes exclude each other by lock files. Otherwise opening fails in
all processes, and the error names the cause and the remedy.
"""

import pytest
from harness import cargo
from harness.suite import Failure
from launch import HERE, compile_program, preload, run

PROGRAMS = HERE / "programs"
# The variable LOCKS of without_locks.c, and HDF5_USE_FILE_LOCKING. Locks that are turned off are not tried.
WITHOUT = [("none", "BEST_EFFORT"), ("none", "FALSE"), ("local", "BEST_EFFORT")]
# What the error says if the variable does not permit to write without locks.
REFUSED = {"none": ["no locks", "BEST_EFFORT"], "local": ["does not see the file lock of process 0", "BEST_EFFORT"]}


def preloaded(work, locks, policy):
    """Returns the variables with which a program runs without working locks."""
    return {"LD_PRELOAD": preload(work, "without_locks"), "LOCKS": locks, **({"HDF5_USE_FILE_LOCKING": policy} if policy else {})}


def skip_stores(suite):
    if suite.connector.files == "native" or "store=" in suite.connector.string:
        pytest.skip("only a container in a file is locked by bytes")


@pytest.mark.parametrize("locks, policy", WITHOUT)
@pytest.mark.parametrize("name", ["after_close", "beside", "shared_chunks", "visible"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_without_locks(suite, work, name, ranks, locks, policy):
    skip_stores(suite)
    folder = work / f"{name}-{ranks}-{locks}-{policy}"
    folder.mkdir()
    program = compile_program(suite.hdf5, PROGRAMS / f"{name}.c", work / f"{name}-in-c")
    run(suite, ["mpiexec", "-n", ranks, program], folder, **preloaded(work, locks, policy))
    left = [path.name for path in folder.glob(".*.h5lake-*")]
    assert not left, left


CREATE = """from mpi4py import MPI
import h5py
try:
    h5py.File("x.h5", "w", driver="mpio", comm=MPI.COMM_WORLD)
except OSError as error:
    print(f"process {MPI.COMM_WORLD.rank}: {error}", flush=True)
"""


@pytest.mark.parametrize("policy", [None, "TRUE"])
@pytest.mark.parametrize("locks", sorted(REFUSED))
def test_the_error_names_the_remedy(suite, work, locks, policy):
    skip_stores(suite)
    folder = work / f"refused-{locks}-{policy}"
    folder.mkdir()
    text = run(suite, ["mpiexec", "-n", "2", suite.python, "-c", CREATE], folder, **preloaded(work, locks, policy))
    # The lines of two processes may be mixed.
    assert "process 0: " in text and "process 1: " in text, text
    assert all(text.count(part) >= 2 for part in REFUSED[locks]), text
    assert not list(folder.iterdir()), "nothing is left"


@pytest.mark.parametrize("locks, expected", [(None, "seen by all processes"), ("none", "the file system has none"),
                                              ("local", "does not see the lock of process 0")])
def test_doctor_says_whether_locks_work(suite, work, locks, expected):
    if suite.connector.files == "native":
        pytest.skip("native HDF5 has no such tool")
    folder = work / f"doctor-{locks}"
    folder.mkdir()
    # A message of a run that was killed.
    (folder / ".h5lake-doctor").mkdir()
    (folder / ".h5lake-doctor" / "rank-2").write_text("17 elsewhere")
    command = ["mpiexec", "-n", 3, cargo.tool(), "doctor", "--mpi", folder]
    if locks is None:
        text = run(suite, command, folder)
    else:
        with pytest.raises(Failure) as failed:
            run(suite, command, folder, **preloaded(work, locks, None))
        text = str(failed.value)
    assert expected in text and "processes              3 on" in text, text
    assert not list(folder.iterdir()), "nothing is left"
