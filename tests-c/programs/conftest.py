"""Shared by the tests of the C programs: the programs, built against HDF5's own build, and the functions that run
them."""

import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import connector as connectors
from harness.suite import Failure, HDF5Suite

HERE = Path(__file__).resolve().parent


def pytest_configure(config):
    HDF5Suite(config, "c-programs", "C programs ({step})", HERE, limit=120)


class Runner:
    """The programs and their environment."""

    def __init__(self, suite, work):
        # The folder of this run distinguishes objects with plain names in a store.
        self.connector, self.prefix, self.work, self.limit = suite.connector.at(work), suite.prefix, work, suite.limit
        self.cannot_run = suite.cannot_run
        self.native = connectors.Connector(None, None)
        programs = connectors.programs_folder(suite.prefix)
        self.programs = {source.stem: connectors.compile_program(source, programs / source.stem, suite.prefix)
                         for source in sorted(HERE.glob("*.c"))}

    def run(self, *command, connector=None, limit=None):
        """Runs a program or tool; returns its output, or raises a Failure."""
        env = (connector or self.connector).env()
        try:
            done = subprocess.run([str(c) for c in command], env=env, cwd=self.work, capture_output=True,
                                  timeout=limit or self.limit)
        except subprocess.TimeoutExpired:
            raise Failure(f"over the time limit of {limit or self.limit} s") from None
        if done.returncode:
            how = (f"crashed ({signal.Signals(-done.returncode).name})" if done.returncode < 0
                   else f"exit {done.returncode}")
            raise Failure(f"{how}: {(done.stdout + done.stderr).decode(errors='replace').strip()[-600:]}")
        return done.stdout.decode(errors="replace")

    def tool(self, name, *arguments, connector=None):
        """Runs one of HDF5's own tools of the same build. Skips the test if the build has no tools."""
        if not (self.prefix / "bin" / name).exists():
            pytest.skip(f"this build of HDF5 has no {name}")
        return self.run(self.prefix / "bin" / name, *arguments, connector=connector)

    def ours(self, path):
        """Fails unless a file is of the connector's kind."""
        kind = connectors.kind_of(path)
        if kind != self.connector.files:
            raise Failure(f"{path.name} is a {kind} file, not a {self.connector.files} one")


@pytest.fixture(scope="session")
def r(request):
    """Returns the runner of programs, in a folder that is removed after the session."""
    suite = request.config.suite
    with tempfile.TemporaryDirectory(prefix="h5lake-c-") as work:
        yield Runner(suite, Path(work))


@pytest.fixture(scope="session")
def tour(r):
    """Makes the file of the program 'tour', which the tools read."""
    r.run(r.programs["tour"], "write", "tour.h5")
