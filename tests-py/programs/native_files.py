"""Native HDF5 files stay native: existing files, and files made with an explicit file driver. Every case has the
same result as in native HDF5, whether a connector is chosen or not."""

import gc
import io
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from cases import OURS, main, raises, same

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def natively(code):
    """Runs code in a process that has no connector, and returns what it printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    run = subprocess.run([sys.executable, "-c", "import h5py, numpy as np\n" + code], env=env, text=True,
                         capture_output=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def is_native(path):
    head = Path(path).read_bytes()[:9]
    return head[:8] == SIGNATURE and head[8] in (0, 1, 2, 3)


MAKE = """
with h5py.File("native.h5", "w") as f:
    f["group/deep/x"] = np.arange(100)
    f.create_dataset("packed", data=np.arange(6000).reshape(60, 100), chunks=(7, 30), compression="gzip",
                     shuffle=True, fletcher32=True, maxshape=(None, 100))
    f["words"] = ["one", "two", "dreißig"]
    f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))[:] = [np.arange(n, dtype="i4") for n in (0, 2, 5)]
    f["type"] = np.dtype([("a", "i4"), ("b", h5py.string_dtype())])
    f["typed"] = np.array([(1, "x"), (2, "y")], f["type"].dtype)
    f["soft"] = h5py.SoftLink("/group/deep/x")
    f["hard"] = f["group/deep/x"]
    f["refs"] = np.array([f["packed"].ref, f["group"].ref], h5py.ref_dtype)
    f["regions"] = np.array([f["packed"].regionref[2:5, 10:20]], h5py.regionref_dtype)
    f["group"].attrs["title"] = "Überschrift"
    f["group"].attrs["numbers"] = np.arange(5.0)
    f["group"].attrs["ref"] = f["packed"].ref
    f["scale"] = np.arange(60)
    f["scale"].make_scale("rows")
    f["packed"].dims[0].attach_scale(f["scale"])
"""


def check_existing_is_read(folder):
    natively(MAKE)
    with h5py.File("native.h5") as f:
        assert sorted(f) == sorted(["group", "packed", "words", "ragged", "type", "typed", "soft", "hard", "refs",
                                    "regions", "scale"])
        same(f["packed"][3:50:7, ::9], np.arange(6000).reshape(60, 100)[3:50:7, ::9])
        assert f["words"].asstr()[:].tolist() == ["one", "two", "dreißig"]
        assert [list(row) for row in f["ragged"][:]] == [[], [0, 1], [0, 1, 2, 3, 4]]
        assert f["typed"][1]["b"] == b"y" and f["typed"].dtype == f["type"].dtype
        assert f[f["refs"][0]] == f["packed"] and f[f["refs"][1]].name == "/group"
        region = f["regions"][0]
        same(f[region][region], np.arange(6000).reshape(60, 100)[2:5, 10:20].ravel().reshape(3, 10))
        attrs = f["group"].attrs
        assert attrs["title"] == "Überschrift" and f[attrs["ref"]] == f["packed"]
        same(attrs["numbers"], np.arange(5.0))
        assert sorted(attrs) == ["numbers", "ref", "title"]
        assert f["packed"].dims[0]["rows"] == f["scale"]
        assert f["soft"] == f["hard"] == f["group/deep/x"]
        assert isinstance(f.get("soft", getlink=True), h5py.SoftLink)
        assert f["packed"].id.get_num_chunks() == 36 and f["packed"].id.get_storage_size() > 0
        assert f["packed"].id.get_chunk_info(1).chunk_offset == (0, 30)
        mask, raw = f["packed"].id.read_direct_chunk((0, 0))
        assert mask == 0 and raw == Path("native.h5").read_bytes()[slice(*span(f["packed"].id.get_chunk_info(0)))]


def span(chunk):
    return chunk.byte_offset, chunk.byte_offset + chunk.size


def check_iterate_and_visit(folder):
    natively(MAKE)
    with h5py.File("native.h5") as f:
        seen = []
        f.visititems(lambda name, thing: seen.append((name, type(thing).__name__)))
        assert ("group/deep", "Group") in seen and ("type", "Datatype") in seen and len(seen) == 11, seen
        assert f.visit(lambda name: name if name.startswith("group/") else None) == "group/deep"
        links = []
        f.visit_links(links.append)
        assert "soft" in links and "hard" in links
        # A callback that opens objects, and one that raises.
        kinds = []
        f.id.links.iterate(lambda name: kinds.append(type(f[name]).__name__))
        assert kinds.count("Dataset") == 9 and kinds.count("Group") == 1, kinds
        h5py.h5a.iterate(f["group"].id, lambda name: kinds.append(name))
        assert set(kinds[-3:]) == {b"title", b"numbers", b"ref"}, kinds
        raises(ZeroDivisionError, f.visititems, lambda *_: 1 / 0)
        assert len(list(f["group"].items())) == 1


def check_existing_is_written(folder):
    natively(MAKE)
    with h5py.File("native.h5", "r+") as f:
        f["packed"].resize(80, axis=0)
        f["packed"][70:] = 5
        f["words"][1] = "zwei"
        f["group"].attrs["title"] = "neu"
        f["group"].attrs.create("more", [b"x"])
        del f["group"].attrs["numbers"]
        del f["ragged"]
        f.move("hard", "group/moved")
        f.copy("group", "copied")
        f["copied/hard"] = f["packed"]
        f["refs"][1] = f["copied"].ref
        f.create_dataset("fresh", data=["a", "bb"], dtype=h5py.string_dtype())
        f["committed"] = np.dtype("f4")
        f.create_dataset("of_committed", (3,), f["committed"])
        f["fresh"].attrs["t"] = 1
        f.flush()
        assert f["packed"].id.get_space_status() >= 0
    assert is_native("native.h5")
    printed = natively("""
