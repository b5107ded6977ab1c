"""Virtual datasets: fixed, numbered and unlimited mappings, other files, missing sources, conversions, writing."""

import os
import subprocess
import sys

import h5py
import numpy as np
from cases import main, raises, same

ENDLESS = h5py.h5s.UNLIMITED


def mode_of(name):
    """Returns the mode that adds to a file of this folder, or creates it. In a store, another case may have left a
    file of that name."""
    return "r+" if os.path.exists(name) else "w"


def layout_of(f, name, shape, dtype, mappings, maxshape=None, fillvalue=None):
    """Creates a virtual dataset of (place, file, dataset, source) mappings; both spaces are SpaceIDs."""
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for place, file, dataset, source in mappings:
        dcpl.set_virtual(place, file.encode(), dataset.encode(), source)
    if fillvalue is not None:
        dcpl.set_fill_value(np.asarray([fillvalue], dtype))
    space = h5py.h5s.create_simple(shape, maxshape or shape)
    h5py.h5d.create(f.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, dcpl=dcpl)


def slab(shape, start, count, stride=None, block=None, maxshape=None):
    """Returns a dataspace with a regular hyperslab selected."""
    space = h5py.h5s.create_simple(shape, maxshape or shape)
    space.select_hyperslab(start, count, stride=stride, block=block)
    return space


def everything(shape):
    """Returns a dataspace with everything selected."""
    return h5py.h5s.create_simple(shape)


def opened(f, name, view=None, gap=None):
    """Opens the dataset with the given view and gap."""
    dapl = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    if view is not None:
        dapl.set_virtual_view(view)
    if gap is not None:
        dapl.set_virtual_printf_gap(gap)
    return h5py.Dataset(h5py.h5d.open(f.id, name.encode(), dapl))


def source(name, data, dataset="data", **keywords):
    """Creates a file with one dataset."""
    with h5py.File(name, mode_of(name)) as f:
        f.create_dataset(dataset, data=data, **keywords)


def write_same_file(f):
    f["a"] = np.arange(20, dtype="i4").reshape(4, 5)
    f["group/b"] = np.arange(100, 120, dtype="i4").reshape(4, 5)
    layout = h5py.VirtualLayout((4, 10), "i4")
    layout[:, :5] = h5py.VirtualSource(f["a"])
    layout[::2, 5:] = h5py.VirtualSource(f["group/b"])[:2, :]
    f.create_virtual_dataset("v", layout, fillvalue=-1)


def read_same_file(f):
    v = f["v"]
    wanted = np.full((4, 10), -1, "i4")
    wanted[:, :5] = np.arange(20).reshape(4, 5)
    wanted[::2, 5:] = np.arange(100, 110).reshape(2, 5)
    same(v[...], wanted)
    same(v[1:3, 3:8], wanted[1:3, 3:8])
    same(v[::3, ::4], wanted[::3, ::4])
    same(v[[0, 2], 1:9:3], wanted[[0, 2], 1:9:3])
    out = np.zeros((6, 12), "f8")  # another type and another layout in memory
    v.read_direct(out, np.s_[:, 2:8], np.s_[1:5, 3:9])
    expected = np.zeros((6, 12))
    expected[1:5, 3:9] = wanted[:, 2:8]
    same(out, expected)
    assert v.is_virtual and v.chunks is None and v.id.get_storage_size() == 0
    assert v.id.get_space_status() == h5py.h5d.SPACE_STATUS_ALLOCATED
    sources = v.virtual_sources()
    assert [s.file_name for s in sources] == [".", "."] and [s.dset_name for s in sources] == ["/a", "/group/b"]
    assert sources[1].vspace.get_regular_hyperslab() == ((0, 5), (2, 1), (2, 1), (1, 5))
    assert sources[1].src_space.get_select_bounds() == ((0, 0), (1, 4))


