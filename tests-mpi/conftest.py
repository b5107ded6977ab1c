"""Test suite for MPI programs, which need an h5py and an HDF5 that are built for MPI.

With --sample at most two processes run at a time, because more processes would busy-wait on the same cores.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness import RESULTS, connector as connectors
from harness.suite import Failure, Suite

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # launch.py


def pytest_addoption(parser):
    parser.getgroup("h5lake").addoption("--ranks", type=int, default=4, help="processes of each program in h5py")


class MPISuite(Suite):
    """The suite. `python` and `hdf5` are built for MPI. Every test adds the files that it left to `sightings`."""

    def __init__(self, config):
        super().__init__(config, "mpi", "programs for MPI ({connector})", "h5py", HERE, limit=120)
        self.part |= config.option.sample
        self.ranks, self.sightings = 2 if config.option.sample else config.option.ranks, []
        self.logs = RESULTS / self.step
        self.logs.mkdir(parents=True, exist_ok=True)
        for log in self.logs.glob("*.log"):
            log.unlink()

    def is_selected(self):
        return super().is_selected() or self.config.option.sample

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        if self.config.option.sample:
            is_few = lambda item: getattr(item, "callspec", None) is None or item.callspec.params.get("ranks", 2) <= 2  # noqa: E731
            left_out = [item for item in items if not is_few(item)]
            self.config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if is_few(item)]
        super().pytest_collection_modifyitems(items)

    def pytest_collection_finish(self):
        if self.config.option.collectonly:
            return
        made = subprocess.run([HERE / "environment"], stdout=subprocess.PIPE, text=True)
        if made.returncode == 3:
            self.skip("MPI, or what h5py needs for it, cannot be had here")
        if made.returncode:
            raise pytest.UsageError("the environment for MPI could not be made")
        self.python, hdf5 = made.stdout.split()
        self.hdf5 = Path(hdf5)

    def h5diff(self):
        """Returns the program that compares two files. It comes from the serial build of HDF5, because it needs no
        MPI."""
        prefix, why = connectors.hdf5_prefix()
        if prefix is None:
            raise Failure(f"no h5diff: {why}")
        return prefix / "bin" / "h5diff"

    def close(self):
        if self.outcomes:
            self.prove(self.sightings)


def pytest_configure(config):
    MPISuite(config)


@pytest.fixture(scope="session")
def suite(request):
    return request.config.suite


@pytest.fixture(scope="session")
def work():
    with tempfile.TemporaryDirectory(prefix="h5lake-mpi-") as folder:
        yield Path(folder)
