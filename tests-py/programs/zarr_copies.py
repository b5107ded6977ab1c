"""Copies between containers and Zarr: h5lake.export_zarr into versions 2 and 3, h5lake.import_zarr from both."""
# store: any
# requires: zarr.txt
# only: h5lake
# needs: tool

import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from cases import is_container, main  # noqa: E402
from packaged import fails, installed, works  # noqa: E402
from zarr_views import datasets, is_same, opened, publish, run, shown  # noqa: E402

RNG = np.random.default_rng(3)


def container(name="a.h5"):
    with h5py.File(name, "w") as f:
        f.attrs.update({"title": "ä", "list": [1, 2]})
        f.create_dataset("a/gzip", data=RNG.integers(0, 99, (300, 301)), chunks=(100, 70), compression="gzip", shuffle=True)
        f.create_dataset("a/raw", data=RNG.normal(size=30_000).astype(">f4"), chunks=(7_000,))
        f.create_dataset("contiguous", data=RNG.normal(size=(500, 501)))
        f.create_dataset("minus", (1000,), "f8", chunks=(100,), fillvalue=-1.0)[3] = 7
        f["text"] = np.array(["a", "ä"], object)
        f["fixed"] = np.array([b"a", b"bc"], "S2")
        f["flags"] = np.array([True, False])
        f["scalar"] = 3.5
        f.create_dataset("empty", (0, 3), "i2")
        f["x"], f["y"] = np.arange(4.0), np.arange(3)
        f["grid"] = RNG.normal(size=(3, 4))
        f["grid"].attrs["units"] = "K"
        for name in "xy":
            f[name].make_scale(name)
        f["grid"].dims[0].attach_scale(f["y"])
        f["grid"].dims[1].attach_scale(f["x"])
        f.create_dataset("sequences", (3,), h5py.vlen_dtype("i4"))
        f["soft"] = h5py.SoftLink("/x")


def site(folder):
    return installed(folder) if not (folder / "site").exists() else folder / "site"


def settings_of(**more):
    """Returns this process's variables for stores and settings, with some of them replaced."""
    return {key: value for key, value in os.environ.items() if key.startswith(("AWS_", "H5LAKE_", "HDF5_VOL"))} | more


def call(folder, code):
    return works(site(folder), f"import h5lake\n{code}", **settings_of())


def check_out_and_back(folder):
    container()
    for version in (2, 3):
        left = call(folder, f"print(h5lake.export_zarr('a.h5', 'a{version}.zarr', format={version}))")
        # Zarr 2 would show -1 as a missing value.
        kept = version == 3
        assert "/sequences" in left and "/soft" in left and left.count("('/") == 3 - kept and ("/minus (fill value)" in left) != kept, left
        group = zarr.open_group(f"a{version}.zarr", mode="r")
        assert group.metadata.zarr_format == version and group.attrs["title"] == "ä" and group["grid"].attrs["units"] == "K"
        with h5py.File("a.h5", "r") as f:
            for path, dataset in datasets(f).items():
                if path != "/sequences":
                    is_same(group[path[1:]][...], shown(dataset), path)
                    assert dataset.chunks is None or group[path[1:]].chunks == dataset.chunks, path
        assert call(folder, f"print(h5lake.import_zarr('a{version}.zarr', 'b{version}.h5'))") == "[]"
        with h5py.File("a.h5", "r") as f, h5py.File(f"b{version}.h5", "r") as g:
            for path, dataset in datasets(f).items():
                if path != "/sequences":
                    is_same(shown(g[path]), shown(dataset), path)
            assert g["a/gzip"].chunks == (100, 70) and g["a/gzip"].compression == "gzip" and g["minus"].fillvalue == (-1 if kept else 0)
            assert [d[0].name for d in g["grid"].dims] == ["/y", "/x"] and g["grid"].attrs["units"] == "K"
            assert g.attrs["title"] == "ä" and g.attrs["list"].tolist() == [1, 2]


def check_what_xarray_wrote(folder):
    made = xr.Dataset({"t": (("time", "x"), RNG.normal(size=(20, 30)))}, {"time": np.arange(20), "x": np.linspace(0, 1, 30)}, {"title": "w"})
    for version in (2, 3):
        made.to_zarr(f"x{version}.zarr", zarr_format=version)
        call(folder, f"h5lake.import_zarr('x{version}.zarr', 'x{version}.nc')")
        with xr.open_dataset(f"x{version}.nc", engine="h5netcdf", phony_dims="sort") as got:
            assert got.t.dims == ("time", "x") and set(got.coords) == {"time", "x"}
            np.testing.assert_array_equal(got.t.values, made.t.values)


