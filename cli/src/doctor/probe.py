"""Lets one libhdf5 create a file.

The arguments are a module or an empty string, a library or an empty string, and the name of the file. With a fourth
argument, `open`, the library opens the file instead. Prints one line of JSON after each step, because a library that
does not find its connector may end the process.
"""

import ctypes
import importlib
import json
import os
import re
import sys

module, library, name = sys.argv[1:4]
opens = sys.argv[4:] == ["open"]
LIBRARY = r"/libhdf5(_serial|_openmpi|_mpich|_parallel)?[-.][^/]*$"


def say(**facts):
    print("probe " + json.dumps(facts), flush=True)


def mapped(pattern):
    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if line.count("/")}
    return sorted(path for path in paths if re.search(pattern, path))


if module:
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        say(absent=str(error))
        sys.exit()
    say(module=f"{module} {getattr(loaded, '__version__', '')}".strip())
    found = mapped(LIBRARY)
    if not found:
        say(static=True)
        sys.exit()
    library = found[0]
say(library=library)
hdf5 = ctypes.CDLL(library)
# The version is read from a variable, because H5get_libversion would start the library, which fails if the connector is
# not found.
text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(hdf5, "H5_lib_vers_info_g")))
version = [int(number) for number in re.search(rb"(\d+)\.(\d+)\.(\d+)", text).groups()]
say(version=version)
if version >= [1, 14, 0]:
    hid = ctypes.c_int64
    hdf5.H5Fcreate.restype, hdf5.H5Fcreate.argtypes = hid, [ctypes.c_char_p, ctypes.c_uint, hid, hid]
    hdf5.H5Fopen.restype, hdf5.H5Fopen.argtypes = hid, [ctypes.c_char_p, ctypes.c_uint, hid]
    hdf5.H5Fclose.argtypes = [hid]
    hdf5.H5Eset_auto2.argtypes, hdf5.H5Eprint2.argtypes = [hid, ctypes.c_void_p, ctypes.c_void_p], [hid, ctypes.c_void_p]
    hdf5.H5open()
    say(plugin=bool(mapped(r"/libh5lake[^/]*$")))
    # The automatic error output of HDF5 is switched off, as h5py does it. Errors are printed explicitly below.
    hdf5.H5Eset_auto2(0, None, None)
    file = hdf5.H5Fopen(os.fsencode(name), 0, 0) if opens else hdf5.H5Fcreate(os.fsencode(name), 2, 0, 0)
    if file >= 0:
        hdf5.H5Fclose(file)
    else:
        hdf5.H5Eprint2(0, None)
    say(done=True)
