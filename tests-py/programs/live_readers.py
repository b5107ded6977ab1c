"""Readers of a file that another process writes, as in h5py's documentation of SWMR: the writer switches the file to
SWMR mode, appends and flushes. The readers refresh by polling, after a message, or after an event of inotify."""

import ctypes
import os
import select
import struct
import time
from multiprocessing import get_context

import h5py
import numpy as np
from cases import main

SPAWN = get_context("spawn")
APPENDS, LENGTH = 40, 1000
IN_MODIFY = 2


def append(path, ready, go):
    """Appends the numbers from 0 on, a thousand at a time."""
    with h5py.File(path, "w", libver="latest") as f:
        data = f.create_dataset("data", (0,), "i8", chunks=(300,), maxshape=(None,))
        f.swmr_mode = True
        assert f.swmr_mode
        ready.set()
        go.wait(30)
        for i in range(APPENDS):
            data.resize(((i + 1) * LENGTH,))
            data[i * LENGTH:] = np.arange(i * LENGTH, (i + 1) * LENGTH)
            data.flush()
            time.sleep(0.01)


def follow(path, opened, told):
    """Reads until all numbers are present, and checks that the dataset grows and that every number is correct."""
    lengths = []
    with h5py.File(path, "r", libver="latest", swmr=True) as f:
        assert f.swmr_mode
        data, until = f["data"], time.monotonic() + 60
        opened.set()
        while (not lengths or lengths[-1] < APPENDS * LENGTH) and time.monotonic() < until:
            data.refresh()
            seen = data[:]
            if not (seen[: len(seen) // LENGTH * LENGTH] == np.arange(len(seen) // LENGTH * LENGTH)).all():
                break
            if not lengths or len(seen) != lengths[-1]:
                lengths.append(len(seen))
    told.put(lengths)


def check_followed(folder):
    ready, go, told = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
    writer = SPAWN.Process(target=append, args=("grows.h5", ready, go))
    writer.start()
    assert ready.wait(30)
    opened = [SPAWN.Event() for _ in range(2)]
    readers = [SPAWN.Process(target=follow, args=("grows.h5", event, told)) for event in opened]
    for reader in readers:
        reader.start()
    assert all(event.wait(30) for event in opened)
    go.set()
    for _ in readers:
        lengths = told.get(timeout=90)
        assert lengths == sorted(lengths) and lengths[-1] == APPENDS * LENGTH, lengths
        assert len(lengths) > 3, f"the reader saw only {lengths}"
    for process in (writer, *readers):
        process.join(30)
        assert process.exitcode == 0


def check_notified(folder):
    # Waits for inotify's IN_MODIFY at the path of the file, as h5py's monitor does.
    ready, go = SPAWN.Event(), SPAWN.Event()
    writer = SPAWN.Process(target=append, args=("watched.h5", ready, go))
    writer.start()
    assert ready.wait(30)
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init()
    assert libc.inotify_add_watch(watch, b"watched.h5", IN_MODIFY) >= 0
    lengths = []
    with h5py.File("watched.h5", "r", libver="latest", swmr=True) as f:
        data = f["data"]
        go.set()
        while select.select([watch], [], [], 3)[0]:
            (mask,) = struct.unpack_from("=I", os.read(watch, 4096), 4)
            assert mask & IN_MODIFY
            data.refresh()
            lengths.append(data.shape[0])
    os.close(watch)
    writer.join(30)
    assert writer.exitcode == 0 and len(set(lengths)) > 3 and lengths[-1] == APPENDS * LENGTH, lengths


if __name__ == "__main__":
    main(globals())
