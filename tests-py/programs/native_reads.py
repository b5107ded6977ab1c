"""Reads of native files through the plugin's own filters: a program always gets the same data as from plain HDF5.
The plugin decodes where that is faster, and not elsewhere."""
# store: any
# only: h5lake
# requires: filters.txt

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake only=*.h5l"

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import PART, main, same  # noqa: E402

STEPS = Path(__file__).with_name("native_read_steps.py")
# The first lines of a process that creates or reads files.
HEAD = "import h5py, hdf5plugin, json, sys, numpy as np\n"
MAKE = HEAD + """
n = np.arange(1 << 20)
with h5py.File("native.h5", "w") as f:
    f.create_dataset("gzip", data=(n % 1000).astype("f4"), chunks=(1 << 16,), compression="gzip", shuffle=True)
    f.create_dataset("sparse", (1 << 20,), "f4", chunks=(1 << 16,), compression="gzip", fillvalue=3)[::1 << 18] = 1
    f.create_dataset("plain", data=n.astype("f4"), chunks=(1 << 16,))
    f.create_dataset("zstd", data=(n % 1000).reshape(1024, 1024), chunks=(64, 256), **hdf5plugin.Zstd())
    f.create_dataset("lz4", data=(n % 1000).reshape(1024, 1024), chunks=(64, 256), **hdf5plugin.LZ4())
    f.create_dataset("short", data=n[:1000], chunks=(100,), compression="gzip")
    f.create_dataset("bits", data=n, chunks=(1 << 16,), **hdf5plugin.Bitshuffle())
    f.create_dataset("zfp", data=(n % 1000).astype("f4"), chunks=(1 << 16,), **hdf5plugin.Zfp(reversible=True))
"""


def run(code, *arguments, ours=True, fails=False, **variables):
    """Runs a process with or without the plugin. Returns its output, and the statistics of its native reads."""
    env = {k: v for k, v in os.environ.items() if ours or not k.startswith(("HDF5_", "H5LAKE_"))}
    log = Path(f"statistics-{os.getpid()}")
    log.unlink(missing_ok=True)
    env |= {"H5LAKE_STATS": "1", "H5LAKE_LOG_FILE": str(log), "H5LAKE_LOG_FORMAT": "json"} if ours else {}
    command = [sys.executable, *(["-c", code] if isinstance(code, str) else [code]), *arguments]
    done = subprocess.run(command, env={**env, **variables}, capture_output=True, text=True, timeout=300)
    assert bool(done.returncode) == fails, done.stderr
    told = [json.loads(line)["fields"] for line in log.read_text().splitlines()] if log.exists() else []
    reads = [fields["native_reads"] for fields in told if "native_reads" in fields]
    return done.stdout, reads[-1] if reads else None


def compared(seeds):
    """Compares random programs with and without the plugin. Returns how many reads the plugin decoded."""
    names = [str(seed) for seed in seeds]
    for folder in ("native-with", "native-without"):
        os.makedirs(folder, exist_ok=True)
    ours, reads = run(STEPS, "native-with", *names)
    theirs, none = run(STEPS, "native-without", *names, ours=False)
    ours, theirs = json.loads(ours), json.loads(theirs)
    for seed in names:
        for step, (one, other) in enumerate(zip(ours[seed], theirs[seed], strict=True)):
            assert one == other, f"seed {seed}, step {step}: {one}, and natively {other}"
    assert none is None
    return reads


def check_random_programs_see_what_plain_hdf5_shows(folder):
    reads = compared(range(0, 50, PART))
    assert reads["count"] > 500 / PART and reads["chunks"] > reads["count"], reads


def check_more_random_programs(folder):
    reads = compared(range(1000, 1000 + int(os.environ.get("NATIVE_READ_PROGRAMS", "30")), PART))
    assert reads["count"] > 300 / PART, reads


def read(code, **variables):
    return run(HEAD + "f = h5py.File('native.h5', rdcc_nbytes=1 << 20)\n" + code + "\nf.close()", **variables)


def check_long_reads_are_decoded_here_and_short_ones_are_not(folder):
    run(MAKE, ours=False)
    reads = read("f['gzip'][...]")[1]
    assert (reads["count"], reads["chunks"], reads["bytes"]) == (1, 16, 4 << 20), reads
    assert 0 < reads["stored_bytes"] < 4 << 20
    assert read("f['lz4'][:, 3:900:2]")[1]["chunks"] == 64
    alone = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert read(alone + "f['gzip'][...]")[1]["chunks"] == 16
    assert read(alone + "f['zstd'][...]")[1] is None, "Zstandard is only worth it side by side"
    for natively in ("f['gzip'][5:100]", "f['gzip'][:1 << 18]", "f['plain'][...]", "f['short'][...]", "f['zfp'][...]", "f['bits'][...]",
                     "f['gzip'].astype('f8')[...]", "[f['gzip'][i] for i in range(100)]"):
        assert read(natively)[1] is None, natively


