"""Every wheel that brings a libhdf5 which h5lake supports: the README's first example, and the tool's commands import, export and
adopt, in an environment that has that one wheel alone."""
# store: any
# only: h5lake
# needs: tool

import os
import subprocess
import sys
from pathlib import Path

os.environ.pop("HDF5_VOL_CONNECTOR", None)

from cases import main  # noqa: E402
from packaged import ROOT, installed  # noqa: E402

WITH_H5PY = """
with h5py.File("first.h5", "w") as f: f["x"] = [1.0, 2.0]
with h5py.File("first.h5", "a") as f: f["x"].attrs["unit"] = "m"
assert h5py.File("first.h5")["x"][:].tolist() == [1, 2]
h5lake.disable()
# The module closes its identifier of the connector once the access list names it.
with h5py.File("driver.h5", "w", driver="h5lake") as f: f["x"] = [5.0]
assert h5py.File("driver.h5", driver="h5lake")["x"][:].tolist() == [5]
with h5py.File("native.h5", "w") as f: f.create_dataset("x", data=[3.0, 4.0], chunks=(2,), compression="gzip")
"""
READ_BY_H5PY = """
for name, values in ("native-exported.h5", [1, 2]), ("imported.h5", [3, 4]), ("adopted.h5", [3, 4]):
    assert h5py.File(name)["x"][:].tolist() == values, name
"""
WITH_PYTABLES = """
with tables.open_file("first.h5", "w") as f: f.create_array("/", "x", [1.0, 2.0])
with tables.open_file("first.h5", "a") as f: f.root.x.attrs.unit = "m"
h5lake.disable()
with tables.open_file("native.h5", "w") as f: f.create_carray("/", "x", obj=[3.0, 4.0], filters=tables.Filters(4))
"""
READ_BY_PYTABLES = """
for name, values in ("native-exported.h5", [1, 2]), ("imported.h5", [3, 4]), ("adopted.h5", [3, 4]):
    with tables.open_file(name) as f: assert list(f.root.x.read()) == values, name
"""
WITH_NETCDF4 = """
def write(name, values):
    with netCDF4.Dataset(name, "w") as f:
        f.createDimension("t", 2)
        f.createVariable("x", "f8", ("t",), zlib=True)[:] = values
write("first.h5", [1, 2])
with netCDF4.Dataset("first.h5", "a") as f: f["x"].unit = "m"
h5lake.disable()
write("native.h5", [3, 4])
"""
READ_BY_NETCDF4 = """
for name, values in ("native-exported.h5", [1, 2]), ("imported.h5", [3, 4]), ("adopted.h5", [3, 4]):
    with netCDF4.Dataset(name) as f: assert list(f["x"][:]) == values, name
"""


def environment(folder, requirement, numpy):
    """Returns the Python of an environment with one client. The environment is created once and kept in the cache."""
    file = folder / f"wheel-{requirement.rstrip('.*').replace('==', '-')}.txt"
    file.write_text(f"{requirement}\nnumpy{numpy}\n")
    done = subprocess.run([sys.executable, ROOT / "tests-py" / "venv", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def works_alone(folder, requirement, module, write, read, numpy=">=2,<3"):
    python = environment(folder, requirement, numpy)
    site = installed(folder)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_", "LD_LIBRARY_PATH"))}
    # The tool has to find the libhdf5 of this environment, and no other one.
    env.update(PATH=f"{python.parent}:/usr/bin:/bin", PYTHONPATH=str(site))

    def run(*command):
        done = subprocess.run([*map(str, command)], cwd=folder, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    enabled = f"import h5lake; h5lake.enable(retention='1h')\nimport {module}\n"
    run(python, "-c", enabled + write)
    assert "version" in run(site / "bin" / "h5lake", "versions", "first.h5")
    packages = next(python.parent.parent.glob("lib/python3*/site-packages"))
    for task, source, target in ("export", "first.h5", "native-exported.h5"), ("import", "native.h5", "imported.h5"), \
            ("adopt", "native.h5", "adopted.h5"):
        out = run(site / "bin" / "h5lake", task, source, target)
        assert (folder / target).exists(), (task, out)
    assert any(packages.glob("*.libs/libhdf5[-.]*")), f"{requirement} brings no libhdf5"
    starts = [(folder / name).read_bytes()[:16] for name in ("native-exported.h5", "imported.h5", "adopted.h5")]
    assert [b"h5lake" in start for start in starts] == [False, True, True], starts
    run(python, "-c", enabled + read)


def h5py_works_alone(folder, version):
    works_alone(folder, f"h5py=={version}.*", "h5py", WITH_H5PY, READ_BY_H5PY)


def check_h5py_3_11(folder):
    h5py_works_alone(folder, "3.11")


def check_h5py_3_12(folder):
    h5py_works_alone(folder, "3.12")


def check_h5py_3_13(folder):
    h5py_works_alone(folder, "3.13")


def check_h5py_3_14(folder):
    h5py_works_alone(folder, "3.14")


def check_h5py_3_15(folder):
    h5py_works_alone(folder, "3.15")


def check_h5py_3_16(folder):
    h5py_works_alone(folder, "3.16")


def check_netcdf4_alone(folder):
    works_alone(folder, "netCDF4", "netCDF4", WITH_NETCDF4, READ_BY_NETCDF4)


def check_pytables_alone(folder):
    works_alone(folder, "tables", "tables", WITH_PYTABLES, READ_BY_PYTABLES)


main(globals())
