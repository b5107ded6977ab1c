"""A libhdf5 before 1.14 would silently write native files, and the Python package reports that."""
# store: any
# only: h5lake
# requires: old.txt
# needs: tool

import os

os.environ.pop("HDF5_VOL_CONNECTOR", None)

from cases import main  # noqa: E402
from packaged import FILES, ROOT, fails, installed, run, works  # noqa: E402

WORDS = ["LibraryError", "HDF5 1.12", "1.14.0", "native"]


def check_before_the_import(folder):
    fails(WORDS, installed(folder), "import h5lake\nh5lake.enable()\nimport h5py")


def check_after_the_import(folder):
    site = installed(folder)
    fails(WORDS, site, "import h5lake, h5py\nh5lake.enable()")
    fails(WORDS, site, "import h5lake, h5py\nh5py.File('a', 'w', driver='h5lake')")
    works(site, FILES + """
import os, h5py
assert [library.version[:2] for library in h5lake.libraries()] == [(1, 12)]
try:
    h5lake.enable()
except h5lake.LibraryError:
    assert "HDF5_VOL_CONNECTOR" not in os.environ
    with h5py.File("native.h5", "w") as f: f["x"] = 1
    assert not is_ours("native.h5")
""")


def check_programs(folder):
    import sys

    (folder / "script.py").write_text("import h5py\nh5py.File('a.h5', 'w').close()")
    fails(WORDS, installed(folder), [sys.executable, "-m", "h5lake", "run"], "script.py")
    assert not (folder / "a.h5").exists()


def check_doctors(folder):
    import subprocess
    import sys

    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake"}
    for command, code in (([os.environ["TOOL"], "doctor"], 2), ([sys.executable, ROOT / "tools" / "doctor"], 1)):
        done = subprocess.run([*command, "--python", sys.executable], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code and "all is well" not in done.stdout, done
        assert "HDF5 1.12" in done.stdout and "is too old, h5lake needs 1.14.0 or later" in done.stdout, done.stdout


def check_the_variables_alone(folder):
    # The plugin is the only part of h5lake in the process, and reports it in one line.
    code = "import h5py\nfor name in 'ab': h5py.File(f'native_{name}.h5', 'w').close()"
    for connector in ("h5lake", "h5lake store=memory:x"):
        status, out, err = run(folder, code, HDF5_VOL_CONNECTOR=connector, HDF5_PLUGIN_PATH=os.environ["HDF5_PLUGIN_PATH"])
        assert status == 0 and out == "", (status, out, err)
        first, *others = err.splitlines()
        assert "has HDF5 1.12" in first and first.endswith("Its files are native ones"), err
        assert not any(line.startswith("h5lake") for line in others), err
    assert not run(folder, code, HDF5_PLUGIN_PATH=os.environ["HDF5_PLUGIN_PATH"])[2]


main(globals())