def check_a_setting_leaves_all_to_the_library(folder):
    run(MAKE, ours=False)
    assert read("f['gzip'][...]", H5LAKE_NATIVE_FILTERS="library")[1] is None
    assert read("f['gzip'][...]", HDF5_VOL_CONNECTOR="h5lake native_filters=library only=*.h5l")[1] is None
    assert read("f['gzip'][...]", H5LAKE_NATIVE_FILTERS="own")[1]["count"] == 1
    assert "H5LAKE_NATIVE_FILTERS takes own or library" in subprocess.run(
        [sys.executable, "-c", "import h5py; h5py.File('native.h5')"], capture_output=True, text=True,
        env=os.environ | {"H5LAKE_NATIVE_FILTERS": "none"}).stderr


def check_chunks_without_storage_are_fill_values(folder):
    run(MAKE, ours=False)
    wanted = np.full(1 << 20, 3, "f4")
    wanted[::1 << 18] = 1
    with h5py.File("native.h5") as f:
        same(f["sparse"][...], wanted)
        same(f["sparse"][1 << 17:], wanted[1 << 17:])
    reads = read("[f['sparse'][...] for _ in range(3)]")[1]
    assert (reads["count"], reads["chunks"]) == (3, 12), reads


def check_sparse_chunks_behind_every_index(folder):
    """If the unlimited dimension is not the first one, libhdf5 reports chunks at wrong coordinates."""
    run(HEAD + """
for libver in ("earliest", "latest"):
    with h5py.File(f"native-{libver}.h5", "w", libver=libver) as f:
        for name, most in (("none", (1024, 4096)), ("first", (None, 4096)), ("last", (1024, None)), ("wider", (2048, None)), ("both", (None, None))):
            x = f.create_dataset(name, (1024, 4096), "f8", chunks=(256, 256), maxshape=most, compression="gzip", fillvalue=-1)
            x[:, :256], x[512:768, 1024:1280] = 1, 2
""", ours=False)
    wanted = np.full((1024, 4096), -1.0)
    wanted[:, :256], wanted[512:768, 1024:1280] = 1, 2
    for libver in ("earliest", "latest"):
        for name in ("none", "first", "last", "wider", "both"):
            with h5py.File(f"native-{libver}.h5", rdcc_nbytes=1 << 20) as f:
                for part in (np.s_[256:], np.s_[256:], np.s_[256:512], np.s_[:, 256:], np.s_[:]):
                    assert np.array_equal(f[name][part], wanted[part]), (libver, name, part)


DAMAGE = HEAD + """
with h5py.File("native.h5") as f:
    place = f["gzip"].id.get_chunk_info(9)
with open("native.h5", "r+b") as f:
    f.seek(place.byte_offset + place.size // 2)
    f.write(bytes(40))
"""
SEE = """
for name in ("gzip", "zstd"):
    try: print(name, f[name][...].sum())
    except OSError as error: print(name, str(error))
"""


def check_a_damaged_chunk_is_the_librarys_error(folder):
    run(MAKE, ours=False)
    run(DAMAGE, ours=False)
    ours, reads = read(SEE)
    theirs, _ = read(SEE, ours=False)
    assert ours == theirs and ours.startswith("gzip Can't"), (ours, theirs)
    assert reads is None or reads["count"] == 1, reads


CHECKSUMS = """
from h5py import h5p
with h5py.File("native-sums.h5", "w") as g:
    g.create_dataset("x", data=np.arange(1 << 20), chunks=(1 << 16,), fletcher32=True)
    place = g["x"].id.get_chunk_info(2)
with open("native-sums.h5", "r+b") as g:
    g.seek(place.byte_offset + 100)
    g.write(b"damage")
import ctypes, re
mapped = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line)}
hdf5 = ctypes.CDLL(next(path for path in mapped if "_hl" not in path))
hdf5.H5Pset_edc_check.argtypes = [ctypes.c_int64, ctypes.c_int]
with h5py.File("native-sums.h5", rdcc_nbytes=1 << 20) as g:
    out = np.zeros(1 << 20, "i8")
    for check in (1, 0):
        transfer = h5p.create(h5p.DATASET_XFER)
        assert hdf5.H5Pset_edc_check(transfer.id, check) >= 0
        try: g["x"].id.read(h5py.h5s.ALL, h5py.h5s.ALL, out, dxpl=transfer); print(check, out.sum())
        except OSError as error: print(check, type(error).__name__)
"""


def check_checksums_are_checked_as_the_transfer_list_says(folder):
    run(MAKE, ours=False)
    ours, theirs = read(CHECKSUMS)[0], read(CHECKSUMS, ours=False)[0]
    assert ours == theirs and ours.splitlines()[0] == "1 OSError", (ours, theirs)


MISSING_FILTER = """
import h5py
with h5py.File("native.h5", rdcc_nbytes=1 << 20) as f:
    try: print(f["zstd"][...].sum())
    except OSError as error: print("no", error)
"""