def check_other_files(_folder):
    os.mkdir("deep")
    for n in range(3):
        source(f"deep/part{n}.h5", np.arange(6) + 10 * n, "inner/data")
    layout = h5py.VirtualLayout((4, 6), "i8")
    for n in range(4):
        layout[n] = h5py.VirtualSource(f"part{n}.h5", "inner/data", (6,))
    with h5py.File("deep/all.h5", "w") as f:
        f.create_virtual_dataset("v", layout, fillvalue=7)
    wanted = np.vstack([np.arange(6) + 10 * n for n in range(3)] + [np.full(6, 7)])
    with h5py.File("deep/all.h5", "r") as f:
        same(f["v"][...], wanted)  # beside the file, and the missing one is fill
        source("deep/part3.h5", np.arange(6) + 30, "inner/wrong")
        same(f["v"][...], wanted)  # a file without the dataset is as good as missing
        source("deep/part3.h5", np.arange(6) + 30, "inner/data")
        same(f["v"][3], np.arange(6) + 30)  # and is found as soon as it is there
    os.rename("deep/all.h5", "all.h5")
    with h5py.File("all.h5", "r") as f:
        same(f["v"][...], np.full((4, 6), 7))
        dapl = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        dapl.set_virtual_prefix(b"${ORIGIN}/deep")
        found = h5py.Dataset(h5py.h5d.open(f.id, b"v", dapl))
    os.symlink("../all.h5", "deep/link.h5")  # found beside the link
    with h5py.File("deep/link.h5", "r") as f:
        same(f["v"][:3], wanted[:3])
    with h5py.File("all.h5", "r") as f:
        found = h5py.Dataset(h5py.h5d.open(f.id, b"v", dapl))
        same(found[:3], wanted[:3])
        prefix = found.id.get_access_plist().get_virtual_prefix().decode()
        assert os.path.samefile(prefix, "deep"), prefix


def check_absolute_name(folder):
    source("a.h5", np.arange(4))
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (4,), "i8", [(everything((4,)), str(folder / "a.h5"), "data", everything((4,)))])
        layout_of(f, "moved", (4,), "i8", [(everything((4,)), "/nowhere/a.h5", "data", everything((4,)))])
    with h5py.File("v.h5", "r") as f:
        same(f["v"][...], np.arange(4))
        same(f["moved"][...], np.arange(4))  # the last part of the name is looked for beside the file


def check_one_handle_at_a_time(_folder):
    source("a.h5", np.arange(4))
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (4,), "i8", [(everything((4,)), "a.h5", "data", everything((4,)))])
    with h5py.File("v.h5", "r") as f:
        same(f["v"][...], np.arange(4))
        assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 1
    with h5py.File("a.h5", "w"):  # the source is free again
        pass


def check_conversion(_folder):
    source("small.h5", np.array([1, -2, 300], "i2"))
    source("big.h5", np.array([1.5, -2.5, 1e10], ">f8"))
    with h5py.File("v.h5", "w") as f:
        three = everything((3,))
        layout_of(f, "v", (3, 3), "f4", [
            (slab((3, 3), (0, 0), (1, 3)), "small.h5", "data", three),
            (slab((3, 3), (1, 0), (1, 3)), "big.h5", "data", three),
        ], fillvalue=0.5)
    with h5py.File("v.h5", "r") as f:
        same(f["v"][...], np.array([[1, -2, 300], [1.5, -2.5, 1e10], [0.5, 0.5, 0.5]], "f4"))
        # The virtual dataset's type does not affect transfers from a source to memory.
        same(f["v"].astype("f8")[1], np.array([1.5, -2.5, 1e10]))
        same(f["v"].astype("i4")[0], np.array([1, -2, 300], "i4"))


def check_compound_and_text(_folder):
    table = np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    source("t.h5", table, "table")
    words = np.array(["one", "zwei", "tri"], object)
    with h5py.File("t.h5", mode_of("t.h5")) as f:
        f.create_dataset("words", data=words, dtype=h5py.string_dtype())
    layout = h5py.VirtualLayout((4,), table.dtype)
    layout[:2] = h5py.VirtualSource("t.h5", "table", (2,))
    text = h5py.VirtualLayout((5,), h5py.string_dtype())
    text[1:4] = h5py.VirtualSource("t.h5", "words", (3,), h5py.string_dtype())
    with h5py.File("v.h5", "w") as f:
        f.create_virtual_dataset("table", layout, fillvalue=np.array((9, 9), table.dtype))
        f.create_virtual_dataset("words", text)
    with h5py.File("v.h5", "r") as f:
        same(f["table"][...], np.concatenate([table, np.full(2, np.array((9, 9), table.dtype))]))
        same(f["table"].fields("b")[:], np.array([2.5, 4.5, 9, 9]))
        assert list(f["words"].asstr()[...]) == ["", "one", "zwei", "tri", ""]


