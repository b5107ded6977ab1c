"""The tool's command adopt with several files: their datasets become one, along an existing dimension or a new one,
as NumPy joins the data that native HDF5 reads. Files that do not fit are an error that names the file and the
dataset."""
# store: any
# only: h5lake
# needs: tool
# requires: filters.txt

import functools
import itertools
import json
import os
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main  # noqa: E402
from tool import natively, run  # noqa: E402

native = functools.partial(natively, "native_parts")


def wanted(names, axis, paths):
    native("together", names, axis, paths, "together.npz")
    with np.load("together.npz") as found:
        return {path: found[path] for path in paths}


def same(found, data):
    """Compares values only: joined arrays of NumPy have other byte orders and padding."""
    if data.dtype.names:
        return all(same(found[name], data[name]) for name in data.dtype.names)
    return found.shape == data.shape and np.array_equal(found, data)


def is_equal(name, expected):
    with h5py.File(name) as f:
        for path, data in expected.items():
            assert same(f[path][()], data), (path, f[path], data.shape)


def check_random_files(folder):
    listed = 0
    for seed in range(12):
        axis, fits = seed % 4 - 1, seed % 3 < 2
        names, paths = native("random_parts", str(folder), seed, 2 + seed % 4, axis, fits)
        before = [Path(name).read_bytes() for name in names]
        expected, there = wanted(names, axis, paths), f"there-{seed}.h5"
        how = ["--stack", "/g0", "--stack", "/g1"] if axis < 0 else ["--concat", "g0", "--concat", "/g1", "--dimension", axis]
        said = json.loads(run("adopt", *names, there, *how, "--json"))
        assert said["not_joined"] == ["/alone"] and said["sources"] == names, said
        listed += said["chunks"] + said["datasets"]
        is_equal(there, expected)
        run("verify", there)
        with h5py.File(there, "a") as f:
            assert f.attrs["part"] == 0 and f["alone"][()] == 0 and f[paths[0]].attrs["part"] == 0
            for path in paths:
                made, data = f[path], expected[path]
                if data.size:
                    place = tuple(np.random.default_rng(seed).integers(0, size) for size in data.shape)
                    made[place] = data[place] = data.reshape(-1)[0]
        is_equal(there, expected)
        run("materialize", there)
        for name in names:
            os.rename(name, name + ".away")
        is_equal(there, expected)
        assert [Path(name + ".away").read_bytes() for name in names] == before
    assert listed > 200, listed


def check_days_of_a_year(folder):
    """Joins as xarray would: the dimension's scale is joined too, and data without the dimension is taken from the
    first file."""
    names = native("climate", str(folder), 5)
    said = json.loads(run("adopt", *names, "year.h5", "--concat", "/t", "--concat", "time", "--concat", "/notes", "--json"))
    assert said["not_joined"] == ["/lat", "/places"] and said["chunks"] == 15, said
    assert [one["path"] for one in said["copied"]] == ["/notes", "/places"], said
    with h5py.File("year.h5") as f:
        t = f["t"]
        assert t.shape == (120, 19) and t.maxshape == (None, 19) and t.chunks == (12, 19) and t.attrs["units"] == "K"
        expected = np.concatenate([np.arange(24 * 19).reshape(24, 19) + 1000 * day for day in range(5)])
        assert (t[()] == expected).all() and (t[23:25, 3] == expected[23:25, 3]).all()
        assert t.dims[0][0].name == "/time" and (t.dims[0][0][()] == np.arange(120)).all() and t.dims[1]["lat"].shape == (19,)
        notes = [text for day in range(5) for text in (f"day {day}", "ä" * day)]
        assert f["notes"].asstr()[()].tolist() == notes and f[f["places"][0]].name == "/t"
    with h5py.File("year.h5", "a") as f:
        f["t"].resize(130, 0)
        f["t"][120:] = 7
    with h5py.File("year.h5") as f:
        assert (f["t"][:120] == expected).all() and (f["t"][120:] == 7).all()
    # The error names a file that changed.
    with open(names[3], "ab") as f:
        f.write(b"x")
    with h5py.File("year.h5") as f:
        assert (f["t"][:72] == expected[:72]).all() and (f["t"][96:120] == expected[96:]).all()
        try:
            f["t"][80]
            raise AssertionError("a changed file was read")
        except OSError as error:
            assert "native-day-3.h5" in str(error), error


