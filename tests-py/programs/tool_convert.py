"""The tool's commands import and export: native files as containers and back, one by one and in folders, with equal content."""
# store: any
# only: h5lake
# needs: tool
# requires: filters.txt

import ctypes
import fcntl
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

if os.environ.get("HDF5_VOL_CONNECTOR") != "native":
    os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import hdf5plugin  # noqa: E402
import numpy as np  # noqa: E402
from cases import hdf5_path, main  # noqa: E402
from h5py import h5d, h5p  # noqa: E402
from tool import natively, run  # noqa: E402

CONTAINER = b"Lh5lake"
native = functools.partial(natively, "tool_convert")


def fill(name, block=0):
    """A file with objects of every kind."""
    with h5py.File(name, "w", track_order=True, userblock_size=block) as f:
        f.attrs["title"], f.attrs["numbers"] = "all kinds", np.arange(12, dtype=">i2").reshape(3, 4)
        f["z"] = np.arange(1000.0).reshape(10, 100)
        f["a/scalar"] = 5
        f["a/empty"] = h5py.Empty("f4")
        f["a"].attrs["text"] = ["one", "two"]
        f["again"], f["soft"], f["external"] = f["z"], h5py.SoftLink("/a/scalar"), h5py.ExternalLink("other.h5", "/x")
        f["type"] = np.dtype([("x", "<f4"), ("name", "S5")])
        f.create_dataset("of type", (3,), f["type"])[1] = (2.5, b"abc")
        f["a"].attrs.create("of type", np.array((2.5, b"abc"), f["type"].dtype), dtype=f["type"])
        f.create_dataset("texts", data=["", "b", "ccc"], dtype=h5py.string_dtype())
        ragged = f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))
        ragged[0], ragged[2] = [1, 2, 3], [4]
        to = f.create_dataset("references", (3,), h5py.ref_dtype)
        to[0], to[1] = f["z"].ref, f["a"].ref
        regions = f.create_dataset("regions", (1,), h5py.regionref_dtype)
        regions[0] = f["z"].regionref[2:4, ::7]
        rng = np.random.default_rng(1)
        f.create_dataset("gzip", data=rng.integers(0, 9, (200, 300)), chunks=(60, 70), compression="gzip", shuffle=True)
        f.create_dataset("zstd", data=rng.random(5000), chunks=(700,), maxshape=(None,), **hdf5plugin.Zstd())
        f.create_dataset("blosc", data=np.arange(5000), chunks=(700,), **hdf5plugin.Blosc())
        # h5py's own filter, which the libhdf5 of the tool does not have.
        f.create_dataset("lzf", data=rng.integers(0, 9, (200, 300)), chunks=(60, 70), compression="lzf", shuffle=True)
        f.create_dataset("lzf sparse", (90, 90), "f4", chunks=(20, 20), maxshape=(None, None), compression="lzf", fillvalue=3)[50, 50] = 1
        sparse = f.create_dataset("sparse", (1000, 1000), "f4", chunks=(10, 10), fillvalue=7)
        sparse[500, 500] = 1
        f.create_dataset("compact", data=[1, 2], dcpl=compact())
    if block:
        with open(name, "r+b") as raw:
            raw.write(b"#!/bin/sh\nexit 0\n")
    return True


def compact():
    made = h5p.create(h5p.DATASET_CREATE)
    made.set_layout(h5d.COMPACT)
    return made


def value(f, found):
    """Returns elements as JSON can hold them, with each reference as the path of its target."""
    def plain(one):
        if isinstance(one, h5py.RegionReference):
            return [f[one].name, str(f[one][one].tolist())]
        if isinstance(one, h5py.Reference):
            return str(f[one].attrs.get("text", f[one])) if one else None
        return one.tolist() if hasattr(one, "tolist") else str(one)
    if isinstance(found, np.ndarray) and found.dtype.hasobject:
        return [plain(one) for one in found.ravel()]
    return str(found.dtype) + str(found.tolist()) if hasattr(found, "tolist") else str(found)


