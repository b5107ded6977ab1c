"""Attributes of every kind and size, on files, groups, datasets and committed types."""

import itertools

import h5py
import numpy as np
from cases import main, raises, same

SCALARS = {np.dtype(t).name: np.dtype(t).type(v) for t, v in [
    ("i1", -5), ("u1", 250), ("i2", -30000), ("u2", 60000), ("i4", -2**31), ("u4", 2**32 - 1), ("i8", -2**63),
    ("u8", 2**64 - 1), ("f2", 0.5), ("f4", 1e-30), ("f8", np.pi), ("c8", 1 + 2j), ("c16", -1j), ("?", True)]}


def write_scalars(f):
    for name, value in SCALARS.items():
        f.attrs[name] = value
        f.create_dataset(name, data=0).attrs["value"] = value
    f.attrs["int"], f.attrs["float"] = 7, 7.5


def read_scalars(f):
    for name, value in SCALARS.items():
        same(f.attrs[name], value)
        same(f[name].attrs["value"], value)
    assert f.attrs["int"] == 7 and f.attrs["float"] == 7.5 and len(f.attrs) == len(SCALARS) + 2
    assert "int" in f.attrs and "nothing" not in f.attrs
    raises(KeyError, lambda: f.attrs["nothing"])


ARRAYS = {"matrix": np.arange(12, dtype="<i4").reshape(3, 4), "big_endian": np.arange(5, dtype=">f8"),
          "fixed": np.array([b"ab", b"cde"]), "none": np.zeros((0,), "f4"),
          "table": np.array([(1, 2.5, b"x")], [("a", "i4"), ("b", ">f4"), ("c", "S3")]),
          "nested": np.zeros(2, [("p", [("x", "f4"), ("y", "f4", (2, 2))]), ("q", "u1")]), "opaque": np.void(b"\0\1\2\3")}


def write_arrays(f):
    for name, value in ARRAYS.items():
        f.attrs[name] = value


def read_arrays(f):
    for name, value in ARRAYS.items():
        same(f.attrs[name], value)


def write_strings(f):
    f.attrs["text"] = "smörgåsbord ☃"
    f.attrs["bytes"] = np.bytes_(b"plain")
    f.attrs["empty_text"] = ""
    f.attrs["list"] = ["a", "bb", "ççç", ""]
    f.attrs["null"] = h5py.Empty("f4")
    f.attrs["long"] = "x" * 40000


def read_strings(f):
    assert f.attrs["text"] == "smörgåsbord ☃" and f.attrs["bytes"] == b"plain" and f.attrs["empty_text"] == ""
    assert list(f.attrs["list"]) == ["a", "bb", "ççç", ""] and f.attrs["long"] == "x" * 40000
    assert f.attrs["null"] == h5py.Empty("f4")


def write_big(f):
    # Above 64 KiB native HDF5 needs dense attribute storage, that is, libver='latest'.
    with h5py.File(f.filename + ".latest.h5", "w", libver="latest") as g:
        g.attrs["big"] = np.arange(100_000, dtype="i8")


def read_big(f):
    with h5py.File(f.filename + ".latest.h5") as g:
        same(g.attrs["big"], np.arange(100_000, dtype="i8"))


def write_changes(f):
    f.attrs["a"] = 1
    f.attrs["a"] = "now text"
    f.attrs.create("b", np.arange(3), dtype="i2")
    f.attrs.modify("b", np.array([7, 8, 9]))
    f.attrs["gone"] = 1
    del f.attrs["gone"]
    raises(KeyError, f.attrs.__delitem__, "gone")
    g = f.create_group("many", track_order=True)
    for i in range(200):
        g.attrs[f"n{(i * 37) % 200}"] = i
    h5py.h5a.rename(g.id, b"n0", b"renamed")


def read_changes(f):
    assert f.attrs["a"] == "now text" and sorted(f.attrs) == ["a", "b"]
    same(f.attrs["b"], np.array([7, 8, 9], "i2"))
    attrs = f["many"].attrs
    assert len(attrs) == 200 and "n0" not in attrs and attrs["renamed"] == 0 and attrs["n37"] == 1
    order = [n for n in attrs if n != "renamed"]
    assert order == [f"n{(i * 37) % 200}" for i in range(1, 200)]