def check_many_files(folder):
    names = native("small", str(folder), 300)
    run("adopt", *names, "all.h5", "--concat", "/x", "--stack", "/s", "--stack", "/z")
    with h5py.File("all.h5") as f:
        assert (f["x"][()].reshape(300, 10) == np.arange(10) + np.arange(300)[:, None]).all()
        assert (f["s"][()] == np.arange(300)).all() and f["s"].shape == (300,)
        assert f["z"].shape == (300, 4, 4) and f["z"].chunks == (1, 4, 4) and f["z"].maxshape == (None, 4, 4)
        assert (f["z"][:, 1, 2] == np.arange(300)).all()
    run("verify", "all.h5")
    # A single file gets the new dimension, too, and everything that has a dimension is joined below the root group.
    run("adopt", names[7], "one.h5", "--stack", "/z")
    run("adopt", *names[:3], "three.h5", "--concat", "/")
    with h5py.File("one.h5") as f, h5py.File("three.h5") as g:
        assert f["z"].shape == (1, 4, 4) and f["x"].shape == (10,)
        assert g["z"].shape == (12, 4) and g["x"].shape == (30,) and g["s"][()] == 0


def check_edges_with_and_without_filters(_):
    """Chunks that reach beyond the extent are filtered in one file, and not filtered in the other."""
    data = np.arange(70, dtype="i4").reshape(10, 7).tolist()
    native("odd", "native-filtered.h5", x={"data": data, "dtype": "i4", "chunks": (5, 4), "shuffle": True})
    native("odd", "native-plain.h5", x={"data": data, "dtype": "i4", "chunks": (5, 4), "plain_edges": True})
    for names in itertools.product(["native-filtered.h5", "native-plain.h5"], repeat=2):
        run("adopt", *names, "run.h5", "--concat", "/x")
        with h5py.File("run.h5") as f:
            assert f["x"][()].tolist() == data * 2, names
        os.remove("run.h5")
    for name in ("native-filtered.h5", "native-plain.h5"):
        run("adopt", name, "run.h5")
        with h5py.File("run.h5") as f:
            assert f["x"][()].tolist() == data, name
        os.remove("run.h5")


def check_places_of_many_kinds(folder):
    """Local files and objects of a store in one container; a store as the target; the references stay valid in a
    copy."""
    names = native("climate", str(folder), 3)
    sources = [names[0], f"file://{names[1]}", os.path.relpath(names[2])]
    run("adopt", *sources, f"file://{folder}/objects/year.h5", "--concat", "/t")
    run("copy", f"file://{folder}/objects/year.h5", "copy.h5")
    for name in (f"file://{folder}/objects/year.h5", "copy.h5"):
        with h5py.File(name) as f:
            assert f["t"].shape == (72, 19) and (f["t"][::24, 0] == [0, 1000, 2000]).all()
        run("verify", name)
    told = json.loads(run("materialize", "--dry-run", "copy.h5", "--json"))["sources"]
    assert len(told) == 3, told