def content(name):
    """Returns the content of a file, in the order in which the file lists it."""
    said = []
    with h5py.File(name) as f:
        said.append(["block", f.userblock_size])

        def note(path, one):
            attributes = {key: value(f, found) for key, found in one.attrs.items()}
            attributes |= {f"{key} is of a committed type": h5py.h5a.open(one.id, key.encode()).get_type().committed() for key in one.attrs}
            line = [path, type(one).__name__, attributes]
            if isinstance(one, h5py.Dataset):
                list_ = one.id.get_create_plist()
                filters = [list_.get_filter(n)[:3] for n in range(list_.get_nfilters())]
                data = value(f, one[()]) if path != "external" else None
                chunks = one.id.get_num_chunks() if one.chunks else None
                line += [str(one.dtype), one.shape, one.maxshape, one.chunks, list_.get_layout(), filters, chunks, data]
            said.append(line)
            if isinstance(one, h5py.Group):
                for key in one:
                    link = one.get(key, getlink=True)
                    if isinstance(link, h5py.HardLink):
                        note(f"{path}/{key}", one[key])
                    else:
                        said.append([f"{path}/{key}", type(link).__name__, link.path, getattr(link, "filename", "")])
        note("", f)
        said.append(["same", f["again"] == f["z"]])
    return json.loads(json.dumps(said, default=str))


def kind(name):
    """Returns whether a file is a container."""
    data = Path(name).read_bytes()
    return any(data[at + 8:at + 15] == CONTAINER for at in (0, 512, 1024, 2048))


def check_there_and_back(folder):
    for block in (0, 1024):
        there, back = f"there-{block}.h5", f"native-back-{block}.h5"
        start = f"native-{block}.h5"
        native("fill", start, block)
        wanted = native("content", start)
        said = run("import", start, there)
        assert said == f"{start} -> {there}\n", said
        assert kind(there) and content(there) == wanted
        assert (Path(there).read_bytes()[:10] == b"#!/bin/sh\n") == bool(block)
        run("export", there, back, "--quiet")
        assert not kind(back) and native("content", back) == wanted
        assert (Path(back).read_bytes()[:10] == b"#!/bin/sh\n") == bool(block)
    assert not [path for path in folder.iterdir() if path.name.startswith(".h5lake-conv")], list(folder.iterdir())


def fill_many(name, count):
    """Creates a file with `count` datasets in groups of 1,000, and before them a dataset of references to all of
    them."""
    with h5py.File(name, "w") as f:
        to = f.create_dataset("a", (count,), h5py.ref_dtype)
        for number in range(count):
            if number % 1000 == 0:
                group = f.create_group(f"g{number // 1000:03d}")
            group[f"d{number % 1000:03d}"] = np.arange(4, dtype="i4")
        to[:] = [one.ref for key, group in f.items() if key != "a" for one in group.values()]


def last_of_many(name, count):
    with h5py.File(name) as f:
        return [f[f["a"][count - 1]].name, f[f["a"][0]].name, sum(len(group) for key, group in f.items() if key != "a")]


def peak_of(*arguments):
    """Returns the peak memory of a command of the tool, in MiB."""
    env = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    begun = subprocess.Popen([os.environ["TOOL"], *map(str, arguments)], env=env)
    _, status, used = os.wait4(begun.pid, 0)
    begun.returncode = os.waitstatus_to_exitcode(status)
    assert begun.returncode == 0, arguments
    return used.ru_maxrss >> 10


def check_memory_of_an_export_hardly_grows_with_the_objects(folder):
    peaks = []
    for count in (1000, 15000):
        fill_many(f"many-{count}.h5", count)
        peaks.append(peak_of("export", f"many-{count}.h5", f"native-many-{count}.h5", "--quiet"))
    assert native("last_of_many", "native-many-15000.h5", 15000) == ["/g014/d999", "/g000/d000", 15000]
    # libhdf5 keeps up to 32 MiB of a native file's metadata in memory.
    assert peaks[1] - peaks[0] < 56, peaks


