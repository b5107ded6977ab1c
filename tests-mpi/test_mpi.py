"""Runs the programs of tests-mpi/programs with an h5py for MPI: each by several processes at a time, which have to end
well, and then once more by one process without MPI's driver, which looks at what is there. Native HDF5 runs them too.
Programs in C are run by two and by three processes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness import connector as connectors
from harness.suite import Failure

PROGRAMS = Path(__file__).resolve().parent / "programs"
# Open MPI asks for a word before it runs as root, or more processes than processors.
OPEN_MPI = dict(OMPI_ALLOW_RUN_AS_ROOT=1, OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, OMPI_MCA_rmaps_base_oversubscribe=1)


def run(suite, command, folder, **variables):
    """Runs a command in a folder, with a Failure if it does not end well. What hangs is killed with all that it started."""
    env = suite.connector.at(folder).env(TMPDIR=folder, **OPEN_MPI, **variables)
    with open(suite.logs / f"{folder.name}.log", "a+b") as log:
        start = log.seek(0, os.SEEK_END)
        process = subprocess.Popen([str(word) for word in command], env=env, cwd=folder, stdout=log,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = process.wait(timeout=suite.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Failure(f"over the time limit of {suite.limit} s") from None
        log.seek(start)
        if code:
            raise Failure(f"exit {code}: {log.read().decode(errors='replace')[-1500:]}")
    suite.sightings += [(path.name, connectors.kind_of(path)) for path in folder.glob("*.h5")]


@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.py")))
class TestPython:
    """Programs in h5py."""

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


@pytest.fixture(scope="session")
def compiled(suite, work):
    """A function from the name of a program in C to the program."""
    def compile_once(name):
        program = work / f"{name}-in-c"
        if not program.exists():
            subprocess.run([os.environ.get("MPICC", "mpicc"), "-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra",
                            "-Werror", f"-I{suite.hdf5}/include", "-o", program, PROGRAMS / f"{name}.c",
                            f"-L{suite.hdf5}/lib", f"-Wl,-rpath,{suite.hdf5}/lib", "-lhdf5"], check=True)
        return program

    return compile_once


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", sorted(path.stem for path in PROGRAMS.glob("*.c")))
def test_in_c(suite, work, compiled, name, ranks):
    folder = work / f"{name}-{ranks}"
    folder.mkdir()
    run(suite, ["mpiexec", "-n", ranks, compiled(name)], folder)
