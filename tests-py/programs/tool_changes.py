"""Containers that the tool has copied, deleted, restored or reset to old versions show the same content to h5py as
before."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake retention=1h"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from cases import is_container, killed_midway, main, raises, same  # noqa: E402
from tool import run  # noqa: E402

GRID = np.arange(200 * 300, dtype="f8").reshape(200, 300)
TEXTS = [f"text {n} " * (n % 50) for n in range(2000)]


def make(name, **more):
    with h5py.File(name, "w", track_order=True, **more) as f:
        f.create_dataset("grid", data=GRID, chunks=(20, 300), maxshape=(None, 300))
        f.create_dataset("packed", data=GRID, chunks=(20, 300), compression="gzip")
        f.create_dataset("texts", data=TEXTS, dtype=h5py.string_dtype())
        g = f.create_group("g/inner")
        g.attrs["units"], g.attrs["table"] = "m/s", np.arange(9000)
        f["refs"] = np.array([f["grid"].ref, g.ref], dtype=h5py.ref_dtype)
        f["soft"], f["hard"] = h5py.SoftLink("/grid"), f["grid"]


def look(name):
    with h5py.File(name, "r") as f:
        assert list(f) == ["grid", "packed", "texts", "g", "refs", "soft", "hard"], list(f)
        for path in ("grid", "packed", "soft", "hard"):
            same(f[path][:], GRID)
        assert f["texts"].asstr()[:].tolist() == TEXTS
        assert f["g/inner"].attrs["units"] == "m/s"
        same(f["g/inner"].attrs["table"], np.arange(9000))
        assert f[f["refs"][0]] == f["grid"] and f[f["refs"][1]].name == "/g/inner"


def change(name):
    with h5py.File(name, "r+") as f:
        f["grid"].resize((250, 300))
        f["grid"][5, 7] = -1
        f["packed"][100:120] = 3
        f["texts"][::2] = "other"
        f["g/inner"].attrs["table"] = np.zeros(3)
        del f["g/inner"].attrs["units"], f["soft"], f["refs"]
        f["new/data"] = GRID * 2
        f["new"].attrs["x"] = "y" * 5000


def newest(name):
    return json.loads(run("versions", "--json", "-n", "1", name))["versions"][0]["number"]


def check_copies(folder):
    store = f"file://{folder}/store"
    make("a.h5")
    for source, target in (("a.h5", f"{store}/b.h5"), (f"{store}/b.h5", f"{store}/c.h5"), (f"{store}/c.h5", "d.h5")):
        done = json.loads(run("copy", "--json", source, target))
        assert done["bytes"] > GRID.nbytes, done
        look(target)
        run("verify", target)
        run("diff", "--storage", "a.h5", target)
        assert "something is there" in run("copy", source, target, code=1)
    before = newest("a.h5")
    change("a.h5")
    run("copy", f"a.h5@v={before}", "e.h5")
    look("e.h5")
    with h5py.File("e.h5", "r+") as f:
        f["after"] = 1
    run("verify", "e.h5")


def check_copies_with_a_user_block(folder):
    make("a.h5", userblock_size=1024)
    with open("a.h5", "r+b") as file:
        file.write(b"mine")
    run("copy", "a.h5", "b.h5")
    look("b.h5")
    with h5py.File("b.h5") as f:
        assert f.userblock_size == 1024
    assert Path("b.h5").read_bytes()[:4] == b"mine"


def check_a_killed_copy_leaves_nothing_under_the_name(folder):
    make("a.h5")
    with h5py.File("a.h5", "r+") as f:
        f["more"] = np.random.default_rng(1).random(10_000_000)
    for target in ("b.h5", f"file://{folder}/store/b.h5"):
        command = [os.environ["TOOL"], "copy", "a.h5", target]
        while not killed_midway(partial(subprocess.Popen, command), folder, 8 << 20, partial(is_container, target)):
            run("rm", target)
        assert not Path("b.h5").exists() or target != "b.h5"
        run("ls", target, code=1)
        run("copy", "a.h5", target)
        with h5py.File(target) as f, h5py.File("a.h5") as g:
            same(f["more"][:], g["more"][:])


def check_deleted_containers(folder):
    store = f"file://{folder}/store/a.h5"
    for name in ("a.h5", store):
        make(name)
        deleted = json.loads(run("rm", "--json", name))
        kept = deleted["kept"]
        assert deleted["url"] == (store if name == store else None), deleted
        raises(FileNotFoundError, h5py.File, name)
        assert kept in run("versions", name)
        run("restore", name)
        look(name)
        run("rm", name)
        assert json.loads(run("restore", "--json", name))["name"] == name
        look(name)
    run("link", store, "pointer.h5")
    # Only the pointer file said where the container was.
    said = run("rm", "pointer.h5")
    assert f"'h5lake restore {store}'" in said, said
    assert not Path("pointer.h5").exists()
    raises(FileNotFoundError, h5py.File, store)
    run("restore", store)
    look(store)
    run("rm", store)
    run("rm", "missing.h5", code=1)
    make("b.h5")
    said = run("rm", "a.h5", "missing.h5", "b.h5", "gone.h5", code=1)
    assert "missing.h5" in said and "gone.h5" in said, said
    assert not Path("a.h5").exists() and not Path("b.h5").exists()
    with h5py.File("native.h5", "w", driver="core") as f:
        f["x"] = 1
    run("rm", "native.h5", code=1)
    Path("text.h5").write_text("no container")
    run("rm", "text.h5", code=1)
    assert Path("native.h5").exists() and Path("text.h5").exists()


def check_what_lies_at_the_path_of_another_stays(folder):
    """The settings name a store with a container, and another file is at the local path: a deletion removes neither."""
    make(f"file://{folder}/elsewhere/a.h5")
    set_ = {"HDF5_VOL_CONNECTOR": f"h5lake store=file://{folder}/elsewhere"}
    for content in (b"a text", b"\x89HDF\r\n\x1a\nnative"):
        Path("a.h5").write_bytes(content)
        said = run("rm", "a.h5", code=1, **set_)
        assert "no pointer file" in said, said
        assert Path("a.h5").read_bytes() == content
        look(f"file://{folder}/elsewhere/a.h5")
    os.remove("a.h5")
    run("rm", "a.h5", **set_)
    raises(FileNotFoundError, h5py.File, f"file://{folder}/elsewhere/a.h5")


def check_a_local_container_comes_back_over_a_pointer(folder):
    """A pointer file has replaced a local container. The local container gets its name back, and the container in
    the store stays."""
    store = {"HDF5_VOL_CONNECTOR": f"h5lake store=file://{folder}/store"}
    url = f"file://{folder}/store/a.h5"
    make("a.h5")
    script = "import h5py\nwith h5py.File('a.h5', 'w') as f: f['in the store'] = 1"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **store}, check=True, timeout=170)
    [before] = json.loads(run("versions", "--json", "a.h5"))["replaced"]
    run("restore", "a.h5", "0000", code=1)
    assert "in the store" in run("ls", "a.h5")
    run("restore", "a.h5", before["id"])
    look("a.h5")
    assert "in the store" in run("ls", url) and sorted(os.listdir(".")) == ["a.h5", "store"], os.listdir(".")


def check_settings_choose_the_version_that_is_read(folder):
    """The tool's commands use the settings as programs do. A version in the name overrides the settings, and
    commands about the whole container ignore the settings."""
    for n, name in enumerate(("a.h5", f"file://{folder}/store/a.h5")):
        make(name)
        before = newest(name)
        run("tag", name, "old")
        change(name)
        after = newest(name)
        settings = ({"H5LAKE_VERSION": str(before)}, {"H5LAKE_TAG": "old"}, {"HDF5_VOL_CONNECTOR": f"h5lake version={before}"})
        members = lambda of, **setting: [entry["path"] for entry in json.loads(run("ls", "--json", of, **setting))]  # noqa: E731
        for m, setting in enumerate(settings):
            assert "/refs" in members(name, **setting) and "/new" not in members(name, **setting)
            assert "/new" in members(f"{name}@v={after}", **setting)
            run("diff", "--storage", name, f"{name}@v={before}", **setting)
            run("copy", name, f"copy-{n}-{m}.h5", **setting)
            look(f"copy-{n}-{m}.h5")
            assert json.loads(run("versions", "--json", "-n", "1", name, **setting))["versions"][0]["number"] == after
            assert "old" in run("tag", name, **setting)
            run("verify", name, **setting)
        assert "nope" in run("ls", name, code=1, H5LAKE_TAG="nope")
        run("copy", name, "none.h5", code=1, H5LAKE_VERSION="999")
        assert not Path("none.h5").exists()


def check_targets_under_a_store_are_named_by_their_urls(folder):
    store = f"file://{folder}/store"
    make(f"{store}/a.h5")
    for setting, words in (({"HDF5_VOL_CONNECTOR": f"h5lake store={store}"}, "key 'store'"), ({"H5LAKE_STORE": store}, "variable H5LAKE_STORE")):
        for command in (["copy"], ["copy", "--update"], ["repair"]):
            said = run(*command, "a.h5", "b.h5", code=1, **setting)
            assert words in said and f"{store}/b.h5" in said and "--update" not in said, said
        run("copy", "a.h5", f"{store}/b.h5", **setting)
        look(f"{store}/b.h5")
        run("rm", f"{store}/b.h5")
    run("link", f"{store}/a.h5", "pointer.h5")
    assert "something is there" in run("copy", f"{store}/a.h5", "pointer.h5", code=1)


def check_pipes_hold_up_nothing(folder):
    os.mkfifo("pipe")
    for command in (["ls"], ["info"], ["versions"], ["verify"], ["rm"], ["cat", "pipe", "/x"]):
        command = command if len(command) > 1 else [*command, "pipe"]
        said = run(*command, code=1)
        assert "pipe" in said, said
    run("link", f"file://{folder}/store/none.h5", "pipe", code=1)
    run("copy", "pipe", "a.h5", code=1)
    assert not Path("pipe").is_file() and not Path("a.h5").exists()


def check_old_versions_come_back(folder):
    for name in ("a.h5", f"file://{folder}/store/a.h5"):
        make(name)
        before = newest(name)
        change(name)
        after = newest(name)
        done = json.loads(run("restore", "--json", name, "--version", str(before)))
        assert (done["from"], done["version"]) == (before, after + 1) and newest(name) == after + 1, done
        look(name)
        run("verify", name)
        run("diff", "--storage", f"{name}@v={before}", name)
        # The versions in between can still be read, and the container can still be changed.
        with h5py.File(f"{name}@v={after}") as f:
            assert f["grid"].shape == (250, 300) and "new" in f
        change(name)
        run("verify", name)
        run("restore", name, "--version", str(before))
        look(name)
        assert "is the newest already" in run("restore", name, "--version", str(newest(name)))
        assert "is no version" in run("restore", name, "--version", "x", code=1)
        run("restore", name, "--version", "999", code=1)
        with h5py.File(name, "r+"):
            run("restore", name, "--version", str(before), code=1)
        look(name)


def check_a_version_comes_back_beside_many_writers(folder):
    """The tool commits as one more writer, in a file and in a store; the other writers merge their unflushed changes with the restored
    version."""
    program = """
import h5py, sys
with h5py.File(sys.argv[1], "r+") as f:
    f.attrs["pending"] = 1
    print("open", flush=True)
    sys.stdin.read()
"""
    for name in ("a.h5", f"file://{folder}/store/a.h5"):
        make(name)
        before = newest(name)
        change(name)
        env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake retention=1h writers=many"}
        writer = subprocess.Popen([sys.executable, "-c", program, name], env=env, text=True, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        assert writer.stdout.readline() == "open\n"
        run("restore", name, "--version", str(before))
        writer.communicate("", timeout=170)
        assert writer.returncode == 0
        look(name)
        with h5py.File(name, "r") as f:
            assert f.attrs["pending"] == 1
        run("verify", name)


if __name__ == "__main__":
    main(globals())
