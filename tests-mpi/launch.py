"""Compiles MPI programs and runs them with native HDF5 or with a connector."""

import os
import signal
import subprocess
from pathlib import Path

from harness import connector as connectors, mpi
from harness.suite import Failure

HERE = Path(__file__).resolve().parent


def compile_program(hdf5, source, program, *more, optimise="-O1"):
    """Compiles one C file against a parallel HDF5, with warnings as errors. `more` contains arguments for the
    compiler."""
    if not program.exists():
        subprocess.run([os.environ.get("MPICC", "mpicc"), "-std=c11", "-D_GNU_SOURCE", "-g", optimise, "-Wall",
                        "-Wextra", "-Werror", f"-I{hdf5}/include", "-o", program, source, *more, f"-L{hdf5}/lib",
                        f"-Wl,-rpath,{hdf5}/lib", "-lhdf5"], check=True)
    return program


def preload(work, name):
    """Compiles a library of this folder. Returns the value of LD_PRELOAD with which a program is run beside it."""
    library = work / f"{name}.so"
    if not library.exists():
        subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library,
                        HERE / f"{name}.c", "-ldl"], check=True)
    return f"{library}:{mpi.variables()['LD_PRELOAD']}"


def run(suite, command, folder, connector=None, **variables):
    """Runs a command in a folder.

    Raises a Failure if the command does not succeed. Kills a command that exceeds the time limit, with all processes
    that it started. Returns its output on stdout and stderr.
    """
    env = (connector or suite.connector).at(folder).env(TMPDIR=folder, **{**mpi.variables(), **variables})
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
        text = log.read().decode(errors="replace")
    if code:
        raise Failure(f"exit {code}: {text[-1500:]}")
    if connector is None:
        suite.sightings += [(path.name, connectors.kind_of(path)) for path in folder.glob("*.h5")]
    return text


def run_beside_native(suite, folder, command_of):
    """Runs a program with the suite's connector, and then with native HDF5 in a subfolder.

    h5diff must find both files equal. `command_of` takes the path of the file. Returns the output of the program with
    the connector.
    """
    folder.mkdir()
    text = run(suite, command_of("x.h5"), folder)
    if suite.connector.is_ours:
        beside = folder / "native"
        beside.mkdir()
        run(suite, command_of("x.h5"), beside, connectors.Connector(None, None))
        run(suite, [suite.h5diff(), "native/x.h5", "x.h5"], folder)
    return text
