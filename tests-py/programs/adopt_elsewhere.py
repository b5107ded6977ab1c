"""Adopted native files with elements in other files: virtual datasets, external storage, and native files on S3."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, same  # noqa: E402
from s3_object import put  # noqa: E402
from tool import run  # noqa: E402

OLD = (1_700_000_000, 1_700_000_000)
DATA = np.arange(24, dtype="i4").reshape(4, 6)
VIRTUAL = """
import h5py, numpy as np, os, sys
folder, data = sys.argv[1], np.arange(24, dtype="i4").reshape(4, 6)
for n in range(3):
    with h5py.File(f"{folder}/native-part{n}.h5", "w") as f:
        f["x"] = data + 100 * n
with h5py.File(f"{folder}/native.h5", "w") as f:
    f["x"] = data
    f.create_dataset("chunked", data=data, chunks=(2, 3), compression="gzip")
    def virtual(name, *sources, dtype="i4", **more):
        layout = h5py.VirtualLayout((4 * len(sources), 6), dtype)
        for n, source in enumerate(sources):
            layout[4 * n:4 * n + 4] = h5py.VirtualSource(source, "x", (4, 6))
        f.create_virtual_dataset(name, layout, **more)
    virtual("own", ".", fillvalue=-1)
    virtual("beside", "native-part1.h5", ".", "missing.h5", fillvalue=-7)
    virtual("absolute", os.path.abspath(f"{folder}/native-part2.h5").replace("%", "%%"))
    part = h5py.VirtualLayout((2, 3), "f8")
    part[:] = h5py.VirtualSource("native-part2.h5", "x", (4, 6))[1:3, ::2]
    f.create_virtual_dataset("deep/part", part)
    space = h5py.h5s.create_simple((12, 6), (h5py.h5s.UNLIMITED, 6))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), stride=(4, 1), block=(4, 6))
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_virtual(space, b"native-part%b.h5", b"x", h5py.h5s.create_simple((4, 6)))
    h5py.h5d.create(f.id, b"numbered", h5py.h5t.STD_I32LE, space, dcpl=create)
    f["text"] = np.array(["a", "bb"], object)
    layout = h5py.VirtualLayout((2,), h5py.string_dtype())
    layout[:] = h5py.VirtualSource(".", "text", (2,))
    f.create_virtual_dataset("texts", layout)
"""
EXTERNAL = """
import h5py, numpy as np, sys
data, unlimited = np.arange(24, dtype="i4").reshape(4, 6), h5py.h5s.UNLIMITED
with h5py.File("native.h5", "w") as f:
    f.create_dataset("g/two", data=data, external=[("a.raw", 16, 30), ("b.raw", 0, 66)], fillvalue=9)
    f["g/two"].attrs["unit"] = "K"
    f.create_dataset("long", data=np.arange(700_000.), external=[("long.raw", 3, unlimited)])
    f.create_dataset("short", (10,), ">i2", external=[("short.raw", 0, unlimited)], fillvalue=5)
    f["short"][:4] = [1, 2, 3, 4]
    f.create_dataset("packed", data=data, chunks=(2, 3), compression="gzip")
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_external(b"grows.raw", 0, unlimited)
    space = h5py.h5s.create_simple((4, 6), (unlimited, 6))
    h5py.h5d.create(f.id, b"grows", h5py.h5t.STD_I32LE, space, dcpl=create)
    f["grows"][...] = data
