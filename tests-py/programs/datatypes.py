"""Datasets of every type and shape, converted on reading and writing as HDF5 does."""

import h5py
import numpy as np
from cases import main, raises, same

NUMERIC = [f"{order}{kind}{size}" for order in "<>" for kind, sizes in
           (("i", (1, 2, 4, 8)), ("u", (1, 2, 4, 8)), ("f", (2, 4, 8)), ("c", (8, 16))) for size in sizes]


def sample(dtype):
    rng = np.random.default_rng(7)
    raw = rng.integers(0, 100, (5, 6))
    return (raw + 1j * raw if np.dtype(dtype).kind == "c" else raw).astype(dtype)


def write_numeric(f):
    for i, dtype in enumerate(NUMERIC):
        f.create_dataset(f"{i}", data=sample(dtype))
    f.create_dataset("longdouble", data=np.arange(4, dtype=np.longdouble) / 3)


def read_numeric(f):
    for i, dtype in enumerate(NUMERIC):
        same(f[f"{i}"][()], sample(dtype))
        same(f[f"{i}"][2, 1::2], sample(dtype)[2, 1::2])
    same(f["longdouble"][()], np.arange(4, dtype=np.longdouble) / 3)


def write_conversion(f):
    f.create_dataset("f4", data=np.linspace(-3, 300, 50), dtype=">f4")
    f.create_dataset("i1", (50,), "i1")[...] = np.linspace(-300, 300, 50)  # clipped, as HDF5 does
    f["i2"] = np.arange(10, dtype=">i2")


def read_conversion(f):
    same(f["f4"].astype("f8")[:], np.linspace(-3, 300, 50).astype("f4").astype("f8"))
    same(f["i1"][:], np.clip(np.trunc(np.linspace(-300, 300, 50)), -128, 127).astype("i1"))
    same(f["i2"].astype("f4")[3:7], np.arange(3, 7, dtype="f4"))


COMPOUND = np.dtype([("id", "<i4"), ("pos", ">f8", (3,)), ("tag", "S5"),
                     ("inner", [("a", "u1"), ("b", "<f4", (2, 2))]), ("flag", "?")])


def records():
    rng = np.random.default_rng(11)
    data = np.zeros(40, COMPOUND)
    data["id"], data["pos"] = rng.integers(-9, 9, 40), rng.random((40, 3))
    data["tag"], data["inner"]["b"] = [f"t{i}".encode() for i in range(40)], rng.random((40, 2, 2))
    data["flag"] = rng.random(40) > 0.5
    return data


def write_compound(f):
    f.create_dataset("table", data=records(), chunks=(7,), maxshape=(None,))
    f.create_dataset("aligned", data=np.zeros(3, np.dtype([("a", "u1"), ("b", "f8")], align=True)))
    partial = f.create_dataset("partial", data=records())
    partial["id"] = np.arange(40)


def read_compound(f):
    same(f["table"][:], records())
    same(f["table"]["pos"], records()["pos"])
    same(f["table"].fields(["tag", "id"])[5:9]["tag"], records()["tag"][5:9])
    same(f["partial"]["id"], np.arange(40, dtype="<i4"))
    same(f["partial"]["inner"], records()["inner"])
    assert f["aligned"].dtype.itemsize == 16


ENUM = h5py.enum_dtype({"red": 0, "green": 1, "blue": 42}, basetype="i2")


def write_kinds(f):
    f.create_dataset("enum", data=np.array([0, 1, 42, 1], "i2"), dtype=ENUM)
    f.create_dataset("bool", data=np.array([[True, False], [False, True]]))
    f.create_dataset("opaque", data=np.array([b"\0\1\2", b"\xff\0\xff"], "V3"))
    f.create_dataset("fixed", data=np.array([b"abc", b"", b"defgh"], "S5"))
    f.create_dataset("utf8", data=np.array(["ä".encode()], h5py.string_dtype("utf-8", 4)))
    f.create_dataset("times", data=np.arange(3).astype("M8[ns]").astype(h5py.opaque_dtype("M8[ns]")))
    f.create_dataset("subarray", (4,), np.dtype(("f4", (2, 3))))[1] = np.arange(6).reshape(2, 3)


def read_kinds(f):
    assert h5py.check_enum_dtype(f["enum"].dtype) == {"red": 0, "green": 1, "blue": 42}
    assert f["enum"][:].tolist() == [0, 1, 42, 1]
    same(f["bool"][:], np.array([[True, False], [False, True]]))
    assert f["opaque"][:].tobytes() == b"\0\1\2\xff\0\xff"
    assert f["fixed"][:].tolist() == [b"abc", b"", b"defgh"] and f["fixed"].dtype == "S5"
    assert h5py.check_string_dtype(f["utf8"].dtype).encoding == "utf-8" and f["utf8"].asstr()[0] == "ä"
    same(f["times"][:], np.arange(3).astype("M8[ns]"))
    assert f["subarray"].shape == (4,)
    assert np.array_equal(f["subarray"][1], np.arange(6).reshape(2, 3)) and not f["subarray"][0].any()