def check_numbers_that_mean_other_things(_):
    """Packed data with another scale, and times since another day, cannot be joined into one dataset."""
    def made(name, **attributes):
        native("odd", name, x={"data": [1, 2, 3], "dtype": "i2", "attrs": attributes})
        return name

    first = {"scale_factor": 0.5, "units": "days since 2020-01-01", "note": "first", "flag": [1, 2]}
    one, same = made("native-one.h5", **first), made("native-same.h5", **{**first, "note": "second", "flag": [3, 4]})
    others = {"scale_factor": 0.25, "units": "days since 2020-02-01", "add_offset": 1.0, "calendar": "noleap", "_FillValue": -1}
    for name, value in others.items():
        other = made("native-other.h5", **{**first, name: value})
        for names in ([one, other], [other, one], [one, same, other]):
            said = run("adopt", *names, "run.h5", "--concat", "/x", code=1)
            assert f"attribute {name}" in said and names[-1] in said, said
    said = run("adopt", one, other, "run.h5", "--concat", "/x", code=1)
    other = made("native-other.h5", **{**first, "units": "K"})
    said = run("adopt", one, other, "run.h5", "--concat", "/x", code=1)
    assert "'K'" in said and "'days since 2020-01-01'" in said, said
    run("adopt", one, same, "run.h5", "--concat", "/x")
    with h5py.File("run.h5") as f:
        assert f["x"][()].tolist() == [1, 2, 3] * 2 and f["x"].attrs["note"] == "first"


def check_what_later_files_have_alone_is_listed(_):
    x = {"data": [1, 2, 3]}
    native("odd", "native-one.h5", x=x)
    native("odd", "native-more.h5", x=x, **{"g/more": x})
    said = json.loads(run("adopt", "native-one.h5", "native-more.h5", "run.h5", "--concat", "/x", "--json"))
    assert said["left_out"] == ["/g/more"] and said["not_joined"] == [], said
    os.remove("run.h5")
    assert "/g/more" in run("adopt", "native-one.h5", "native-more.h5", "run.h5", "--concat", "/x")
    said = run("adopt", "native-one.h5", "native-one.h5", "two.h5", "--concat", "/x", "--stack", "/x", code=1)
    assert "two ways" in said, said


def check_an_error_names_a_file_once(_):
    native("odd", "native.h5", x={"data": [1, 2, 3]})
    native("odd", "native-other.h5", y={"data": [1, 2, 3]})
    for second, how, name, words in (
            ("native.h5", ["--concat", "/nope"], "native.h5", "nothing is at /nope"),
            ("native-other.h5", ["--concat", "/x"], "native-other.h5", "nothing is at /x"),
            ("native.h5", ["--concat", "/x", "--dimension", 5], "native.h5", "/x has no such dimension")):
        said = run("adopt", "native.h5", second, "run.h5", *how, code=1)
        assert said.endswith(f"/{name}: {words}\n") and said.count(".h5") == 1, said


