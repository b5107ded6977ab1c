"""References in copies to another file, and the dimension scales that depend on them: null, as in native HDF5, or references to the
copies, depending on copied_references=."""
# only: h5lake

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from cases import main

# Arguments to create each kind of file: an explicit driver makes a native file.
KINDS = {"own": {}, "native": {"driver": "stdio"}}


def fill(f):
    """Creates a group of datasets with scales and with references of each kind, to each other and to objects outside of the group."""
    g = f.create_group("g")
    g["t"], g["u"] = np.zeros((3, 2)), np.zeros(3)
    for name, size in (("g/x", 3), ("g/y", 2), ("out", 3)):
        f[name] = np.arange(float(size))
        f[name].make_scale(name)
    g["t"].dims[0].attach_scale(g["x"])
    g["t"].dims[1].attach_scale(g["y"])
    g["u"].dims[0].attach_scale(f["out"])
    g.create_dataset("a", data=[g["x"].ref, f["out"].ref, g.ref], dtype=h5py.ref_dtype)
    g.create_dataset("regions", data=[g["t"].regionref[1:, :], f["out"].regionref[1:]], dtype=h5py.regionref_dtype)
    g.create_dataset("ragged", (1,), h5py.vlen_dtype(h5py.ref_dtype))[0] = np.array([g["y"].ref, f["out"].ref], object)
    pair = np.dtype([("n", "i4"), ("ref", h5py.ref_dtype)])
    g.create_dataset("pairs", data=np.array([(1, g["t"].ref), (2, f["out"].ref)], pair), chunks=(1,))
    g.attrs["ref"], g.attrs["region"] = g["t"].ref, g["t"].regionref[1:, :]


def target(f, reference):
    return f[reference].name if reference else None


def found(f, path):
    """Returns the targets of the references in a copy, and the names of the scales of its dimensions."""
    g = f[path]
    leads = {"a": [target(f, r) for r in g["a"][...]], "regions": [target(f, r) for r in g["regions"][...]],
             "ragged": [target(f, r) for r in g["ragged"][0]], "pairs": [target(f, r["ref"]) for r in g["pairs"][...]],
             "ref": target(f, g.attrs["ref"]), "region": target(f, g.attrs["region"]),
             "back": [target(f, r[0]) for r in g["x"].attrs["REFERENCE_LIST"]]}
    for name in ("t", "u"):
        leads[name] = [[target(f, r) for r in dimension] for dimension in g[name].attrs["DIMENSION_LIST"]]
    if all(leads["t"][0]):
        leads["scales"] = [scale.name for dimension in g["t"].dims for scale in dimension.values()]
    return leads


COPIES = {"a": ["/n/x", None, "/n"], "regions": ["/n/t", None], "ragged": ["/n/y", None], "pairs": ["/n/t", None], "ref": "/n/t",
          "region": "/n/t", "back": ["/n/t"], "t": [["/n/x"], ["/n/y"]], "u": [[None]], "scales": ["/n/x", "/n/y"]}
NULL = {"a": [None] * 3, "regions": [None] * 2, "ragged": [None] * 2, "pairs": [None] * 2, "ref": None, "region": None, "back": [None],
        "t": [[None], [None]], "u": [[None]]}


def copied(one, other, **how):
    with h5py.File(f"{one}.h5", "w", **KINDS[one]) as f, h5py.File(f"{other}_copy.h5", "w", **KINDS[other]) as to:
        fill(f)
        f.copy("g", to, "n", **how)
        return found(to, "n"), sorted(to)


def work():
    """Returns the copies that a process with one setting makes."""
    keeps = os.environ.get("H5LAKE_COPIED_REFERENCES") == "copies"
    for one, other in (("own", "own"), ("own", "native"), ("native", "own")):
        leads, names = copied(one, other)
        assert leads == (COPIES if keeps else NULL), (one, other, leads)
        assert names == ["n"], names
        # With the flag, the target outside of the group is copied too; no other object has a name of that kind.
        leads, names = copied(one, other, expand_refs=True)
        assert len(names) == 2 and names[1].startswith("~obj_pointed_by_"), names
        away = "/" + names[1]
        assert leads == {key: set_to(value, away) for key, value in COPIES.items()}, (one, other, leads)
    with h5py.File("same.h5", "w") as f:  # within a file references lead to the originals
        fill(f)
        before = found(f, "g")
        f.copy("g", f, "again")
        assert found(f, "again") == before and before["a"] == ["/g/x", "/out", "/g"], before
    with h5py.File("same.h5") as f, h5py.File("shallow.h5", "w") as to:
        f.copy("g/t", to, "t")
        assert list(to) == ["t"] and not to["t"].attrs["DIMENSION_LIST"][0][0]
        f.copy(f["/"], to, "whole")
        assert to["whole/g/a"][1] is not None and target(to, to["whole/g/a"][1]) == ("/whole/out" if keeps else None)


def set_to(value, away):
    """Returns the value with another target in place of a null target."""
    if isinstance(value, list):
        return [set_to(item, away) for item in value]
    return away if value is None else value


def check_references_of_copies(folder):
    for value in ("", "null", "copies"):
        (folder / f"native-{value}").mkdir()
        env = {**os.environ, "H5LAKE_COPIED_REFERENCES": value, "PYTHONPATH": str(Path(__file__).parent)}
        script = "import copied_references; copied_references.work()"
        run = subprocess.run([sys.executable, "-c", script], env=env, cwd=folder / f"native-{value}", text=True, capture_output=True)
        assert run.returncode == 0, f"{value}: {run.stderr}"


if __name__ == "__main__":
    main(globals())