def check_old_versions_and_errors(folder):
    container()
    call(folder, "h5lake.tag('a.h5', 'then')")
    with h5py.File("a.h5", "r+") as f:
        f["scalar"][()] = 4
    call(folder, "h5lake.export_zarr('a.h5@tag=then', 'then.zarr')")
    assert zarr.open_group("then.zarr", mode="r")["scalar"][()] == 3.5
    site = folder / "site"
    settings = {"HDF5_VOL_CONNECTOR": os.environ["HDF5_VOL_CONNECTOR"]}
    fails(["something is there"], site, "import h5lake; h5lake.export_zarr('a.h5', 'then.zarr')", **settings)
    fails(["none.h5"], site, "import h5lake; h5lake.export_zarr('none.h5', 'none.zarr')", **settings)
    assert not Path("none.zarr").exists() and not list(Path(".").glob(".none*"))
    (site / "zarr.py").write_text("raise ImportError('no zarr here')")
    fails(["the package zarr is missing"], site, "import h5lake; h5lake.import_zarr('then.zarr', 'no.h5')", **settings)
    (site / "zarr.py").unlink()


# Does as zarr-python does from 3.2 on: a string is a URL, and its path ends at one of these characters.
URLS = """
import urllib.parse, zarr
def parsing(function):
    return lambda name, *rest, **more: function(urllib.parse.urlparse(name).path if isinstance(name, str) else name, *rest, **more)
zarr.open, zarr.open_group = parsing(zarr.open), parsing(zarr.open_group)
"""


def check_signs_of_urls_in_names(folder):
    with h5py.File("a.h5", "w") as f:
        f["x"] = [1, 2, 3]
    names = {}
    for sign in "#?;":
        names.update({f"results{sign}2/run.zarr": "results", f"whole{sign}run.zarr": "whole", f".hidden{sign}1/{sign}": ".hidden"})
    # The temporary folder of an export has a name like the folder that zarr-python would write to by mistake.
    for name, before in names.items():
        Path(before).mkdir(exist_ok=True)
        Path(before, "precious").write_text("kept")
        Path(name).parent.mkdir(exist_ok=True)
    call(folder, f"{URLS}for n, name in enumerate({[*names]}): h5lake.export_zarr('a.h5', name); h5lake.import_zarr(name, f'signs{{n}}.h5')")
    for n, (name, before) in enumerate(names.items()):
        assert [path.name for path in Path(before).iterdir()] == ["precious"], (name, "something was put there")
        assert zarr.open_group(zarr.storage.LocalStore(name), mode="r")["x"][...].tolist() == [1, 2, 3], name
        with h5py.File(f"signs{n}.h5", "r") as f:
            assert f["x"][...].tolist() == [1, 2, 3]


def check_names_that_zarr_cannot_have(folder):
    with h5py.File("a.h5", "w") as f:
        f["a/b"] = [1, 2, 3]
        bad = ["a\\b", "a\\c", "..", "...", "zarr.json", ".zarray", "n" * 256]
        for n, name in enumerate(bad):
            f[name] = n
        for name in ("g\\h", "....", "a\\g"):
            f[f"{name}/inside"] = 7
        f["a/g/x"], f["last"] = 5, 6
    for version in (2, 3):
        left = dict(eval(call(folder, f"print(h5lake.export_zarr('a.h5', 'a{version}.zarr', format={version}))")))
        assert set(left) == {f"/{name}" for name in (*bad, "g\\h", "....", "a\\g")}, left
        group = zarr.open_group(f"a{version}.zarr", mode="r")
        assert group["a/b"][...].tolist() == [1, 2, 3] and group["last"][()] == 6 and group["a/g/x"][()] == 5
        assert sorted(group) == ["a", "last"] and sorted(group["a"]) == ["b", "g"]


def check_groups_with_the_name_of_a_dimension(folder):
    root = zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="w", zarr_format=3)
    root.create_group("x").create_array("y", data=np.arange(3.0), dimension_names=("y",))
    root.create_array("t", data=np.ones((4, 3)), dimension_names=("x", "y"))
    root.create_array("x/t", data=np.ones((4, 3)), dimension_names=("x", "y"))
    assert call(folder, "print(h5lake.import_zarr('a.zarr', 'groups.h5'))") == "[]"
    with h5py.File("groups.h5", "r") as f:
        assert [d.label for d in f["t"].dims] == ["x", "y"] and f["x/t"].dims[1][0].name == "/x/y"


