"""Runs the kernels of tests-mpi/kernels with few elements.

They write and read particles as VPIC-IO and BD-CATS-IO do, and many small objects. They compare the data that they read
with the data that they wrote. h5diff compares their files with native files.
"""

import json
import sys
from pathlib import Path

import pytest
from harness.connector import Connector
from launch import compile_program, run, run_beside_native

KERNELS = Path(__file__).resolve().parent / "kernels"
sys.path.insert(0, str(KERNELS))
from cases import CASES  # noqa: E402


def run_kernel(suite, work, name, ranks, case, *arguments):
    """Runs one kernel with `ranks` processes. Fails if the file belongs to another connector than the suite's."""
    program = compile_program(suite.hdf5, KERNELS / f"{name}.c", work / f"{name}-kernel")
    folder = work / f"{name}-{case}-{ranks}".replace(" ", "-").replace(",", "")
    text = run_beside_native(suite, folder, lambda path: ["mpiexec", "-n", ranks, program, path, *arguments])
    found = json.loads(text.splitlines()[-1])
    assert found["connector"] == suite.connector.name and found["bytes"] > 0


# Each case runs with two numbers of processes, which alternate from case to case.
PAIRS = [(case, ranks) for n, case in enumerate(CASES) for ranks in ((1, 3), (2, 4))[n % 2]]


@pytest.mark.parametrize("case, ranks", PAIRS)
def test_particles(suite, work, case, ranks):
    run_kernel(suite, work, "particles", ranks, case, "count=1152", *CASES[case].split())


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_objects(suite, work, ranks):
    run_kernel(suite, work, "objects", ranks, "many", "steps=3", "groups=4", "datasets=4")


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_flushes(suite, work, ranks):
    run_kernel(suite, work, "flushes", ranks, "rows", "flushes=5", "bytes=3000")


def test_samples(suite, work):
    """Sampling does not affect the data, and the time in MPI does not exceed the processor time."""
    program = compile_program(suite.hdf5, KERNELS / "particles.c", work / "particles-kernel")
    text = run_beside_native(suite, work / "sampled", lambda path: [
        "mpiexec", "-n", 2, program, path, "count=65536", "steps=4", "sample=1"])
    found = json.loads(text.splitlines()[-1])
    assert all(0 <= found["mpi"][name] <= found["work"][name] * 1.5 + 0.02 for name in found["work"]), found


@pytest.mark.parametrize("case", ["append, deflate", "strided"])
def test_parts_of_chunks_come_together(suite, work, case):
    """Each process writes every second part of all chunks. One process encodes each chunk, so the file is no longer
    than a native one."""
    if not suite.connector.is_ours:
        pytest.skip("native HDF5 does not say it")
    program = compile_program(suite.hdf5, KERNELS / "particles.c", work / "particles-kernel")
    folder = work / f"together-{case}".replace(" ", "-").replace(",", "")
    folder.mkdir()
    command = ["mpiexec", "-n", 2, program, "x.h5", "count=11520", *CASES[case].split()]
    lines = [line for line in run(suite, command, folder, H5LAKE_LOG="debug").splitlines() if "brought parts of blocks" in line]
    assert lines and any("blocks=0" not in line for line in lines), lines
    if not suite.connector.in_store:
        native = folder / "native"
        native.mkdir()
        run(suite, command, native, Connector(None, None))
        assert (folder / "x.h5").stat().st_size <= 1.1 * (native / "x.h5").stat().st_size + (128 << 10)