def check_a_filter_that_the_library_lacks_is_its_error(folder):
    run(MAKE, ours=False)
    theirs = run(MISSING_FILTER, ours=False, HDF5_PLUGIN_PATH=os.environ["HDF5_PLUGIN_PATH"])[0]
    ours = run(MISSING_FILTER)[0]
    assert ours == theirs and ours.startswith("no"), (ours, theirs)


SWMR = HEAD + """
with h5py.File("native.h5", "w", libver="latest", rdcc_nbytes=1 << 20) as f:
    f.create_dataset("x", data=np.arange(1 << 20), chunks=(1 << 16,), compression="gzip")
    f["x"][...]
    f.swmr_mode = True
    f["x"][...]
with h5py.File("native.h5", swmr=True, libver="latest", rdcc_nbytes=1 << 20) as f:
    f["x"][...]
"""


def check_files_in_swmr_mode_are_read_by_the_library(folder):
    assert run(SWMR)[1]["count"] == 1


TWO = HEAD + """
with h5py.File("native.h5", "w", rdcc_nbytes=1 << 20) as f:
    one = f.create_dataset("x", data=np.zeros(1 << 20, "i4"), chunks=(1 << 16,), compression="gzip")
    other = f["x"]
    for i in range(3):
        one[i::7] = i + 1
        print(other[...].sum(), one[1 << 15:].sum())
    other.resize((1 << 19,))
    print(one[...].sum(), one.shape)
    one.resize((1 << 20,))
    print(other[...].sum())
"""


def check_changes_by_other_handles_are_seen(folder):
    ours, theirs = run(TWO), run(TWO, ours=False)
    assert ours[0] == theirs[0] and ours[1]["count"] == 7, (ours, theirs)


FULL = HEAD + """
import os, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
noise = np.random.default_rng(1).integers(0, 1 << 32, 1 << 20, "u4")
options = {"chunks": (1 << 16,), "compression": "gzip", "fillvalue": 3}
with h5py.File("native-full.h5", "w", rdcc_nbytes=1 << 20) as f:
    f.create_dataset("x", (1 << 20,), "u4", **options)[:15 << 16] = noise[:15 << 16]
f = h5py.File("native-full.h5", "r+", rdcc_nbytes=1 << 20)
x = f["x"]
x[15 << 16:] = noise[15 << 16:]
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize("native-full.h5"), most))
for part in (np.s_[6 << 16:], np.s_[:]):
    try: print((x[part] == noise[part]).all())
    except OSError as error: print(type(error).__name__)
    sys.stdout.flush()
    if part == np.s_[6 << 16:]: x[15 << 16:] = noise[15 << 16:]
os._exit(0)
"""


def check_a_chunk_that_cannot_be_written_is_not_lost_by_a_read(folder):
    """A read never returns the fill value by mistake. In native HDF5 the read fails, because it needs the chunk's
    space in the cache."""
    ours, theirs = run(FULL)[0], run(FULL, ours=False)[0]
    assert ours == theirs and "False" not in ours, (ours, theirs)


MEMORY = HEAD + """
import resource
with h5py.File("native-long.h5") as f:
    x = f["x"]
    used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
    try: print(x[:1 << 16].sum())
    except (OSError, MemoryError): print("no memory")
"""


def check_a_chunk_without_memory_is_the_librarys_error(folder):
    run(HEAD + """
with h5py.File("native-long.h5", "w") as f:
    f.create_dataset("x", (96 << 20,), "i1", chunks=(96 << 20,), compression=1)[:10] = 1
""", ours=False)
    ours, theirs = run(MEMORY)[0], run(MEMORY, ours=False)[0]
    assert ours == theirs == "no memory\n", (ours, theirs)


CAUSES = """
import ctypes
from cases import hdf5_path
from h5py import h5p, h5s
hdf5 = ctypes.CDLL(hdf5_path())
def cause(transfer):
    found = ctypes.c_uint32()
    assert hdf5.H5Pget_no_selection_io_cause(ctypes.c_int64(transfer.id), ctypes.byref(found)) >= 0
    return found.value
out = np.zeros(1 << 20, "f4")
for mode in (0, 1, 2):
    transfer = h5p.create(h5p.DATASET_XFER)
    assert hdf5.H5Pset_selection_io(ctypes.c_int64(transfer.id), mode) >= 0
    for name in ("plain", "gzip", "plain", "gzip", "gzip"):
        f[name].id.read(h5s.ALL, h5s.ALL, out, dxpl=transfer)
        print(mode, name, cause(transfer))
"""


def check_transfer_lists_are_told_what_plain_hdf5_tells(folder):
    run(MAKE, ours=False)
    path = {"PYTHONPATH": str(Path(__file__).parent)}
    (ours, reads), (theirs, _) = read(CAUSES, **path), read(CAUSES, ours=False, **path)
    assert ours == theirs and reads["count"] == 9, (ours, theirs, reads)


main(globals())
