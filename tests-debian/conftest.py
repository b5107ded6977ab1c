"""What the tests of Debian's clients share: a Debian 13 with the clients, and the plugin in it."""

import tempfile
from pathlib import Path

import pytest
from harness import ROOT, connector as connectors, debian
from harness.suite import Failure, Suite

HERE = Path(__file__).resolve().parent
SUITE = "trixie"
# For the libraries among them, programs in C are compiled in the system. libhdf5 comes with all of them.
PACKAGES = ["cdo", "gdal-bin", "hdf5-tools", "libcgns-dev", "libmatio-dev", "libpdl-io-hdf5-perl", "nco", "netcdf-bin", "octave",
            "python3-h5py", "python3-vtk9", "r-bioc-rhdf5", "r-cran-hdf5r", "tcc"]
SHOWN = ["libhdf5-310", *PACKAGES]


def pytest_configure(config):
    Suite(config, "debian-clients", "clients of Debian 13{other}", "HDF5 1.14.5", HERE, limit=300)


class Runner:
    """Runs programs of the system in the folders of this session."""

    def __init__(self, suite, system, work):
        self.system, self.work, self.limit = system, work, suite.limit
        self.connector, self.native = suite.connector, connectors.Connector(None, None)

    def run(self, *command, folder, connector, expected=(0,)):
        """What a program prints in a folder of the session, or a Failure if its exit status is another than expected."""
        env = {name: value for name, value in connector.env().items() if name.startswith("HDF5_")}
        mounts = {"/mnt": self.work, "/usr/src": ROOT / "tests-c"}
        if connector.plugin_path:
            mounts["/srv"], env["HDF5_PLUGIN_PATH"] = connector.plugin_path, "/srv"
        done = self.system.run(*command, env=env, mounts=mounts, cwd=f"/mnt/{folder}", capture_output=True, text=True,
                               errors="replace", timeout=self.limit)
        if done.returncode not in expected:
            raise Failure(f"exit {done.returncode}: {(done.stdout + done.stderr).strip()[-1500:]}")
        return done.stdout


@pytest.fixture(scope="session")
def r(request):
    """The runner, in a folder that goes with the session."""
    suite = request.config.suite
    try:
        system = debian.system(SUITE, PACKAGES)
    except debian.Impossible as why:
        suite.skip(str(why))
    versions = system.versions(SHOWN)
    suite.lines.append(", ".join(f"{package} {versions[package]}" for package in SHOWN))
    with tempfile.TemporaryDirectory(prefix="h5lake-debian-") as work:
        yield Runner(suite, system, Path(work))
