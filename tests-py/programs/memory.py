"""The memory of a process that has many files open, and the memory that it keeps after closing them."""

import os
import resource
import subprocess
import sys

import h5py
import numpy as np
from cases import IN_STORE, main, same

MIB = 1 << 20
FILES = 14
# Rows of 64 KiB; a chunk has 16 of them, a file 24 MiB.
SHAPE = (384, 8192)
# The limit of the caches of all containers of a process, as docs/settings.md states it, and an allowance for everything else.
BOUND = (256 if IN_STORE else 64) * MIB
BESIDE = 40 * MIB


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def expected(file):
    return (np.arange(SHAPE[0] * SHAPE[1]) // 100 + file).astype("f8").reshape(SHAPE)


def check_many_open_files_share_one_bound(folder):
    for i in range(FILES):
        with h5py.File(f"{i}.h5", "w") as f:
            f.create_dataset("d", data=expected(i), chunks=(16, SHAPE[1]), compression="gzip", compression_opts=1)
    begun = resident()
    files = [h5py.File(f"{i}.h5", "r") for i in range(FILES)]
    for _ in range(2):
        for i, f in enumerate(files):
            corner = [f["d"][row, :4] for row in range(0, SHAPE[0], 8)]
            same(corner, (np.arange(0, SHAPE[0], 8)[:, None] * SHAPE[1] + np.arange(4)) // 100 + i * 1.0)
    held = resident() - begun
    assert held <= BOUND + BESIDE, f"{held >> 20} MiB more"
    for f in files:
        f.close()
    left = resident() - begun
    assert left <= BESIDE, f"{left >> 20} MiB are left"


def check_written_datasets_leave_no_memory_behind(folder):
    data = expected(3)
    begun = resident()
    with h5py.File("w.h5", "w") as f:
        datasets = [
            f.create_dataset(f"d{i}", SHAPE, "f8", chunks=(16, SHAPE[1] // 4), compression="gzip", compression_opts=1)
            for i in range(8)
        ]
        for row in range(0, SHAPE[0], 6):
            for d in datasets:
                d[row:row + 6] = data[row:row + 6]
        held = resident() - begun
        assert held <= BOUND + BESIDE, f"{held >> 20} MiB more"
    left = resident() - begun
    assert left <= BESIDE, f"{left >> 20} MiB are left"
    with h5py.File("w.h5", "r") as f:
        same(f["d7"][:], data)


def check_objects_that_wait_for_a_flush_take_little_memory(folder):
    """All objects are one commit. If they were kept in full until then, they would take some 200 MiB."""
    count = 200_000
    begun = most = resident()
    with h5py.File("objects.h5", "w") as f:
        f.create_group("g")
        group = f["g"].id
        for n in range(count):
            h5py.h5g.create(group, b"%08d" % (n * 7919 % count))
            if n % 1000 == 0:
                most = max(most, resident())
        f["g"].attrs["n"] = count
    assert most - begun <= 110 * MIB, f"{(most - begun) >> 20} MiB more"
    with h5py.File("objects.h5", "r+") as f:
        g = f["g"]
        assert g.attrs["n"] == len(g) == count
        assert f"{count - 1:08d}" in g and f"{count:08d}" not in g
        del f["g"]
    with h5py.File("objects.h5", "r") as f:
        assert list(f) == []


# Little memory is left when the program uses a chunk of nearly 4 GiB. A call may fail or succeed, but none may end the
# process.
CAREFUL = """
import resource, sys
import h5py
with h5py.File(sys.argv[1], "r+") as f:
    for name in ("plain", "gzip"):
        d = f[name]
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))
        for use in (lambda: d[5], lambda: d.__setitem__(5, 1), lambda: d[7:70000:3], f.flush):
            try:
                use()
            except (OSError, RuntimeError, MemoryError):
                print("refused")
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    f["small"][:] = 3
"""


def check_a_chunk_that_memory_has_no_room_for_is_an_error(folder):
    chunk = (1 << 32) - 8
    with h5py.File("huge.h5", "w") as f:
        f.create_dataset("plain", (chunk,), "u1", chunks=(chunk,))
        f.create_dataset("gzip", (chunk,), "u1", chunks=(chunk,), compression="gzip")
        f.create_dataset("small", (10,), "i4")
    done = subprocess.run([sys.executable, "-c", CAREFUL, "huge.h5"], capture_output=True, text=True)
    assert done.returncode == 0 and "refused" in done.stdout, (done.returncode, done.stderr[-600:])
    with h5py.File("huge.h5", "r") as f:
        same(f["small"][:], np.full(10, 3, "i4"))


# The limit is a few MiB above the current size of the process. A write or a flush may fail, but must not end the process.
BOUNDED = """
import resource, sys
import h5py, numpy as np
name, more = sys.argv[1], int(sys.argv[2]) << 20
ELEMENTS = 1 << 20
data = np.arange(16.0 * ELEMENTS)
f = h5py.File(name, "w")
d = f.create_dataset("d", (len(data),), "f8", chunks=(4 * ELEMENTS,))
d[:ELEMENTS] = data[:ELEMENTS]
f.flush()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = (int(status["VmSize"].split()[0]) << 10) + more
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    for begin in range(0, len(data), 8 * ELEMENTS):
        d[begin:begin + 8 * ELEMENTS] = data[begin:begin + 8 * ELEMENTS]
    f.flush()
    print("written", flush=True)
    assert (d[4 * ELEMENTS:5 * ELEMENTS] == data[4 * ELEMENTS:5 * ELEMENTS]).all()
    print("read", flush=True)
except (OSError, MemoryError, RuntimeError) as error:
    print("refused", flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    d[:] = data
f.close()
"""


def check_a_write_that_memory_has_no_room_for_is_an_error(folder):
    is_ours = "h5lake" in os.environ.get("HDF5_VOL_CONNECTOR", "")
    for name in ("bounded.h5", *([f"file://{folder}/bounded/b.h5"] if is_ours else [])):
        for more in (4, 24, 48, 96, 200):
            done = subprocess.run([sys.executable, "-c", BOUNDED, name, str(more)], capture_output=True, text=True)
            assert done.returncode == 0, (name, more, done.returncode, done.stdout, done.stderr[-600:])
            with h5py.File(name, "r") as f:
                same(f["d"][:], np.arange(16.0 * (1 << 20)))


if __name__ == "__main__":
    main(globals())
