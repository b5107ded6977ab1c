"""Compares what transfer lists say of transfers with what they say of native ones: which were collective, and why not."""

from pathlib import Path

import pytest
from harness import connector as connectors
from launch import compile_program, run

PROGRAM = Path(__file__).resolve().parent / "reports" / "transfers.c"


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_transfers(suite, work, ranks):
    program = compile_program(suite.hdf5, PROGRAM, work / "transfer-reports")
    command = ["mpiexec", "-n", ranks, program, "x.h5"]
    folder = work / f"transfer-reports-{ranks}"
    beside = folder / "native"
    beside.mkdir(parents=True)
    said = run(suite, command, folder).splitlines()
    native = run(suite, command, beside, connectors.Connector(None, None)).splitlines()
    assert len(native) > 100 * ranks, "few transfers were reported"
    assert said == native