def check_nested(_folder):
    source("a.h5", np.arange(12).reshape(3, 4))
    with h5py.File("b.h5", "w") as f:
        layout_of(f, "v", (2, 4), "i8", [(everything((2, 4)), "a.h5", "data", slab((3, 4), (1, 0), (2, 4)))])
    with h5py.File("c.h5", "w") as f:
        layout_of(f, "v", (4, 2), "i8", [
            (slab((4, 2), (0, 0), (4, 1)), "b.h5", "v", slab((2, 4), (0, 0), (1, 4))),
            (slab((4, 2), (0, 1), (4, 1)), "b.h5", "v", slab((2, 4), (1, 0), (1, 4))),
        ])
    with h5py.File("c.h5", "r") as f:
        same(f["v"][...], np.arange(4, 12).reshape(2, 4).T)


def check_writing(_folder):
    source("a.h5", np.zeros(6, "i4"))
    source("b.h5", np.zeros(6, "i4"))
    with h5py.File("v.h5", "w") as f:
        row = everything((6,))
        layout_of(f, "v", (3, 6), "i4", [
            (slab((3, 6), (0, 0), (1, 6)), "a.h5", "data", row),
            (slab((3, 6), (1, 0), (1, 6)), "b.h5", "data", row),
        ])
    with h5py.File("v.h5", "r+") as f:
        f["v"][0:2, 1:5] = np.arange(8, dtype="i4").reshape(2, 4)
        f["v"][1, ::5] = np.int32(70)
        same(f["v"][:2, 1:5].ravel()[:7], np.arange(7, dtype="i4"))
        raises(OSError, f["v"].__setitem__, (slice(1, 3), 0), 5)  # row 2 has no source
        assert f["v"][1, 0] == 70
    with h5py.File("a.h5", "r") as f:
        same(f["data"][...], np.array([0, 0, 1, 2, 3, 0], "i4"))
    with h5py.File("b.h5", "r") as f:
        same(f["data"][...], np.array([70, 4, 5, 6, 7, 70], "i4"))
    with h5py.File("v.h5", "r") as f:
        raises(OSError, f["v"].__setitem__, (0, 0), 5)


def check_numbered(_folder):
    place = slab((0, 3), (0, 0), (ENDLESS, 1), stride=(2, 1), block=(2, 3), maxshape=(ENDLESS, 3))
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (0, 3), "i4", [(place, "part-%b.h5", "d%b%%", everything((2, 3)))], (ENDLESS, 3), -1)
    part = np.arange(6, dtype="i4").reshape(2, 3)
    for n in (0, 1, 3):
        source(f"part-{n}.h5", part + 10 * n, f"d{n}%")
    gap = np.full((2, 3), -1, "i4")
    first, last = h5py.h5d.VDS_FIRST_MISSING, h5py.h5d.VDS_LAST_AVAILABLE
    with h5py.File("v.h5", "r") as f:
        assert opened(f, "v").shape == (4, 3)  # the search ends at the first one missing
        same(opened(f, "v", last, 0)[...], np.vstack([part, part + 10]))
    with h5py.File("v.h5", "r") as f:
        same(opened(f, "v", last, 1)[...], np.vstack([part, part + 10, gap, part + 30]))
    with h5py.File("v.h5", "r") as f:
        d = opened(f, "v", first)
        assert d.shape == (4, 3)
        same(d[1:3], np.vstack([part[1:], part[:1] + 10]))
    source("part-2.h5", part + 20, "d2%")
    with h5py.File("v.h5", "r+") as f:
        d = opened(f, "v")
        assert d.shape == (8, 3)
        same(d[3:7, 1], np.array([14, 21, 24, 31], "i4"))
        d[5] = np.full(3, 99, "i4")
    with h5py.File("part-2.h5", "r") as f:
        same(f["d2%"][1], np.full(3, 99, "i4"))


