"""Runs a program that stores particles with H5Part 1.6, and compares its files with native files by h5diff."""

import subprocess
from pathlib import Path

import pytest
from launch import compile_program, run_beside_native

H5PART = Path(__file__).resolve().parent / "h5part"


@pytest.fixture(scope="session")
def library(suite):
    """Returns the folder of H5Part, built against the suite's HDF5."""
    made = subprocess.run([H5PART / "build", suite.hdf5], stdout=subprocess.PIPE, text=True)
    if made.returncode == 3:
        suite.cannot_run("h5part", "no source of H5Part 1.6")
    assert made.returncode == 0, "H5Part could not be built"
    return Path(made.stdout.strip())


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("transfers", ["collective", "independent"])
def test_steps(suite, work, library, transfers, ranks):
    program = compile_program(suite.hdf5, H5PART / "steps.c", work / "h5part-steps", "-DPARALLEL_IO", "-isystem",
                              library / "include", library / "lib" / "libh5part.a")
    run_beside_native(suite, work / f"h5part-{transfers}-{ranks}",
                      lambda path: ["mpiexec", "-n", ranks, program, path, transfers])
