"""References read by the independent reader of tests-py/reader and by libhdf5: of the new kind (H5R_ref_t), to
objects, regions and attributes, of the same file and of another one, null references, in datasets and attributes,
compounds, arrays and sequences, beside old references."""
# only: h5lake

import ctypes

import h5py
import independent_reader as reader
import numpy as np
from cases import main  # noqa: F401

by_libhdf5, compared = reader.by_libhdf5, reader.compared
NEW, SEQUENCE = by_libhdf5.NEW, ctypes.sizeof(by_libhdf5.Sequence)


def selected(shape, how):
    """Returns a dataspace of a shape, with a selection."""
    space = h5py.h5s.create_simple(shape)
    how(space)
    return space


def irregular(space):
    space.select_hyperslab((0, 0), (1, 2))
    space.select_hyperslab((3, 1), (2, 2), op=h5py.h5s.SELECT_OR)


SELECTIONS = {
    "all": lambda space: space.select_all(),
    "none": lambda space: space.select_none(),
    "block": lambda space: space.select_hyperslab((1, 1), (2, 3)),
    "stride": lambda space: space.select_hyperslab((0, 1), (2, 2), stride=(3, 3), block=(2, 1)),
    "blocks": irregular,
    "points": lambda space: space.select_elements([(5, 0), (0, 6), (2, 2)]),
}


def targets(f):
    f["grid"] = np.arange(42).reshape(6, 7)
    f["grid"].attrs["unit"] = "m"
    f["in/group"] = [1, 2]
    f["in"].attrs["ü" * 40] = 5
    f["type"] = np.dtype([("x", "<f4")])


def references(f, other):
    """Returns references of every kind, to both files (`other` may be None), and null ones."""
    made = [by_libhdf5.Reference()]
    for file in filter(None, (f, other)):
        made += [by_libhdf5.refer(file, path) for path in ("/", "/grid", "/in/group", "/type")]
        made += [by_libhdf5.refer(file, "/grid", region=selected((6, 7), how)) for how in SELECTIONS.values()]
        made += [by_libhdf5.refer(file, "/grid", attribute="unit"), by_libhdf5.refer(file, "/in", attribute="ü" * 40)]
    return [*made, by_libhdf5.Reference()]


def in_memory(references):
    return (by_libhdf5.Reference * len(references))(*references)


def of_references(kind, references):
    """Returns a type with references, the number of its elements, and the elements in memory: alone, in arrays,
    sequences and compounds."""
    new, all_ = by_libhdf5.new_type(), in_memory(references)
    address, two = ctypes.addressof(all_), len(references) // 2
    if kind == "alone":
        return new, len(references), all_
    if kind == "array":
        return by_libhdf5.array_of(new, two), 2, all_
    if kind == "sequence":
        three = (0, len(references)), (0, 0), (NEW, 3)
        return by_libhdf5.sequence_of(new), 3, sequences(all_, *((address + at, count) for at, count in three))
    if kind == "compound":
        pair = by_libhdf5.compound_of(NEW + 8, n=(0, h5py.h5t.NATIVE_INT64), to=(8, new))
        return pair, len(references), rows(references)
    if kind == "sequence of compounds":
        pair = by_libhdf5.compound_of(NEW + 8, n=(0, h5py.h5t.NATIVE_INT64), to=(8, new))
        packed = rows(references)
        # Only one sequence, because libhdf5 would treat the references of an earlier sequence as the old content of a
        # later one, and delete them.
        found = sequences(packed, (ctypes.addressof(packed), len(references)), (0, 0))
        return by_libhdf5.sequence_of(pair), 2, found
    if kind == "sequence of arrays":
        found = sequences(all_, (address, 2), (address + NEW * two, 1), (0, 0))
        return by_libhdf5.sequence_of(by_libhdf5.array_of(new, two)), 3, found
    whole = by_libhdf5.compound_of(2 * NEW + SEQUENCE, first=(0, new), all=(NEW, by_libhdf5.sequence_of(new)), last=(NEW + SEQUENCE, new))
    row = bytes(references[3]) + bytes(sequences(all_, (address, len(references)))) + bytes(references[-2])
    buffer = ctypes.create_string_buffer(row + bytes(len(row)), 2 * len(row))
    buffer.kept = all_
    return whole, 2, buffer


def rows(references):
    packed = b"".join(n.to_bytes(8, "little") + bytes(reference) for n, reference in enumerate(references))
    return ctypes.create_string_buffer(packed, len(packed))


def sequences(kept, *of):
    made = (by_libhdf5.Sequence * len(of))(*(by_libhdf5.Sequence(count, at) for at, count in of))
    made.kept = kept  # the data that they point to
    return made


KINDS = "alone", "array", "sequence", "compound", "sequence of compounds", "sequence of arrays", "compound of sequences"


def fill(f, other=None):
    targets(f)
    made = references(f, other)
    for name in KINDS:
        kind, count, data = of_references(name, made)
        whole = by_libhdf5.dataset(f, name, kind, (count,), data)
        by_libhdf5.attribute(whole, "the same", kind, (count,), data)
        by_libhdf5.dataset(f, f"{name}, chunked", kind, (count,), data, chunk=(2,))
        by_libhdf5.dataset(f, f"{name}, unwritten", kind, (count,), None)
    old(f)
    for reference in made:
        if any(bytes(reference)):
            by_libhdf5.status("H5Rdestroy", ctypes.byref(reference))


def old(f):
    """Creates old region references of every selection."""
    f.create_dataset("regions", (len(SELECTIONS) + 1,), h5py.regionref_dtype)
    for n, how in enumerate(SELECTIONS.values()):
        f["regions"][n] = h5py.h5r.create(f.id, b"/grid", h5py.h5r.DATASET_REGION, selected((6, 7), how))
    f.attrs["region"] = f["regions"][3]
    row = np.dtype([("n", "i4"), ("region", h5py.regionref_dtype), ("object", h5py.ref_dtype)])
    rows = f.create_dataset("old", (2,), row)
    rows[0] = (1, f["grid"].regionref[2:4, 1], f["in/group"].ref)


@reader.local
def check_references(folder):
    with h5py.File("other.h5", "w") as other:
        targets(other)
        other.flush()
        with h5py.File("references.h5", "w") as f:
            fill(f, other)
            f.flush()
            compared.agree(compared.by_reader("references.h5"), compared.by_h5py(f))
    read = compared.by_reader("references.h5")
    leads = read["/alone/"]["value"]
    assert len(leads) == 26 and leads[0] == leads[-1] == ("new", None), leads
    assert leads[2] == ("new", "object", None, "/grid") and leads[14] == ("new", "object", "other.h5", "/grid"), leads
    assert read["/sequence/"]["value"] == [leads, [], leads[1:4]] and read["/compound/"]["value"] == list(enumerate(leads))
    with h5py.File("references.h5") as f:
        compared.agree(read, compared.by_h5py(f))


@reader.local
def check_references_are_those_of_a_native_file(folder):
    with h5py.File("own.h5", "w") as f:
        fill(f)
    compared.agree(compared.by_reader("own.h5"), reader.native(folder, fill))


if __name__ == "__main__":
    main(globals())
