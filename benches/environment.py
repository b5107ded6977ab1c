"""The environment of the benchmarks: a virtual environment, and processes without the plugin's variables."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def enter(requirements):
    """Continues in the environment of a file of tests-py/requirements if it can be made; otherwise in the present
    one."""
    made = subprocess.run([ROOT / "tests-py/venv", ROOT / "tests-py/requirements" / requirements], stdout=subprocess.PIPE, text=True)
    python = made.stdout.strip()
    if made.returncode == 0 and Path(python) != Path(sys.executable):
        os.execv(python, [python, *sys.argv])


def plain(**more):
    """Returns the environment variables of a process without those of the plugin, and with the given ones."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))} | more
