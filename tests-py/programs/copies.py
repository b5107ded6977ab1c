"""Copies that take along what references and external links lead to, and containers as native files in memory. Every case
does what native HDF5 does, whether a connector is chosen or not."""

import os
from pathlib import Path

import h5py
import numpy as np
from cases import main, raises, same

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# An explicit driver asks for a native file.
KINDS = {"own": {}, "native": {"driver": "stdio"}}


def fill(f):
    """Objects that refer to each other, in datasets and attributes, by object and by region."""
    f["away/grid"] = np.arange(20).reshape(4, 5)
    f.create_dataset("set/refs", data=[f["away/grid"].ref, f["away"].ref], dtype=h5py.ref_dtype)
    f.create_dataset("set/regions", data=[f["away/grid"].regionref[1:3, 2:4]], dtype=h5py.regionref_dtype)
    f["set"].attrs["ref"] = f["away/grid"].ref
    pair = np.dtype([("name", "S3"), ("ref", h5py.ref_dtype)])
    f.create_dataset("set/pairs", data=np.array([(b"one", f["away/grid"].ref), (b"two", None)], dtype=pair))


def check_references_are_expanded(_):
    """Into files of both kinds and from both."""
    for one, how in KINDS.items():
        for other, to_how in KINDS.items():
            with h5py.File(f"{one}_from.h5", "w", **how) as f, h5py.File(f"{other}_to.h5", "w", **to_how) as to:
                fill(f)
                f.copy("set/refs", to, "refs", expand_refs=True)
                same(to[to["refs"][0]][...], np.arange(20).reshape(4, 5))
                assert list(to[to["refs"][1]]) == ["grid"]
                assert [n for n in to if n.startswith("~obj_pointed_by_")], list(to)
                f.copy("set/regions", to, "regions", expand_refs=True)
                region = to["regions"][0]
                same(to[region][region], [[7, 8], [12, 13]])
                group = to.create_group("group")
                f.copy("set", group, "set", expand_refs=True)
                same(to[group["set"].attrs["ref"]][...], np.arange(20).reshape(4, 5))
                # Without being asked for: null.
                f.copy("set/refs", to, "nulls")
                assert not to["nulls"][0]
            with h5py.File(f"{other}_to.h5", "r", **to_how) as to:
                same(to[to["refs"][0]][...], np.arange(20).reshape(4, 5))


def check_external_links_are_expanded(_):
    with h5py.File("target.h5", "w") as f:
        f["deep/x"] = np.arange(7)
        f["deep"].attrs["a"] = 5
    with h5py.File("links.h5", "w") as f:
        f["g/out"] = h5py.ExternalLink("target.h5", "/deep")
        f["g/gone"] = h5py.ExternalLink("nowhere.h5", "/x")
        f["g/own"] = 1
        f.copy("g", "all", expand_external=True)
        assert f["all"].get("out", getlink=True, getclass=True) is h5py.HardLink
        assert f["all/out"].attrs["a"] == 5 and f["all/own"][()] == 1
        assert f["all"].get("gone", getlink=True, getclass=True) is h5py.ExternalLink
        f.copy("g", "links")
        assert f["links"].get("out", getlink=True, getclass=True) is h5py.ExternalLink
    os.remove("target.h5")
    with h5py.File("links.h5") as f:
        same(f["all/out/x"][:], np.arange(7))


def check_images(_):
    with h5py.File("imaged.h5", "w", track_order=True) as f:
        fill(f)
        itself = f.create_dataset("itself", (2,), h5py.ref_dtype)
        itself[1] = itself.ref
        f["link"] = h5py.SoftLink("/set")
        f["again"] = f["set"]
        f["words"] = ["one", "", "dreißig"]
        f.create_dataset("packed", data=np.arange(600).reshape(60, 10), chunks=(7, 3), compression="gzip", maxshape=(None, 10))
        f.attrs["title"] = "text"
        f.flush()
        image = f.id.get_file_image()
    assert image[:8] == SIGNATURE
    with h5py.File.in_memory(image) as f:
        assert f.attrs["title"] == "text" and list(f) == ["away", "set", "itself", "link", "again", "words", "packed"]
        assert f["again"] == f["set"] and f["link"] == f["set"]
        assert f[f["set/refs"][0]] == f["away/grid"] and f[f["set"].attrs["ref"]] == f["away/grid"]
        assert f["words"].asstr()[:].tolist() == ["one", "", "dreißig"]
        assert f[f["itself"][1]] == f["itself"] and not f["itself"][0]
        region = f["set/regions"][0]
        same(f[region][region], [[7, 8], [12, 13]])
        same(f["packed"][...], np.arange(600).reshape(60, 10))
        assert f["packed"].chunks == (7, 3) and f["packed"].maxshape == (None, 10)


def check_core_over_a_file(_):
    """What is changed in memory alone is forgotten."""
    with h5py.File("kept.h5", "w") as f:
        fill(f)
    before = Path("kept.h5").read_bytes()
    for mode in ("r+", "a"):
        with h5py.File("kept.h5", mode, driver="core", backing_store=False) as f:
            assert f[f["set/refs"][0]] == f["away/grid"]
            f["more"] = 1
            f["away/grid"][0] = -1
            f.flush()
            assert list(f) == ["away", "more", "set"]
    assert Path("kept.h5").read_bytes() == before
    with h5py.File("kept.h5", "r", driver="core", backing_store=False) as f:
        assert list(f) == ["away", "set"] and f["away/grid"][0, 0] == 0


def check_create_over_an_open_file(_):
    """Neither kind of file is replaced while it is open."""
    for name, how in KINDS.items():
        name = f"{name}_open.h5"
        with h5py.File(name, "w", **how) as f:
            f["x"] = 1
        for mode in ("r+", "r"):
            with h5py.File(name, mode) as f:
                error = raises(OSError, h5py.File, name, "w")
                assert "already open" in str(error), error
                assert f["x"][()] == 1
        with h5py.File(name, "w") as f:
            assert list(f) == []


main(globals())