def check_an_array_alone(folder):
    zarr.create_array(zarr.storage.LocalStore("a.zarr"), data=np.ones((4, 3)), dimension_names=("x", "y"))
    assert call(folder, "print(h5lake.import_zarr('a.zarr', 'alone.h5'))") == "[]"
    with h5py.File("alone.h5", "r") as f:
        assert f["data"].shape == (4, 3) and [d.label for d in f["data"].dims] == ["x", "y"]


def check_labels_of_dimensions(folder):
    with h5py.File("a.h5", "w") as f:
        # xarray does not open a group if an array in it has no dimension names.
        f["x"], f["g/scalar"] = np.arange(4.0), 1
        f["x"].make_scale("x")
        for name, shape, labels in (("a", (4, 3), ("", "band")), ("b", (4, 5), ("rows", "band")), ("g/c", (4, 3), ("scalar", "band"))):
            f[name] = np.ones(shape)
            for n, label in enumerate(labels):
                if label:
                    f[name].dims[n].label = label
        f["a"].dims[0].attach_scale(f["x"])
        f["g/other"] = np.ones((4, 3))
        f["g/other"].attrs.update({"DIMENSION_LABELS": "mine", "NAME": "n", "CLASS": "c"})
        f.attrs["DIMENSION_LABELS"] = ["of", "a group"]
    for version in (2, 3):
        left = dict(eval(call(folder, f"print(h5lake.export_zarr('a.h5', 'a{version}.zarr', format={version}))")))
        assert set(left) == {"/b@DIMENSION_LABELS", "/g/c@DIMENSION_LABELS"}, left
        group = zarr.open_group(f"a{version}.zarr", mode="r")
        named = {name: group[name].attrs.get("_ARRAY_DIMENSIONS") if version == 2 else list(group[name].metadata.dimension_names) for name in ("a", "b", "g/c")}
        assert named["a"] == ["x", "band"] and named["b"][0] == "rows" and named["g/c"][1] == "band", named
        assert dict(group["g/other"].attrs) == {"DIMENSION_LABELS": "mine", "NAME": "n", "CLASS": "c"}
        assert group.attrs["DIMENSION_LABELS"] == ["of", "a group"]
        with xr.open_zarr(zarr.storage.LocalStore(f"a{version}.zarr"), consolidated=False) as got:
            assert got.a.dims == ("x", "band") and got.b.shape == (4, 5) and set(got.coords) == {"x"}
        left = dict(eval(call(folder, f"print(h5lake.import_zarr('a{version}.zarr', 'labels{version}.h5'))")))
        assert set(left) == {"/g/other@DIMENSION_LABELS"}, left
        with h5py.File(f"labels{version}.h5", "r") as f:
            assert [d.label for d in f["a"].dims] == ["", "band"] and f["a"].dims[0][0].name == "/x" and f["b"].dims[0].label == "rows"
            # HDF5 itself would read the attribute as labels.
            assert "DIMENSION_LABELS" not in f["g/other"].attrs and f["g/other"].attrs["NAME"] == "n"


def check_scales_that_were_deleted(folder):
    with h5py.File("a.h5", "w") as f:
        f["x"], f["y"] = np.arange(4.0), np.arange(3)
        for name in "xy":
            f[name].make_scale(name)
        for name in ("a", "b"):
            f[name] = np.ones((4, 3))
            f[name].dims[0].attach_scale(f["x"])
            f[name].dims[1].attach_scale(f["y"])
        f["b"].dims[0].label = "row"
        del f["x"]
    for version in (2, 3):
        left = dict(eval(call(folder, f"print(h5lake.export_zarr('a.h5', 'a{version}.zarr', format={version}))")))
        assert set(left) == {"/a@DIMENSION_LIST", "/b@DIMENSION_LIST"} and "dimension 0" in left["/a@DIMENSION_LIST"], left
        group = zarr.open_group(f"a{version}.zarr", mode="r")
        named = {name: list(group[name].attrs["_ARRAY_DIMENSIONS"] if version == 2 else group[name].metadata.dimension_names) for name in "ab"}
        assert named["a"][1] == "y" and named["b"] == ["row", "y"], named
        assert group["a"][...].tolist() == np.ones((4, 3)).tolist()
    # The command publish names the dimensions in the same way.
    publish("a.h5")
    group = opened()
    assert group["a"].attrs["_ARRAY_DIMENSIONS"][1] == "y" and group["b"].attrs["_ARRAY_DIMENSIONS"] == ["row", "y"]


