"""Compares the reports of transfers in property lists with those of native HDF5: whether they were collective, and
why not."""

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


@pytest.mark.parametrize("name, kind", [("subfiling", "spreads"), ("gds", "moves")])
def test_drivers(suite, work, name, kind):
    """A driver that spreads files is reported once in each process. A driver for graphics processors is an error
    that names it."""
    if not suite.connector.is_ours:
        pytest.skip("native HDF5 has such drivers, or fails otherwise")
    program = compile_program(suite.hdf5, PROGRAM.with_name("drivers.c"), work / "drivers")
    folder = work / f"driver-{name}"
    folder.mkdir()
    text = run(suite, ["mpiexec", "-n", 2, program, name, kind], folder)
    if kind == "spreads":
        assert text.count(f"the file driver '{name}' has no effect") == 2
    else:
        assert text.count(f"the file driver '{name}' moves elements") == 4
