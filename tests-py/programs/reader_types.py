"""Unusual datatypes read by the independent reader of tests-py/reader and by h5py: numbers of odd sizes and layouts,
committed types, and nested types."""
# only: h5lake

import h5py
import independent_reader as reader
import numpy as np
from cases import main  # noqa: F401
from h5py import h5t


def significant(kind, precision, offset):
    kind = kind.copy()
    kind.set_precision(precision)
    kind.set_offset(offset)
    return kind


def small_float(size, *fields, bias):
    kind = h5t.IEEE_F32LE.copy()
    kind.set_fields(*fields)
    kind.set_ebias(bias)
    kind.set_size(size)
    return kind


def fill(f):
    def made(name, kind, data):
        data = np.asarray(data)
        low = h5py.h5d.create(f.id, name.encode(), kind, h5py.h5s.create_simple(data.shape))
        low.write(h5py.h5s.ALL, h5py.h5s.ALL, data)

    for name, kind in {"i4": h5t.STD_I32LE, "i4be": h5t.STD_I32BE, "u8": h5t.STD_U64LE, "u2be": h5t.STD_U16BE}.items():
        made(f"20 bits of {name}", significant(kind, kind.get_size() * 5, 3), [1, 200, 3, 0])
    made("signed", significant(h5t.STD_I32LE, 20, 7), [-1, 2, -300, 0])
    made("bits", h5t.STD_B16LE, np.array([1, 2, 65535], "u2"))
    made("long double", h5t.NATIVE_LDOUBLE, np.array([1.5, -2.25, 1e30, np.inf, 0], "g"))
    made("bfloat16", small_float(2, 15, 7, 8, 0, 7, bias=127), np.array([1, -2.5, 1e-40, np.inf, 0], "f4"))
    made("float8", small_float(1, 7, 3, 4, 0, 3, bias=7), np.array([1, -2.5, 0.015625, 0], "f4"))
    if hasattr(h5t, "COMPLEX_IEEE_F32LE"):
        made("complex", h5t.COMPLEX_IEEE_F32LE, np.array([1 + 2j, -3j], "c8"))
    row = np.dtype([("r", "<u2"), ("in", [("x", ">f8"), ("texts", h5py.string_dtype(), (2,)), ("e", h5py.enum_dtype({"a": 1}, ">i2"))])])
    f["row"], f["enum"] = row, h5py.enum_dtype({"R": 0, "G": 1})
    f["row"].attrs["unit"] = "m"
    rows = f.create_dataset("rows", (3,), f["row"])
    value = np.zeros(1, row)
    value["r"], value["in"]["x"], value["in"]["texts"][0], value["in"]["e"] = 7, 2.5, ["a", "ü" * 300], 1
    rows[1] = value[0]
    rows.attrs.create("of the type", value, dtype=f["row"])
    f.create_dataset("colours", data=np.array([0, 1]), dtype=f["enum"])
    rows_of = h5py.vlen_dtype(np.dtype([("n", "<i8"), ("more", h5py.vlen_dtype(np.dtype(">i2")))]))
    nested = f.create_dataset("nested", (3,), rows_of)
    found = np.zeros(4, h5py.check_vlen_dtype(rows_of))
    for n in range(4):
        found[n] = n, np.arange(n, dtype=">i2")
    nested[1] = found
    wide = np.dtype([(f"member {n}", kind) for n, kind in enumerate(["i1", "<f4", "S5", "V3", ">u8", "?", "<c8", "<f2"] * 9)])
    f.create_dataset("wide", (2,), wide)[1] = np.ones(1, wide)[0]
    f["fixed texts"] = np.array(["a", "bb", ""], "S2")
    f.create_dataset("utf8", data=["ä".encode(), b"bb"], dtype=h5py.string_dtype("utf-8", 4))


@reader.local
def check_types(folder):
    with h5py.File("types.h5", "w") as f:
        fill(f)
    read = reader.compared.by_reader("types.h5")
    with h5py.File("types.h5") as f:
        reader.compared.agree(read, reader.compared.by_h5py(f))
    assert read["/rows/"]["committed"] == "/row" and read["/row/"]["attributes"] == {"unit": b"m"}


if __name__ == "__main__":
    main(globals())
