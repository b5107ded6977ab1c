"""Updates of copies by the tool transfer only the changes, make one commit, and fail if the copy does not match."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import subprocess
from functools import partial

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake retention=1h"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from cases import bytes_in, killed_midway, main, same  # noqa: E402
from tool import run  # noqa: E402

ROWS, WIDTH = 4000, 250
CHUNK = 100 * WIDTH * 8
WITHOUT_RETENTION = {"HDF5_VOL_CONNECTOR": "h5lake retention=0s"}


def copy(*arguments):
    return json.loads(run("copy", "--json", *arguments))


def update(source, target):
    return copy("--update", source, target)


def make(name):
    with h5py.File(name, "w") as f:
        grid = np.random.default_rng(1).random((ROWS, WIDTH))
        f.create_dataset("grid", data=grid, chunks=(100, WIDTH), maxshape=(None, WIDTH))
        f.create_dataset("packed", data=np.arange(90_000).reshape(300, 300), chunks=(30, 300), compression="gzip")
        f.create_dataset("texts", data=[f"text {n} " * 40 for n in range(500)], dtype=h5py.string_dtype())
        f["group/inner"] = 1
        f["group"].attrs["table"] = np.arange(9000)


def newest(name):
    return json.loads(run("versions", "--json", "-n", "1", name))["versions"][0]["number"]


def look(source, target):
    """Checks that a copy equals its source, and is intact."""
    run("diff", "--storage", source, target)
    run("verify", target)


def places(folder):
    store = f"file://{folder}/store"
    made = [("a.h5", f"{store}/b.h5"), (f"{store}/c.h5", "d.h5"), ("e.h5", "f.h5"), (f"{store}/g.h5", f"{store}/h.h5")]
    for source, _ in made:
        make(source)
    return made


def check_an_update_moves_only_what_changed(folder):
    for source, target in places(folder):
        full = copy(source, target)
        assert full["before"] is None and full["bytes"] > ROWS * WIDTH * 8, full
        with h5py.File(source, "r+") as f:
            f["grid"][700:800] = 7
            f["group"].attrs["n"] = 1
        before = newest(target)
        done = update(source, target)
        assert (done["before"], done["version"]) == (full["version"], newest(source)), done
        # One chunk, and none of the other thirty-nine.
        assert done["bytes"] == CHUNK, done
        assert newest(target) == before + 1
        look(source, target)
        with h5py.File(source, "r+") as f:
            f["grid"].resize((ROWS + 200, WIDTH))
            f["grid"][ROWS:] = 8
            f["new/data"] = np.arange(50_000)
            f["texts"][3] = "short"
            del f["group/inner"]
        done = update(source, target)
        assert 2 * CHUNK + 400_000 <= done["bytes"] < 2 * CHUNK + 900_000, done
        look(source, target)
        with h5py.File(target) as f:
            same(f["grid"][ROWS:], np.full((200, WIDTH), 8.0))
            assert "inner" not in f["group"] and f["texts"].asstr()[3] == "short"


def check_little_is_written(folder):
    make("a.h5")
    target = f"file://{folder}/store/b.h5"
    run("copy", "a.h5", target)
    for n in range(3):
        with h5py.File("a.h5", "r+") as f:
            f["grid"][n] = n
        before = bytes_in("store")
        done = update("a.h5", target)
        assert done["bytes"] == WIDTH * 8, done
        assert bytes_in("store") - before < CHUNK, "more than a chunk was written for a row of one"
    look("a.h5", target)


def check_an_unchanged_source_makes_no_commit(folder):
    make("a.h5")
    target = f"file://{folder}/store/b.h5"
    assert update("a.h5", target)["before"] is None
    for name in (target, "b.h5"):
        first = update("a.h5", name)
        before = newest(name)
        done = update("a.h5", name)
        shown = first["version"]
        assert [done[key] for key in ("before", "version", "bytes", "entries")] == [shown, shown, 0, 0], done
        assert "already; nothing was moved" in run("copy", "--update", "a.h5", name)
        assert newest(name) == before
    run("link", target, "pointer.h5")
    with h5py.File("a.h5", "r+") as f:
        f["x"] = 1
    assert update("a.h5", "pointer.h5")["entries"] > 0
    look("a.h5", target)


def check_readers_see_one_version_or_the_other(folder):
    make("a.h5")
    for target in ("b.h5", f"file://{folder}/store/b.h5"):
        run("copy", "a.h5", target)
        with h5py.File("a.h5", "r+") as f:
            before = f["grid"][:]
            f["grid"][...] = before[::-1]
        with h5py.File(target) as f:
            same(f["grid"][:10], before[:10])
            update("a.h5", target)
            same(f["grid"][:], before)
        with h5py.File(target) as f:
            same(f["grid"][:], before[::-1])


def check_old_versions_and_tags(folder):
    make("a.h5")
    for target in ("b.h5", f"file://{folder}/store/b.h5"):
        first = copy("a.h5", target)["version"]
        with h5py.File("a.h5", "r+") as f:
            f["grid"][5] += 1
        run("tag", target, "monday")
        run("vacuum", target)
        update("a.h5", target)
        run("vacuum", target)
        look("a.h5", target)
        run("diff", "--storage", f"a.h5@v={first}", f"{target}@tag=monday")
        assert update(f"a.h5@v={first}", target)["version"] == first
        look(f"a.h5@v={first}", target)
        update("a.h5", target)
        look("a.h5", target)


def refused(source, target, *words):
    before = newest(target)
    text = run("copy", "--update", source, target, code=1)
    assert all(word in text for word in (*words, "make a full copy", "h5lake rm")), text
    assert newest(target) == before


def check_what_is_no_such_copy_is_refused(folder):
    make("a.h5")
    make("other.h5")
    for target in ("b.h5", f"file://{folder}/store/b.h5"):
        refused("a.h5", "other.h5", "is not known to be a copy")
        run("copy", "a.h5", target)
        assert "--update" in run("copy", "a.h5", target, code=1)
        refused("other.h5", target, "another container")
        with h5py.File(target, "r+") as f:
            f["mine"] = 1
        refused("a.h5", target, "was written after it was copied")
        with h5py.File(target, "r+") as f:
            del f["mine"]
        refused("a.h5", target, "was written after it was copied")
        run("rm", target)
        assert update("a.h5", target)["before"] is None
        with h5py.File(target, "r+"):
            with h5py.File("a.h5", "r+") as f:
                f["grid"][0] += 1
            run("copy", "--update", "a.h5", target, code=1)
        update("a.h5", target)
        look("a.h5", target)
    with h5py.File("native.h5", "w", driver="core") as f:
        f["x"] = 1
    run("copy", "--update", "a.h5", "native.h5", code=1)
    run("copy", "--update", "a.h5", "a.h5", code=1)
    run("copy", "--update", "missing.h5", "b.h5", code=1)


def check_a_version_that_is_gone_is_not_guessed(folder):
    make("a.h5")
    for target in ("b.h5", f"file://{folder}/store/b.h5"):
        run("copy", "a.h5", target)
        run("tag", "--force", "a.h5", "copied")
        for n in range(3):
            with h5py.File("a.h5", "r+") as f:
                f["grid"][...] = np.random.default_rng(n).random(f["grid"].shape)
            run("vacuum", "a.h5", **WITHOUT_RETENTION)
        shown = update("a.h5", target)["before"]
        kept = json.loads(run("versions", "--json", "a.h5"))["versions"]
        assert shown not in [version["number"] for version in kept if not version["tags"]], kept
        look("a.h5", target)
        run("tag", "--delete", "a.h5", "copied")
        for n in range(3):
            with h5py.File("a.h5", "r+") as f:
                f["grid"][...] = np.random.default_rng(n).random(f["grid"].shape)
            run("vacuum", "a.h5", **WITHOUT_RETENTION)
        refused("a.h5", target, "no longer keeps")


def replace_much():
    """Changes 96 MB in the source."""
    with h5py.File("a.h5", "r+") as f:
        if "more" in f:
            del f["more"]
        f["more"] = np.random.default_rng(1).random(12_000_000)


def check_a_killed_update_leaves_the_version_before(folder):
    make("a.h5")
    for target in "b.h5", f"file://{folder}/store/b.h5":
        command = [os.environ["TOOL"], "copy", "--update", "a.h5", target]
        first = copy("a.h5", target)["version"]
        replace_much()
        before = newest(target)
        while not killed_midway(partial(subprocess.Popen, command), folder, 8 << 20, lambda: newest(target) != before):
            first, before = newest("a.h5"), newest(target)
            replace_much()
        run("diff", "--storage", f"a.h5@v={first}", target)
        done = update("a.h5", target)
        assert done["before"] == first and done["bytes"] == 96_000_000, done
        look("a.h5", target)


if __name__ == "__main__":
    main(globals())
