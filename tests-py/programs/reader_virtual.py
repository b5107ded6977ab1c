"""Virtual datasets, data in external files, and links of every kind, read by the independent reader of
tests-py/reader and by h5py."""
# only: h5lake

import ctypes

import h5py
import independent_reader as reader
import numpy as np
from cases import main  # noqa: F401

ENDLESS = h5py.h5s.UNLIMITED
DATA = np.arange(24, dtype="<i4").reshape(4, 6)
TEXTS = ["a", "ü" * 300, ""]


def layout_of(f, name, shape, kind, mappings, largest=None, fillvalue=-1):
    """Makes a virtual dataset of (place, file, dataset, source) mappings; both spaces are SpaceIDs."""
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for place, file, dataset, source in mappings:
        create.set_virtual(place, file.encode(), dataset.encode(), source)
    create.set_fill_value(np.asarray([fillvalue], kind))
    space = h5py.h5s.create_simple(shape, largest or shape)
    h5py.h5d.create(f.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, dcpl=create)


def slab(shape, start, count, stride=None, block=None, largest=None):
    """Returns a dataspace with a regular hyperslab selected."""
    space = h5py.h5s.create_simple(shape, largest or shape)
    space.select_hyperslab(start, count, stride=stride, block=block)
    return space


def sources():
    for n in range(3):
        with h5py.File(f"part{n}.h5", "w") as f:
            f["data"], f[f"d%{n}"] = DATA + 100 * n, DATA[:2] - n
    with h5py.File("grown.h5", "w") as f:
        f.create_dataset("data", data=DATA, maxshape=(None, 6), chunks=(2, 6))


def fill(f):
    f["own"], f["texts"] = DATA, np.array(TEXTS, object)
    layout = h5py.VirtualLayout((8, 9), ">i8")
    layout[:4, :6] = h5py.VirtualSource(f["own"])
    layout[4:8:2, 1:7] = h5py.VirtualSource("part1.h5", "data", (4, 6))[1:3]
    layout[5, :3] = h5py.VirtualSource("missing.h5", "data", (4, 6))[0, :3]
    f.create_virtual_dataset("several", layout, fillvalue=-7)
    three = slab((4, 6), (0, 0), (1, 1))
    for at in (3, 5), (2, 1):
        three.select_hyperslab(at, (1, 1), op=h5py.h5s.SELECT_OR)
    odd = slab((2, 5), (0, 0), (1, 1))
    odd.select_hyperslab((1, 3), (1, 2), op=h5py.h5s.SELECT_OR)
    layout_of(f, "irregular", (2, 5), "<i4", [(odd, ".", "/own", three)], fillvalue=3)
    whole = h5py.h5s.create_simple((4, 6))
    place = slab((12, 6), (0, 0), (ENDLESS, 1), stride=(4, 1), block=(4, 6), largest=(ENDLESS, 6))
    layout_of(f, "numbered", (12, 6), "<i4", [(place, "part%b.h5", "data", whole)], (ENDLESS, 6), fillvalue=-1)
    two = slab((6, 6), (0, 0), (ENDLESS, 1), stride=(2, 1), block=(2, 6), largest=(ENDLESS, 6))
    layout_of(f, "percent", (6, 6), "<i4", [(two, "part%b.h5", "d%%%b", h5py.h5s.create_simple((2, 6)))], (ENDLESS, 6), fillvalue=-1)
    end = slab((4, 6), (0, 0), (1, 1), block=(ENDLESS, 6), largest=(ENDLESS, 6))
    layout_of(f, "endless", (4, 6), "<i4", [(end, "grown.h5", "data", end)], (ENDLESS, 6), fillvalue=-1)
    texts = h5py.VirtualLayout((5,), h5py.string_dtype())
    texts[1:4] = h5py.VirtualSource(f["texts"])
    f.create_virtual_dataset("virtual texts", texts)
    again = h5py.VirtualLayout((8, 9), "f8")
    again[:, :] = h5py.VirtualSource(f["several"])
    f.create_virtual_dataset("of virtual", again)


@reader.local
def check_virtual(folder):
    sources()
    with h5py.File("virtual.h5", "w") as f:
        fill(f)
    read = reader.compared.by_reader("virtual.h5")
    with h5py.File("virtual.h5") as f:
        reader.compared.agree(read, reader.compared.by_h5py(f))
    assert read["/irregular/"]["value"] == [[0, 3, 3, 3, 3], [3, 3, 3, 13, 23]], read["/irregular/"]
    numbered = read["/numbered/"]["value"]
    assert numbered[4][0] == 100 and numbered[8][0] == 200, numbered
    assert read["/percent/"]["value"][2] == [-1, 0, 1, 2, 3, 4] and read["/virtual texts/"]["value"][2] == TEXTS[1].encode()


@reader.local
def check_external_data(folder):
    (folder / "raw").write_bytes(np.arange(100, dtype="<i4").tobytes())
    with h5py.File("external.h5", "w") as f:
        f.create_dataset("parts", (3, 10), "<i4", external=[("raw", 40, 60), ("raw", 200, h5py.h5f.UNLIMITED)])
    read = reader.compared.by_reader("external.h5")
    assert read["/parts/"]["value"][1] == [20, 21, 22, 23, 24, *range(50, 55)], read["/parts/"]
    with h5py.File("external.h5") as f:
        reader.compared.agree(read, reader.compared.by_h5py(f))


class LinkClass(ctypes.Structure):
    """An H5L_class2_t."""
    _fields_ = [("version", ctypes.c_int), ("id", ctypes.c_int), ("comment", ctypes.c_char_p), ("create", ctypes.c_void_p),
                ("move", ctypes.c_void_p), ("copy", ctypes.c_void_p),
                ("traverse", ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t,
                                              ctypes.c_int64, ctypes.c_int64)),
                ("delete", ctypes.c_void_p), ("query", ctypes.c_void_p)]


@reader.local
def check_links(folder):
    traverse = LinkClass._fields_[6][1](lambda *_: -1)
    own = LinkClass(1, 187, b"a link of ours", None, None, None, traverse, None, None)
    reader.by_libhdf5.status("H5Lregister", ctypes.byref(own))
    with h5py.File("other.h5", "w") as f:
        f["there/data"] = DATA
    with h5py.File("links.h5", "w", track_order=True) as f:
        f["g/data"] = DATA
        f["g/near"], f["far"] = h5py.SoftLink("./data"), h5py.SoftLink("/g/near")
        f["beyond"], f["nowhere"] = h5py.ExternalLink("other.h5", "there/data"), h5py.SoftLink("/none/there")
        f["through"] = h5py.SoftLink("/beyond")
        reader.by_libhdf5.status("H5Lcreate_ud", f.id.id, b"own", ctypes.c_int(187), b"some data", 9, 0, 0)
        order = list(f)
    c = reader.compared.Container("links.h5")
    links = c.root.links()
    assert sorted(links, key=lambda name: links[name].order) == order, order
    assert links["own"].kind == "user" and links["own"].target == (187, b"some data"), links["own"].target
    for path in ("far", "g/near", "beyond", "through"):
        assert (c[path].read() == DATA).all(), path
    assert c.find("nowhere") is None and c.find("g/data/x") is None


if __name__ == "__main__":
    main(globals())
