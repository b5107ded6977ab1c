"""Victims: processes forked from one that has imported h5py and opened nothing, so that a cycle takes little time.

    victims.py FOLDER CYCLES SEED"""

import os
import random
import signal
import struct
import sys
import time
import traceback
import zlib

import h5py
import numpy as np

NAME = "victim.h5"


def content(n):
    """Returns the data that step n writes: inline, in chunks of its own, or compressed, depending on n."""
    rng = np.random.default_rng(n)
    return rng.integers(0, 1 << 30, size=[10, 2_000, 40_000][n % 3], dtype="u4")


def step(f, n):
    """Makes all changes of step n. Afterwards the file has the content that `look` expects for n."""
    if n == 0:
        f.create_dataset("rows", (0, 2), maxshape=(None, 2), dtype="u8", chunks=(64, 2))
        f.create_dataset("whole", (50_000,), dtype="u4", chunks=(5_000,), compression="gzip")
        f.create_dataset("words", (0,), maxshape=(None,), dtype=h5py.string_dtype(), chunks=(16,))
        f.create_group("groups")
    data = content(n)
    f["rows"].resize(n + 1, axis=0)
    f["rows"][n] = n, zlib.crc32(data)
    f["whole"][:] = n
    words = f["words"]
    words.resize(n + 1, axis=0)
    words[n] = f"word {n} " * (n % 7 + 1)
    if n >= 3:
        del f[f"data{n - 3}"]
    f[f"data{n}"] = data
    f["groups"].create_group(f"g{n}").attrs["n"] = n
    if n:
        del f[f"groups/g{n - 1}"]
    f.attrs["n"] = n


def look(f):
    """Returns the last step that is present completely, or -1 for a file without any."""
    if "n" not in f.attrs:
        assert list(f) == [] and dict(f.attrs) == {}, (list(f), dict(f.attrs))
        return -1
    n = int(f.attrs["n"])
    rows = f["rows"][:]
    assert rows.shape == (n + 1, 2) and np.array_equal(rows[:, 0], np.arange(n + 1)), rows.shape
    assert np.all(f["whole"][:] == n), np.unique(f["whole"][:])
    kept = range(max(0, n - 2), n + 1)
    assert sorted(f) == sorted([f"data{k}" for k in kept] + ["groups", "rows", "whole", "words"]), list(f)
    for k in kept:
        data = f[f"data{k}"][:]
        assert np.array_equal(data, content(k)) and zlib.crc32(data) == rows[k, 1], k
    words = f["words"].asstr()[:]
    assert [*words] == [f"word {k} " * (k % 7 + 1) for k in range(n + 1)]
    assert list(f["groups"]) == [f"g{n}"] and f[f"groups/g{n}"].attrs["n"] == n
    return n


def in_child(function):
    """Runs a function in a child process. Returns its process id, and the pipe that it writes to."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        function(lambda n: os.write(writing, struct.pack("<q", n)))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def write(tell):
    """Writes until it is killed, and reports each flush."""
    with h5py.File(NAME, "a") as f:
        n = look(f)
        tell(n)
        while True:
            n += 1
            step(f, n)
            f.flush()
            tell(n)


def check(tell):
    with h5py.File(NAME, "r") as f:
        tell(look(f))


def told(pipe):
    """Reads a pipe until its other end closes. Returns the last number, or None if there was none."""
    data = b""
    while more := os.read(pipe, 1 << 16):
        data += more
    os.close(pipe)
    return struct.unpack("<q", data[-8:])[0] if data else None


def outcome(child):
    pid, pipe = child
    last = told(pipe)
    return os.waitpid(pid, 0)[1], last


def victim(rng):
    """Starts a writer and kills it. Returns its last report."""
    pid, pipe = in_child(write)
    # Some are killed while they open the file, some in the middle of a step, some after many steps.
    kind = rng.randrange(10)
    last = None
    for _ in range(0 if kind == 0 else rng.randrange(1, 12)):
        data = os.read(pipe, 8)
        if not data:
            break
        last = struct.unpack("<q", data)[0]
    time.sleep(rng.random() * (0.05 if kind == 0 else 0.02))
    os.kill(pid, signal.SIGKILL)
    rest = told(pipe)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"the writer ended by itself: {status}"
    return last if rest is None else rest


def main():
    folder, cycles, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.chdir(folder)
    rng = random.Random(seed)
    known, steps, between = None, 0, 0
    for cycle in range(cycles):
        last = victim(rng)
        if not os.path.exists(NAME):
            assert last is None and known is None, f"cycle {cycle}: the file is gone"
            continue
        status, found = outcome(in_child(check))
        assert status == 0, f"cycle {cycle}: what is left is no whole step"
        if last is None:
            # The process was killed before it could report what it found.
            assert found == (known if known is not None else -1), f"cycle {cycle}: {known} was there, {found} is now"
        else:
            assert found in (last, last + 1), f"cycle {cycle}: {last} was the last flush, {found} is there"
            between += found != last
        steps += found - (known if known is not None else -1)
        known = found
    print(f"{cycles} killed, {steps} steps, {between} died between a commit and its answer", flush=True)


main()