def check_endless(_folder):
    def grow(name, rows, value):
        with h5py.File(name, mode_of(name)) as f:
            d = f.require_dataset("data", (0, 2), "i4", maxshape=(None, 2), chunks=(4, 2), exact=True) \
                if "data" not in f else f["data"]
            d.resize(rows, 0)
            d[...] = value + np.arange(rows * 2).reshape(rows, 2)

    def of(name, start):
        """Every other pair of rows of the virtual dataset shows a source."""
        place = slab((0, 2), (start, 0), (ENDLESS, 1), stride=(4, 1), block=(2, 2), maxshape=(ENDLESS, 2))
        return place, name, "data", slab((0, 2), (0, 0), (1, 1), block=(ENDLESS, 2), maxshape=(ENDLESS, 2))

    grow("a.h5", 5, 0)
    grow("b.h5", 3, 100)
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (0, 2), "i4", [of("a.h5", 0), of("b.h5", 2)], (ENDLESS, 2), -1)
    a, b = np.arange(10).reshape(5, 2), 100 + np.arange(6).reshape(3, 2)
    whole = np.full((9, 2), -1, "i4")
    whole[[0, 1, 4, 5, 8]], whole[[2, 3, 6]] = a, b
    with h5py.File("v.h5", "r") as f:
        same(opened(f, "v")[...], whole)
    with h5py.File("v.h5", "r") as f:
        same(opened(f, "v", h5py.h5d.VDS_FIRST_MISSING)[...], whole[:7])
    grow("b.h5", 6, 100)
    with h5py.File("v.h5", "r") as f:
        d = opened(f, "v")
        assert d.shape == (12, 2)
        same(d[6:9, 0], np.array([104, 106, 8], "i4"))
        same(d[9], np.array([-1, -1], "i4"))
    os.remove("a.h5")
    with h5py.File("v.h5", "r") as f:
        assert opened(f, "v", h5py.h5d.VDS_FIRST_MISSING).shape == (0, 2)
        same(opened(f, "v")[2:4], 100 + np.arange(4, dtype="i4").reshape(2, 2))


def check_resized(_folder):
    source("a.h5", np.arange(4))
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (4,), "i8", [(slab((4,), (0,), (4,)), "a.h5", "data", everything((4,)))], (ENDLESS,), 5)
        f["v"].id.set_extent((6,))
        same(f["v"][...], np.array([0, 1, 2, 3, 5, 5]))
        raises(RuntimeError, f["v"].id.set_extent, (3,))
    with h5py.File("v.h5", "r") as f:
        assert f["v"].shape == (6,)
    with h5py.File("w.h5", "w") as f:
        place = slab((10,), (3,), (4,))
        raises(ValueError, layout_of, f, "v", (5,), "i8", [(place, "a.h5", "data", everything((4,)))])


def check_copied(_folder):
    source("a.h5", np.arange(4))
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (4,), "i8", [(everything((4,)), "a.h5", "data", everything((4,)))])
        f.copy("v", "w")
        with h5py.File("other.h5", "w") as g:
            f.copy("v", g, "v")
    for name, path in (("v.h5", "w"), ("other.h5", "v")):
        with h5py.File(name, "r") as f:
            assert f[path].is_virtual
            same(f[path][...], np.arange(4))


