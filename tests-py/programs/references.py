"""Object references, dimension scales and committed types."""

import h5py
import numpy as np
from cases import main, raises, same


def write_objects(f):
    d = f.create_dataset("a/data", data=np.arange(4))
    f.create_group("g")
    refs = f.create_dataset("refs", (3,), h5py.ref_dtype)
    refs[0], refs[1] = d.ref, f["g"].ref
    f.attrs["ref"] = d.ref
    f.attrs["refs"] = np.array([f["g"].ref, d.ref], dtype=h5py.ref_dtype)
    assert f[d.ref] == d and bool(d.ref)


def read_objects(f):
    refs = f["refs"][:]
    assert f[refs[0]] == f["a/data"] and f[refs[1]] == f["g"] and not refs[2]
    assert f[refs[0]].name == "/a/data" and f[refs[0]][3] == 3
    assert f[f.attrs["ref"]] == f["a/data"] and f[f.attrs["refs"][0]] == f["g"]
    raises(ValueError, lambda: f[refs[2]])


def write_scales(f):
    d = f.create_dataset("temperature", data=np.random.default_rng(1).random((3, 5)))
    for name, size in (("time", 3), ("height", 5)):
        f[name] = np.arange(size) * 1.5
        f[name].make_scale(name)
    d.dims[0].attach_scale(f["time"])
    d.dims[1].attach_scale(f["height"])
    d.dims[0].label, d.dims[1].label = "t", "z"
    f["other"] = np.arange(5)
    f["other"].make_scale("other")
    d.dims[1].attach_scale(f["other"])
    d.dims[1].detach_scale(f["other"])


def read_scales(f):
    d = f["temperature"]
    assert [dim.label for dim in d.dims] == ["t", "z"] and f["time"].is_scale and not d.is_scale
    assert d.dims[0][0] == f["time"] and d.dims[0]["time"][2] == 3.0
    assert list(d.dims[1].keys()) == ["height"] and len(d.dims[1]) == 1


COMMITTED = np.dtype([("x", "f4"), ("y", "f4")])


def write_committed(f):
    f["point"] = COMMITTED
    f["point"].attrs["unit"] = "m"
    f.create_dataset("d", (5,), dtype=f["point"])[2] = (1, 2)
    f["d"].attrs.create("origin", np.array((3, 4), COMMITTED), dtype=f["point"])
    f["colour"] = h5py.enum_dtype({"R": 0, "G": 1})
    f["alias"] = f["point"]


def read_committed(f):
    assert isinstance(f["point"], h5py.Datatype) and f["point"].dtype == COMMITTED
    assert f["point"].attrs["unit"] == "m" and f["alias"] == f["point"]
    assert f["d"].id.get_type().committed() and f["d"][2].tolist() == (1, 2)
    assert f["d"].attrs["origin"].tolist() == (3, 4)
    assert h5py.check_enum_dtype(f["colour"].dtype) == {"R": 0, "G": 1}
    assert f.get("point", getclass=True) is h5py.Datatype


def write_regions(f):
    d = f.create_dataset("d", data=np.arange(100).reshape(10, 10))
    f.attrs["region"] = d.regionref[2:4, 5:8]


def read_regions(f):
    region = f.attrs["region"]
    assert f[region] == f["d"]
    same(f["d"][region], np.arange(100).reshape(10, 10)[2:4, 5:8])


def write_beside_native(f):
    # A native file is open in the same process, and neither file affects the other.
    f["ours"] = np.arange(5)
    with h5py.File("beside", "w", driver="core", backing_store=False) as native:
        native["theirs"] = np.arange(7)
        f["ours"][0] = 9
        assert list(native) == ["theirs"] and list(f) == ["ours"]
        native.flush()
    assert f["ours"][0] == 9 and f.id.valid


def read_beside_native(f):
    assert f["ours"][:].tolist() == [9, 1, 2, 3, 4]


def write_region_of_growing(f):
    d = f.create_dataset("grows", data=np.arange(6), chunks=(4,), maxshape=(None,))
    null = f.create_dataset("null", data=h5py.Empty("i4"))
    f.create_dataset("regions", data=[d.regionref[1:3], null.regionref[...]], dtype=h5py.regionref_dtype)