def write_spaces(f):
    f.create_dataset("scalar", data=np.float64(2.5))
    f.create_dataset("null", data=h5py.Empty("i4"))
    f.create_dataset("zero", (0, 5), "i4", maxshape=(None, 5))
    f.create_dataset("one", data=[7])
    f.create_dataset("deep", data=np.arange(2 ** 10).reshape((2,) * 10))


def read_spaces(f):
    assert f["scalar"][()] == 2.5 and f["scalar"].shape == ()
    assert f["null"][()] == h5py.Empty("i4") and f["null"].shape is None
    assert f["zero"].shape == (0, 5) and f["zero"][:].shape == (0, 5)
    assert f["one"][0] == 7 and f["deep"][1, 0, 1, 0, 1, 0, 1, 0, 1, 1] == 0b1010101011


def write_text(f):
    f.create_dataset("vlen", data=["one", "", "drei ☃", "x" * 5000], dtype=h5py.string_dtype())
    f.create_dataset("scalar", data="hello")
    chunked = f.create_dataset("chunked", (100,), h5py.string_dtype(), chunks=(9,))
    chunked[::3] = [f"s{i}" for i in range(0, 100, 3)]


def read_text(f):
    assert list(f["vlen"].asstr()[:]) == ["one", "", "drei ☃", "x" * 5000]
    assert f["scalar"][()] == b"hello" and f["scalar"].asstr()[()] == "hello"
    assert [s.decode() for s in f["chunked"][:]] == [f"s{i}" if i % 3 == 0 else "" for i in range(100)]


def write_ragged(f):
    ragged = f.create_dataset("ragged", (4,), h5py.vlen_dtype("i4"))
    for i in range(1, 4):
        ragged[i] = np.arange(i * 3)


def read_ragged(f):
    assert [row.tolist() for row in f["ragged"]] == [[], [0, 1, 2], list(range(6)), list(range(9))]


def words(round):
    """Returns strings of 0 to 40 letters, with a long one now and then."""
    return [chr(97 + i % 26) * ((i * 7 + round) % 41) + ("y" * 70_000 if i % 997 == round else "") for i in range(5_000)]


def write_overwritten(f):
    """Writes variable-length data, overwritten completely and in part, in order and out of order."""
    text = f.create_dataset("text", (5_000,), h5py.string_dtype(), chunks=(700,))
    ragged = f.create_dataset("ragged", (300,), h5py.vlen_dtype("f8"))
    for round in range(4):
        text[...] = words(round)
        for i in range(300):
            ragged[i] = np.arange((i * round) % 50) / 3
    text[10:4990:7] = ["new" + word for word in words(5)[10:4990:7]]
    text[[3, 77, 4000]] = ["three", "", "four thousand"]
    ragged[5:9] = np.array([np.arange(n) for n in (3, 0, 2, 1)], dtype=object)


def read_overwritten(f):
    wanted = words(3)
    wanted[10:4990:7] = ["new" + word for word in words(5)[10:4990:7]]
    wanted[3], wanted[77], wanted[4000] = "three", "", "four thousand"
    assert list(f["text"].asstr()[...]) == wanted
    assert list(f["text"].asstr()[21:4001]) == wanted[21:4001]
    assert list(f["text"].asstr()[[4, 500, 4321]]) == [wanted[4], wanted[500], wanted[4321]]
    for i, found in enumerate(f["ragged"][...]):
        same(found, np.arange({5: 3, 6: 0, 7: 2, 8: 1}[i]) * 1.0 if 5 <= i < 9 else np.arange((i * 3) % 50) / 3)


def write_points_twice(f):
    """Writes one element several times in one call: the last value counts, and other elements keep theirs."""
    text = f.create_dataset("text", data=["first", "second", "third"], dtype=h5py.string_dtype())
    space = text.id.get_space()
    space.select_elements([[1], [1], [1], [0], [1]])
    kind = h5py.h5t.py_create(h5py.string_dtype())
    for turn in range(20):
        values = np.array([f"{turn} {n}" for n in range(5)], dtype=h5py.string_dtype())
        text.id.write(h5py.h5s.create_simple((5,)), space, values, kind)


def read_points_twice(f):
    assert f["text"].asstr()[:].tolist() == ["19 3", "19 4", "third"]


