"""Sources of virtual datasets, and files of external links, that exist but cannot be opened in the mode of the
program."""
# only: h5lake

import os
import resource
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
from cases import IN_STORE, main

SPAWN = get_context("spawn")


def make(source, master="master.h5", rows=4):
    layout = h5py.VirtualLayout((rows,), "i4")
    layout[:] = h5py.VirtualSource(source, "x", shape=(rows,))
    with h5py.File(master, "w") as f:
        f.create_virtual_dataset("v", layout, fillvalue=-1)
        f["link"] = h5py.ExternalLink(source, "/x")


def write(path, value):
    with h5py.File(path, "a") as f:
        f["x"][...] = value if "x" in f else f.create_dataset("x", data=np.full(4, value, "i4"))


def elements(mode, master="master.h5"):
    """Returns the elements of the virtual dataset and those behind the link, each as an error text if the read
    fails."""
    found = []
    with h5py.File(master, mode) as f:
        for name in ("v", "link"):
            try:
                found.append(sorted(set(f[name][:].tolist())))
            except (OSError, KeyError) as e:
                found.append(str(e))
    return found


def check_old_versions_are_read_whatever_the_master_is_open_for(folder):
    with h5py.File("src.h5", "w") as f:
        f["x"] = np.full(4, 7, "i4")
        f.flush()
        f["x"][:] = 8
    version = next(n for n in range(1, 20) if seen(f"src.h5@v={n}") == 7)
    make(f"src.h5@v={version}")
    for mode in ("r", "r+", "a"):
        assert elements(mode) == [[7], [7]], mode
    with h5py.File("master.h5", "r+") as f:
        try:
            f["v"][:] = 1
        except OSError as e:
            assert "read" in str(e) or "write" in str(e), e
        else:
            raise AssertionError("an old version was written")
    assert seen("src.h5") == 8


def seen(name):
    try:
        with h5py.File(name, "r") as f:
            return int(f["x"][0])
    except (OSError, KeyError):
        return None


def holds(path, ready, go):
    with h5py.File(path, "r+") as f:
        f["x"][:] = 3
        f.flush()
        ready.set()
        go.wait(60)


def check_what_another_process_writes_is_read(folder):
    with h5py.File("src.h5", "w") as f:
        f["x"] = np.full(4, 2, "i4")
    make("src.h5")
    ready, go = SPAWN.Event(), SPAWN.Event()
    writer = SPAWN.Process(target=holds, args=("src.h5", ready, go))
    writer.start()
    assert ready.wait(30)
    try:
        assert elements("r") == [[3], [3]]
        found, link = elements("r+")
        assert found == [3], found
        assert "errno = 11" in link and "errno = 2," not in link, link
    finally:
        go.set()
        writer.join(30)
    with h5py.File("master.h5", "r+") as f:
        f["v"][:] = 5
    assert seen("src.h5") == 5


def check_what_this_process_reads_is_read(folder):
    with h5py.File("src.h5", "w") as f:
        f["x"] = np.full(4, 2, "i4")
    make("src.h5")
    with h5py.File("src.h5", "r"):
        assert elements("r+")[0] == [2]


