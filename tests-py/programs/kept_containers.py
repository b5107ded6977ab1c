"""Containers that were replaced or deleted and are retained: each is listed, read and restored by a name of its own. Also locks that
outlive their writer: the error names the process that holds the lock."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import shutil
import signal
import subprocess
import sys

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake retention=1h"

import h5py  # noqa: E402

from cases import main, raises  # noqa: E402
from tool import run  # noqa: E402


def put(name, mode, value):
    with h5py.File(name, mode) as f:
        f.attrs["k"] = value


def value(name):
    with h5py.File(name, "r") as f:
        return f.attrs["k"]


def kept(name):
    return [found["name"] for found in json.loads(run("versions", "--json", name))["replaced"]]


def check_a_kept_container_is_read_before_it_is_restored(folder):
    for name in ("a.h5", f"file://{folder}/store/a.h5"):
        put(name, "w", 1)
        put(name, "r+", 2)
        put(name, "w", 3)
        [first] = kept(name)
        assert first in run("versions", name)
        for text in (first, first[:12]):
            assert value(f"{name}@replaced={text}") == 2
        error = raises(OSError, h5py.File, f"{name}@replaced={first}", "r+")
        assert "can only be read" in str(error), error
        raises(OSError, h5py.File, f"{name}@replaced={first}", "w")
        error = raises(FileNotFoundError, h5py.File, f"{name}@replaced=zz", "r")
        assert "h5lake versions" in str(error), error
        run("copy", f"{name}@replaced={first}", "copy.h5")
        assert value("copy.h5") == 2 and value(name) == 3
        os.remove("copy.h5")
        assert "names a kept container" in run("restore", f"{name}@replaced={first}", code=1)
        run("rm", name)
        second = next(other for other in kept(name) if other != first)
        assert (value(f"{name}@replaced={first}"), value(f"{name}@replaced={second}")) == (2, 3)
        run("export", f"{name}@replaced={first}", "native.h5")
        assert value("native.h5") == 2
        os.remove("native.h5")
        told = json.loads(run("restore", "--json", name, first))
        assert told["kept"] == first and value(name) == 2 and kept(name) == [second]


def check_a_kept_container_is_read_although_a_native_file_has_its_name(folder):
    with h5py.File("native.h5", "w") as f:
        f["x"] = 1
    run("rm", "native.h5")
    [name] = kept("native.h5")
    put("b.h5", "w", 2)
    run("export", "b.h5", "native.h5")
    assert value("native.h5") == 2 and "native HDF5" in run("ls", "native.h5", code=1)
    replaced = f"native.h5@replaced={name}"
    with h5py.File(replaced, "r") as f:
        assert f["x"][()] == 1
    assert "x" in run("ls", replaced) and run("log", replaced)
    run("copy", replaced, "copy.h5")
    run("export", replaced, "native_kept.h5")
    for copied in ("copy.h5", "native_kept.h5"):
        with h5py.File(copied, "r") as f:
            assert f["x"][()] == 1
    # A restored container does not take the place of a native file.
    assert kept("native.h5") == [name]
    assert "rename that file first" in run("restore", "native.h5", name, code=1)
    assert value("native.h5") == 2


def check_a_reader_keeps_a_kept_container(folder):
    for name in ("a.h5", f"file://{folder}/store/a.h5"):
        put(name, "w", 1)
        put(name, "w", 2)
        [first] = kept(name)
        with h5py.File(f"{name}@replaced={first}", "r") as f:
            with h5py.File(name, "r") as newest:
                run("restore", name, first)
                assert (f.attrs["k"], newest.attrs["k"]) == (1, 2)
            put(name, "r+", 5)
            assert f.attrs["k"] == 1
        assert value(name) == 5


def check_backups_with_one_id_have_names_of_their_own(folder):
    put("a.h5", "w", 1)
    shutil.copy("a.h5", "backup")
    put("a.h5", "r+", 2)
    put("a.h5", "w", 3)
    os.rename("backup", "a.h5")
    put("a.h5", "r+", 4)
    put("a.h5", "w", 5)
    names = kept("a.h5")
    assert len(set(names)) == 2 and len({name.split("-")[0] for name in names}) == 1, names
    assert sorted(value(f"a.h5@replaced={name}") for name in names) == [2, 4]
    error = raises(FileNotFoundError, h5py.File, f"a.h5@replaced={names[0][:32]}", "r")
    assert "2 kept containers" in str(error), error
    found = []
    for name in names:
        run("restore", "a.h5", name)
        found.append(value("a.h5"))
    assert sorted(found) == [2, 4], found


ORPHAN = """
import os, signal, sys, time
import h5py
f = h5py.File("a.h5", "r+")
f.attrs["k"] = 2
f.flush()
child = os.fork()
if child == 0:
    time.sleep(100)
    os._exit(0)
print(os.getpid(), child, flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def check_the_child_of_a_dead_writer_is_named(folder):
    put("a.h5", "w", 1)
    writer = subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    parent, child = map(int, writer.stdout.readline().split())
    try:
        error = raises(BlockingIOError, h5py.File, "a.h5", "r+")
        assert f"by process {parent} on" in str(error), error
        writer.stdin.close()
        writer.wait()
        error = raises(BlockingIOError, h5py.File, "a.h5", "r+")
        for word in (f"by process {child} on", f"process {parent}, which", "is gone", "inherited"):
            assert word in str(error), (word, error)
    finally:
        os.kill(child, signal.SIGKILL)
    assert value("a.h5") == 2


if __name__ == "__main__":
    main(globals())