f = h5py.File("native.h5")
print(f["packed"].shape, f["packed"][70:].min(), f["words"][1], f["group"].attrs["title"], sorted(f["group"].attrs),
      "ragged" in f, f["group/moved"][3], f["copied/deep/x"][4], f["copied/hard"] == f["packed"],
      f[f["refs"][1]].name, f["fresh"][1], f["of_committed"].id.get_type().committed())
""")
    assert printed == ("(80, 100) 5 b'zwei' neu ['more', 'ref', 'title'] False 3 4 True /copied b'bb' True"), printed


def ids():
    """Returns the number of identifiers that are open in this process."""
    gc.collect()
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_ALL)


def check_handles_of_one_file(folder):
    natively(MAKE)
    before = ids()
    first, second = h5py.File("native.h5", "r+"), h5py.File("native.h5", "r+")
    assert first["group"] == second["group"]
    first["made"] = 3
    assert second["made"][()] == 3
    dataset = second["packed"]
    assert h5py.h5f.get_obj_count(second.id, h5py.h5f.OBJ_DATASET | h5py.h5f.OBJ_LOCAL) == 1
    first.close()
    assert dataset[0, 0] == 0 and dataset.file == second
    name, path = second.filename, dataset.file.filename
    assert name == path == "native.h5"
    second.close()  # h5py closes with the strong degree: the dataset is closed with its file
    assert not dataset and not dataset.id.valid
    assert ids() == before


def check_close_degrees(folder):
    natively(MAKE)
    before = ids()
    for degree, closes in ((h5py.h5f.CLOSE_WEAK, True), (h5py.h5f.CLOSE_SEMI, False)):
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fclose_degree(degree)
        file = h5py.h5f.open(b"native.h5", h5py.h5f.ACC_RDONLY, access)
        group = h5py.h5g.open(file, b"group")
        if closes:
            file.close()
            assert group.valid and group.get_num_objs() == 1
            again = h5py.h5i.get_file_id(group)
            assert h5py.h5f.get_name(again) == b"native.h5" and h5py.h5g.open(again, b"group") == group
            again.close()
            group.close()
        else:
            raises(RuntimeError, file.close)
            group.close()
            file.close()
    assert ids() == before


def check_links_and_virtual_sources(folder):
    natively("""