def check_refusals(_):
    x = {"data": [1, 2, 3]}
    native("odd", "native.h5", x=x, **{"g/y": x})
    kinds = {
        "other-type": ({"x": {"data": [1.0, 2.0]}}, "/x", "another type"),
        "other-shape": ({"x": {"data": [[1], [2]]}}, "/x", "[2, 1]"),
        "no-dataset": ({"g/y": x}, "/x", "x"),
        "a-group": ({"x": None}, "/x", "no dataset"),
        "more": ({"x": x, "g/y": x, "g/z": x}, "/g", "dataset z"),
    }
    for name, (datasets, path, words) in kinds.items():
        native("odd", f"native-{name}.h5", **datasets)
        said = run("adopt", "native.h5", f"native-{name}.h5", "run.h5", "--concat", path, code=1)
        assert words in said and f"native-{name}.h5" in said, said
    for kind in ("references", "scaled", "virtual"):
        native("odd", f"native-{kind}.h5", x=kind)
        how = "--stack" if kind == "scaled" else "--concat"
        said = run("adopt", f"native-{kind}.h5", f"native-{kind}.h5", "run.h5", how, "/x", code=1)
        assert "x" in said and {"references": "references", "scaled": "dimension scales", "virtual": "native-away.h5"}[kind] in said, said
    # Elements that were never written show the fill value of their own file.
    for part in ({"chunks": (5,)}, {}):
        for number in (1, 2):
            native("odd", f"native-fill-{number}.h5", x={"shape": (10,), "dtype": "i4", "fillvalue": number, **part})
        names = ["native-fill-1.h5", "native-fill-2.h5"]
        said = run("adopt", *names, "run.h5", "--concat", "/x", code=1)
        assert "fill value" in said and names[1] in said, said
    native("odd", "native-fill-2.h5", x={"data": np.full(10, 3, "i4").tolist(), "dtype": "i4", "fillvalue": 2})
    native("odd", "native-fill-1.h5", x={"shape": (10,), "dtype": "i4", "fillvalue": 1})
    run("adopt", *names, "run.h5", "--concat", "/x")
    with h5py.File("run.h5") as f:
        assert f["x"][()].tolist() == [1] * 10 + [3] * 10
    os.remove("run.h5")
    # Strings of variable length, too: their fill values are compared by content.
    for part in ({"chunks": (5,)}, {}):
        names = [f"native-text-{number}.h5" for number in range(4)]
        for name, fill in zip(names, ("none", "none", "other", None)):
            more = {} if fill is None else {"fillvalue": fill}
            native("odd", name, x={"shape": (10,), "texts": True, **more, **part})
        for first, second in ((0, 2), (0, 3), (3, 0)):
            said = run("adopt", names[first], names[second], "run.h5", "--concat", "/x", code=1)
            assert "fill value" in said and names[second] in said, said
        native("odd", names[2], x={"data": ["a"] * 10, "texts": True, "fillvalue": "other", **part})
        for second, there in ((1, "none"), (2, "a")):
            run("adopt", names[0], names[second], "run.h5", "--concat", "/x")
            with h5py.File("run.h5") as f:
                assert f["x"].asstr()[()].tolist() == ["none"] * 10 + [there] * 10
            os.remove("run.h5")
        run("adopt", names[3], names[3], "run.h5", "--concat", "/x")
        with h5py.File("run.h5") as f:
            assert f["x"].asstr()[()].tolist() == [""] * 20
        os.remove("run.h5")
    # Two names lead to one dataset in the first file, and to two datasets in the second.
    native("odd", "native-one.h5", x=x, y="/x")
    native("odd", "native-two.h5", x=x, y={"data": [4, 5, 6]})
    one_and_two = ["native-one.h5", "native-two.h5", "run.h5"]
    for how, words in ((["--concat", "/x", "--concat", "/y"], "one dataset in the first file"), (["--concat", "/"], "dataset y")):
        said = run("adopt", *one_and_two, *how, code=1)
        assert words in said and "native-two.h5" in said, said
    run("adopt", "native-one.h5", *one_and_two[::2], "--concat", "/")
    with h5py.File("run.h5") as f:
        assert f["x"] == f["y"] and f["y"][()].tolist() == [1, 2, 3] * 2
    os.remove("run.h5")
    # An address in one file is no address in the other.
    native("odd", "native-link.h5", x="link")
    for names in (["native.h5", "native-link.h5"], ["native-link.h5", "native.h5"]):
        said = run("adopt", *names, "run.h5", "--concat", "/x", code=1)
        assert "another file" in said and "native-link.h5" in said, said
    two = ["native.h5", "native.h5", "run.h5"]
    assert "--concat" in run("adopt", *two, code=1)
    assert "no such dimension" in run("adopt", *two, "--concat", "/x", "--dimension", 1, code=1)
    assert "no dataset to join" in run("adopt", *two, "--concat", "/", "--dimension", 3, code=1)
    assert "nothing" in run("adopt", *two, "--concat", "/nothing", code=1)
    assert "missing.h5" in run("adopt", "native.h5", "missing.h5", "run.h5", "--concat", "/x", code=1)
    assert not Path("run.h5").exists() and not list(Path().glob(".h5lake*"))
    # A file that is given twice is two parts.
    run("adopt", *two, "--concat", "/x")
    with h5py.File("run.h5") as f:
        assert f["x"][()].tolist() == [1, 2, 3, 1, 2, 3]


if __name__ == "__main__":
    main(globals())
