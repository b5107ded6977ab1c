"""Versions that collective flushes and closes made name the number of processes, so that a restart finds the last one."""

import json
import subprocess
from pathlib import Path

import pytest
from harness import cargo
from launch import run

PROGRAM = Path(__file__).resolve().parent / "kills" / "flushes.py"
LOOK = "import sys, h5py; print([int(h5py.File(name, 'r')['x'][...].min()) for name in sys.argv[1:]])"


@pytest.mark.parametrize("ranks", [2, 3])
def test_flushes_are_marked(suite, work, ranks):
    if suite.connector.files == "native":
        pytest.skip("native HDF5 has no versions")
    folder = work / f"flushes-{ranks}"
    folder.mkdir()
    kept = suite.connector.like(f"{suite.connector.string} retention=1h")
    run(suite, ["mpiexec", "-n", ranks, suite.python, PROGRAM, "x.h5"], folder, H5LAKE_RETENTION="1h")
    env = kept.at(folder).env(TMPDIR=folder)
    listed = subprocess.run([cargo.tool(), "versions", "--json", "x.h5"], env=env, cwd=folder, capture_output=True, check=True)
    versions = json.loads(listed.stdout)["versions"]
    flushes = [version["number"] for version in reversed(versions) if version["processes"]]
    assert {version["processes"] for version in versions} == {0, ranks}, versions
    names = [f"x.h5@v={number}" for number in flushes]
    read = subprocess.run([suite.python, "-c", LOOK, *names], env=env, cwd=folder, capture_output=True, text=True, check=True)
    assert read.stdout.strip() == "[1, 2, 4, 5]", (read.stdout, versions)
    for command, wanted in ((["versions", "--flushes", "-n", "1"], f", flush of {ranks} processes)"),
                            (["log", "--flushes", "--oneline", "-n", "1"], f"{flushes[-1]} (newest)")):
        shown = subprocess.run([cargo.tool(), *command, "x.h5"], env=env, cwd=folder, capture_output=True, text=True, check=True)
        assert wanted in shown.stdout, shown.stdout