"""
RAW = ["a.raw", "b.raw", "long.raw", "short.raw", "grows.raw"]


def natively(code, *arguments):
    env = dict(os.environ, HDF5_VOL_CONNECTOR="native")
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(call, *words):
    try:
        got = call()
    except OSError as error:
        assert all(word in str(error) for word in words), str(error)
        return
    raise AssertionError(f"no error: {got!r}")


def shows_virtual(f):
    same(f["own"][...], DATA)
    same(f["beside"][...], np.concatenate([DATA + 100, DATA, np.full((4, 6), -7, "i4")]))
    same(f["absolute"][...], DATA + 200)
    same(f["deep/part"][...], (DATA + 200.0)[1:3, ::2])
    same(f["numbered"][...], np.concatenate([DATA + 100 * n for n in range(3)]))
    assert f["numbered"].maxshape == (None, 6) and f["beside"].fillvalue == -7
    assert list(f["texts"].asstr()) == ["a", "bb"]


def files_of(f, name):
    return [source.file_name for source in f[name].virtual_sources()]


def check_virtual_datasets_stay_virtual_and_mean_the_same_files(folder):
    place = folder / "50%"
    (place / "deep").mkdir(parents=True)
    natively(VIRTUAL, str(place))
    for path in place.glob("*.h5"):
        os.utime(path, OLD)
    before = (place / "native.h5").read_bytes()
    beside, below, above, stored = place / "beside.h5", place / "deep/below.h5", folder / "above.h5", f"file://{folder}/objects/in.h5"
    for target, names in [
        (beside, ["native-part1.h5", ".", "missing.h5"]),
        (above, ["50%%/native-part1.h5", ".", "50%%/missing.h5"]),
        (below, [f"{folder}/50%%/native-part1.h5", ".", f"{folder}/50%%/missing.h5"]),
        (stored, [f"{folder}/50%%/native-part1.h5", ".", f"{folder}/50%%/missing.h5"]),
    ]:
        said = json.loads(run("adopt", place / "native.h5", target, "--json"))
        assert [one["path"] for one in said["copied"]] == ["/text"] and said["chunks"] == 4, said
        with h5py.File(target) as f:
            shows_virtual(f)
            assert files_of(f, "beside") == names, files_of(f, "beside")
            assert files_of(f, "absolute") == [f"{folder}/50%%/native-part2.h5"] and f["own"].is_virtual
        run("verify", target)
    # The container shows a change of the source, and also a change of the container's own dataset.
    with h5py.File(above, "a") as f:
        f["x"][0] = 55
        assert (f["own"][0] == 55).all() and (f["beside"][4] == 55).all() and (f["beside"][0] == DATA[0] + 100).all()
    assert (place / "native.h5").read_bytes() == before
    # Both files are moved together.
    shutil.move(folder / "50%", folder / "moved-50%")
    with h5py.File(folder / "moved-50%/beside.h5") as f:
        same(f["beside"][:8], np.concatenate([DATA + 100, DATA]))


LINKS = """
import h5py, sys
folder = sys.argv[1]
for name in ("native-90%.h5", "deep/native-two.h5", "native-far.h5"):
    with h5py.File(f"{folder}/{name}", "w") as f:
        f["x"] = name
with h5py.File(f"{folder}/native.h5", "w") as f:
    f["x"] = "own"
    f["g/beside"], f["deep"] = h5py.ExternalLink("native-90%.h5", "/x"), h5py.ExternalLink("deep/native-two.h5", "/x")
    f["absolute"], f["gone"] = h5py.ExternalLink(f"{folder}/native-far.h5", "/x"), h5py.ExternalLink("missing.h5", "/x")
