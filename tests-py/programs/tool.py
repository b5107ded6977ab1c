"""The tool h5lake as the programs of this folder run it, and native HDF5 beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run(*arguments, code=0, **more):
    """Runs the tool. Returns its standard output, or its standard error if it has to fail."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    # The tool has to find the libhdf5 of this Python by itself.
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run([os.environ["TOOL"], *map(str, arguments)], env=env | more, capture_output=True, text=True, timeout=170)
    assert done.returncode == code, (arguments, done.returncode, done.stdout[-900:], done.stderr)
    return done.stderr if code == 1 else done.stdout


def natively(module, task, *arguments, **more):
    """Runs a function of a module of this folder with native HDF5. Returns its result, as JSON."""
    call = f"import json, {module}; print(json.dumps({module}.{task}(*{arguments!r}, **{more!r})))"
    env = dict(os.environ, HDF5_VOL_CONNECTOR="native", PYTHONPATH=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", call], env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