with h5py.File("native_source.h5", "w") as f:
    f["words"] = ["eins", "zwei"]
    f["x"] = np.arange(10)
layout = h5py.VirtualLayout((2, 10), "i8")
layout[0] = h5py.VirtualSource("native_source.h5", "x", (10,))
layout[1] = h5py.VirtualSource("native_missing.h5", "x", (10,))
with h5py.File("native.h5", "w") as f:
    f["out"] = h5py.ExternalLink("native_source.h5", "/words")
    f["whole"] = h5py.ExternalLink("native_source.h5", "/")
    f.create_virtual_dataset("v", layout, fillvalue=-1)
""")
    with h5py.File("native.h5") as f:
        for _ in range(3):
            assert f["out"].asstr()[:].tolist() == ["eins", "zwei"]
            assert f["whole/words"].asstr()[1] == "zwei" and sorted(f["whole"]) == ["words", "x"]
            assert f["out"].file.filename.endswith("native_source.h5")
            same(f["v"][0], np.arange(10))
            same(f["v"][1], np.full(10, -1))
        assert f["v"].is_virtual and f["v"].virtual_sources()[0].file_name == "native_source.h5"
    assert sorted(h5py.File("native_source.h5")) == ["words", "x"]


def check_links_with_an_access_list(folder):
    # The access list of the linked file names the connector of the process. h5py before 3.12 does this for every link.
    natively("""
with h5py.File("native_source.h5", "w") as f:
    f["words"] = ["eins", "zwei"]
    f["group/x"] = np.arange(10)
with h5py.File("native.h5", "w") as f:
    f["out"] = h5py.ExternalLink("native_source.h5", "/words")
    f["whole"] = h5py.ExternalLink("native_source.h5", "/group")
""")
    access = h5py.h5p.create(h5py.h5p.LINK_ACCESS)
    access.set_elink_fapl(h5py.h5p.create(h5py.h5p.FILE_ACCESS))
    for _ in range(3):
        with h5py.File("native.h5") as f:
            for _ in range(2):
                words = h5py.Dataset(h5py.h5o.open(f.id, b"out", access))
                group = h5py.Group(h5py.h5o.open(f.id, b"whole", access))
                assert words.asstr()[:].tolist() == ["eins", "zwei"]
                assert all(file.endswith("native_source.h5") for file in (words.file.filename, group.file.filename))
                same(group["x"][:], np.arange(10))
                assert group.file["words"].asstr()[0] == "eins" and words.attrs.get("none") is None


def check_links_into_native(folder):
    natively(MAKE)
    natively("""
with h5py.File("native_2.h5", "w") as f:
    f["on"] = h5py.ExternalLink("native.h5", "/")
