"""Complex numbers and floating-point numbers of 16 and 8 bits, which HDF5 has from 2.0 on: in datasets with fill values, attributes,
compounds and sequences, with conversions. tests-c/programs/newer_types.c has all of them, for HDF5 2.0 to 2.2."""

import ctypes

import h5py
import numpy as np
from cases import hdf5_path, main
from h5py import h5a, h5d, h5p, h5s, h5t

HDF5 = ctypes.CDLL(hdf5_path())
HDF5.H5Tcopy.restype, HDF5.H5Tcopy.argtypes = ctypes.c_int64, [ctypes.c_int64]
REALS = np.array([0.5, -1.5, 2, 1.25, -0.0, 3])
COMPLEXES = REALS + 1j * REALS[::-1]


def kinds():
    """The types that this HDF5 has, each with its type in memory, and numbers that it holds exactly: [(name, type, memory, values)]."""
    if not hasattr(h5t, "COMPLEX_IEEE_F32LE"):
        return []
    small = ["BFLOAT16LE", "BFLOAT16BE", "F8E4M3", "F8E5M2"]
    copies = {name: HDF5.H5Tcopy(ctypes.c_int64.in_dll(HDF5, f"H5T_FLOAT_{name}_g")) for name in small}
    reals = [(name, h5t.TypeFloatID(number), h5t.NATIVE_DOUBLE, REALS) for name, number in copies.items()]
    return reals + [(name, getattr(h5t, name), h5t.NATIVE_DOUBLE_COMPLEX, COMPLEXES)
                    for name in ("COMPLEX_IEEE_F16LE", "COMPLEX_IEEE_F32BE", "COMPLEX_IEEE_F64LE")]


def compound(number, size):
    """A compound of an index and a number of a type."""
    made = h5t.create(h5t.COMPOUND, 8 + size)
    made.insert(b"n", 0, h5t.STD_I64LE)
    made.insert(b"value", 8, number)
    return made


def create(group, name, kind, count, fill=None, chunk=None):
    creation = h5p.create(h5p.DATASET_CREATE)
    if fill is not None:
        creation.set_fill_value(fill)
    if chunk:
        creation.set_chunk((chunk,))
        creation.set_shuffle()
        creation.set_deflate(4)
    return h5d.create(group.id, name.encode(), kind, h5s.create_simple((count,)), creation)


def write_kinds(f):
    for name, kind, memory, values in kinds():
        group = f.create_group(name)
        create(group, "plain", kind, len(values)).write(h5s.ALL, h5s.ALL, values, mtype=memory)
        packed = create(group, "packed", kind, 2 * len(values), chunk=4)
        space = packed.get_space()
        space.select_hyperslab((0,), (len(values),))
        packed.write(h5s.create_simple((len(values),)), space, values, mtype=memory)
        attribute = h5a.create(group.id, b"values", kind, h5s.create_simple((len(values),)))
        attribute.write(values, mtype=memory)
        rows = np.zeros(len(values), [("n", "<i8"), ("value", values.dtype)])
        rows["n"], rows["value"] = range(len(values)), values
        stored, in_memory = compound(kind, kind.get_size()), compound(memory, values.itemsize)
        create(group, "rows", stored, len(values), chunk=4).write(h5s.ALL, h5s.ALL, rows, mtype=in_memory)
        kind.copy().commit(group.id, b"type")


def read_kinds(f):
    for name, kind, memory, values in kinds():
        group, back = f[name].id, np.zeros(2 * len(values), values.dtype)
        plain, packed = h5d.open(group, b"plain"), h5d.open(group, b"packed")
        assert plain.get_type().equal(kind) and packed.get_type().get_size() == kind.get_size(), name
        plain.read(h5s.ALL, h5s.ALL, back[:len(values)], mtype=memory)
        assert (back[:len(values)] == values).all(), (name, back)
        packed.read(h5s.ALL, h5s.ALL, back, mtype=memory)
        assert (back[:len(values)] == values).all() and not back[len(values):].any(), (name, back)
        attribute, again = h5a.open(group, b"values"), np.zeros_like(values)
        attribute.read(again, mtype=memory)
        assert attribute.get_type().equal(kind) and (again == values).all(), (name, again)
        rows = np.zeros(len(values), [("n", "<i8"), ("value", values.dtype)])
        h5d.open(group, b"rows").read(h5s.ALL, h5s.ALL, rows, mtype=compound(memory, values.itemsize))
        assert rows["n"].tolist() == list(range(len(values))) and (rows["value"] == values).all(), (name, rows)
        assert h5t.open(group, b"type").equal(kind) and h5t.open(group, b"type").committed(), name


def read_kinds_in_other_types(f):
    """Conversions to smaller numbers, and of real ones to complex ones. (HDF5 has none of complex numbers to pairs.)"""
    for name, kind, memory, values in kinds():
        wanted = {"c8": h5t.NATIVE_FLOAT_COMPLEX, "c16": h5t.NATIVE_DOUBLE_COMPLEX}
        if values.dtype.kind == "f":
            wanted |= {"f4": h5t.NATIVE_FLOAT, "f8": h5t.NATIVE_DOUBLE}
        for dtype, in_memory in wanted.items():
            got = np.zeros(len(values), dtype)
            h5d.open(f[name].id, b"plain").read(h5s.ALL, h5s.ALL, got, mtype=in_memory)
            assert (got == values).all(), (name, dtype, got)


write_kinds_in_other_types = write_kinds


def check_sequences_and_fill_values(_folder):
    for name, kind, memory, values in kinds():
        with h5py.File(f"{name}.h5", "w") as f:
            creation = h5p.create(h5p.DATASET_CREATE)
            HDF5.H5Pset_fill_value.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
            assert HDF5.H5Pset_fill_value(creation.id, memory.id, values[1:2].ctypes.data) >= 0
            h5d.create(f.id, b"filled", kind, h5s.create_simple((5,)), creation)
            many = h5d.create(f.id, b"many", h5t.vlen_create(kind), h5s.create_simple((1,)))
            sequence = (ctypes.c_size_t * 2)(len(values), values.ctypes.data)
            in_memory = h5t.vlen_create(memory)
            HDF5.H5Dwrite.argtypes = HDF5.H5Dread.argtypes = [ctypes.c_int64] * 5 + [ctypes.c_void_p]
            assert HDF5.H5Dwrite(many.id, in_memory.id, 0, 0, 0, sequence) >= 0
        with h5py.File(f"{name}.h5") as f:
            back = np.zeros(5, values.dtype)
            h5d.open(f.id, b"filled").read(h5s.ALL, h5s.ALL, back, mtype=memory)
            assert (back == values[1]).all(), (name, back)
            sequence, many = (ctypes.c_size_t * 2)(), h5d.open(f.id, b"many")
            assert HDF5.H5Dread(many.id, in_memory.id, 0, 0, 0, sequence) >= 0
            got = np.frombuffer(ctypes.string_at(sequence[1], sequence[0] * values.itemsize), values.dtype)
            assert (got == values).all(), (name, got)


if __name__ == "__main__":
    main(globals())