def check_names_of_dimensions_that_are_none(folder):
    wrong = {"long": ["x", "y", "z"], "short": [], "text": "xy", "number": 3, "mixed": ["x", 1], "nul": ["a\0b", "c"], "object": {"x": 1},
             "surrogate": ["\ud800", "c"]}
    root = zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="w", zarr_format=2)
    root.create_array("x", data=np.arange(2), attributes={"_ARRAY_DIMENSIONS": ["x"]})
    for name, given in wrong.items():
        root.create_array(name, data=np.ones((2, 2)), attributes={"_ARRAY_DIMENSIONS": given})
    root.create_array("right", data=np.ones((2, 2)), attributes={"_ARRAY_DIMENSIONS": ["x", "y"]})
    # A dimension name that is the array's own path.
    root.create_array("a/b", data=np.arange(2), attributes={"_ARRAY_DIMENSIONS": ["a/b"]})
    left = dict(eval(call(folder, "print(h5lake.import_zarr('a.zarr', 'b.h5'))")))
    assert set(left) == {f"/{name}@_ARRAY_DIMENSIONS" for name in set(wrong) - {"short"}}, left
    with h5py.File("b.h5", "r") as f:
        assert set(f) == {*wrong, "right", "x", "a"} and f["a/b"].dims[0].label == "a/b" and f["right"].dims[0][0].name == "/x" and f["right"].dims[1].label == "y"


def check_an_import_is_a_container_whatever_the_name(folder):
    zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="w").create_array("x", data=np.arange(3))
    failing = "def fails(*_): raise OSError(5, 'it fails here')\nfrom h5lake import _zarr_dimensions\n_zarr_dimensions.attach = fails"
    ours = os.environ["HDF5_VOL_CONNECTOR"]
    for connector, only in ((ours, "*.h5l"), (f"{ours} only=*.h5l", "")):
        # Settings in the call replace all other settings, so that in a store the name would be another container.
        for settings in ("", ", only='*.h5l'")[: 1 if "store=" in ours else 2]:
            env = {"H5LAKE_ONLY": only} if only else {}
            code = f"h5lake.import_zarr('a.zarr', 'named.h5'{settings})"
            works(site(folder), f"import h5lake\n{code}", **env, **settings_of(HDF5_VOL_CONNECTOR=connector))
            assert is_container("named.h5"), (connector, only, settings)
            works(site(folder), "import h5lake\nh5lake.export_zarr('named.h5', 'b.zarr')", **env, **settings_of(HDF5_VOL_CONNECTOR=connector))
            assert zarr.open_group(zarr.storage.LocalStore("b.zarr"), mode="r")["x"][...].tolist() == [0, 1, 2]
            shutil.rmtree("b.zarr")
            run("rm", "named.h5")
            fails(["it fails here"], site(folder), f"import h5lake\n{failing}\n{code}", **env, **settings_of(HDF5_VOL_CONNECTOR=connector))
            assert not Path("named.h5").exists(), (connector, only, settings)


def check_the_error_of_a_file_names_the_object(folder):
    container()
    # Raises the error that zarr-python raises when the disk is full.
    full = """
import errno, zarr
def put(self, part, value): raise OSError(errno.ENOSPC, "No space left on device")
zarr.Array.__setitem__ = put
try: h5lake.export_zarr("a.h5", "a.zarr")
except OSError as error: print(error.errno == errno.ENOSPC, error)
"""
    said = call(folder, full)
    assert said.startswith("True") and "/a/gzip: No space left" in said and not Path("a.zarr").exists(), said


def check_the_tool(folder):
    container()
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([os.environ["TOOL"], "export", "--zarr", "a.h5", "tool.zarr"], env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 2 and "/sequences" in done.stdout, done
    run("import", "--zarr", "tool.zarr", "tool.h5", **env)
    with h5py.File("tool.h5", "r") as f, h5py.File("a.h5", "r") as g:
        is_same(f["a/gzip"][...], g["a/gzip"][...], "gzip")
    assert "something is there" in run("export", "--zarr", "a.h5", "tool.zarr", code=1, **env)


if __name__ == "__main__":
    main(globals())