def fill_virtual(folder):
    """Creates a virtual dataset that shows one source completely, another in part, and one from another file.
    Returns the expected elements."""
    with h5py.File(f"{folder}/v.h5", "w") as f, h5py.File(f"{folder}/source.h5", "w") as other:
        f["whole"], other["other"], f["one"] = np.arange(12).reshape(3, 4), np.arange(8), 5
        layout = h5py.VirtualLayout((5, 4), "i8")
        layout[:3] = h5py.VirtualSource(".", "whole", (3, 4))
        layout[3, :] = h5py.VirtualSource("source.h5", "other", (8,))[2:6]
        f.create_virtual_dataset("v", layout, fillvalue=-1)
        line = h5py.VirtualLayout((8,), "i8")
        line[:] = h5py.VirtualSource("source.h5", "other", (8,))
        f.create_virtual_dataset("line", line, fillvalue=-1)
    with h5py.File(f"{folder}/v.h5") as f:
        return f["v"][:].tolist(), f["line"][:].tolist()


def check_virtual_datasets(folder):
    (Path(folder) / "native-made").mkdir()
    expected = native("fill_virtual", f"{folder}/native-made")
    assert expected[0][:2] == [[0, 1, 2, 3], [4, 5, 6, 7]] and expected[1] == list(range(8))
    run("import", f"{folder}/native-made", f"{folder}/lake")
    with h5py.File(f"{folder}/lake/v.h5") as f:
        assert [f["v"][:].tolist(), f["line"][:].tolist()] == expected
        assert f["v"][2:4, 1].tolist() == [row[1] for row in expected[0][2:4]]


def check_folders(folder):
    (folder / "in/deep").mkdir(parents=True)
    for n, name in enumerate(["native-a.h5", "native-b.hdf5", "deep/native-c.h5"]):
        native("fill", f"in/{name}", 512 * (n % 2))
    (folder / "in/readme.txt").write_text("no HDF5")
    said = run("import", "in", "out", "--jobs", "2", "--json").splitlines()
    assert [json.loads(line)["target"] for line in said] == ["out/deep/native-c.h5", "out/native-a.h5", "out/native-b.hdf5"], said
    assert all(kind(f"out/{name}") for name in ("native-a.h5", "native-b.hdf5", "deep/native-c.h5"))
    # A store, and pointer files that lead into it.
    store = f"file://{folder}/objects"
    run("import", "in/deep", f"{store}/deep/")
    run("link", f"{store}/deep/native-c.h5", "out/native-linked.h5")
    run("export", "out", "out-again")
    wanted = native("content", "in/deep/native-c.h5")
    assert native("content", "out-again/deep/native-c.h5") == wanted
    assert native("content", "out-again/native-linked.h5") == wanted
    # A URL that ends with a slash names a part of a store.
    run("import", "in", f"{store}/all")
    run("export", f"{store}/all/", "from-store")
    names = sorted(str(path.relative_to("from-store")) for path in Path("from-store").rglob("*") if path.is_file())
    assert names == ["deep/native-c.h5", "native-a.h5", "native-b.hdf5"], names
    assert native("content", "from-store/deep/native-c.h5") == wanted
    assert "no container is there" in run("export", f"{store}/none/", "nowhere", code=1)
    # A file that fails is reported, and the remaining files are converted.
    data = bytearray((folder / "in/native-a.h5").read_bytes())
    data[600:900] = bytes(300)
    (folder / "in/native-a.h5").write_bytes(data)
    told = run("import", "in", "second", code=2)
    assert "deep/native-c.h5" in told and "native-a.h5 " not in told, told
    assert sorted(path.name for path in (folder / "second").iterdir()) == ["deep", "native-b.hdf5"]


def check_old_versions(_):
    with h5py.File("old.h5", "w") as f:
        f["x"] = 1
    with h5py.File("old.h5", "a") as f:
        f["x"][()] = 2
    first = json.loads(run("versions", "old.h5", "--json"))["versions"][1]["number"]
    run("export", f"old.h5@v={first}", "native-first.h5")
    run("export", "old.h5", "native-last.h5")
    assert [native("number", f"native-{name}.h5") for name in ("first", "last")] == [1, 2]


def number(name):
    with h5py.File(name) as f:
        return int(f["x"][()])


