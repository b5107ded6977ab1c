"""The filters of netCDF4's wheel with the two variables alone. The wheel adds the folder of its filters only if HDF5_PLUGIN_PATH is
not set, but the variable has to be set to load the plugin."""
# requires: clients.txt
# only: h5lake

import os
import subprocess
import sys

import netCDF4
from cases import main

# Keeps only the two variables, because the test run may set further variables.
BARE = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
NATIVE = {k: v for k, v in BARE.items() if not k.startswith("HDF5_")}
COMMON = "import netCDF4, numpy as np\nDATA = np.arange(1000, dtype='f8')\n"
WRITE = COMMON + """
with netCDF4.Dataset({name!r}, "w") as f:
    f.createDimension("x", 1000)
    for codec in ("zstd", "bzip2", "blosc_lz4"):
        f.createVariable(codec, "f8", ("x",), compression=codec)[:] = DATA
"""
READ = COMMON + """
for _ in range(3):
    with netCDF4.Dataset({name!r}) as f:
        for codec in ("zstd", "bzip2", "blosc_lz4"):
            assert (f[codec][:] == DATA).all() and f[codec].filters()[codec.split("_")[0]]
"""


def run(env, code):
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_filters(_):
    assert BARE["HDF5_VOL_CONNECTOR"].startswith("h5lake") and "netCDF4" not in BARE["HDF5_PLUGIN_PATH"]
    run(NATIVE, WRITE.format(name="native.nc"))
    run(BARE, WRITE.format(name="lake.nc"))
    for name in ("native.nc", "lake.nc"):
        run(BARE, READ.format(name=name))
    run(BARE, COMMON + "f = netCDF4.Dataset('lake.nc')\nassert f.has_zstd_filter() and not f.has_filter('nothing')"
        if hasattr(netCDF4.Dataset, "has_filter") else READ.format(name="lake.nc"))


def check_the_folder_is_named_once(_):
    """The folder is added once, however many files are opened."""
    code = COMMON + """
import ctypes, re
for n in range(4): netCDF4.Dataset(f"{n}.nc", "w").close()
mapped = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"netcdf4.libs/libhdf5-[^/]*$", line)}
hdf5, count, folder = ctypes.CDLL(mapped.pop()), ctypes.c_uint(), ctypes.create_string_buffer(4096)
hdf5.H5PLsize(ctypes.byref(count))
for n in range(count.value):
    hdf5.H5PLget(n, folder, ctypes.c_size_t(4096))
    print(folder.value.decode())
"""
    folders = run(BARE, code).splitlines()
    own = os.path.realpath(os.path.join(os.path.dirname(netCDF4.__file__), "plugins"))
    assert folders == [*BARE["HDF5_PLUGIN_PATH"].split(":"), own], folders


main(globals())
