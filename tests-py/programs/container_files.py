"""Promises of containers alone: wrong settings never write a native file, and damage never leads to wrong data."""
# only: h5lake

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from cases import main, raises

CREATE = """
import h5py
try:
    with h5py.File("made.h5", "w") as f:
        f["x"] = 1
    print("no error")
except OSError as error:
    print("OSError", error)
"""


def under(string):
    env = {**os.environ, "HDF5_VOL_CONNECTOR": string}
    return subprocess.run([sys.executable, "-c", CREATE], env=env, capture_output=True, text=True)


def check_unknown_key(folder):
    run = under("h5lake nosuchkey=1")
    assert run.stdout.startswith("OSError") and "nosuchkey" in run.stdout, run
    assert not os.path.exists("made.h5")


def check_bad_value(folder):
    for string, word in (("h5lake native=perhaps", "native"), ("h5lake store=nosuch://x", "nosuch"),
                         ("h5lake store", "store"), ("h5lake store=memory:", "memory:NAME"),
                         ("h5lake retention=5", "retention"), ("h5lake sync=commit sync=process", "'sync'")):
        run = under(string)
        assert run.stdout.startswith("OSError") and word in run.stdout, (string, run)
        assert not os.path.exists("made.h5"), string


def check_environment_key(folder):
    env = {**os.environ, "H5LAKE_NATIVE": "perhaps"}
    run = subprocess.run([sys.executable, "-c", CREATE], env=env, capture_output=True, text=True)
    assert run.stdout.startswith("OSError") and not os.path.exists("made.h5"), run
    assert "variable H5LAKE_NATIVE takes" in run.stdout and "connector string" not in run.stdout, run
    env["H5LAKE_NATIVE"] = ""
    run = subprocess.run([sys.executable, "-c", CREATE], env=env, capture_output=True, text=True)
    assert run.stdout == "no error\n", run


def check_the_string_wins(folder):
    run = under("h5lake")
    assert run.stdout == "no error\n", run
    code = "import h5py; print(list(h5py.File('made.h5')))"
    for string, variable, value in (("version=1", "AS_OF", "1999-01-01"), ("as_of=2999-01-01", "VERSION", "99999")):
        env = {**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake {string}", f"H5LAKE_{variable}": value}
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert run.returncode == 0 and run.stdout in ("['x']\n", "[]\n"), run


def check_only_plugin_path(folder):
    # With only HDF5_PLUGIN_PATH set, HDF5 1.14 finds the connector by the first bytes of the file. HDF5 2.0 to 2.2
    # would treat the object that the connector opens as a native file and crash, so that in these versions the
    # container is no HDF5 file.
    with h5py.File("found.h5", "w") as f:
        f["x"] = np.arange(4)
    env = {k: v for k, v in os.environ.items() if k != "HDF5_VOL_CONNECTOR"}
    code = "import h5py; f = h5py.File('found.h5'); print(f['x'][:].tolist(), list(f))"
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if h5py.version.hdf5_version_tuple < (2, 0):
        assert run.stdout.strip() == "[0, 1, 2, 3] ['x']", run
    else:
        assert run.returncode == 1 and "OSError" in run.stderr, run


def check_damage(folder):
    data = np.random.default_rng(4).integers(0, 2**31, 20000).astype("i4")
    with h5py.File("good.h5", "w") as f:
        f.create_dataset("d", data=data, chunks=(1000,))
        f["e"] = data
        f.attrs["sum"] = data.sum()
    content = Path("good.h5").read_bytes()
    rng = np.random.default_rng(8)
    refused = 0
    for position in [9, 16, 24, *rng.integers(16, len(content), 150).tolist()]:
        broken = bytearray(content)
        broken[position] ^= 1 << int(rng.integers(0, 8))
        Path("broken.h5").write_bytes(broken)
        refused += outcome("broken.h5", data, f"bit flipped at {position}")
    for length in rng.integers(0, len(content), 40).tolist():
        Path("broken.h5").write_bytes(content[:length])
        refused += outcome("broken.h5", data, f"cut at {length}")
    assert refused > 100, f"only {refused} of 193 damaged files were refused: are there checksums?"


def outcome(path, data, what):
    """Returns 1 if a damaged file is refused, and 0 if it is read correctly. Wrong data is an error."""
    try:
        with h5py.File(path) as f:
            right = (np.array_equal(f["d"][:], data) and np.array_equal(f["e"][:], data)
                     and f.attrs["sum"] == data.sum())
    except (OSError, KeyError):
        return 1
    assert right, f"{what}: wrong data"
    return 0


def check_a_source_of_another_rank(folder):
    """If a source was replaced by one with another rank and number of elements, the read fails with an error that names
    the dimensions. Native HDF5 1.14 and 2.0 show other elements, or crash."""
    for shape in ((3, 4), (2, 2, 2), ()):
        with h5py.File("ranks.h5", "w") as f:
            f["plain"], f["whole"] = [1, 2, 3], [4, 5, 6]
            layout = h5py.VirtualLayout((6,), "i8")
            layout[:3] = h5py.VirtualSource(f["plain"])
            layout[3:] = h5py.VirtualSource(f["whole"])
            f.create_virtual_dataset("v", layout, fillvalue=-1)
            assert f["v"][:].tolist() == [1, 2, 3, 4, 5, 6]
        with h5py.File("ranks.h5", "r+") as f:
            del f["plain"]
            f["plain"] = np.ones(shape, "i8")
        with h5py.File("ranks.h5") as f:
            error = raises(OSError, lambda: f["v"][:])  # noqa: B023
            assert "/plain" in str(error) and f"has dimensions {list(shape)} now" in str(error), error
            assert f["v"][3:].tolist() == [4, 5, 6]


def check_memory_store(folder):
    code = """
import h5py, os
with h5py.File("m.h5", "w") as f:
    f["x"] = range(5)
with h5py.File("m.h5") as f:
    print(f["x"][:].tolist(), os.path.getsize("m.h5") < 10000 if os.path.exists("m.h5") else "no file")
"""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake store=memory:check"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.stdout.startswith("[0, 1, 2, 3, 4]") and "False" not in run.stdout, run
    # A file that is no HDF5 file is none with a store either.
    Path("text").write_text("no HDF5 at all")
    run = subprocess.run([sys.executable, "-c", "import h5py; print(h5py.is_hdf5('text'))"], env=env,
                         capture_output=True, text=True)
    assert run.stdout.strip() == "False", run
    raises(FileNotFoundError, h5py.File, "m.h5", "r")  # its container was another process's memory


main(globals())
