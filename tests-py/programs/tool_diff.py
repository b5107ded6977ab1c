"""The changes that the tool's command diff reports between containers and between versions are those that h5py sees."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import subprocess
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from cases import main  # noqa: E402

GRID = np.arange(60 * 70, dtype="f8").reshape(60, 70)
TABLE = np.dtype([("id", "i4"), ("text", h5py.string_dtype()), ("at", h5py.ref_dtype)])


def run(*arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    done = subprocess.run([os.environ["TOOL"], "diff", *arguments], env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def differences(*arguments):
    """Returns the differences by (path, attribute, change), and checks the exit code."""
    code, said = run("--json", *arguments)
    found = json.loads(said)
    assert code == (2 if found else 0), (code, said)
    return {(one["path"], one["attribute"], one["change"]): one for one in found}


def fill(name, first=None):
    with h5py.File(name, "w") as f:
        if first:
            f[first] = 1  # other ids for all later objects
            del f[first]
        f.create_dataset("grid", data=GRID, chunks=(10, 70), compression="gzip")
        f["plain"] = GRID
        f["g/texts"] = np.array(["a", "b", "nan"], h5py.string_dtype())
        rows = np.zeros(2, TABLE)
        rows["text"], rows["at"] = ["x", "y"], [f["g"].ref, f["grid"].ref]
        f["table"] = rows
        lists = f.create_dataset("lists", (2,), h5py.vlen_dtype("f4"))
        lists[0] = [1, np.nan]
        f["soft"] = h5py.SoftLink("/g")
        f["g/back"] = f["/"]
        f["type"] = np.dtype("f4")
        f["g"].attrs["units"], f["g"].attrs["list"] = "m/s", np.arange(5)


def check_equal_containers(folder):
    store = f"file://{folder}/store/b.h5"
    fill("a.h5")
    for name in ("b.h5", store):
        fill(name, first="odd")
        assert differences("a.h5", name) == {}
        assert run("a.h5", name) == (0, "")


def change(f):
    f["grid"][25:27, 3] = -1
    f["plain"][0, 0] = np.nan
    f["g/texts"][1] = "c"
    row = f["table"][1]
    row["at"] = f["plain"].ref
    f["table"][1] = row
    f["lists"][1] = [5]
    f["g/new"] = 1
    del f["soft"], f["type"]
    f["soft"], f["type"] = h5py.SoftLink("/other"), np.dtype("f8")
    del f["g"].attrs["units"]
    f["g"].attrs["list"], f["g"].attrs["more"] = np.array([0, 9, 2, 9, 4]), "x"


CHANGES = {
    ("/grid", None, "elements"), ("/plain", None, "elements"), ("/g/texts", None, "elements"), ("/table", None, "elements"),
    ("/lists", None, "elements"), ("/g/new", None, "added"), ("/soft", None, "link"), ("/type", None, "type"),
    ("/g", "units", "removed"), ("/g", "list", "elements"), ("/g", "more", "added"),
}


def check_all_kinds_of_changes(folder):
    fill("a.h5")
    fill("b.h5")
    with h5py.File("b.h5", "r+") as f:
        change(f)
    found = differences("--elements", "2", "a.h5", "b.h5")
    assert set(found) == CHANGES, set(found) ^ CHANGES
    grid = found["/grid", None, "elements"]
    assert (grid["differing"], grid["elements"]) == (2, GRID.size)
    assert grid["first"] == [{"at": [25, 3], "from": GRID[25, 3], "to": -1}, {"at": [26, 3], "from": GRID[26, 3], "to": -1}]
    assert found["/g", "list", "elements"]["differing"] == 2
    assert found["/g/texts", None, "elements"]["first"] == [{"at": [1], "from": "b", "to": "c"}]
    table = found["/table", None, "elements"]
    assert table["differing"] == 1 and table["first"][0]["to"]["at"]["path"] == "/plain", table
    # The opposite direction, and a single object.
    assert {change for _, _, change in differences("b.h5", "a.h5")} == {"elements", "removed", "added", "link", "type"}
    assert set(differences("a.h5", "b.h5", "/grid")) == {("/grid", None, "elements")}
    code, said = run("a.h5", "b.h5")
    assert code == 2 and f"! /grid  2 of {GRID.size} elements differ" in said and "+ /g/new" in said, said


def check_shapes_types_and_kinds(folder):
    with h5py.File("a.h5", "w") as f, h5py.File("b.h5", "w") as g:
        for name, one, other in (("type", np.arange(3), np.arange(3.0)), ("shape", np.arange(3), np.arange(4)),
                                 ("scalar", 1, np.array([1])), ("null", h5py.Empty("i8"), 1)):
            f[name], g[name] = one, other
        f.create_dataset("limit", data=[1], maxshape=(5,))
        g.create_dataset("limit", data=[1], maxshape=(None,))
        f["kind"] = 1
        g.create_group("kind")
        f["enum"] = np.array(1, h5py.enum_dtype({"A": 1}))
        g["enum"] = np.array(1, h5py.enum_dtype({"A": 2}))
        f.create_dataset("filters", data=[1, 2], chunks=(2,))
        g.create_dataset("filters", data=[1, 2], chunks=(1,), compression="gzip", fillvalue=3)
    wanted = {("/type", "type"), ("/shape", "shape"), ("/scalar", "shape"), ("/null", "shape"), ("/limit", "shape"),
              ("/kind", "kind"), ("/enum", "type")}
    assert {(path, change) for path, _, change in differences("a.h5", "b.h5")} == wanted
    stored = {("/filters", what) for what in ("layout", "filters", "fill properties")}
    found = {(path, change) for path, _, change in differences("--storage", "a.h5", "b.h5")}
    assert found >= wanted | stored, found


def check_selections_of_regions(folder):
    for name, part in (("a.h5", np.s_[0:2]), ("b.h5", np.s_[0:3]), ("c.h5", np.s_[0:2])):
        with h5py.File(name, "w") as f:
            if name == "c.h5":
                f["odd"] = 1
                del f["odd"]
            f["x"] = np.arange(9)
            f["at"] = np.array([f["x"].regionref[part], h5py.RegionReference()], h5py.regionref_dtype)
            f.attrs["at"] = f["x"].regionref[part]
    assert set(differences("a.h5", "b.h5")) == {("/at", None, "elements"), ("/", "at", "elements")}
    assert differences("a.h5", "c.h5") == {}


def check_versions(folder):
    for name in ("a.h5", f"file://{folder}/store/a.h5"):
        fill(name)
        before = version(name)
        with h5py.File(name, "r+") as f:
            change(f)
        assert set(differences(f"{name}@v={before}", name)) == CHANGES
        assert differences(f"{name}@v={before}", f"{name}@v={before}") == {}


def version(name):
    done = subprocess.run([os.environ["TOOL"], "versions", "--json", "-n", "1", name], capture_output=True, text=True)
    return json.loads(done.stdout)["versions"][0]["number"]


def check_equal_versions_are_not_read(folder):
    """Damage in data that both versions share is not detected, because diff does not read it. A comparison with
    another copy shows the damage."""
    fill("a.h5")
    before = version("a.h5")
    with h5py.File("a.h5", "r+") as f:
        f["g/new"] = 1
    data = Path("a.h5").read_bytes()
    at = data.find(GRID[10:11].tobytes())
    Path("a.h5").write_bytes(data[:at] + b"\xff" + data[at + 1:])
    fill("b.h5")
    assert set(differences(f"a.h5@v={before}", "a.h5")) == {("/g/new", None, "added")}
    # diff compares the segments of a large dataset, and its chunks, one by one.
    with h5py.File("a.h5", "r+") as f:
        f["grid"][41:43, 5] = -1
    found = differences("--elements", "9", f"a.h5@v={before}", "a.h5", "/grid")
    assert [one["at"] for one in found["/grid", None, "elements"]["first"]] == [[41, 5], [42, 5]], found
    code, said = run("a.h5", "b.h5")
    assert code == 2 and "? /plain  not compared" in said and "! /grid" in said, (code, said)
    assert run("a.h5", "b.h5", "/plain")[0] == 1


def check_what_cannot_be_compared(folder):
    fill("a.h5")
    assert run("a.h5", "missing.h5")[0] == 1
    assert run("a.h5", "a.h5", "/missing")[0] == 1


def check_chunks_are_named(folder):
    fill("a.h5")
    subprocess.run([os.environ["TOOL"], "tag", "a.h5", "first"], check=True, capture_output=True)
    with h5py.File("a.h5", "r+") as f:
        f["grid"][12, 3] = -1
        f["grid"][19, 69] = -1
        f["grid"][50:, 0] = -1
        f["plain"][0, 0] = -1
    for first in ("a.h5@tag=first", "b.h5"):
        if first == "b.h5":
            fill(first)
        found = differences("--chunks", first, "a.h5")
        grid = found["/grid", None, "elements"]
        assert grid["chunks"] == [[10, 0], [50, 0]] and grid["more_chunks"] is False and grid["differing"] == 12
        assert "chunks" not in found["/plain", None, "elements"]
        assert "chunks" not in differences(first, "a.h5")["/grid", None, "elements"]
        assert "12 of 4200 elements differ, in 2 chunks: [10, 0] [50, 0]" in run("--chunks", first, "a.h5")[1]



def virtual(name, source):
    with h5py.File(name, "w") as f:
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(source, "x", (3,))
        f.create_virtual_dataset("v", layout)


def check_other_files_are_one_file_or_are_not_compared(folder):
    for place in ("a", "b"):
        Path(place).mkdir()
        with h5py.File(f"{place}/source.h5", "w") as f:
            f["x"] = [1.0, 2, len(place) + ord(place)]
        virtual(f"{place}/relative.h5", "source.h5")
        virtual(f"{place}/absolute.h5", f"{folder}/a/source.h5")
        with h5py.File(f"{place}/external.h5", "w") as f:
            f.create_dataset("v", (3,), "f8", external=[("raw", 0, 24)])
    assert differences("a/absolute.h5", "b/absolute.h5") == {}
    for name in ("relative.h5", "external.h5"):
        code, said = run(f"a/{name}", f"b/{name}")
        assert code == 1 and "? /v  not compared" in said, said
        Path(f"a/second-{name}").write_bytes(Path(f"a/{name}").read_bytes())
        assert differences(f"a/{name}", f"a/second-{name}") == {}, "both lead to one file"
    # A virtual dataset of a version shows the sources in that version.
    with h5py.File("own.h5", "w") as f:
        f["x"] = [1.0, 2, 3]
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(".", "x", (3,))
        f.create_virtual_dataset("v", layout)
    subprocess.run([os.environ["TOOL"], "tag", "own.h5", "first"], check=True, capture_output=True)
    with h5py.File("own.h5", "r+") as f:
        f["x"][0] = 7
    code, said = run("own.h5@tag=first", "own.h5")
    assert code == 2 and "! /x" in said and "? /v" in said, said


def check_bytes_that_mean_nothing_do_not_count(folder):
    padded = np.dtype([("a", "u1"), ("b", "f8"), ("c", "c16")], align=True)
    for name, gap in (("a.h5", 0), ("b.h5", 255)):
        with h5py.File(name, "w") as f:
            rows = np.full(3 * padded.itemsize, gap, "u1").view(padded)
            rows["a"], rows["b"], rows["c"] = 1, np.nan, complex(np.nan, 1)
            f.create_dataset("padded", data=rows, dtype=padded)
            of = h5py.h5t.C_S1.copy()
            of.set_size(8)
            text = h5py.h5d.create(f.id, b"text", of, h5py.h5s.create_simple((2,)))
            text.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b"ab\0" + bytes([gap or 1] * 4), b"abcdefg"], "S8"), mtype=of)
            f.attrs["padded"] = rows
    for arguments in ((), ("--elements", "2"), ("--elements", "0")):
        assert differences(*arguments, "a.h5", "b.h5") == {}
    with h5py.File("b.h5", "r+") as f:
        f["padded"][1] = (2, 0, 0)
    assert differences("a.h5", "b.h5")["/padded", None, "elements"]["differing"] == 1

if __name__ == "__main__":
    main(globals())