def natively(code):
    """Runs code in a process that has no connector."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    run = subprocess.run([sys.executable, "-c", "import h5py, numpy as np\n" + code], env=env, text=True,
                         capture_output=True)
    assert run.returncode == 0, run.stderr


def check_short_sources(_folder):
    """A virtual dataset is created for all frames before the first one is written. Elements that the source does not
    have yet show the source's fill value."""
    with h5py.File("frames.h5", "w") as f:
        f.create_dataset("x", (5, 2), "i4", chunks=(1, 2), maxshape=(None, 2), fillvalue=-1, data=np.arange(10).reshape(5, 2))
    with h5py.File("made_before.h5", "w") as f:
        slab, whole, strided = (h5py.VirtualLayout((20, 2), "i4") for _ in range(3))
        slab[0:10] = h5py.VirtualSource("frames.h5", "x", (10, 2))[0:10]
        whole[0:10] = h5py.VirtualSource("frames.h5", "x", (10, 2))
        strided[3:8] = h5py.VirtualSource("frames.h5", "x", (10, 2))[0:10:2]
        for name, layout in (("slab", slab), ("whole", whole), ("strided", strided)):
            f.create_virtual_dataset(name, layout, fillvalue=-9)
    wanted = np.full((20, 2), -9, "i4")
    wanted[:10] = -1
    wanted[:5] = np.arange(10).reshape(5, 2)
    ours = bool(os.environ.get("HDF5_VOL_CONNECTOR"))
    with h5py.File("made_before.h5") as f:
        v = f["slab"]
        # Native HDF5 fails if all elements of a read are missing, and for the mapping of a whole source if the source has
        # another size.
        for at in (np.s_[0:5], np.s_[:, 0], np.s_[4:7, 0], *((np.s_[0:9:2], np.s_[6:8], np.s_[:], np.s_[[1, 4, 8]]) if ours else ())):
            same(v[at], wanted[at])
        if ours:
            same(f["strided"][:, 1], np.array([-9, -9, -9, 1, 5, 9, -1, -1] + [-9] * 12, "i4"))
            same(f["whole"][:], wanted)
        same(v.astype("f8")[3:6], wanted[3:6].astype("f8"))
        same(f["whole"][0:5], wanted[0:5])
    with h5py.File("made_before.h5", "r+") as f:
        f["slab"][3] = 7
        if ours:  # native HDF5 silently loses data that has no place
            try:
                f["slab"][4:7] = np.full((3, 2), 8)
            except OSError as error:
                assert "outside of their source, /x of " in str(error) and "extend it first" in str(error), error
            else:
                raise AssertionError("elements that have no place")
    with h5py.File("frames.h5", "r+") as f:
        same(f["x"][:, 0], np.array([0, 2, 4, 7, 8], "i4"))
        f["x"].resize((12, 2))
        f["x"][5:] = 3
    wanted[3], wanted[5:10] = 7, 3
    with h5py.File("made_before.h5") as f:
        same(f["slab"][:], wanted)
        same(f["whole"][4:8], wanted[4:8])


def check_native_sources(_folder):
    natively("""
with h5py.File("native.h5", "w") as f:
    f["a"] = np.arange(12, dtype="i4").reshape(3, 4)
    f.create_dataset("b", data=np.arange(5, dtype="f4"), chunks=(2,), maxshape=(None,), compression="gzip")
    f["words"] = ["one", "two"]
""")
    source("ours.h5", np.full((2, 4), 50, "i4"))
    endless = slab((0,), (0,), (1,), block=(ENDLESS,), maxshape=(ENDLESS,))
    with h5py.File("v.h5", "w") as f:
        layout_of(f, "v", (6, 4), "i4", [
            (slab((6, 4), (0, 0), (3, 4)), "native.h5", "a", everything((3, 4))),
            (slab((6, 4), (3, 0), (2, 4)), "ours.h5", "data", everything((2, 4))),
            (slab((6, 4), (5, 0), (1, 4)), "native.h5", "missing", everything((4,))),
        ], fillvalue=-1)
        layout_of(f, "endless", (0,), "f4", [(endless, "native.h5", "b", endless)], (ENDLESS,))
        text = h5py.VirtualLayout((2,), h5py.string_dtype())
        text[:] = h5py.VirtualSource("native.h5", "words", (2,), h5py.string_dtype())
        f.create_virtual_dataset("words", text)
    wanted = np.full((6, 4), -1, "i4")
    wanted[:3], wanted[3:5] = np.arange(12).reshape(3, 4), 50
    with h5py.File("v.h5", "r+") as f:
        same(f["v"][...], wanted)
        same(f["v"][1::2, 1:3], wanted[1::2, 1:3])
        same(f["endless"][...], np.arange(5, dtype="f4"))
        assert list(f["words"].asstr()[...]) == ["one", "two"]
        assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 1
        f["v"][2:4, 0] = np.array([-5, -6], "i4")
    natively("""
with h5py.File("native.h5", "a") as f:
    assert list(f["a"][2]) == [-5, 9, 10, 11], f["a"][2]
    f["b"].resize(7, 0)
""")
    with h5py.File("ours.h5", "r") as f:
        same(f["data"][:, 0], np.array([-6, 50], "i4"))
    with h5py.File("native.h5", "r") as n, h5py.File("v.h5", "r") as f:  # the source is open as well
        same(f["v"][:3], n["a"][...])
        assert f["endless"].shape == (7,)


main(globals())
