"""Chunks after every filter of libhdf5 and h5py, decoded by the independent reader of tests-py/reader and by h5py."""
# only: h5lake

import h5py
import independent_reader as reader
import numpy as np
from cases import main  # noqa: F401
from h5py import h5p, h5t, h5z

RNG = np.random.default_rng(5)
INTEGERS = np.cumsum(RNG.integers(-3, 4, (70, 33)), axis=1).astype("<i4")
NOISE = RNG.integers(-2**62, 2**62, (70, 33))
FLOATS = np.round(np.sin(np.arange(70 * 33).reshape(70, 33) / 50), 3)


def few_bits(kind, precision, offset):
    kind = kind.copy()
    kind.set_precision(precision)
    kind.set_offset(offset)
    return kind


def members():
    kind = h5t.create(h5t.COMPOUND, 24)
    kind.insert(b"a", 0, few_bits(h5t.STD_U16LE, 9, 3))
    kind.insert(b"b", 4, h5t.array_create(few_bits(h5t.STD_I32BE, 17, 0), (2,)))
    kind.insert(b"c", 12, h5t.IEEE_F64LE)
    return kind


def made(f, name, filters, data, kind=None, fill=None):
    create = h5p.create(h5p.DATASET_CREATE)
    create.set_chunk((20, 10))
    for number, values in filters:
        # Noise cannot be compressed: the filter is skipped, and the chunk's mask says so.
        create.set_filter(number, h5z.FLAG_OPTIONAL if "noise" in name else h5z.FLAG_MANDATORY, values)
    if fill is not None:
        create.set_fill_value(np.asarray(fill, data.dtype))
    h5py.h5d.create(f.id, name.encode(), kind or h5t.py_create(data.dtype), h5py.h5s.create_simple(data.shape), create)
    f[name][:50] = data[:50]


def fill(f):
    made(f, "lzf", [(32000, ())], INTEGERS)
    made(f, "lzf and shuffle", [(2, ()), (32000, ())], FLOATS)
    made(f, "lzf of noise", [(32000, ())], NOISE.astype("u1"))
    made(f, "lzf of zeros", [(32000, ())], np.zeros((70, 33), "<u4"))
    for kind in "<i2", ">i4", "<u8", ">u2", "i1":
        made(f, f"scale offset {kind}", [(6, (2, 0))], (INTEGERS + 50).astype(kind))
        made(f, f"scale offset {kind}, fill", [(6, (2, 0))], (INTEGERS + 50).astype(kind), fill=7)
    made(f, "scale offset, wide", [(6, (2, 0))], NOISE)
    for kind in "<f4", "<f8", ">f8":
        made(f, f"scale offset {kind}", [(6, (0, 3))], FLOATS.astype(kind))
        made(f, f"scale offset {kind}, all", [(6, (0, 2)), (2, ()), (1, (6,)), (3, ())], FLOATS.astype(kind), fill=-1)
    made(f, "nbit", [(5, ())], INTEGERS, few_bits(h5t.STD_I32LE, 20, 0))
    made(f, "nbit, big", [(5, ())], INTEGERS.astype(">i4"), few_bits(h5t.STD_I32BE, 20, 5))
    made(f, "nbit, offset", [(5, ()), (1, (1,))], (INTEGERS % 200).astype("<u2"), few_bits(h5t.STD_U16LE, 9, 3))
    made(f, "nbit, whole", [(5, ())], FLOATS)
    rows = np.zeros((70, 33), np.dtype({"names": ["a", "b", "c"], "formats": ["<u2", (">i4", (2,)), "<f8"], "offsets": [0, 4, 12], "itemsize": 24}))
    rows["a"], rows["b"][..., 0], rows["b"][..., 1], rows["c"] = INTEGERS % 300, INTEGERS, -INTEGERS, FLOATS
    made(f, "nbit of members", [(5, ())], rows, members())
    for kind in "<i2", "<i4", ">i4", "<f8", ">u2":
        for mask in (32, 4):
            for pixels in (4, 16, 32):
                made(f, f"szip {kind} {mask} {pixels}", [(4, (mask, pixels))], (INTEGERS + 50).astype(kind))
    made(f, "szip of bytes", [(4, (32, 8))], (INTEGERS // 30).astype("u1"))
    made(f, "szip of noise", [(4, (32, 8))], NOISE.astype("<i4"))
    made(f, "szip of zeros", [(4, (32, 8))], np.zeros((70, 33), "<i4"))
    made(f, "szip and sums", [(4, (32, 8)), (3, ())], INTEGERS)


@reader.local
def check_filters(folder):
    with h5py.File("filters.h5", "w") as f:
        fill(f)
    read = reader.compared.by_reader("filters.h5")
    with h5py.File("filters.h5") as f:
        reader.compared.agree(read, reader.compared.by_h5py(f))
    reader.compared.agree(read, reader.native(folder, fill))
    assert len(read) >= 50, len(read)


if __name__ == "__main__":
    main(globals())
