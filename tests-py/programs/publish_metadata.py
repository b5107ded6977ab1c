"""The published references for fill values of every type, for attributes that only look like HDF5's own, and for
labels."""
# requires: zarr.txt
# only: h5lake
# schemes: file,s3
# needs: tool

import json
import os
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import hdf5_path, main  # noqa: E402
from zarr_views import is_same, opened, publish  # noqa: E402

NAME = "a.h5"
#: Numbers of missing chunks' elements: MANY are not copied, so that the fill value has to define them.
MANY, FEW = 3_000_000, 40


def filled(file, name, of, count, set_fill):
    """Creates a dataset of an HDF5 type with missing chunks. `set_fill` sets the fill value in its property list."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((max(10, count // 10),))
    set_fill(plist)
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), of, h5py.h5s.create_simple((count,)), plist))


def check_fill_values_of_every_type(folder):
    time = lambda dtype: h5py.opaque_dtype(np.dtype(dtype))  # noqa: E731
    kinds = {"complex": (np.dtype("c16"), 1 + 2j), "big": (np.dtype(">c8"), complex(-np.inf, 2)), "nan": (np.dtype("c16"), complex(np.nan, 1)),
             "time": (time("<M8[ns]"), np.datetime64(5, "ns")), "bigtime": (time(">M8[s]"), np.datetime64(7, "s")),
             "span": (time("<m8[s]"), np.timedelta64(-3, "s")), "float": (np.dtype("f8"), -1.5)}
    with h5py.File(NAME, "w") as f:
        for count in (FEW, MANY):
            for kind, (dtype, fill) in kinds.items():
                value = np.array(fill, dtype)
                made = filled(f, f"{kind}{count}", h5py.h5t.py_create(dtype, logical=True), count, lambda plist: plist.set_fill_value(value))
                made[:5] = np.zeros(5, dtype)
    told = publish(NAME)
    assert told["left_out"] == [], told["left_out"]
    documents = {key: value for key, value in json.loads(Path("refs.json").read_text())["refs"].items() if key.endswith(".zarray")}
    said = {key.split("/")[0]: json.loads(value)["fill_value"] for key, value in documents.items()}
    assert said[f"complex{MANY}"] == [1, 2] and said[f"big{MANY}"] == ["-Infinity", 2] and said[f"nan{MANY}"] == ["NaN", 1]
    assert (said[f"time{MANY}"], said[f"bigtime{MANY}"], said[f"span{MANY}"]) == (5, 7, -3)
    # With consolidated metadata, one invalid document would make the whole group unreadable.
    group = opened()
    with h5py.File(NAME, "r") as f:
        for name in f:
            for part in (slice(0, 8), slice(-8, None)):
                is_same(group[name][part], f[name][part], name)


def check_fill_values_of_arrays(folder):
    pair = h5py.h5t.array_create(h5py.h5t.STD_I32LE, (2,))
    with h5py.File(NAME, "w") as f:
        for count in (FEW, MANY):
            for name, fill in (("equal", [7, 7]), ("unequal", [1, 2])):
                value = np.array(fill, "<i4")
                filled(f, f"{name}{count}", pair, count, lambda plist: set_fill(plist, pair, value))[0] = np.array([3, 4], "i4")
    told = publish(NAME)
    [left] = told["left_out"]
    assert left["path"] == f"/unequal{MANY}" and "several" in left["reason"], left
    group = opened()
    with h5py.File(NAME, "r") as f:
        for name in group:
            for part in (slice(0, 8), slice(-8, None)):
                is_same(group[name][part], f[name][part], name)
        assert f[f"unequal{FEW}"][-1].tolist() == [1, 2] and sorted(group) == sorted(set(f) - {f"unequal{MANY}"})


def check_fill_values_of_texts(folder):
    """Missing chunks are copied, up to a limit. The codec supports their fill value, too."""
    with h5py.File(NAME, "w") as f:
        for name, count, fill in (("few", FEW, "none"), ("many", MANY, "none"), ("empty", MANY, ""), ("long", 1_000, "x" * 50_000), ("bytes", FEW, b"\xff\xfe")):
            f.create_dataset(name, (count,), h5py.string_dtype(), chunks=(max(10, count // 10),), fillvalue=fill)[0] = "a"
        full = f.create_dataset("full", (FEW,), h5py.string_dtype(), chunks=(10,), fillvalue=b"\xff")
        full[...] = ["a"] * FEW
    told = publish(NAME)
    left = {entry["path"]: entry["reason"] for entry in told["left_out"]}
    assert set(left) == {"/many", "/long"} and all("too many are missing" in reason for reason in left.values()), left
    documents = json.loads(Path("refs.json").read_text())["refs"]
    codecs = {name: json.loads(documents[f"{name}/.zarray"])["filters"][0]["id"] for name in ("few", "empty", "bytes", "full")}
    assert codecs == {"few": "vlen-utf8", "empty": "vlen-utf8", "bytes": "vlen-bytes", "full": "vlen-utf8"}, codecs
    assert not [key for key in documents if key.startswith("empty/") and key.split("/")[1] not in ("0", ".zarray", ".zattrs")]
    group = opened()
    assert sorted(group) == ["bytes", "empty", "few", "full"]
    assert group["few"][...].tolist() == ["a"] + ["none"] * (FEW - 1) and group["full"][...].tolist() == ["a"] * FEW
    assert group["bytes"][...].tolist() == [b"a"] + [b"\xff\xfe"] * (FEW - 1)
    assert group["empty"][:8].tolist() == ["a"] + [""] * 7 and group["empty"][-8:].tolist() == [""] * 8


def set_fill(plist, of, data):
    """Sets a fill value of an array type, which h5py cannot do, by a call of the libhdf5 that h5py has loaded."""
    import ctypes

    hdf5 = ctypes.CDLL(hdf5_path())
    hdf5.H5Pset_fill_value.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    assert hdf5.H5Pset_fill_value(plist.id, of.id, data.ctypes.data) >= 0


def check_attributes_that_are_the_users(folder):
    mine = {"NAME": "n", "CLASS": "IMAGE", "DIMENSION_LABELS": "mine"}
    with h5py.File(NAME, "w") as f:
        f["x"], f["image"] = np.arange(4.0), np.ones((4, 3))
        f["x"].make_scale("x")
        for object in (f, f.create_group("g"), f["image"]):
            object.attrs.update(mine)
        f["g"].attrs["CLASS"] = "DIMENSION_SCALE"
    assert publish(NAME)["left_out"] == []
    group = opened()
    assert dict(group.attrs) == mine and dict(group["g"].attrs) == {**mine, "CLASS": "DIMENSION_SCALE"}
    shown = dict(group["image"].attrs)
    assert shown.pop("_ARRAY_DIMENSIONS") and shown == mine
    assert dict(group["x"].attrs) == {"_ARRAY_DIMENSIONS": ["x"]}


def check_labels_of_dimensions(folder):
    with h5py.File(NAME, "w") as f:
        f["x"], f["scalar"] = np.arange(4.0), 1
        f["x"].make_scale("x")
        for name, shape, labels in (("a", (4, 3), ("", "band")), ("b", (4, 5), ("rows", "band")), ("c", (4, 3), ("scalar", "band"))):
            f[name] = np.ones(shape)
            for n, label in enumerate(labels):
                if label:
                    f[name].dims[n].label = label
        f["a"].dims[0].attach_scale(f["x"])
        f["d"] = np.ones((4, 3))
        f["d"].dims[0].attach_scale(f["x"])
        f["d"].dims[0].label = "other"
    told = publish(NAME)
    left = {entry["path"]: entry["reason"] for entry in told["left_out"]}
    assert set(left) == {"/b@DIMENSION_LABELS", "/c@DIMENSION_LABELS", "/d@DIMENSION_LABELS"}, left
    group = opened()
    named = {name: group[name].attrs["_ARRAY_DIMENSIONS"] for name in "abcd"}
    assert named["a"] == ["x", "band"] and named["b"][0] == "rows" and named["c"][1] == "band" and named["d"][0] == "x", named
    assert named["b"][1].startswith("phony") and named["c"][0].startswith("phony")
    import xarray

    with xarray.open_dataset("refs.json", engine="kerchunk", storage_options={"remote_options": {}}) as got:
        assert got.a.dims == ("x", "band")


if __name__ == "__main__":
    main(globals())
