"""The Python package as in its wheel, and programs that use it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = """
import h5lake
def is_ours(name):
    return open(name, "rb").read(16).startswith(b"\\x89HDF\\r\\n\\x1a\\n\\x4ch5lake")
def write(name):
    import h5py, netCDF4, tables
    with h5py.File(name + ".h5", "w") as f: f["x"] = [1, 2, 3]
    with tables.open_file(name + ".pt", "w") as f: f.create_array("/", "x", [1, 2, 3])
    with netCDF4.Dataset(name + ".nc", "w") as f: f.createDimension("t", 3)
    return [is_ours(name + end) for end in (".h5", ".pt", ".nc")]
"""


def installed(folder, plugin=None):
    """Creates a site folder with h5lake as in its wheel, and returns it."""
    site = folder / "site"
    shutil.copytree(ROOT / "python" / "src" / "h5lake", site / "h5lake", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "h5lake" / "plugin").mkdir()
    target = site / "h5lake" / "plugin" / "libh5lake.so"
    if plugin is None:
        target.symlink_to(Path(os.environ["HDF5_PLUGIN_PATH"].split(":")[0], "libh5lake.so").resolve())
    else:
        target.write_bytes(plugin)
    (site / "bin").mkdir()
    (site / "bin" / "h5lake").symlink_to(os.environ["TOOL"])
    return site


def run(site, code, *arguments, **variables):
    """Runs a program with no variables of HDF5 or h5lake but these. Returns its exit status, output and error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    env.update(PYTHONPATH=str(site), **variables)
    command = [sys.executable, "-c", code, *arguments] if isinstance(code, str) else [*code, *arguments]
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout.strip(), done.stderr


def works(site, code, *arguments, **variables):
    status, out, err = run(site, code, *arguments, **variables)
    assert status == 0, err
    return out


def fails(words, site, code, *arguments, **variables):
    status, out, err = run(site, code, *arguments, **variables)
    assert status > 0 and all(word in err for word in words), (status, words, out, err)
