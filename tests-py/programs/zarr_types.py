"""Element types in copies between containers and Zarr: either the values are equal, or the path is in the list of
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
from zarr_views import is_same  # noqa: E402

#: Compounds by name, and the versions of Zarr that support them.
COMPOUNDS = {"little": ([("a", "<i4"), ("b", "<f8")], (2, 3)), "big": ([("id", ">i4"), ("ra", ">f8")], (2, 3)),
             "mixed": ([("a", "<u2"), ("b", ">f4"), ("c", "S3"), ("d", ">c16")], (2, 3)), "bytes": ([("a", "u1"), ("b", "S3")], (2, 3)),
             "nested": ([("a", [("b", ">i4"), ("c", [("d", ">f8")])]), ("e", "<i2")], (3,)),
             "array": ([("a", "<i4", (2,)), ("b", "<f8")], ()), "bigarray": ([("a", ">i4", (2,))], ()),
             "deep": ([("a", [("b", ">i4", (2, 2))])], ())}


def elements(dtype, count=3):
    """Returns elements with different values in all members, in the byte order of their type."""
    data, n = np.zeros(count, dtype), iter(range(1, 100))

    def fill(part):
        for name in part.dtype.names or ():
            fill(part[name]) if part[name].dtype.names else part[name].__setitem__(..., next(n))

    for one in range(count):
        fill(data[one : one + 1])
    return data


def exported(version, name="a.h5"):
    """Exports to a version of Zarr. Returns what is left out, and the copy."""
    left = dict(eval(call(Path.cwd(), f"print(h5lake.export_zarr({name!r}, 'a{version}.zarr', format={version}))")))
    return left, zarr.open_group(zarr.storage.LocalStore(f"a{version}.zarr"), mode="r")


def check_compounds(folder):
    with h5py.File("a.h5", "w") as f:
        for name, (members, _) in COMPOUNDS.items():
            f[f"g/{name}"] = elements(np.dtype(members))
            f.create_dataset(f"filled/{name}", (5,), np.dtype(members), chunks=(2,), fillvalue=elements(np.dtype(members), 1)[0])[1] = elements(np.dtype(members))[1]
        f["g/last"] = 1
    for version in (2, 3):
        left, group = exported(version)
        with h5py.File("a.h5", "r") as f:
            for name, (_, versions) in COMPOUNDS.items():
                for path in (f"g/{name}", f"filled/{name}"):
                    if version in versions:
                        is_same(group[path][...], f[path][...], (version, path))
                    else:
                        assert path not in group and "member" in left[f"/{path}"], (version, path, left)
        # zarr-python lists no member of a group in which one array cannot be read.
        kept = {name for name, (_, versions) in COMPOUNDS.items() if version in versions}
        assert {name for name, _ in group["g"].members()} == kept | {"last"}, version
        assert set(left) == {f"/{place}/{name}" for place in ("g", "filled") for name in set(COMPOUNDS) - kept} | (
            {f"/filled/{name} (fill value)" for name in kept} if version == 2 else set()), left
        call(folder, f"h5lake.import_zarr('a{version}.zarr', 'b{version}.h5')")
        with h5py.File("a.h5", "r") as f, h5py.File(f"b{version}.h5", "r") as g:
            for name in kept:
                is_same(g[f"g/{name}"][...], f[f"g/{name}"][...], name)


def check_an_array_that_cannot_be_read_is_removed(folder):
    with h5py.File("a.h5", "w") as f:
        f["g/nested"], f["g/x"] = elements(np.dtype(COMPOUNDS["nested"][0])), [1, 2]
    # Exports as if the reason were not detected before.
    code = "from h5lake import _zarr_types\n_zarr_types._compound = lambda dtype, format, path: dtype\nprint(h5lake.export_zarr('a.h5', 'a.zarr', format=2))"
    left = dict(eval(call(folder, code)))
    assert set(left) == {"/g/nested"}, left
    assert {name for name, _ in zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="r")["g"].members()} == {"x"}


def check_plain_types_in_both_orders(folder):
    kinds = ["i1", "u1", "<i2", ">i2", "<u4", ">i8", "<f2", ">f4", "<f8", ">c16", "<c8", "?", "S3", "V3"]
    with h5py.File("a.h5", "w") as f:
        for kind in kinds:
            f[kind.replace("<", "l").replace(">", "b")] = np.array([b"a", b"bc"], kind) if kind[0] in "SV" else np.array([0, 1, 3]).astype(kind)
        for kind in ("<M8[s]", ">M8[s]", "<m8[ns]", ">m8[ns]"):
            f[kind.replace("<", "l").replace(">", "b")] = np.array([0, 1, 3]).astype(kind).astype(h5py.opaque_dtype(np.dtype(kind)))
    for version in (2, 3):
        left, group = exported(version)
        assert not left, left
        with h5py.File("a.h5", "r") as f:
            for name in f:
                is_same(group[name][...], f[name][...], name)


def check_arrays_as_elements(folder):
    with h5py.File("a.h5", "w") as f:
        for name, count, chunk in (("vectors", (5,), None), ("grid", (4, 3), (2, 3))):
            for order in "<>":
                of = h5py.h5t.array_create(h5py.h5t.py_create(np.dtype(f"{order}i4")), (2, 3))
                plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                if chunk:
                    plist.set_chunk(chunk)
                made = h5py.h5d.create(f.id, f"{name}{'big' * (order == '>')}".encode(), of, h5py.h5s.create_simple(count), plist)
                data = np.arange(np.prod(count) * 6, dtype=f"{order}i4").reshape(*count, 2, 3)
                made.write(h5py.h5s.ALL, h5py.h5s.ALL, data, of)
        f["x"] = np.arange(5.0)
        f["x"].make_scale("x")
        f["vectors"].dims[0].attach_scale(f["x"])
        f["grid"].attrs["_FillValue"] = np.int32(7)
    for version in (2, 3):
        left, group = exported(version)
        assert not left, left
        with h5py.File("a.h5", "r") as f:
            for name in f:
                is_same(group[name][...], f[name][...], name)
        names = group["vectors"].attrs["_ARRAY_DIMENSIONS"] if version == 2 else group["vectors"].metadata.dimension_names
        assert names[0] == "x" and len(set(names)) == 3 and group["grid"].chunks == (2, 3, 2, 3), names


if __name__ == "__main__":
    main(globals())