def check_what_native_files_cannot_hold(folder):
    """Large attributes need the format of HDF5 1.8. A datatype larger than 64 KiB does not fit into any native file."""
    with h5py.File("large.h5", "w") as f:
        f["x"] = 1
        f["x"].attrs["large"] = np.arange(20000)
    run("export", "large.h5", "native-large.h5")
    assert native("attribute", "native-large.h5") == 20000
    with h5py.File("wide.h5", "w") as f:
        wide = np.dtype([(f"field number {n:05}", "u1") for n in range(4000)])
        f["fine"] = 1
        f.create_dataset("wide/one", (2,), wide)
        f["fine"].attrs.create("also", np.zeros((), "u1"))
    told = run("export", "wide.h5", "native-wide.h5", code=1)
    assert "/wide/one: " in told and "native HDF5 cannot hold" in told and "/fine" not in told, told
    assert not list(folder.glob("native-wide*")) and not list(folder.glob(".h5lake-conv*"))


def attribute(name):
    with h5py.File(name) as f:
        return int(f["x"].attrs["large"][-1]) + 1


def check_refusals(folder):
    native("fill", "native-one.h5")
    run("import", "native-one.h5", "one.h5")
    before = (folder / "one.h5").read_bytes()
    assert "something is there" in run("import", "native-one.h5", "one.h5", code=1)
    assert "container already" in run("import", "one.h5", "two.h5", code=1)
    assert "native HDF5 file already" in run("export", "native-one.h5", "two.h5", code=1)
    assert "something is there" in run("export", "one.h5", "native-one.h5", code=1)
    assert "No such file" in run("import", "missing.h5", "two.h5", code=1)
    told = run("export", "missing.h5", "two.h5", code=1)
    assert "No such file" in told, told
    (folder / "text.h5").write_text("no HDF5")
    assert "no HDF5 file" in run("import", "text.h5", "two.h5", code=1)
    (folder / "nothing").mkdir()
    assert "no native HDF5 file" in run("import", "nothing", "two", code=1)
    assert "native files are local" in run("export", "one.h5", "s3://bucket/x.h5", code=1)
    told = run("import", "native-one.h5", "two.h5", "--library", "/lib/x86_64-linux-gnu/libc.so.6", code=1)
    assert "exports no HDF5 functions" in told, told
    told = run("import", "native-one.h5", "two.h5", "--library", "/missing/libhdf5.so", code=1)
    assert "cannot be loaded" in told, told
    damaged = bytearray((folder / "native-one.h5").read_bytes())
    damaged[48:400] = bytes(352)
    (folder / "native-damaged.h5").write_bytes(damaged)
    assert "native-damaged.h5: " in run("import", "native-damaged.h5", "two.h5", code=1)
    (folder / "native-short.h5").write_bytes((folder / "native-one.h5").read_bytes()[:3000])
    with open("native-one.h5", "rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        for command in ("import", "adopt"):
            # Both have the reason of libhdf5.
            assert "unable to lock file, errno = 11" in run(command, "native-one.h5", "two.h5", code=1)
            assert "truncated file: eof = 3000" in run(command, "native-short.h5", "two.h5", code=1)
    assert not (folder / "two.h5").exists() and not list(folder.glob(".h5lake-conv*"))
    assert (folder / "one.h5").read_bytes() == before


def user_defined(name):
    """Creates a file with links of a class that no other program has registered."""
    hdf5, number = ctypes.CDLL(hdf5_path()), ctypes.c_int64
    traverse = ctypes.CFUNCTYPE(number, ctypes.c_char_p, number, ctypes.c_void_p, ctypes.c_size_t, number, number)(lambda *_: -1)
    types = [("version", ctypes.c_int), ("id", ctypes.c_int), ("comment", ctypes.c_char_p), ("create", ctypes.c_void_p),
             ("move", ctypes.c_void_p), ("copy", ctypes.c_void_p), ("traverse", ctypes.c_void_p), ("delete", ctypes.c_void_p),
             ("query", ctypes.c_void_p)]
    link_class = type("H5L_class_t", (ctypes.Structure,), {"_fields_": types})
    kind = link_class(version=1, id=77, comment=b"mine", traverse=ctypes.cast(traverse, ctypes.c_void_p))
    assert hdf5.H5Lregister(ctypes.byref(kind)) >= 0
    with h5py.File(name, "w", track_order=True) as f:
        f["x"] = [1, 2, 3]
        f["g/y"] = 5
        for at, path in (f, b"mine"), (f["g"], b"other"):
            assert hdf5.H5Lcreate_ud(number(at.id.id), path, 77, b"value", ctypes.c_size_t(5), number(0), number(0)) >= 0
        f["z"] = h5py.SoftLink("/x")


def check_user_defined_links_are_left_out_and_listed(folder):
    """User-defined links are left out, because only the programs that use a link class have its functions. All other content is
    converted, in both directions."""
    def lines(said):
        return [line.split(": ")[1] for line in said.splitlines() if "left out: " in line]

    native("user_defined", "native.h5")
    Path("native-sources").mkdir()
    native("user_defined", "native-sources/with.h5")
    native("fill", "native-sources/without.h5")
    assert lines(run("import", "native.h5", "run.h5", code=2)) == ["/mine", "/g/other"]
    with h5py.File("run.h5") as f:
        assert list(f) == ["x", "g", "z"] and list(f["g"]) == ["y"] and list(f["z"]) == [1, 2, 3]
    said = json.loads(run("import", "native.h5", "json.h5", "--json", code=2))
    assert [one["path"] for one in said["left_out"]] == ["/mine", "/g/other"] and said["error"] is None, said
    # A folder is converted as a whole.
    assert lines(run("import", "native-sources", "made", code=2)) == ["/mine", "/g/other"]
    assert kind("made/with.h5") and kind("made/without.h5")
    # An adopted file lacks the user-defined links, too.
    os.utime("native.h5", (1_700_000_000, 1_700_000_000))
    assert lines(run("adopt", "native.h5", "adopted.h5", code=2)) == ["/mine", "/g/other"]
    with h5py.File("adopted.h5") as f:
        assert list(f) == ["x", "g", "z"] and list(f["z"]) == [1, 2, 3]
    # Export of a container.
    user_defined("ours.h5")
    assert kind("ours.h5") and lines(run("export", "ours.h5", "native-back.h5", code=2)) == ["/mine", "/g/other"]
    assert native("names", "native-back.h5") == ["g", "g/y", "x", "z"]
    # With --strict, a file is not converted if links would be left out.
    before = sorted(path.name for path in folder.iterdir())
    for command, source in ("import", "native.h5"), ("adopt", "native.h5"), ("export", "ours.h5"):
        said = run(command, source, "strict.h5", "--strict", code=1)
        assert "2 links that would be left out" in said and "/mine: a user-defined link of class 77" in said, said
        assert f"{source}: has 2" in said and "/g/other" in said, said
    assert sorted(path.name for path in folder.iterdir()) == before
    run("import", "native-sources", "strict", "--strict", code=2)
    assert kind("strict/without.h5") and not Path("strict/with.h5").exists()
    run("import", "native-sources/without.h5", "whole.h5", "--strict")


def names(name):
    """Returns the paths of all links that lead to an object or are soft."""
    with h5py.File(name) as f:
        found = []
        f.visit_links(found.append)
        return sorted(found)


def check_the_library_that_is_named(_):
    native("fill", "native-x.h5")
    with open("/proc/self/maps") as maps:
        library = next(line.split()[-1] for line in maps if re.search(r"/libhdf5-[^/]*$", line))
    run("import", "native-x.h5", "x.h5", "--library", library, PATH="/nowhere")
    assert kind("x.h5")
    # An explicit import creates a container even if the setting `only` does not match the name.
    run("import", "native-x.h5", "z.h5", "--library", library, H5LAKE_ONLY="*.h5l")
    assert kind("z.h5")
    told = run("import", "native-x.h5", "y.h5", code=1, PATH="/nowhere")
    assert kind("x.h5") and ("--library" in told or Path("y.h5").exists()), told


def damaged(name):
    """Creates a file with an LZF chunk that is no valid LZF."""
    with h5py.File(name, "w") as f:
        f.create_dataset("x", data=np.arange(10_000), chunks=(1000,), compression="lzf")
    with h5py.File(name) as f:
        place = f["x"].id.get_chunk_info(4).byte_offset
    with open(name, "r+b") as raw:
        raw.seek(place + 300)
        raw.write(b"\xff" * 900)


def check_damage_of_a_filter_that_libhdf5_lacks(folder):
    native("damaged", "native.h5")
    said = run("import", "native.h5", "run.h5", code=1)
    assert "native.h5" in said and "lzf" in said, said
    assert not list(folder.glob("*run.h5*")), list(folder.iterdir())



def check_hidden_files_of_h5lake_are_no_sources(folder):
    Path("in").mkdir()
    for number in range(2):
        with h5py.File("in/a.h5", "w", libver="latest") as f:
            f["x"] = number
    replaced = subprocess.run([os.environ["TOOL"], "rm", "in/a.h5"], env=os.environ | {"H5LAKE_RETENTION": "1h"}, capture_output=True)
    assert replaced.returncode == 0 and any(".h5lake-replaced-" in path.name for path in Path("in").iterdir())
    with h5py.File("in/b.h5", "w") as f:
        f["x"] = 1
    whole = Path("in/b.h5").read_bytes()
    Path("in/.h5lake-adoption-1").mkdir()
    for name in (".h5lake-adoption-1/made.h5", ".h5lake-conversion-1-0-0123.h5", ".b.h5.h5lake-new", ".mine.h5"):
        Path("in", name).write_bytes(whole)
    run("export", "in", "native-out")
    assert sorted(path.name for path in Path("native-out").iterdir()) == [".mine.h5", "b.h5"]


def check_who_may_not_read_the_source_may_not_read_the_result(_):
    os.umask(0o022)
    native("fill", "native.h5")
    for mode in (0o600, 0o640, 0o644):
        os.chmod("native.h5", mode)
        run("import", "native.h5", f"{mode:o}.h5")
        run("export", f"{mode:o}.h5", f"native-{mode:o}.h5")
        os.utime("native.h5", (1_700_000_000, 1_700_000_000))
        run("adopt", "native.h5", f"adopted-{mode:o}.h5")
        for name in (f"{mode:o}.h5", f"native-{mode:o}.h5", f"adopted-{mode:o}.h5"):
            assert os.stat(name).st_mode & 0o777 == mode, (name, oct(os.stat(name).st_mode))


def wide(name):
    with h5py.File(name, "w") as f:
        for n in range(20):
            f.create_dataset(f"{n}", data=np.random.default_rng(n).normal(size=500_000), chunks=(1_000,), compression="gzip")


def check_a_killed_tool_leaves_nothing(folder):
    native("wide", "native.h5")
    os.utime("native.h5", (1_700_000_000, 1_700_000_000))
    made, late = lambda: list(folder.glob(".h5lake-*")), 0  # noqa: E731
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        for command in ("import", "adopt"):
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            tool = subprocess.Popen([os.environ["TOOL"], command, "native.h5", "a.h5"], env=dict(os.environ, PATH=path))
            end = time.monotonic() + 60
            # The tool's helper process has begun.
            while not list(folder.glob(".h5lake-*/*")) and tool.poll() is None:
                assert time.monotonic() < end
            assert tool.poll() in (None, 0), "it failed by itself"
            tool.send_signal(how)
            tool.wait()
            while made():
                assert time.monotonic() < end, made()
                time.sleep(0.01)
            if Path("a.h5").exists():
                # On a busy machine the command may end before it is killed, and the container is then complete.
                late += 1
                run("verify", "a.h5")
                run("rm", "a.h5")
    assert late < 3


def check_a_temporary_goes_with_the_tool_that_made_it(folder):
    for name in (".h5lake-adoption-1", "mine"):
        (folder / name).mkdir()
        (folder / name / "made.h5").write_bytes(b"half")
        remover = subprocess.Popen([os.environ["TOOL"], "remove-temporary", name], stdin=subprocess.PIPE)
        time.sleep(0.2)
        for how in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            remover.send_signal(how)
        time.sleep(0.1)
        assert remover.poll() is None and (folder / name).exists()
        remover.stdin.close()
        assert remover.wait(60) == 0
    assert [path.name for path in folder.iterdir()] == ["mine"], "only what the tool makes goes"


def check_old_leftovers_go(_):
    native("fill", "native.h5")
    for name in (".h5lake-conversion-1-0-0123.h5", ".h5lake-conversion-new"):
        Path(name).touch()
    os.utime(".h5lake-conversion-1-0-0123.h5", (1_600_000_000, 1_600_000_000))
    run("import", "native.h5", "a.h5")
    assert [path.name for path in Path(".").glob(".h5lake-*")] == [".h5lake-conversion-new"]

if __name__ == "__main__":
    main(globals())