def read_region_of_growing(f):
    """A region's dataspace has the dataset's limits too."""
    space = h5py.h5r.get_region(f["regions"][0], f.id)
    assert space.get_simple_extent_dims(True) == (h5py.h5s.UNLIMITED,)
    assert f["grows"][f["regions"][0]].tolist() == [1, 2]
    assert h5py.h5r.get_region(f["regions"][1], f.id).get_simple_extent_type() == h5py.h5s.NULL


# Region references beside variable-length data. (tests-c/programs/copied_refs.c checks their content. h5py crashes
# there.)
BESIDE = np.dtype([("name", h5py.string_dtype()), ("region", h5py.regionref_dtype), ("n", "<i4"),
                   ("object", h5py.ref_dtype), ("tail", h5py.vlen_dtype("<i2"))])
PAIRS = np.dtype([("pair", BESIDE, (2,)), ("last", h5py.regionref_dtype)])


def row(f, name, n):
    return name, f["grid"].regionref[n:n + 2, 1:3], n, f["grid"].ref, np.arange(n, dtype="<i2")


def same_row(f, got, name, n):
    assert (got["name"].decode(), got["n"], got["tail"].tolist()) == (name, n, list(range(n))), got
    region = got["region"]
    assert f[region][region].tolist() == [[5 * n + 1, 5 * n + 2], [5 * n + 6, 5 * n + 7]]
    assert f[got["object"]] == f["grid"]


def write_regions_beside_sequences(f):
    f["grid"] = np.arange(30).reshape(6, 5)
    for name, kw in (("whole", {}), ("chunked", {"chunks": (2,), "maxshape": (None,), "compression": "gzip"})):
        d = f.create_dataset(name, (5,), BESIDE, **kw)
        for n in range(3):
            d[n] = row(f, f"row {n}", n)
        d[1] = row(f, "other", 3)
        d[3] = ("null", None, 0, None, np.zeros(0, "<i2"))
    d = f.create_dataset("pairs", (2,), PAIRS)
    pair = np.zeros(1, PAIRS)
    pair["pair"][0] = [row(f, "left", 1), row(f, "right", 2)]
    pair["last"][0] = f["grid"].regionref[5]
    d[1] = pair[0]
    f["grid"].attrs.create("beside", np.array(row(f, "attribute", 2), BESIDE), dtype=BESIDE)
    f.flush()
    read_regions_beside_sequences(f)


def read_regions_beside_sequences(f):
    for d in (f["whole"], f["chunked"]):
        for at, (text, n) in {0: ("row 0", 0), 1: ("other", 3), 2: ("row 2", 2)}.items():
            same_row(f, d[at], text, n)
            same_row(f, d[...][at], text, n)
        for at, name in ((3, b"null"), (4, b"")):
            assert d[at]["name"] == name and not d[at]["region"] and not d[at]["object"]
        # Single members.
        region = d["region"][2]
        assert f[region][region].tolist() == [[11, 12], [16, 17]]
        assert d["name"].tolist() == [b"row 0", b"other", b"row 2", b"null", b""]
    pair = f["pairs"][1]
    same_row(f, pair["pair"][0], "left", 1)
    same_row(f, pair["pair"][1], "right", 2)
    assert f[pair["last"]][pair["last"]].tolist() == [[25, 26, 27, 28, 29]]
    same_row(f, f["grid"].attrs["beside"], "attribute", 2)


def check_copies_of_regions_beside_sequences(_):
    """Copies within a file lead to the same objects as the originals, also after the originals were deleted."""
    with h5py.File("copied.h5", "w") as f:
        write_regions_beside_sequences(f)
        for name in ("whole", "pairs"):
            f.copy(name, f, f"{name} again")
            del f[name]
    with h5py.File("copied.h5", "r") as f:
        same_row(f, f["whole again"][2], "row 2", 2)
        same_row(f, f["pairs again"][1]["pair"][1], "right", 2)


main(globals())
