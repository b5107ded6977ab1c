"""Attributes in copies between containers and Zarr: either the values are equal, or the path is in the list of
omitted objects."""
# store: any
# requires: zarr.txt
# only: h5lake
# needs: tool

import os
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from zarr_missing import call  # noqa: E402


def exported(version, name="a.h5"):
    """Exports to a version of Zarr. Returns what is left out, and the copy."""
    left = dict(eval(call(Path.cwd(), f"print(h5lake.export_zarr({name!r}, 'a{version}.zarr', format={version}))")))
    return left, zarr.open_group(zarr.storage.LocalStore(f"a{version}.zarr"), mode="r")


def check_attributes_that_zarr_cannot_have(folder):
    with h5py.File("a.h5", "w") as f:
        f["x"] = 1
        pair = np.dtype([("a", "i4"), ("b", "f8")])
        times = h5py.opaque_dtype(np.dtype("M8[s]"))
        f["x"].attrs.update({"pair": np.array((1, 2.0), pair), "pairs": np.array([(1, 2.0)], pair), "opaque": np.array([b"ab"], "V2"),
                             "complex": 1j, "complexes": np.array([1j]), "reference": f.ref, "nothing": h5py.Empty("f4")})
        for name, dtype in (("times", times), ("spans", h5py.opaque_dtype(np.dtype("m8[ns]")))):
            f["x"].attrs.create(name, np.array([1, 2], dtype.str), dtype=dtype)
            f["x"].attrs.create(name[:-1], np.array(1, dtype.str), dtype=dtype)
        for name, text in (("blob", b"\xff"), ("text", b"\xff")):
            f["x"].attrs.create(name, text, dtype=h5py.string_dtype("utf-8" if name == "text" else "ascii"))
        wrong, kept = set(f["x"].attrs), {"n": 2**64 - 1, "list": [1, 2], "nan": float("nan"), "yes": True, "words": ["a", "ä"], "f4": 0.5}
        f["x"].attrs.update({"n": np.uint64(2**64 - 1), "list": [1, 2], "nan": np.nan, "yes": True, "words": ["a", "ä"], "f4": np.float32(0.5)})
    for version in (2, 3):
        left, group = exported(version)
        assert {path.split("@")[1] for path in left} == wrong, set(left) ^ wrong
        np.testing.assert_equal(dict(group["x"].attrs), kept)


def check_attributes_that_hdf5_would_take_for_its_own(folder):
    # HDF5 reads each of these attributes into a buffer of the size of its own form.
    texts = [f"text {n}" for n in range(500)]
    for version in (2, 3):
        root = zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="w", zarr_format=version, attributes={"DIMENSION_LABELS": texts, "CLASS": "mine"})

        def array(name, dimensions, **attributes):
            named = {"dimension_names": dimensions} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": dimensions}}
            made = root.create_array(name, data=np.ones((3, 2)[: len(dimensions)]), **(named if dimensions[0] else {}))
            made.attrs.update(attributes)

        array("x", ["x"], CLASS="mine", NAME="mine", REFERENCE_LIST=texts)
        array("labels", ["x", "band"], DIMENSION_LABELS=texts)
        array("text", ["row", "band"], DIMENSION_LABELS="mine", DIMENSION_LIST=[1, 2])
        array("nameless", [None, None], DIMENSION_LABELS=["a", "b"], CLASS="mine", NAME="mine")
        array("classes", ["x", "band"], CLASS=texts, NAME=7)
        array("image", ["x", "band"], CLASS="IMAGE", NAME="mine")
        left = dict(eval(call(folder, f"print(h5lake.import_zarr('a.zarr', 'b{version}.h5'))")))
        wanted = {"x": ["CLASS", "NAME", "REFERENCE_LIST"], "labels": ["DIMENSION_LABELS"], "text": ["DIMENSION_LABELS", "DIMENSION_LIST"],
                  "nameless": ["DIMENSION_LABELS"], "classes": ["CLASS", "NAME"], "image": ["CLASS"]}
        assert set(left) == {f"/{name}@{attribute}" for name, attributes in wanted.items() for attribute in attributes}, left
        with h5py.File(f"b{version}.h5", "r") as f:
            for name in ("labels", "classes", "image"):
                assert f[name].dims[0][0].name == "/x" and f[name].dims[1].label == "band", name
            assert [d.label for d in f["text"].dims] == ["row", "band"] and f["x"].is_scale and f["x"].attrs["NAME"] == b"x"
            assert f["nameless"].attrs["CLASS"] == f["nameless"].attrs["NAME"] == f["image"].attrs["NAME"] == "mine"
            assert f.attrs["DIMENSION_LABELS"].tolist() == texts and f.attrs["CLASS"] == "mine"


def check_what_h5py_has_no_conversion_for_is_listed(folder):
    # h5py needs the byte order in the tag, and raises the same error as for damage: OSError.
    times = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    times.set_tag(b"NUMPY:datetime64[s]")
    with h5py.File("a.h5", "w") as f:
        f["x"] = [1, 2]
        for name in (b"times", b"_FillValue", b"DIMENSION_LABELS"):
            h5py.h5a.create(f["x"].id, name, times, h5py.h5s.create_simple((1,)))
        h5py.h5a.create(f.id, b"times", times, h5py.h5s.create_simple((1,)))
        h5py.h5d.create(f.id, b"data", times, h5py.h5s.create_simple((1,)))
    for version in (2, 3):
        left, group = exported(version)
        assert set(left) == {"/@times", "/x@times", "/x@_FillValue", "/x@DIMENSION_LABELS", "/data"}, left
        assert "conversion" in left["/x@times"] and "conversion" in left["/data"] and group["x"][...].tolist() == [1, 2], left