""")
    with h5py.File("other.h5", "w") as ours:
        ours["words"] = h5py.ExternalLink("native.h5", "/words")
        ours["group/all"] = h5py.ExternalLink("native.h5", "/")
        ours["two"] = h5py.ExternalLink("native_2.h5", "on/group")
        ours["nothing"] = h5py.ExternalLink("native.h5", "/nothing")
        for _ in range(3):
            assert ours["words"].asstr()[2] == "dreißig" and ours["two/deep/x"][99] == 99
            inside = ours["group/all"]
            assert len(inside) == 11 and inside["hard"] == ours["group/all/group/deep/x"]
            assert inside[inside["refs"][0]] == ours["group/all/packed"]
            assert ours["group/all/group"].attrs["title"] == "Überschrift"
            assert ours["two"].file.filename.endswith("native.h5") and ours["words"].name == "/words"
            assert ours.get("words", getclass=True) is h5py.Dataset and ours.get("two", getclass=True) is h5py.Group
            assert "group/all/typed" in ours and "group/all/none" not in ours and ours.get("nothing") is None
            ours["group/all/group"].attrs["written"] = 1
        for name in ("nothing", "group/all/none"):
            raises(KeyError, ours.__getitem__, name)
        raises(ValueError, h5py.h5g.open, ours.id, b"words")
        assert h5py.h5d.open(ours.id, b"group/all/packed").shape == (60, 100)
        assert h5py.h5t.open(ours.id, b"group/all/type").committed()
    del inside  # it kept its file open, and locked
    gc.collect()
    assert natively('print(h5py.File("native.h5")["group"].attrs["written"])') == "1"


def check_links_into_native_through_a_mount(folder):
    """A path enters a mounted file, and leaves it in the middle for a native file."""
    natively(MAKE)
    with h5py.File("child.h5", "w") as child, h5py.File("parent.h5", "w") as parent:
        child["out"] = h5py.ExternalLink("native.h5", "/")
        parent.create_group("here")
        h5py.h5f.mount(parent.id, b"here", child.id)
        for _ in range(2):
            assert parent["here/out/group/deep/x"][99] == 99 and parent["here/out/words"].asstr()[2] == "dreißig"
            assert "here/out/group" in parent and "here/out/none" not in parent
            raises(KeyError, parent.__getitem__, "here/out/none")
        h5py.h5f.unmount(parent.id, b"here")
        assert "here/out" not in parent
    gc.collect()


def check_core(folder):
    with h5py.File("native_kept.h5", "w", driver="core") as f:
        f["x"] = ["a", "b"]
        assert f.driver == "core"
    assert is_native("native_kept.h5")
    assert natively('print(h5py.File("native_kept.h5")["x"][1])') == "b'b'"
    with h5py.File("native_gone.h5", "w", driver="core", backing_store=False) as f:
        f["x"] = np.arange(1000)
        f.create_group("g").attrs["a"] = 1
        assert f["x"][:].sum() == 499500
        image = f.id.get_file_image()
    assert not os.path.exists("native_gone.h5") and image[:8] == SIGNATURE
    with h5py.File("native_kept.h5", "r+", driver="core", backing_store=False) as f:
        f["y"] = 1
    assert natively('print(list(h5py.File("native_kept.h5")))') == "['x']"


def check_file_image(folder):
    natively(MAKE)
    image = Path("native.h5").read_bytes()
    opened = h5py.File(h5py.h5f.open_file_image(image, h5py.h5f.ACC_RDWR))
    assert opened["words"].asstr()[2] == "dreißig" and opened[opened["refs"][0]] == opened["packed"]
    opened["new"] = 1
    assert opened.id.get_file_image() != image
    opened.close()
    with h5py.File.in_memory(image) as f:
        assert f["group"].attrs["title"] == "Überschrift"
    with h5py.File.in_memory() as f:
        f["x"] = 1


def check_file_object(folder):
    store = io.BytesIO()
    with h5py.File(store, "w") as f:
        f["x"] = ["a", "b"]
        f.create_dataset("z", data=np.arange(10000), compression="lzf")
        assert f.driver == "fileobj"
    with h5py.File(store, "r+") as f:
        assert f["x"].asstr()[1] == "b"
        f["z"][5] = -5
    with h5py.File(io.BytesIO(store.getvalue())) as f:
        assert f["z"][4:7].tolist() == [4, -5, 6]


def check_other_drivers(folder):
    for driver, name, options in (("stdio", "native_stdio.h5", {}), ("split", "native_split", {}),
                                  ("family", "native_family%d.h5", {"memb_size": 4096})):
        with h5py.File(name, "w", driver=driver, **options) as f:
            f["x"] = np.arange(2000)
            f["s"] = "text"
        with h5py.File(name, "r", driver=driver, **options) as f:
            assert f.driver in (driver, "unknown") and f["x"][1999] == 1999 and f["s"][()] == b"text"
    assert len(list(Path().glob("native_family*.h5"))) > 4 and os.path.exists("native_split-m.h5")
    assert is_native("native_stdio.h5")


def check_both_kinds(folder):
    natively(MAKE)
    before = ids()
    native, ours = h5py.File("native.h5", "r+"), h5py.File("other.h5", "w")
    memory = h5py.File("native_m", "w", driver="core", backing_store=False)
    for name in ("group", "packed", "words", "refs"):
        ours.create_group(name + "_")
        assert (name in native, name + "_" in ours) == (True, True)
    ours["packed"], memory["packed"] = native["packed"][:], native["packed"][:]
    same(ours["packed"][5], memory["packed"][5])
    assert native["packed"] != ours["packed"] and native != ours and hash(native["packed"]) != hash(ours["packed"])
    seen = []
    native.visititems(lambda name, _: seen.append((name, list(ours))))
    ours.visititems(lambda name, _: seen.append((name, list(native))))
    assert len(seen) == 11 + len(ours)
    ours["r"] = ours["packed"].ref
    assert ours[ours["r"][()]] == ours["packed"] and native[native["refs"][0]] == native["packed"]
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 3
    ours.close()
    assert native["words"].asstr()[0] == "one" and memory["packed"][0, 1] == 1
    native.close()
    memory.close()
    assert ids() == before
    assert is_native("native.h5") and is_native("other.h5") != OURS


def check_copies_across(folder):
    natively(MAKE)
    with h5py.File("native.h5", "r+") as native, h5py.File("other.h5", "w") as ours:
        native["group"].attrs["empty"] = h5py.Empty("f4")
        native["external"] = h5py.ExternalLink("elsewhere.h5", "/x")
        native["never"] = h5py.Empty("i4")
        native.create_dataset("big", data=np.random.default_rng(1).random((1500, 2000)), chunks=(100, 130))
        native.create_dataset("typed_by_name", data=np.arange(3, dtype="f4"), dtype=named(native))
        for there, back, name in ((native, ours, "all"), (ours, native, "all/again")):
            there.copy(there["/"] if there is native else there["all"], back, name.split("/")[-1])
        for copy in (ours["all"], native["again"]):
            assert sorted(copy) == sorted(set(native) - {"again"}), list(copy)
            for dataset in ("packed", "scale", "group/deep/x", "big", "typed_by_name"):
                same(copy[dataset][()], native[dataset][()])
            assert copy["packed"].compression == "gzip" and copy["packed"].fletcher32
            assert copy["packed"].maxshape == (None, 100) and copy["packed"].chunks == (7, 30)
            assert copy["words"].asstr()[:].tolist() == ["one", "two", "dreißig"]
            assert [list(row) for row in copy["ragged"][:]] == [[], [0, 1], [0, 1, 2, 3, 4]]
            assert copy["typed"][1]["b"] == b"y" and copy["type"].dtype == native["type"].dtype
            assert copy["hard"] == copy["group/deep/x"]
            assert copy.get("soft", getlink=True).path == "/group/deep/x"
            assert copy.get("external", getlink=True).filename == "elsewhere.h5"
            assert copy["group"].attrs["title"] == "Überschrift" and copy["never"][()] == h5py.Empty("i4")
            same(copy["group"].attrs["numbers"], np.arange(5.0))
            assert copy["typed_by_name"].id.get_type().committed() and copy["float"].id.committed()
            # The copied references are null, because they cannot lead into another file.
            assert not any(copy["refs"][:]) and not copy["group"].attrs["ref"]
        native.copy("group", ours, "shallow", shallow=True, without_attrs=True)
        assert list(ours["shallow"]) == ["deep"] and not list(ours["shallow/deep"]) and not ours["shallow"].attrs
        before = sorted(ours)
        raises(RuntimeError, native.copy, "words", ours, "all")
        assert sorted(ours) == before


def named(file):
    file["float"] = np.dtype("f4")
    return file["float"]


def check_links_across(folder):
    natively(MAKE)
    with h5py.File("native.h5", "r+") as native, h5py.File("other.h5", "w") as ours:
        ours["mine"] = 1
        for inside, name, outside in ((ours, "foreign", native["packed"]), (native, "foreign", ours["mine"])):
            try:
                inside[name] = outside
            except (RuntimeError, ValueError, OSError) as error:
                assert not OURS or "a hard link between a native HDF5 file" in str(error), error
            else:
                raise AssertionError("a hard link across files")
        assert list(ours) == ["mine"] and "foreign" not in native and native["words"].shape == (3,)


def check_accessible(folder):
    natively(MAKE)
    assert h5py.is_hdf5("native.h5")
    Path("text.h5").write_text("no HDF5")
    assert not h5py.is_hdf5("text.h5") and not h5py.is_hdf5("missing.h5")
    with h5py.File("native.h5") as f:
        assert f.mode == "r" and f.userblock_size == 0 and f.libver
        raises(KeyError, f.__getitem__, "nothing")
        raises(ValueError, f.create_group, "no")


def check_errors(folder):
    natively(MAKE)
    raises(FileNotFoundError, h5py.File, "missing.h5", "r")
    raises(FileExistsError, h5py.File, "native.h5", "x")
    raises(OSError, h5py.File, "missing.h5", "r", driver="core")
    raises(FileNotFoundError, h5py.File, "missing%d.h5", "r", driver="family", memb_size=4096)
    raises(OSError, h5py.File, "no_such_folder/native.h5", "w", driver="stdio")
    Path("native_cut.h5").write_bytes(Path("native.h5").read_bytes()[:1500])
    error = raises(OSError, h5py.File, "native_cut.h5", "r")
    assert "truncated file" in str(error), error
    os.chmod("native.h5", 0o444)
    if os.getuid():
        raises(PermissionError, h5py.File, "native.h5", "r+")
    os.chmod("native.h5", 0o644)
    code = 'import h5py\ntry:\n h5py.File("native.h5", "r+")\nexcept OSError as error: print(type(error).__name__)'
    with h5py.File("native.h5", "r+"):
        run = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert run.stdout.strip() == "BlockingIOError", run


def check_user_block_and_swmr(folder):
    natively("""