TEXT, INTS = h5py.string_dtype(), h5py.vlen_dtype(np.dtype("i4"))
ROW = np.dtype([("n", "i4"), ("text", TEXT), ("ints", INTS)])


def rows(*values):
    made = np.empty(len(values), ROW)
    for n, (number, text, ints) in enumerate(values):
        made[n] = number, text, np.array(ints, "i4")
    return made


def lists(values):
    made = np.empty(len(values), object)
    made[:] = [np.array(v, "i4") for v in values]
    return made


def write_variable_length(f):
    for n in range(3):
        # Only the last value counts, however long the values before were.
        f.attrs["ints"] = 0
        f.attrs.create("ints", lists([[1], [], list(range(1000 * (2 - n)))]), dtype=INTS)
        f.attrs.create("rows", rows((1, "eins", []), (2, "z" * 3000 * (2 - n), [1, 2])), dtype=ROW)
    h5py.h5a.create(f.id, b"never written", h5py.h5t.py_create(TEXT, logical=True), h5py.h5s.create_simple((3,)))


def read_variable_length(f):
    assert [list(v) for v in f.attrs["ints"]] == [[1], [], []]
    (a, one, none), (b, two, ints) = f.attrs["rows"]
    assert (a, b, one, two) == (1, 2, b"eins", b"")
    assert list(none) == [] and list(ints) == [1, 2]
    assert list(f.attrs["never written"]) == [""] * 3
    # One member of the records.
    some = h5py.h5t.create(h5py.h5t.COMPOUND, 4)
    some.insert(b"n", 0, h5py.h5t.NATIVE_INT32)
    numbers = np.empty(2, [("n", "i4")])
    h5py.h5a.open(f.id, b"rows").read(numbers, mtype=some)
    assert list(numbers["n"]) == [1, 2]


def check_values_without_elements_fit_any_type(folder):
    """An attribute without elements needs no conversion, as in native HDF5, so that its memory type may be any type."""
    spaces = [h5py.h5s.create(h5py.h5s.NULL), h5py.h5s.create_simple((0,), (0,)), h5py.h5s.create_simple((3, 0))]
    types = [h5py.h5t.NATIVE_INT32, h5py.h5t.C_S1]
    with h5py.File("none.h5", "w") as f:
        for stored, memory, space in itertools.product(types, types, spaces):
            attribute = h5py.h5a.create(f.id, b"a", stored, space)
            attribute.write(np.zeros(space.shape or 0), mtype=memory)
            attribute.read(np.zeros(space.shape or 0), mtype=memory)
            del f.attrs["a"]
        # Elements, however, are converted.
        attribute = h5py.h5a.create(f.id, b"a", types[0], h5py.h5s.create_simple((1,)))
        raises(OSError, lambda: attribute.write(np.zeros(1, "S1"), mtype=types[1]))


def check_text_behind_attributes(folder):
    with h5py.File("a.h5", "w") as f, h5py.File("b.h5", "w") as g:
        f.attrs["text"] = "long " * 2000
        f["d"] = np.arange(3)
        f["d"].attrs["list"] = ["a", "bb", ""]
        f["d"].attrs.create("rows", rows((1, "eins", [1])), dtype=ROW)
        del f.attrs["text"]
        f.attrs["text"] = "new"
        f.copy("d", g, "copy")
        f.copy("d", "again")
        g.copy("copy", f, "back")
        for d in f["d"], f["again"], f["back"], g["copy"]:
            assert list(d.attrs["list"]) == ["a", "bb", ""]
            (n, text, ints), = d.attrs["rows"]
            assert (n, text, list(ints)) == (1, b"eins", [1])
    with h5py.File("a.h5") as f:
        assert f.attrs["text"] == "new" and list(f["back"].attrs["list"]) == ["a", "bb", ""]


main(globals())
