"""A container with types, spaces and creation lists of every kind."""

import sys

import h5py
import numpy as np

INNER = np.dtype([("a", "u1"), ("b", "<f4", (2, 2))])
TYPES = {
    "int": np.dtype(">i4"), "float": np.dtype("f8"), "fixed": np.dtype("S7"), "opaque": np.dtype("V9"),
    "enum": h5py.enum_dtype({"red": 0, "green": 1, "blue": 42}, basetype="i2"), "bool": np.dtype("?"),
    "complex": np.dtype("c16"), "text": h5py.string_dtype(), "lists": h5py.vlen_dtype("i4"),
    "texts": h5py.vlen_dtype(h5py.string_dtype()), "inner": np.dtype([("x", INNER), ("y", "i8", (3,))]),
    "mixed": np.dtype([("n", "i4"), ("s", h5py.string_dtype()), ("l", h5py.vlen_dtype("f4"))]),
    "refs": h5py.ref_dtype, "array": np.dtype(("i2", (2, 3))), "times": h5py.opaque_dtype("M8[us]"),
}


def main(path):
    with h5py.File(path, "w", track_order=True) as f:
        plain = f.create_dataset("plain", data=np.arange(100).reshape(10, 10), chunks=(3, 4), maxshape=(None, 10),
                                 compression="gzip", shuffle=True, fletcher32=True, fillvalue=7)
        f.create_dataset("scaled", data=np.arange(100), chunks=(20,), scaleoffset=0)
        f.create_dataset("lzf", data=np.arange(100.0), chunks=(30,), compression="lzf")
        for name, dtype in TYPES.items():
            f.create_dataset(name, (3,), dtype)
            f.create_dataset(f"{name}_chunks", (4, 2), dtype, chunks=(2, 2))
            stored = h5py.h5t.py_create(dtype, logical=True).copy()
            h5py.h5a.create(f.id, name.encode(), stored, h5py.h5s.create_simple((2,)))
            stored.commit(f.id, f"t_{name}".encode())
        f["text"][0], f["lists"][1] = "some text", [1, 2, 3]
        f["mixed"][0] = (1, "text", np.array([1, 2], "f4"))
        f.create_dataset("filled", (3,), TYPES["inner"], fillvalue=np.ones((), TYPES["inner"]))
        layout = h5py.VirtualLayout((10, 10), "i8")
        layout[:5], layout[5:, ::2] = h5py.VirtualSource(plain)[:5], h5py.VirtualSource(plain)[5:, ::2]
        f.create_virtual_dataset("virtual", layout)
        regions = f.create_dataset("regions", (3,), h5py.regionref_dtype)
        regions[0], regions[1] = plain.regionref[2:4, 1:9:3], plain.regionref[[1, 3, 5], :2]
        group = f.create_group("group/inner", track_order=True)
        group.attrs["unit"], group["soft"] = "m", h5py.SoftLink("/plain")
        f.create_dataset("outside", (4,), "i4", external=[("outside.bin", 0, 16)])


if __name__ == "__main__":
    main(sys.argv[1])