def check_members_that_are_not_given(folder):
    """Members that a transfer does not name stay unchanged: in the file when it writes some members, in memory when
    it reads into more."""
    inner = np.dtype([("a", "<i2"), ("b", "<f8")])
    kind = np.dtype([("id", "<i4"), ("inner", inner), ("list", "<i2", 3), ("x", "<f8")])
    data = np.zeros(1000, kind)
    data["id"], data["x"], data["list"] = np.arange(1000), np.arange(1000) / 3, np.arange(3000).reshape(1000, 3)
    data["inner"]["a"], data["inner"]["b"] = np.arange(1000) % 7, np.arange(1000) * 2.5
    some = {
        "fewer": [("x", "<f8")],
        "reordered": [("x", "<f8"), ("list", "<i2", 3), ("inner", inner), ("id", "<i4")],
        "converted": [("id", "<i8"), ("x", "<f4")],
        "inside": [("inner", np.dtype([("b", "<f8")]))],
        "more": [("id", "<i4"), ("new", "<f8"), ("x", "<f8")],
        "all, and more": [*[(n, kind[n]) for n in kind.names], ("new", "<i4")],
    }
    for how in ({}, {"chunks": (64,)}, {"chunks": (100,), "compression": "gzip"}):
        with h5py.File("members.h5", "w") as f:
            for name, members in some.items():
                x = f.create_dataset(name, data=data, **how)
                other = np.dtype(members)
                # Reads into memory that contains data: all of it, some of it, and again after a write.
                for part in (slice(None), slice(10, 20)):
                    found = np.full(1000, 0, other)
                    found.view("u1")[:] = 0x5A
                    wanted = found.copy()
                    give(wanted[part], data[part])
                    space = x.id.get_space()
                    space.select_hyperslab((part.indices(1000)[0],), (len(data[part]),))
                    memory = space.copy()
                    x.id.read(memory, space, found, h5py.h5t.py_create(other))
                    same(found, wanted)
                new = np.full(1000, 0, other)
                give(new, data[::-1])
                expected = data.copy()
                give(expected[30:500], new[30:500])
                space = x.id.get_space()
                space.select_hyperslab((30,), (470,))
                x.id.write(space, space, new, h5py.h5t.py_create(other))
                f.flush()
                same(x[...], expected)


def give(to, source):
    """Copies the members that both types have, one by one."""
    for name in to.dtype.names:
        if name not in source.dtype.names:
            continue
        if to.dtype[name].names:
            give(to[name], source[name])
        else:
            to[name] = source[name]


def check_types_that_are_given_out_are_read_only(_):
    """As in native HDF5, the types of datasets and attributes cannot be changed, but copies of them can."""
    record = np.dtype([("a", "i4"), ("b", h5py.string_dtype())])
    with h5py.File("given.h5", "w") as f:
        for name, dtype in ("integer", "<i4"), ("text", "S5"), ("record", record), ("any", h5py.string_dtype()):
            d = f.create_dataset(name, (2,), dtype)
            d.attrs.create("a", np.zeros(2, dtype) if name in ("integer", "text") else d[()], dtype=dtype)
            for given in d.id.get_type(), h5py.h5a.open(d.id, b"a").get_type():
                raises(TypeError, lambda given=given: given.set_size(30))
                assert given.dtype == np.dtype(dtype), name
                copy = given.copy()
                copy.set_size(30)
                assert copy.get_size() == 30 or name == "any"
                assert not given.committed()
                given.commit(f.id, b"committed")
                assert given.committed() and f["committed"].dtype == np.dtype(dtype)
                del f["committed"]


def check_failed_commit(_):
    """A commit that fails creates no intermediate groups."""
    missing_groups = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    missing_groups.set_create_intermediate_group(True)
    with h5py.File("commits.h5", "w") as f:
        for kind in (h5py.h5t.enum_create(h5py.h5t.STD_I8LE), h5py.h5t.create(h5py.h5t.COMPOUND, 4), h5py.h5t.STD_I8LE):
            try:
                kind.commit(f.id, b"group/within/type", lcpl=missing_groups)
            except (KeyError, TypeError, ValueError) as error:
                assert "sensible" in str(error) or "immutable" in str(error), error
            else:
                raise AssertionError("a datatype that cannot be committed was")
            assert list(f) == [], list(f)
        h5py.h5t.STD_I8LE.copy().commit(f.id, b"group/within/type", lcpl=missing_groups)
        assert f["group/within/type"].dtype == np.int8


def check_immutable(_):
    """The library's own types cannot be committed; copies of them can."""
    with h5py.File("immutable.h5", "w") as f:
        raises(KeyError, h5py.h5t.STD_I32LE.commit, f.id, b"t")
        h5py.h5t.STD_I32LE.copy().commit(f.id, b"t")
        assert list(f) == ["t"] and f["t"].dtype == np.dtype("<i4")
        assert h5py.h5t.STD_I32LE.get_size() == 4


def write_fill_time_of_ragged(f):
    """Fill values of variable-length data are always written, whatever fill time is set."""
    f.create_dataset("text", (3,), h5py.string_dtype())
    f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"), chunks=(2,))
    f.create_dataset("plain", (3,), "i4")
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind, space = h5py.h5t.py_create(h5py.string_dtype(), logical=True), h5py.h5s.create_simple((3,))
    raises(ValueError, h5py.h5d.create, f.id, b"never", kind, space, creation)


def read_fill_time_of_ragged(f):
    times = {name: f[name].id.get_create_plist().get_fill_time() for name in f}
    h5d = h5py.h5d
    assert times == {"text": h5d.FILL_TIME_ALLOC, "ragged": h5d.FILL_TIME_ALLOC, "plain": h5d.FILL_TIME_IFSET}


main(globals())
