"""Runs the programs of tests-mpi/programs with an h5py for MPI.

Each Python program is run by several processes, which must succeed, and then again by one process without MPI's driver,
which checks the file. The programs also run with native HDF5. C programs are run by two and by three processes.
"""

from pathlib import Path

import pytest
from harness.suite import Failure
from launch import compile_program, run

PROGRAMS = Path(__file__).resolve().parent / "programs"
# Programs that native HDF5 does not support, with the reasons.
NOT_NATIVE = {
    "broken_paths": "a path that fails in one process alone hangs",
    "linked": "what it copies behind an external link is not found there by another path",
    "one_version": "nobody reads a file that another program writes",
    "virtual": "processes do not transfer virtual datasets together",
}


@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.py")))
class TestPython:
    """Tests of the programs in h5py."""

    done = set()

    def run(self, suite, work, name, *command):
        run(suite, command, work / name, PYTHONDONTWRITEBYTECODE=1, H5DUMP=suite.hdf5 / "bin" / "h5dump")

    def test_together(self, suite, work, name):
        (work / name).mkdir()
        self.run(suite, work, name, "mpiexec", "-n", suite.ranks, suite.python, PROGRAMS / f"{name}.py", "together")
        self.done.add(name)

    def test_after(self, suite, work, name):
        if name not in self.done:
            raise Failure("not run: its processes did not end well, or were not chosen")
        self.run(suite, work, name, suite.python, PROGRAMS / f"{name}.py", "after", suite.ranks)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.c")))
def test_in_c(suite, work, name, ranks):
    if suite.connector.files == "native" and name in NOT_NATIVE:
        pytest.skip(f"native HDF5: {NOT_NATIVE[name]}")
    folder = work / f"{name}-{ranks}"
    folder.mkdir()
    program = compile_program(suite.hdf5, PROGRAMS / f"{name}.c", work / f"{name}-in-c")
    run(suite, ["mpiexec", "-n", ranks, program], folder)
