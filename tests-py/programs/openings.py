"""Openings of a container that the process has open already."""
# only: h5lake

from multiprocessing import get_context

import h5py
from cases import main

SPAWN = get_context("spawn")


def commits(path, go, done):
    """A writer that commits and closes each time it is told to."""
    for n in range(1, 4):
        go.wait(30)
        go.clear()
        with h5py.File(path, "r+") as f:
            f["x"][()] = n
            f[f"new{n}"] = n
        done.set()


def check_an_opening_shows_the_newest_version(folder):
    """What was opened before stays at its version until it is refreshed."""
    with h5py.File("a.h5", "w") as f:
        f["x"] = 0
    go, done = SPAWN.Event(), SPAWN.Event()
    writer = SPAWN.Process(target=commits, args=("a.h5", go, done))
    writer.start()
    kept = [h5py.File("a.h5", "r")]
    for n in range(1, 4):
        go.set()
        assert done.wait(30)
        done.clear()
        kept.append(h5py.File("a.h5", "r"))
        # What is at the newest version already is shared.
        assert h5py.File("a.h5", "r")["x"][()] == n
        assert [int(f["x"][()]) for f in kept] == list(range(n + 1))
        assert [len(f) for f in kept] == list(range(1, n + 2))
    writer.join(30)
    kept[0]["x"].refresh()
    assert [int(f["x"][()]) for f in kept] == [3, 1, 2, 3]
    kept[3].close()
    assert h5py.File("a.h5", "r")["x"][()] == 3 and kept[1]["x"][()] == 1
    for f in kept[:3]:
        f.close()
    with h5py.File("a.h5", "r+") as f:
        assert f["new3"][()] == 3


def check_who_reads_an_older_version_keeps_writers_of_the_process_away(folder):
    """As any reader of the process does."""
    with h5py.File("a.h5", "w") as f:
        f["x"] = 0
    go, done = SPAWN.Event(), SPAWN.Event()
    writer = SPAWN.Process(target=commits, args=("a.h5", go, done))
    writer.start()
    with h5py.File("a.h5", "r"):
        for _ in range(3):
            go.set()
            assert done.wait(30)
            done.clear()
        h5py.File("a.h5", "r").close()
        for mode in ("r+", "w"):
            try:
                h5py.File("a.h5", mode).close()
            except OSError as e:
                assert "already open" in str(e), e
            else:
                raise AssertionError(f"mode {mode} succeeded")
    writer.join(30)
    h5py.File("a.h5", "r+").close()


if __name__ == "__main__":
    main(globals())