"""


def check_external_links_lead_to_the_same_files(folder):
    place = folder / "50%"
    (place / "deep").mkdir(parents=True)
    natively(LINKS, str(place))
    os.utime(place / "native.h5", OLD)
    beside, below, above, stored = place / "beside.h5", place / "deep/below.h5", folder / "above.h5", f"file://{folder}/objects/in.h5"
    # The containers' own folders have different files with the same names, which must not be used.
    for decoy in (folder, place / "deep", folder / "deep"):
        decoy.mkdir(exist_ok=True)
        with h5py.File(decoy / "native-90%.h5", "w") as f:
            f["x"] = "decoy"
    natively("import h5py, sys\nwith h5py.File(sys.argv[1], 'w') as f: f['x'] = 'decoy'", str(folder / "deep/native-two.h5"))
    for target, names in [
        (beside, ["native-90%.h5", "deep/native-two.h5", "missing.h5"]),
        (above, ["50%/native-90%.h5", "50%/deep/native-two.h5", "50%/missing.h5"]),
        (below, [f"{place}/native-90%.h5", "native-two.h5", f"{place}/missing.h5"]),
        (stored, [f"{place}/native-90%.h5", f"{place}/deep/native-two.h5", f"{place}/missing.h5"]),
    ]:
        run("adopt", place / "native.h5", target)
        names.insert(2, f"{place}/native-far.h5")
        with h5py.File(target) as f:
            assert [f.get(link, getlink=True).filename for link in ("g/beside", "deep", "absolute", "gone")] == names, target
            found = [f[link].asstr()[()] for link in ("g/beside", "deep", "absolute")]
            assert found == ["native-90%.h5", "deep/native-two.h5", "native-far.h5"], (target, found)
        run("verify", target)
        for more in (["--dry-run"], []):
            said = run("materialize", *more, target, code=2)
            assert "refers to no other file" not in said and "needs no other file" not in said, said
            assert f"  {names[0]}: 1 external links" in said and "needs 4 other files" in said, said
            needed = json.loads(run("materialize", *more, "--json", target, code=2))["needed"]
            assert sorted(one["file"] for one in needed) == sorted(names) and {one["kind"] for one in needed} == {"link"}, needed
    # An import keeps the names of links, as it keeps those of virtual sources, because users import whole folders.
    run("import", place / "native.h5", folder / "imported.h5")
    with h5py.File(folder / "imported.h5") as f:
        assert f.get("g/beside", getlink=True).filename == "native-90%.h5"
    # A link may name its own container.
    with h5py.File("own.h5", "w") as f:
        f["x"], f["link"] = 1, h5py.ExternalLink("own.h5", "/x")
    assert "refers to no other file" in run("materialize", "own.h5")


def check_external_storage_is_referred_to(folder):
    natively(EXTERNAL)
    for name in ["native.h5", *RAW]:
        os.utime(name, OLD)
    before = {name: Path(name).read_bytes() for name in ["native.h5", *RAW]}
    said = json.loads(run("adopt", "native.h5", "run.h5", "--json"))
    assert {one["path"]: one["reason"] for one in said["copied"]} == {
        "/short": "external files that end before the elements do", "/grows": "external storage that can grow: the copy has chunks"}
    assert said["datasets"] == 2 and said["referenced_bytes"] > 5_600_000, said
    assert Path("run.h5").stat().st_size < 1_000_000
    with h5py.File("run.h5") as f:
        same(f["g/two"][...], DATA)
        same(f["long"][...], np.arange(700_000.))
        same(f["short"][...], np.array([1, 2, 3, 4, 0, 0, 0, 0, 0, 0], ">i2"))
        same(f["grows"][...], DATA)
        assert f["g/two"].external is None and f["g/two"].fillvalue == 9 and f["g/two"].attrs["unit"] == "K"
        assert f["g/two"].chunks is None and f["grows"].maxshape == (None, 6)
    run("verify", "run.h5")
    sources = json.loads(run("materialize", "--dry-run", "run.h5", "--json"))["sources"]
    assert {Path(one["source"]).name for one in sources} == {"native.h5", "a.raw", "b.raw", "long.raw"}, sources
    with h5py.File("run.h5", "a") as f:
        f["g/two"][1, 1] = -1
        f["long"][5:200_000] = 0
        f["grows"].resize(6, 0)
        f["grows"][5] = 1
    assert {name: Path(name).read_bytes() for name in before} == before
    # A file that changed is an error that names it, but only for reads that need its bytes.
    os.truncate("b.raw", 65)
    with h5py.File("run.h5") as f:
        fails(lambda: f["g/two"][...], "b.raw", "errno = 116")
        assert f["long"][300_000] == 300_000 and (f["grows"][5] == 1).all()
    assert "b.raw" in run("verify", "run.h5", code=2)
    Path("b.raw").write_bytes(before["b.raw"])
    os.utime("b.raw", OLD)
    run("materialize", "run.h5")
    for name in RAW:
        os.remove(name)
    with h5py.File("run.h5") as f:
        wanted = DATA.copy()
        wanted[1, 1] = -1
        same(f["g/two"][...], wanted)
        assert f["long"][4] == 4 and f["long"][5] == 0 and f["long"][-1] == 699_999


def check_external_files_are_looked_for_as_natively(folder):
    natively(EXTERNAL)
    (folder / "away").mkdir()
    os.chdir("away")
    told = run("adopt", "../native.h5", "run.h5", code=1)
    assert "/grows" in told and "grows.raw" in told and "HDF5_EXTFILE_PREFIX" in told and "${ORIGIN}" in told, told
    assert not list(Path().iterdir())
    for name in ["native.h5", *RAW]:
        os.utime(folder / name, OLD)
    run("adopt", "--checksums", "../native.h5", "run.h5", HDF5_EXTFILE_PREFIX="${ORIGIN}")
    with h5py.File("run.h5") as f:
        same(f["g/two"][...], DATA)
    run("verify", "run.h5")
    # An import leaves the files unchanged.
    os.chdir(folder)
    run("import", "native.h5", "imported.h5")
    assert Path("a.raw").stat().st_mtime == OLD[1]
    with h5py.File("imported.h5") as f:
        same(f["g/two"][...], DATA)
        assert f["g/two"].external[0][0] == "a.raw"


def check_files_that_stay_needed_are_named(_):
    natively(VIRTUAL, ".")
    os.utime("native.h5", OLD)
    run("adopt", "native.h5", "run.h5")
    part = {"kind": "virtual", "datasets": 1}
    for more in (["--dry-run"], []):
        said = run("materialize", *more, "run.h5", code=2)
        assert "refers to no other file" not in said and "needs no other file" not in said, said
        assert "  native-part1.h5: 1 virtual datasets" in said and "of which nothing is copied" in said, said
        needed = json.loads(run("materialize", *more, "--json", "run.h5", code=2))["needed"]
        assert part | {"file": "missing.h5"} in needed and not [one for one in needed if one["file"] == "."], needed
    with h5py.File("external.h5", "w") as f:
        f.create_dataset("x", (3,), "f8", external=[("raw.bin", 0, 24)])
    assert "raw.bin: 1 external datasets" in run("materialize", "external.h5", code=2)
    # A virtual dataset may name its own file.
    with h5py.File("own.h5", "w") as f:
        f["x"] = DATA
        layout = h5py.VirtualLayout((4, 6), "i4")
        layout[:] = h5py.VirtualSource("own.h5", "x", (4, 6))
        f.create_virtual_dataset("v", layout)
    assert "refers to no other file" in run("materialize", "own.h5")


def check_what_cannot_be_joined_or_reached_is_refused(folder):
    natively(EXTERNAL)
    natively(VIRTUAL, ".")
    shutil.copy("native.h5", "native-second.h5")
    told = run("adopt", "native.h5", "native-second.h5", "two.h5", "--concat", "/beside", code=1)
    assert "/beside" in told and "virtual layout" in told, told
    natively(EXTERNAL)
    shutil.copy("native.h5", "native-second.h5")
    told = run("adopt", "native.h5", "native-second.h5", "two.h5", "--stack", "/long", code=1)
    assert "/long" in told and "long.raw" in told, told
    # Names in a file that is in a store do not lead to local files.
    told = run("adopt", f"file://{folder}/native.h5", "two.h5", code=1)
    assert "external storage" in told and "raw" in told, told
    assert not Path("two.h5").exists() and not list(folder.glob(".h5lake*"))


def check_s3(folder):
    if not os.environ.get("AWS_ENDPOINT_URL"):
        return
    natively(VIRTUAL, ".")
    mine = f"s3://lake/adopt-{os.getpid()}"
    for name in ["native.h5", *(f"native-part{n}.h5" for n in range(3))]:
        put(f"{mine}/{name}", Path(name).read_bytes())
    # Adopts into the same bucket, and into a local file, for which the setting decides.
    run("adopt", f"{mine}/native.h5", f"{mine}/run.h5")
    run("adopt", f"{mine}/native.h5", "run.h5", H5LAKE_LINKS="any")
    for n in range(3):
        os.remove(f"native-part{n}.h5")
    for target in (f"{mine}/run.h5", "run.h5"):
        os.environ["H5LAKE_LINKS"] = "any" if target == "run.h5" else "store"
        with h5py.File(target) as f:
            same(f["chunked"][...], DATA)
            same(f["beside"][:8], np.concatenate([DATA + 100, DATA]))
            same(f["numbered"][...], np.concatenate([DATA + 100 * n for n in range(3)]))
    os.environ["H5LAKE_LINKS"] = "store"
    with h5py.File("run.h5") as f:
        fails(lambda: f["chunked"][...], "links=any")
    with h5py.File(f"{mine}/run.h5", "a") as f:
        f["chunked"][0] = 7
    run("verify", f"{mine}/run.h5")
    # A replaced object is an error that names it. Data that was written over it is still read.
    put(f"{mine}/native.h5", Path("native.h5").read_bytes() + b"more")
    with h5py.File(f"{mine}/run.h5") as f:
        fails(lambda: f["chunked"][2:], "native.h5", "errno = 116")
        assert (f["own"].shape, f["beside"].shape) == ((4, 6), (12, 6))
    assert "native.h5" in run("verify", f"{mine}/run.h5", code=2)
    put(f"{mine}/native.h5", Path("native.h5").read_bytes())
    run("adopt", f"{mine}/native.h5", f"{mine}/again.h5")
    # Its virtual and external datasets still need their own files.
    run("materialize", f"{mine}/again.h5", code=2)
    put(f"{mine}/native.h5", b"another")
    with h5py.File(f"{mine}/again.h5") as f:
        same(f["chunked"][...], DATA)


if __name__ == "__main__":
    main(globals())