def check_what_does_not_open_is_no_source_that_is_missing(folder):
    make("native-src.h5")
    for mode in ("r", "r+"):
        assert elements(mode)[0] == [-1], elements(mode)
    Path("native-src.h5").write_bytes(b"this is no file of HDF5" * 100)
    Path("native-cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5))
    make("native-cut.h5", "other.h5")
    for mode in ("r", "r+"):
        for master in ("master.h5", "other.h5"):
            found, link = elements(mode, master)
            assert isinstance(found, str) and "errno = 2," not in link, (mode, master, found, link)


NATIVE = """
import h5py, numpy as np
with h5py.File("native-src.h5", "w", libver="latest") as f:
    for name in ("x", "damaged"):
        f[name] = np.full(4, 6, "i4")
    f["group/y"], f["soft"], f["dangling"] = f["x"], h5py.SoftLink("/x"), h5py.SoftLink("/nothing")
    f["out"], f["to damaged"] = h5py.ExternalLink("nowhere.h5", "/x"), h5py.SoftLink("/damaged")
    f["dangling far away"] = h5py.SoftLink("/no/thing")
    place = h5py.h5o.get_info(f["damaged"].id).addr
with open("native-src.h5", "r+b") as f:
    f.seek(place + 20)
    byte = f.read(1)[0]
    f.seek(place + 20)
    f.write(bytes([byte ^ 1]))
"""


def check_a_damaged_dataset_of_a_native_file_is_no_source_that_is_missing(folder):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    subprocess.run([sys.executable, "-c", NATIVE], env=env, check=True)
    there, missing = ("x", "soft", "group/y"), ("nothing", "group/nothing", "no/thing", "dangling", "out")
    no_datasets = ("group", "x/y", "dangling/y", "dangling far away")
    with h5py.File("master.h5", "w") as f:
        for source in (*there, *missing, *no_datasets, "damaged", "to damaged"):
            layout = h5py.VirtualLayout((4,), "i4")
            layout[:] = h5py.VirtualSource("native-src.h5", source, shape=(4,))
            f.create_virtual_dataset(source.replace("/", " "), layout, fillvalue=-1)
    for mode in ("r", "r+"):
        with h5py.File("master.h5", mode) as f:
            for value, names in ((6, there), (-1, missing)):
                for name in names:
                    assert f[name.replace("/", " ")][:].tolist() == [value] * 4, name
            for name in (*no_datasets, "damaged", "to damaged"):
                try:
                    found = f[name.replace("/", " ")][:]
                except OSError:
                    continue
                raise AssertionError(f"{name}: {found}")


def check_links_out_of_a_source_file(folder):
    """A path in a container may leave it by an external link: into a native file, into another container, or to a
    file that does not open."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}
    subprocess.run([sys.executable, "-c", NATIVE], env=env, check=True)
    with h5py.File("other.h5", "w") as f:
        f["x"] = np.full(4, 8, "i4")
    Path("native-junk.h5").write_bytes(b"this is no file of HDF5" * 100)
    links = {"to native": ("native-src.h5", "/x"), "to other": ("other.h5", "/x"), "to nothing": ("other.h5", "/nothing"),
             "to no file": ("nowhere.h5", "/x"), "to junk": ("native-junk.h5", "/x"), "to a group": ("native-src.h5", "/group"),
             "to nothing native": ("native-src.h5", "/nothing")}
    with h5py.File("source.h5", "w") as s, h5py.File("master.h5", "w") as f:
        for name, target in links.items():
            s[name] = h5py.ExternalLink(*target)
            layout = h5py.VirtualLayout((4,), "i4")
            layout[:] = h5py.VirtualSource("source.h5", name, shape=(4,))
            f.create_virtual_dataset(name, layout, fillvalue=-1)
    values = {"to native": 6, "to other": 8, "to nothing": -1, "to no file": -1, "to nothing native": -1}
    for mode in ("r", "r+"):
        with h5py.File("master.h5", mode) as f:
            for name in links:
                try:
                    found = set(f[name][:].tolist())
                except OSError:
                    found = set()
                assert found == ({values[name]} if name in values else set()), (mode, name, found)
    with h5py.File("master.h5", "r+") as f:
        f["to other"][1:3] = 9
        f["to native"][1:3] = 9
    with h5py.File("other.h5") as f, h5py.File("native-src.h5") as g:
        assert f["x"][:].tolist() == [8, 9, 9, 8] and g["x"][:].tolist() == [6, 9, 9, 6], (f["x"][:], g["x"][:])


def natively_virtual(name, sources, shape, **keywords):
    """Creates a native file with a virtual dataset of rows, and leaves it open."""
    layout = h5py.VirtualLayout((len(sources), *shape), "i4")
    for n, (file, dataset) in enumerate(sources):
        layout[n] = h5py.VirtualSource(file, dataset, shape=shape)
    f = h5py.File(name, "w", **keywords)
    f["x"] = np.full(shape, 50, "i4")
    f.create_virtual_dataset("v", layout, fillvalue=-1)
    return f


def check_containers_as_sources_of_native_files(folder):
    """Virtual datasets in files of the core driver, as nexusformat creates them."""
    for n in range(3):
        with h5py.File(f"source{n}.h5", "w") as f:
            f["entry/data"] = np.arange(4, dtype="i4") + 10 * n
    (folder / "deep").mkdir()
    with h5py.File("deep/beside.h5", "w") as f:
        f["entry/data"] = np.arange(4, dtype="i4") + 30
    wanted = np.arange(4) + 10 * np.arange(3)[:, None]
    names = [f"source{n}.h5" for n in range(3)]
    for keywords in ({"driver": "core", "backing_store": False}, {"driver": "core"}, {"driver": "stdio"}):
        with natively_virtual("native-master.h5", [(name, "entry/data") for name in names], (4,), **keywords) as f:
            v = f["v"]
            assert v.is_virtual and v.shape == (3, 4)
            for at in (np.s_[...], np.s_[1], np.s_[:, 1:3], np.s_[::2, 0], np.s_[[0, 2], 1:]):
                assert v[at].tolist() == wanted[at].tolist(), (keywords, at, v[at])
            out = np.full((5, 6), -7.0)
            v.read_direct(out, np.s_[1:, :2], np.s_[2:4, 3:5])
            assert out[2:4, 3:5].tolist() == wanted[1:, :2].tolist() and (out == -7).sum() == 26
            assert v.astype("f8")[2, 3] == 23.0
            try:
                v[0] = 1
            except OSError as error:
                assert "h5lake" in str(error) and "native-master.h5" in str(error), error
            else:
                raise AssertionError("a container was written through a native file")
            with h5py.File("source1.h5", "r+") as s:  # no read leaves a source open
                s["entry/data"][0] = 99
            assert v[1, 0] == 99
            with h5py.File("source1.h5", "r+") as s:
                s["entry/data"][0] = 10
    # A missing source reads as the fill value. A damaged source, and a source in the native file itself, are errors that say so.
    mixed = [("source0.h5", "entry/data"), ("missing.h5", "x"), ("source1.h5", "nothing")]
    with natively_virtual("native-mixed.h5", mixed, (4,), driver="core", backing_store=False) as f:
        assert f["v"][...].tolist() == [[0, 1, 2, 3], [-1] * 4, [-1] * 4]
    for mixed, said in (([("source0.h5", "entry/data"), (".", "x")], "h5lake container"), ([("source0.h5", "entry")], "is a group")):
        with natively_virtual("native-mixed.h5", mixed, (4,), driver="core", backing_store=False) as f:
            try:
                found = f["v"][...]
            except OSError as error:
                assert "h5lake" in str(error) and said in str(error), error
            else:
                raise AssertionError(found)
    with natively_virtual("deep/native-master.h5", [("beside.h5", "entry/data")], (4,), driver="stdio") as f:
        assert f["v"][0].tolist() == [30, 31, 32, 33]  # beside the native file
    # Failures that concern no container are not changed.
    Path("native-junk.h5").write_bytes(b"this is no file of HDF5" * 100)
    with natively_virtual("native-mixed.h5", [("native-junk.h5", "x")], (4,), driver="stdio") as f:
        try:
            f["v"][...]
        except OSError as error:
            assert "h5lake" not in str(error), error
        else:
            raise AssertionError("a file that is no file of HDF5 was read")


def make_sources(count):
    layout = h5py.VirtualLayout((count, 3), "i4")
    for number in range(count):
        make_one(f"s{number}.h5", number)
        layout[number] = h5py.VirtualSource(f"s{number}.h5", "x", shape=(3,))
    with h5py.File("master.h5", "w") as f:
        f.create_virtual_dataset("v", layout, fillvalue=-1)


def make_one(path, value):
    with h5py.File(path, "w") as f:
        f["x"] = np.full(3, value, "i4")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def check_sources_stay_open_as_long_as_there_are_descriptors(_):
    count = 300
    make_sources(count)
    before = descriptors()
    with h5py.File("master.h5") as f:
        shown = f["v"]
        for column in range(3):
            assert shown[:, column].tolist() == list(range(count))
            # Sources that are objects of a store need no descriptors.
            assert IN_STORE or descriptors() >= before + count, (before, descriptors())
        del shown
    assert descriptors() == before, (before, descriptors())


def check_few_descriptors_are_enough_for_many_sources(_):
    count = 300
    make_sources(count)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        # The program's own descriptors leave fewer than the plugin expects.
        own = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
        with h5py.File("master.h5") as f:
            shown = f["v"]
            for column in range(3):
                assert shown[:, column].tolist() == list(range(count))
            assert [int(shown[number, 0]) for number in (7, 299, 7, 150)] == [7, 299, 7, 150]
        for one in own:
            os.close(one)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    main(globals())
