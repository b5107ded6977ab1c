"""New references (H5R_ref_t) in compounds and in sequences of compounds that are overwritten: each write succeeds,
and all other data stays intact. libhdf5 requests deletions of blobs that are still in use there."""
# only: h5lake

import ctypes

import h5py
import reader_references
from cases import main

by_libhdf5, rows = reader_references.by_libhdf5, reader_references.rows
ROW = 72
COUNT = 60


def pair():
    return by_libhdf5.compound_of(ROW, n=(0, h5py.h5t.NATIVE_INT64), to=(8, by_libhdf5.new_type()))


def write(dataset, kind, data):
    by_libhdf5.status("H5Dwrite", dataset.id.id, kind.id, 0, 0, 0, data)


def references(f):
    block = reader_references.selected((6, 7), reader_references.SELECTIONS["block"])
    return {"null": by_libhdf5.Reference(), "object": by_libhdf5.refer(f, "/grid"),
            "attribute": by_libhdf5.refer(f, "/grid", attribute="unit"), "region": by_libhdf5.refer(f, "/grid", region=block)}


def kinds_of(rows):
    """Returns the target of each row's reference."""
    return [to[1:] for _, to in rows]


def check_every_kind_over_every_other(folder):
    for old in ("null", "object", "attribute", "region"):
        for new in ("null", "object", "attribute", "region"):
            with h5py.File("a.h5", "w") as f:
                reader_references.targets(f)
                made, kind = references(f), pair()
                d = by_libhdf5.dataset(f, "d", kind, (3,), rows([made[old]] * 3))
                write(d, kind, rows([made[new]] * 3))
                write(d, kind, rows([made[new]] * 3))
                wanted = kinds_of(by_libhdf5.read(f, by_libhdf5.dataset(f, "e", kind, (3,), rows([made[new]] * 3)).id, (3,)))
            with h5py.File("a.h5") as f:
                assert kinds_of(by_libhdf5.read(f, f["d"].id, (3,))) == wanted, (old, new)


def sequences_of(packed, lengths):
    """Returns consecutive sequences with these numbers of rows."""
    at, of = ctypes.addressof(packed), []
    for length in lengths:
        of.append((at, length))
        at += length * ROW
    return reader_references.sequences(packed, *of)


def check_sequences_keep_their_references(folder):
    with h5py.File("a.h5", "w") as f:
        reader_references.targets(f)
        made, inner = references(f), pair()
        kind = by_libhdf5.sequence_of(inner)
        mixed = [made["attribute"], made["region"], made["object"], made["null"]] * COUNT
        lengths = [1, 2, 1] * COUNT
        d = by_libhdf5.dataset(f, "d", kind, (len(lengths),), sequences_of(rows(mixed), lengths))
        first = by_libhdf5.read(f, d.id, (len(lengths),))
    for _ in range(4):
        # The first half is overwritten with equal content; the second half is not changed.
        with h5py.File("a.h5", "r+") as f:
            inner, made = pair(), references(f)
            kind = by_libhdf5.sequence_of(inner)
            mixed = [made["attribute"], made["region"], made["object"], made["null"]] * COUNT
            half, d = len(lengths) // 2, f["d"]
            file, memory = d.id.get_space(), h5py.h5s.create_simple((half,))
            file.select_hyperslab((0,), (half,))
            by_libhdf5.status("H5Dwrite", d.id.id, kind.id, memory.id, file.id, 0, sequences_of(rows(mixed), lengths[:half]))
        with h5py.File("a.h5") as f:
            assert by_libhdf5.read(f, f["d"].id, (len(lengths),)) == first


if __name__ == "__main__":
    main(globals())