with h5py.File("native.h5", "w", userblock_size=1024, libver="latest") as f:
    f.create_dataset("x", (0,), "i4", maxshape=(None,), chunks=(10,))
""")
    with h5py.File("native.h5", "r+", libver="latest") as writer:
        assert writer.userblock_size == 1024
        writer.swmr_mode = True
        writer["x"].resize((25,))
        writer["x"][:] = np.arange(25)
        writer["x"].flush()
        code = ('import h5py\nf = h5py.File("native.h5", "r", swmr=True, libver="latest")\nd = f["x"]\n'
                'd.refresh()\nprint(d.shape, d[24], f.swmr_mode)')
        run = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
        assert run.stdout.strip() == "(25,) 24 True", run


def check_refused(folder):
    if not OURS:
        return
    natively(MAKE)
    code = """
import h5py
for options in ({}, {"driver": "core"}):
    try:
        h5py.File("native.h5", "r", **options)
    except OSError as error:
        print("native=refuse" in str(error))
try:
    h5py.File("native_new.h5", "w", driver="stdio")
except OSError as error:
    print("native=refuse" in str(error))
"""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake native=refuse"}
    run = subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True)
    assert run.stdout.split() == ["True"] * 3, run
    assert not os.path.exists("native_new.h5")


def check_open_at_exit(folder):
    natively(MAKE)
    code = """
import h5py, os
f = h5py.File("native.h5", "r+"); c = h5py.File("other.h5", "w"); m = h5py.File("m", "w", driver="core")
f["new"] = c["new"] = m["new"] = 1
g = f["group"]; d = c["new"]
"""
    run = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert run.returncode == 0 and not run.stderr, run
    assert h5py.File("native.h5")["new"][()] == h5py.File("other.h5")["new"][()] == 1
    os.rename("m", "native_m.h5")


main(globals())
