"""A container that was damaged and repaired, as programs see it: intact data is equal, and reads of lost chunks are
errors until the chunks are written completely."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import subprocess
from pathlib import Path

# Plain names are files here, even if other programs keep theirs in a store. Stores are named by their URLs.
os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py
import numpy as np

from cases import main, raises, same

GRID = np.arange(100 * 1000, dtype="f8").reshape(100, 1000)
TEXTS = [f"text {n} " * (n % 50) for n in range(3000)]


def run(*arguments):
    """Runs the tool and returns its exit code and output."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    done = subprocess.run([os.environ["TOOL"], *arguments], env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def repaired(source, target, code):
    """Repairs, and returns the list of lost parts."""
    got, said = run("repair", "--json", source, target)
    assert got == code, said
    code, verified = run("verify", target)
    assert code == 0, verified
    return json.loads(said)["lost"]


def make(name):
    with h5py.File(name, "w", track_order=True) as f:
        f.create_dataset("grid", data=GRID, chunks=(10, 1000))
        f.create_dataset("packed", data=GRID, chunks=(10, 1000), compression="gzip", maxshape=(None, 1000))
        f.create_dataset("texts", data=TEXTS, dtype=h5py.string_dtype())
        g = f.create_group("g/inner")
        g.attrs["units"] = "m/s"
        g.attrs["table"] = np.arange(5000, dtype="i8")
        f["refs"] = np.array([f["grid"].ref, g.ref], dtype=h5py.ref_dtype)
        f["soft"], f["hard"] = h5py.SoftLink("/grid"), f["grid"]


def look(f, but=()):
    """Checks that all data is as it was written, except some chunks."""
    assert list(f) == ["grid", "packed", "texts", "g", "refs", "soft", "hard"], list(f)
    for name in ("grid", "packed", "soft", "hard"):
        for n in range(10):
            part = np.s_[10 * n:10 * n + 10]
            if (name, n) in but:
                error = raises(OSError, f[name].__getitem__, part)
                assert "was lost" in str(error), error
            else:
                same(f[name][part], GRID[part])
    assert f["texts"].asstr()[:].tolist() == TEXTS
    assert f["g/inner"].attrs["units"] == "m/s"
    same(f["g/inner"].attrs["table"], np.arange(5000, dtype="i8"))
    assert f[f["refs"][0]] == f["grid"] and f[f["refs"][1]].name == "/g/inner"


def damage(name, data):
    """Changes a byte in the middle of the given data, in a file or in one of the files of a store."""
    paths = [Path(name)] if Path(name).is_file() else [p for p in Path(name).rglob("*") if p.is_file()]
    for path in paths:
        found = path.read_bytes()
        at = found.find(data)
        if at >= 0:
            path.write_bytes(found[:at + 50] + bytes([found[at + 50] ^ 1]) + found[at + 51:])
            return
    raise AssertionError("the data was not found")


def check_nothing_lost(folder):
    make("a.h5")
    store = f"file://{folder}/store/b.h5"
    for source, target in (("a.h5", "b.h5"), ("a.h5", store), (store, "c.h5")):
        assert repaired(source, target, 0) == []
        with h5py.File(target, "r") as f:
            look(f)
    code, said = run("repair", "a.h5", "b.h5")
    assert code == 1 and "something is there" in said, said


def check_lost_chunk(folder):
    make("a.h5")
    damage("a.h5", GRID[30:31].tobytes())
    code, said = run("verify", "a.h5")
    assert code == 2 and "chunk [30, 0] of /grid" in said, said
    lost = repaired("a.h5", "b.h5", 2)
    assert [found["what"] for found in lost] == ["chunk [30, 0] of /grid"], lost
    but = {(name, 3) for name in ("grid", "soft", "hard")}
    with h5py.File("b.h5", "r+") as f:
        look(f, but)
        f["grid"][30:40] = GRID[30:40]
    with h5py.File("b.h5", "r") as f:
        look(f)


def check_lost_filtered_chunk(folder):
    make("a.h5")
    with h5py.File("a.h5", "r") as f:
        raw = f["packed"].id.read_direct_chunk((50, 0))[1]
    damage("a.h5", raw[:200])
    lost = repaired("a.h5", f"file://{folder}/store/b.h5", 2)
    assert [found["chunk"] for found in lost] == [[50, 0]], lost
    with h5py.File(f"file://{folder}/store/b.h5", "r+") as f:
        look(f, {("packed", 5)})
        error = raises(OSError, f["packed"].__setitem__, np.s_[50:52, :10], 0)
        assert "was lost" in str(error), error
        f["packed"][50:60] = GRID[50:60]
    with h5py.File(f"file://{folder}/store/b.h5", "r") as f:
        look(f)


def check_lost_chunk_is_deleted(folder):
    make("a.h5")
    damage("a.h5", GRID[30:31].tobytes())
    repaired("a.h5", "b.h5", 2)
    with h5py.File("b.h5", "r+") as f:
        del f["grid"], f["hard"], f["soft"]
        f["grid"] = 1
    code, said = run("verify", "b.h5")
    assert code == 0 and "lost data" not in said, said


if __name__ == "__main__":
    main(globals())
