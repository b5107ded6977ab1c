"""Attributes in copies between containers and Zarr: the same values on both sides, or a path in the list."""
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
    """What is left out of a copy to a version of Zarr, and the copy."""
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