#: Prints how exports to both versions of Zarr fail.
FAILS = """
def fails():
    for version in (2, 3):
        try: print("left out", h5lake.export_zarr("a.h5", "f.zarr", format=version))
        except Exception as error: print(type(error).__name__, error)
"""


def check_damaged_attributes_end_a_copy(folder):
    if "store=" in os.environ["HDF5_VOL_CONNECTOR"]:
        return
    value = np.random.default_rng(5).integers(0, 255, 40_000).astype("u1")
    for owner, name in (("/x", "big"), ("/x", "_FillValue"), ("/x", "DIMENSION_LABELS"), ("/g", "big"), ("/", "big")):
        with h5py.File("a.h5", "w") as f:
            f["x"] = [1, 2]
            f.create_group("g")
            f[owner].attrs[name] = value
        with open("a.h5", "r+b") as file:
            whole = file.read()
            file.seek(whole.index(value.tobytes()[:64]) + 100)
            file.write(b"damage")
        lines = call(folder, f"{FAILS}fails()").splitlines()
        assert len(lines) == 2 and not Path("f.zarr").exists(), lines
        for said in lines:
            assert said.startswith("OSError") and f" {owner}" in said and "checksum" in said and said.count(f"{name}: ") <= 1, said


def check_a_store_that_fails_ends_a_copy(folder):
    with h5py.File("a.h5", "w") as f:
        f["x"], f["y"] = np.arange(3), np.arange(3)
        f["x"].make_scale("x")
        f["y"].dims[0].attach_scale(f["x"])
        f["y"].attrs["units"] = "K"
    # Raises the error that h5py makes of an error of h5lake. Its class depends on the operation of HDF5.
    code = """
import h5py
def failing(kind, where, real):
    def fails(self, key, *rest):
        if where(key): raise kind("Unable to synchronously open (h5lake: s3://b/a: the store did not answer, errno = 110)")
        return real(self, key, *rest)
    return fails
places = (h5py.AttributeManager, lambda key: key == "units"), (h5py.Group, lambda key: isinstance(key, h5py.Reference)), (h5py.Group, lambda key: key == "y")
for of, where in places:
    real = of.__getitem__
    for kind in (OSError, RuntimeError, KeyError, ValueError):
        of.__getitem__ = failing(kind, where, real)
        fails()
    of.__getitem__ = real
"""
    lines = call(folder, f"{FAILS}{code}").splitlines()
    assert len(lines) == 3 * 4 * 2 and not Path("f.zarr").exists(), lines
    for said in lines:
        assert said.startswith(("OSError /y", "RuntimeError /y")) and "errno = 110" in said, said


def check_attributes_with_which_hdf5_marks_scales(folder):
    of_16 = h5py.h5t.C_S1.copy()
    of_16.set_size(16)
    with h5py.File("a.h5", "w") as f:
        for name, count in (("one", ()), ("many", (500,))):
            f[name] = np.arange(2)
            made = h5py.h5a.create(f[name].id, b"CLASS", of_16, h5py.h5s.create_simple(count) if count else h5py.h5s.create(h5py.h5s.SCALAR))
            made.write(np.full(count, b"DIMENSION_SCALE", "S16"), mtype=of_16)
        f["listed"] = np.ones((2, 2))
        f["listed"].attrs["DIMENSION_LIST"] = np.arange(64.0)
    for version in (2, 3):
        left, group = exported(version)
        assert set(left) == {"/listed@DIMENSION_LIST"}, left
        assert "CLASS" not in group["one"].attrs and group["many"].attrs["CLASS"] == ["DIMENSION_SCALE"] * 500


def check_integers_of_attributes(folder):
    kept = {"big": [3, 2**64 - 1], "low": [-(2**63), 2**63 - 1], "nested": [[1, 2], [3, 2**63]], "mixed": [1, 2.5], "flags": [True, False], "one": 2**64 - 1,
            "half": [2**53, 0.5], "words": ["a", "b"], "empty": []}
    wrong = {"both": [-1, 2**63], "huge": [2**64], "lost": [2**60 + 1, 0.5], "deep": [[1.5], [2**63 + 1]], "none": [1, None], "object": {"a": 1},
             "ragged": [[1], [2, 3]], "words and numbers": ["a", 1], "one huge": 2**70, "a\0b": 1, "": 1}
    zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="w", zarr_format=3, attributes={**kept, **wrong})
    left = dict(eval(call(folder, "print(h5lake.import_zarr('a.zarr', 'b.h5'))")))
    assert set(left) == {f"/@{name}" for name in wrong}, left
    with h5py.File("b.h5", "r") as f:
        assert {name: np.asarray(value).tolist() for name, value in f.attrs.items()} == kept
        assert f.attrs["big"].dtype == "u8" and f.attrs["low"].dtype == "i8" and f.attrs["nested"].dtype == "u8"


if __name__ == "__main__":
    main(globals())
