"""Containers that earlier versions made: they are read, changed and copied as new ones are. Those in the folder `earlier`
hold what `fill` writes, written by the version of that time, and stay as they are."""
# only: h5lake

import shutil
from pathlib import Path

import h5py
import numpy as np
from cases import main, raises, same

MADE = Path(__file__).parent / "earlier"
TEXT = h5py.string_dtype()
PAIRS = h5py.vlen_dtype(np.dtype("i2"))
ROW = np.dtype([("n", "i4"), ("text", TEXT), ("pairs", PAIRS)])


def row(n, text, pairs):
    made = np.empty(1, ROW)
    made[0] = n, text, np.array(pairs, "i2")
    return made


def fill(f):
    f.attrs["unit"] = "degC"
    f.attrs["empty"] = ""
    f.attrs["long"] = "x" * 9000
    f.attrs["list"] = ["a", "bb", "ççç", ""]
    f.attrs["number"] = 7
    g = f.create_group("g")
    g.attrs["row"] = row(1, "one", [1, 2])
    g.attrs["gone"] = "soon"
    pairs = np.empty(3, object)
    pairs[:] = [np.array(p, "i2") for p in ([1], [], [2, 3])]
    g.attrs.create("pairs", pairs, dtype=PAIRS)
    d = g.create_dataset("texts", data=["eins", "zwei", "drei"] * 5, dtype=TEXT)
    d.attrs["region"] = d.regionref[2:4]
    d.attrs["object"] = g.ref
    f.flush()


def read(f, g=None):
    assert f.attrs["unit"] == "degC" and f.attrs["empty"] == "" and f.attrs["long"] == "x" * 9000
    assert list(f.attrs["list"]) == ["a", "bb", "ççç", ""] and f.attrs["number"] == 7
    g = g or f["g"]
    (n, text, pairs), = g.attrs["row"]
    assert (n, text) == (1, b"one")
    same(pairs, np.array([1, 2], "i2"))
    assert g.attrs["gone"] == "soon" and [list(p) for p in g.attrs["pairs"]] == [[1], [], [2, 3]]
    d = g["texts"]
    assert list(d.asstr()[...]) == ["eins", "zwei", "drei"] * 5
    return d


def change(f):
    f.attrs["unit"] = "K, by the scale of Kelvin"
    f.attrs["new"] = "made later"
    g = f["g"]
    del g.attrs["gone"]
    raises(KeyError, lambda: g.attrs["gone"])
    for n in range(20):
        g.attrs.modify("row", row(n, "text " * n, [n] * n))
    h5py.h5a.rename(g.id, b"pairs", b"renamed")
    f.copy(g, "copy")


def changed(f):
    assert f.attrs["unit"] == "K, by the scale of Kelvin" and f.attrs["new"] == "made later"
    for g in f["g"], f["copy"]:
        assert sorted(g.attrs) == ["renamed", "row"]
        (n, text, pairs), = g.attrs["row"]
        assert (n, text) == (19, b"text " * 19)
        same(pairs, np.full(19, 19, "i2"))
        assert [list(p) for p in g.attrs["renamed"]] == [[1], [], [2, 3]]


def check_earlier_containers(folder):
    made = sorted(MADE.iterdir())
    assert made
    for path in made:
        shutil.copyfile(path, path.name)
        with h5py.File(path.name) as f:
            d = read(f)
            assert f[d.attrs["object"]] == f["g"]
            same(d[d.attrs["region"]], np.array([b"drei", b"eins"], object))
        with h5py.File(path.name, "a") as f:
            change(f)
        with h5py.File(path.name) as f:
            changed(f)


def check_copies_between(folder):
    for path in sorted(MADE.iterdir()):
        shutil.copyfile(path, path.name)
        with h5py.File(path.name, "a") as old, h5py.File("new.h5", "w") as new:
            read(old)
            fill(new)
            for source, other in (old, new), (new, old):
                source.copy("g", other, "from_the_other")
        for name in path.name, "new.h5":
            with h5py.File(name) as f:
                read(f)
                read(f, f["from_the_other"])


main(globals())
