"""A client with an HDF5 that is linked into it, exports no symbols and is too old: its files are native, and one
line says so."""
# store: any
# only: h5lake
# requires: openpmd.txt

import os
import re
import subprocess
import sys

import h5py
import numpy as np
from cases import main

WRITE = """
import sys, numpy, openpmd_api
for name in sys.argv[1:]:
    series = openpmd_api.Series(name, openpmd_api.Access.create)
    field = series.iterations[1].meshes["E"]["x"]
    field.reset_dataset(openpmd_api.Dataset(numpy.dtype("f8"), [1000]))
    data = numpy.arange(1000.)
    field.store_chunk(data)
    series.close()
    series = openpmd_api.Series(name, openpmd_api.Access.read_only)
    data = series.iterations[1].meshes["E"]["x"][:]
    series.flush()
    assert (data == numpy.arange(1000.)).all()
"""
SAID = r"h5lake: \S*openpmd_api\S* has HDF5 1\.12\.\d+: the connector needs 1\.14\.0 or newer\. Its files are native ones"


def said_by_write(*names, **variables):
    """Writes and reads these files in a process, and returns its stderr as lines."""
    env = {name: value for name, value in os.environ.items() if variables.get(name, value) is not None}
    env.update((name, value) for name, value in variables.items() if value is not None)
    done = subprocess.run([sys.executable, "-c", WRITE, *names], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def natively(name):
    """Reads the field by a native libhdf5 that does not know the connector."""
    with open(name, "rb") as file:
        assert not file.read(16).startswith(b"\x89HDF\r\n\x1a\n\x4ch5lake")
    code = f"import h5py; print(h5py.File({name!r})['data/1/meshes/E/x'][:].sum())"
    env = {key: value for key, value in os.environ.items() if not key.startswith("HDF5_")}
    return float(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout)


def check_files_are_native_and_one_line_says_so(_folder):
    said = said_by_write("native_1.h5", "native_2.h5")
    assert re.fullmatch(SAID, said[0]), said
    assert sum(line.startswith("h5lake") for line in said) == 1, said
    assert [natively(name) for name in ("native_1.h5", "native_2.h5")] == [499500, 499500]


def check_hdf5_reports_once_that_it_has_no_connector(_folder):
    # The plugin cannot prevent this report, whatever it returns (docs/design/003-plugin-discovery.md): one stack of
    # five frames.
    said = said_by_write("native_1.h5", "native_2.h5")
    frames = [line for line in said if re.match(r"  #\d+", line)]
    assert [frame for frame in frames if "#000" in frame] == frames[:1] and "library initialization" in frames[0], said
    assert len(frames) == 5 and "unable to load VOL connector" in frames[-1] and len(said) == 17, said


def check_the_log_says_more(_folder):
    said = said_by_write("native.h5", H5LAKE_LOG="info")
    assert re.fullmatch(SAID, said[0]) and "may follow" in said[1] and "HDF5-DIAG" in said[2], said


def check_silence_without_the_connector(_folder):
    assert said_by_write("native.h5", HDF5_VOL_CONNECTOR=None) == []
    assert natively("native.h5") == 499500


def check_the_files_are_read_beside_containers(_folder):
    said_by_write("native.h5")
    with h5py.File("native.h5") as native, h5py.File("container.h5", "w") as ours:
        ours["x"] = native["data/1/meshes/E/x"][:]
        assert (ours["x"][:] == np.arange(1000.)).all()


main(globals())
