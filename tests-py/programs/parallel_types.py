"""Values of every type, read by h5lake.open without libhdf5 and by h5py."""
# only: h5lake
# schemes: file

import h5py
import numpy as np
import parallel_reader as reader
from cases import main
from independent_reader import ROW, rows, types
from reader_types import fill

INNER = np.dtype([("a", "u1"), ("b", "<f4", (2, 2))])


def check_numbers_and_texts(folder):
    with h5py.File("a.h5", "w") as f:
        types(f)
        for order in "<>":
            for kind in ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]:
                data = np.arange(24).astype(order + kind).reshape(2, 3, 4)
                f.create_dataset(f"numbers/{order}{kind}", data=data, chunks=(1, 2, 3), compression="gzip")
        f["numbers"].attrs["half"] = np.float16(1.5)
        f["scalar"] = 5
        f["text"] = "a text"
        f["empty"] = h5py.Empty("f4")
        f.attrs["empty"], f.attrs["texts"], f.attrs["bytes"] = h5py.Empty("S3"), ["a", "ü"], np.bytes_(b"abc")
        f.attrs["list"], f.attrs["one"], f.attrs["text"] = [1, 2, 3], 7.5, "ä text"
        f.create_dataset("nothing", (0, 4), "i4", maxshape=(None, 4))
        f.create_dataset("unwritten", (3, 4), "f8", chunks=(2, 2), fillvalue=2.5)
        f.create_dataset("blanks", data=np.array([b"a  ", b"bc "]), dtype=padded(h5py.h5t.STR_SPACEPAD))
    reader.agree("a.h5")


def padded(padding):
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(5)
    kind.set_strpad(padding)
    return h5py.Datatype(kind)


def check_unusual_types(folder):
    with h5py.File("b.h5", "w") as f:
        fill(f)
    reader.agree("b.h5")


def check_compounds_and_lists(folder):
    with h5py.File("c.h5", "w", track_order=True) as f:
        made = rows(9)
        f.create_dataset("rows", data=made, chunks=(2,), maxshape=(None,))
        f.create_dataset("packed", data=made)
        f.attrs.create("rows", made[:3], dtype=ROW)
        f.create_dataset("inner", data=np.ones(4, [("x", INNER), ("y", "i8", (3,))]))
        f.create_dataset("complex in", data=np.ones(3, [("z", "c8"), ("e", h5py.enum_dtype({"a": 1, "b": -2}, "i2"))]))
        lists = f.create_dataset("lists of texts", (4,), h5py.vlen_dtype(h5py.string_dtype()))
        lists[0], lists[2] = ["a", "bc", ""], ["ü" * 1000]
        arrays = f.create_dataset("arrays", (3,), np.dtype(("i2", (2, 3))))
        arrays[1] = np.arange(6).reshape(2, 3)
        times = np.array(["2026-01-01", "2027-02-03"], "M8[s]")
        f.create_dataset("times", data=times.astype(h5py.opaque_dtype(times.dtype)))
        wide = f.create_dataset("many", (3000,), h5py.string_dtype(), chunks=(100,))
        wide[:] = [f"text {n}" * (n % 7) for n in range(3000)]
        f.create_dataset("long", data=["x" * 200_000, "", "y" * 3], dtype=h5py.string_dtype("ascii"))
    reader.agree("c.h5")


def check_references(folder):
    with h5py.File("d.h5", "w") as f:
        f["x"], group = np.arange(10), f.create_group("g/h")
        refs = f.create_dataset("refs", (4,), h5py.ref_dtype)
        refs[0], refs[1], refs[2] = f["x"].ref, group.ref, f.ref
        f.attrs["ref"] = group.ref
        f.create_dataset("in", (2,), [("n", "i4"), ("r", h5py.ref_dtype)])[0] = (5, f["x"].ref)
        lists = f.create_dataset("lists", (2,), h5py.vlen_dtype(h5py.ref_dtype))
        lists[1] = np.array([f["x"].ref, group.ref], h5py.ref_dtype)
        regions = f.create_dataset("regions", (2,), h5py.regionref_dtype)
        regions[0] = f["x"].regionref[2:5]
    with h5py.File("d.h5", "r") as theirs, reader.h5lake.open("d.h5") as ours:
        for name in ("refs", "in", "lists"):
            reader.same(ours[name][()], theirs[name][()], name, theirs)
        reader.same(ours.attrs["ref"], theirs.attrs["ref"], "attribute", theirs)
        region = ours["regions"][0]
        assert region == "/x" and region.kind == "region" and region.selection and not ours["regions"][1]
        assert ours[ours["refs"][1]].name == "/g/h" and ours["refs"][3] == "" and not ours["refs"][3]
        assert ours["refs"][2] == "/" and ours[ours["refs"][2]] == ours


def check_texts_in_other_forms(folder):
    with h5py.File("e.h5", "w") as f:
        f.create_dataset("texts", data=["a", "", "ü" * 40], dtype=h5py.string_dtype())
        f.create_dataset("fixed", data=np.array([b"a", b"bcd"]))
        f.create_dataset("rows", data=rows(5))
    with h5py.File("e.h5", "r") as theirs, reader.h5lake.open("e.h5") as ours:
        for name in ("texts", "fixed"):
            reader.same(ours[name].asstr()[:], theirs[name].asstr()[:], name)
            assert ours[name].asstr()[1] == theirs[name].asstr()[1]
        if hasattr(np.dtypes, "StringDType"):
            found = ours["texts"].astype(np.dtypes.StringDType())[:]
            assert found.dtype == np.dtypes.StringDType() and found.tolist() == ["a", "", "ü" * 40]
        for fields in ("n", ["n", "text"], "x"):
            reader.same(ours["rows"].fields(fields)[1:4], theirs["rows"].fields(fields)[1:4], fields)
        reader.same(ours["rows"]["x", 1:3], theirs["rows"]["x", 1:3], "field")
        reader.same(ours["rows"]["n", "x", ::2], theirs["rows"]["n", "x", ::2], "fields")
        assert isinstance(reader.outcome(lambda: ours["rows"]["nothing"]), ValueError)
        reader.same(ours["texts"].astype(object)[0], theirs["texts"][0], "astype")


if __name__ == "__main__":
    main(globals())
