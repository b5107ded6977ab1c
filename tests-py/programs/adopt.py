"""The tool's commands adopt and materialize: containers that refer to the raw data of native files. They show the
same content as native HDF5, also after changes. The native files are not modified. If a native file changes,
reading from it is an error that names the file."""
# store: any
# only: h5lake
# needs: tool
# requires: filters.txt

import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import native_kinds  # noqa: E402
import numpy as np  # noqa: E402
from cases import main  # noqa: E402
from tool import natively, run  # noqa: E402
from web_server import Server  # noqa: E402

OLD = (1_700_000_000, 1_700_000_000)
native = functools.partial(natively, "native_kinds")


def make(name, seed=1, **more):
    """Creates a native file with an old modification time."""
    native("fill", name, seed, **more)
    os.utime(name, OLD)
    return Path(name).read_bytes()


def differences(name, wanted):
    found = json.loads(json.dumps(native_kinds.seen(name)))
    return [(key, wanted.get(key), found.get(key)) for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]


def fails(call, *words):
    """Checks that a call fails because its source has changed, and that the error contains all the words."""
    try:
        got = call()
    except OSError as error:
        text = str(error)
        assert all(word in text for word in words), text
        return
    raise AssertionError(f"no error: {got!r}")


def check_random_files(_):
    for seed in range(6):
        block, libver = 512 * (seed % 3 == 1), ["earliest", "latest"][seed % 2]
        name, there = f"native-{seed}.h5", f"there-{seed}.h5"
        before = make(name, seed, block=block, libver=libver)
        wanted = native("seen", name)
        said = json.loads(run("adopt", name, there, "--json"))
        assert said["chunks"] > 10 and said["datasets"] > 2 and said["referenced_bytes"] > 1_000_000, said
        reasons = {one["path"]: one["reason"] for one in said["copied"]}
        assert "variable-length" in reasons.get("/texts", reasons.get("/hard")) and "variable-length" in reasons["/references"], reasons
        assert not differences(there, wanted), (seed, differences(there, wanted)[:2])
        assert Path(there).stat().st_size < len(before) / 4, (Path(there).stat().st_size, len(before))
        run("verify", there)
        assert Path(name).read_bytes() == before
        assert not list(Path().glob(".h5lake*")), list(Path().glob(".h5lake*"))


def check_changes_stay_in_the_container(_):
    before = make("native.h5")
    run("adopt", "native.h5", "run.h5")
    with h5py.File("run.h5") as f:
        wide, long = f["wide"][()], f["long"][()]
    with h5py.File("run.h5", "a") as f:
        # Writes a part of a chunk, whole chunks, a part of a segment, and a range across two segments.
        f["wide"][5:7, 10:20] = wide[5:7, 10:20] = -1
        f["wide"][100:200, :300] = wide[100:200, :300] = -2
        f["long"][1, 100:105] = long[1, 100:105] = -3
        f["long"][0, 69_000:] = long[0, 69_000:] = -4
        f["long"].attrs["unit"] = "m"
        f["new"] = np.arange(1000)
        f.flush()
        assert (f["wide"][()] == wide).all() and (f["long"][()] == long).all()
    with h5py.File("run.h5") as f:
        assert (f["wide"][()] == wide).all() and (f["long"][()] == long).all()
        assert f["long"].attrs["unit"] == "m" and f["new"][999] == 999
    run("verify", "run.h5")
    with h5py.File("run.h5", "a") as f:
        del f["wide"]
    run("vacuum", "run.h5")
    with h5py.File("run.h5") as f:
        assert "wide" not in f and (f["long"][()] == long).all()
    assert Path("native.h5").read_bytes() == before


def check_datasets_grow_and_shrink(_):
    code = """
import h5py, numpy as np
with h5py.File("native.h5", "w") as f:
    f.create_dataset("x", data=np.arange(1000), chunks=(300,), maxshape=(None,), compression="gzip", fillvalue=9)
    f.create_dataset("y", data=np.arange(1000), chunks=(300,), maxshape=(None,))
"""
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ, HDF5_VOL_CONNECTOR="native"), check=True)
    os.utime("native.h5", OLD)
    run("adopt", "native.h5", "run.h5")
    for name, more in (("x", 9), ("y", 0)):
        with h5py.File("run.h5", "a") as f:
            f[name].resize(1100, 0)
            assert (f[name][()] == [*range(1000), *[more] * 100]).all()
            f[name].resize(650, 0)
            f[name].resize(900, 0)
            wanted = [*range(650), *[more] * 250]
            assert (f[name][()] == wanted).all()
            f[name][899] = wanted[899] = 5
        with h5py.File("run.h5") as f:
            assert (f[name][()] == wanted).all()
    run("verify", "run.h5")


def check_versions_and_publications(_):
    make("native.h5")
    run("adopt", "native.h5", "run.h5", H5LAKE_RETENTION="7d")
    with h5py.File("run.h5") as f:
        first = f["wide"][()]
    version = json.loads(run("versions", "run.h5", "--json"))["versions"][0]["number"]
    run("tag", "run.h5", "first")
    with h5py.File("run.h5", "a") as f:
        f["wide"][...] = 3
    with h5py.File("run.h5@tag=first") as f:
        assert (f["wide"][()] == first).all()
    run("restore", "run.h5", "--version", version)
    with h5py.File("run.h5") as f:
        assert (f["wide"][()] == first).all()
    run("publish", "run.h5", "--kerchunk", "refs.json")
    references = json.loads(Path("refs.json").read_text())["refs"]
    url, offset, length = references["wide/0.0"]
    source = Path("native.h5").resolve()
    assert url == f"file://{source}", url
    with h5py.File("run.h5") as f:
        assert source.read_bytes()[offset:offset + length] == f["wide"].id.read_direct_chunk((0, 0))[1]


def changed(name, how):
    path = Path(name)
    data = bytearray(path.read_bytes())
    if how == "content":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        os.truncate(path, len(data) - 10)
        os.utime(path, OLD)
    elif how == "longer":
        path.write_bytes(data + b"more")
        os.utime(path, OLD)
    elif how == "replaced":
        path.unlink()
        path.write_bytes(data)
    elif how == "deleted":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path)


def check_a_source_that_changed(folder):
    for n, how in enumerate(["content", "cut", "longer", "replaced", "deleted", "a folder", "a pipe"]):
        place = folder / str(n)
        place.mkdir()
        os.chdir(place)
        make("native.h5")
        run("adopt", "native.h5", "run.h5")
        changed("native.h5", how)
        with h5py.File("run.h5") as f:
            for name in ("wide", "long"):
                fails(lambda f=f, name=name: f[name][()], "native.h5", *(["errno = 116"] if n < 4 else []))
            assert f.attrs["title"] == "of random kinds" and f["texts"][1] == b"b"
        said = run("verify", "run.h5", code=2)
        assert "native.h5" in said, said
        assert "native.h5" in run("materialize", "run.h5", code=1)
        # Data that has been overwritten does not need the native file.
        with h5py.File("run.h5", "a") as f:
            f["wide"][:, :600] = np.full((900, 600), 4)
        with h5py.File("run.h5") as f:
            assert (f["wide"][:, :600] == 4).all()
            fails(lambda f=f: f["long"][()], "native.h5")
    os.chdir(folder)


def check_parts_that_were_written_over_need_no_source(_):
    """Parts of small blocks and chunks too, which the cache would otherwise read completely."""
    code = """
import h5py, numpy as np
with h5py.File("native.h5", "w") as f:
    f["c"] = np.arange(1000)
    f.create_dataset("k", data=np.arange(100), chunks=(10,))
"""
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ, HDF5_VOL_CONNECTOR="native"), check=True)
    os.utime("native.h5", OLD)
    run("adopt", "native.h5", "run.h5")
    with h5py.File("run.h5", "r+") as f:
        f["c"][:10] = -1
        f["k"][10:15] = -1
    os.utime("native.h5", (1_700_000_001, 1_700_000_001))
    for mode in ("r", "r+"):
        with h5py.File("run.h5", mode) as f:
            for _ in range(2):
                assert (f["c"][:10] == -1).all() and (f["k"][10:15] == -1).all()
                for name, part in (("c", slice(5, 15)), ("k", slice(14, 16))):
                    fails(lambda f=f, name=name, part=part: f[name][part], "native.h5", "errno = 116")
    with h5py.File("run.h5", "r+") as f:
        f["c"][8:12] = 7
        assert (f["c"][8:12] == 7).all()
        f.flush()
        assert f["c"][:12].tolist() == [-1] * 8 + [7] * 4
    # An error names the container once, and the block by its dataset and its coordinates.
    said = run("cat", "run.h5", "/c", code=1)
    assert said.startswith("h5lake: run.h5: /c: unable to read block [0] of object 0x") and said.count("run.h5") == 1, said


def check_a_source_that_changes_while_it_is_open(_):
    data = make("native.h5")
    run("adopt", "native.h5", "run.h5")
    with h5py.File("run.h5") as f:
        wanted = f["long"][1]
        with open("native.h5", "r+b") as raw:
            raw.seek(len(data) // 2)
            raw.write(b"changed")
        fails(lambda: f["long"][2], "native.h5", "errno = 116")
        fails(lambda: f["wide"][()], "native.h5", "errno = 116")
    Path("native.h5").write_bytes(data)
    os.utime("native.h5", OLD)
    with h5py.File("run.h5") as f:
        assert (f["long"][1] == wanted).all()
        # Another file takes the name. A process that has the old file open continues to read the old file.
        os.rename("native.h5", "native-old.h5")
        Path("native.h5").write_bytes(b"another")
        assert (f["long"][1] == wanted).all()
    with h5py.File("run.h5") as f:
        fails(lambda: f["long"][1], "native.h5", "errno = 116")


def check_checksums(_):
    data = bytearray(make("native.h5"))
    said = json.loads(run("adopt", "--checksums", "native.h5", "run.h5", "--json"))
    assert said["checksums"]
    wanted = native("seen", "native.h5")
    assert not differences("run.h5", wanted)
    with h5py.File("run.h5") as f:
        place = data.find(f["long"][1, 40_000:40_010].tobytes())
    assert place > 0
    data[place] ^= 1
    Path("native.h5").write_bytes(data)
    os.utime("native.h5", OLD)
    with h5py.File("run.h5") as f:
        fails(lambda: f["long"][1, 40_000:40_010], "native.h5", "checksum")
        assert f["wide"].shape == (900, 700) and f["wide"][0, 0] >= 0
    said = run("verify", "run.h5", code=2)
    assert "checksum" in said, said


def check_materialize(_):
    make("native.h5", block=512)
    run("adopt", "native.h5", "run.h5")
    wanted = native("seen", "native.h5")
    # The external link in the container still needs its file.
    told = json.loads(run("materialize", "--dry-run", "run.h5", "--json", code=2))["sources"]
    assert [one["source"] for one in told] == [str(Path("native.h5").resolve())] and told[0]["bytes"] > 1_000_000, told
    assert str(Path("native.h5").resolve()) in run("materialize", "-n", "run.h5", code=2)
    size = Path("run.h5").stat().st_size
    done = json.loads(run("materialize", "run.h5", "--json", code=2))
    assert done["bytes"] == told[0]["bytes"] and Path("run.h5").stat().st_size > size + 1_000_000, done
    os.remove("native.h5")
    assert not differences("run.h5", wanted), differences("run.h5", wanted)[:2]
    for more in ([], ["-n"]):
        said = run("materialize", *more, "run.h5", code=2)
        assert "nothing is by reference" in said and "  other.h5: 1 external links" in said, said
    with h5py.File("run.h5", "a") as f:
        del f["external"]
    assert "refers to no other file" in run("materialize", "run.h5") and "refers to no" in run("materialize", "-n", "run.h5")
    run("verify", "--newest", "run.h5")


def check_materialize_names_branches_and_tags_that_need_the_source(_):
    code = """
import h5py, numpy as np
with h5py.File("native.h5", "w") as f:
    f.create_dataset("x", data=np.arange(9000), chunks=(3000,))
"""
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ, HDF5_VOL_CONNECTOR="native"), check=True)
    os.utime("native.h5", OLD)
    run("adopt", "native.h5", "run.h5")
    run("tag", "run.h5", "first")
    run("branch", "run.h5", "fix")
    with h5py.File("run.h5@branch=fix", "r+") as f:
        f["x"][5] = -1
    for more in (["-n"], []):
        said = run("materialize", *more, "run.h5", code=2)
        assert "refer to native files still" in said and "  branch fix\n  tag first" in said, said
    done = json.loads(run("materialize", "run.h5", "--json", code=2))
    assert done["needed"] == [] and done["held_by"] == [{"branch": "fix"}, {"tag": "first"}], done
    run("tag", "--delete", "run.h5", "first")
    run("branch", "--merge", "run.h5", "fix")
    run("materialize", "run.h5")
    os.remove("native.h5")
    assert "refers to no other file" in run("materialize", "run.h5")
    with h5py.File("run.h5") as f:
        assert (f["x"][()] == [*range(5), -1, *range(6, 9000)]).all()


def check_a_repair_tells_of_sources_that_are_away(_):
    make("native.h5")
    run("adopt", "native.h5", "run.h5")
    assert "nothing was lost" in run("repair", "run.h5", "whole.h5")
    os.rename("native.h5", "away.h5")
    said = run("repair", "run.h5", "repaired.h5", code=2)
    assert "native.h5" in said and "could not be looked at" in said and "nothing was lost\n" not in said, said
    told = json.loads(run("repair", "run.h5", "again.h5", "--json", code=2))
    assert not told["whole"] and len(told["sources"]) == 1 and "native.h5" in told["sources"][0], told
    os.rename("away.h5", "native.h5")
    for name in ("repaired.h5", "again.h5"):
        assert not differences(name, native("seen", "native.h5")), name
    run("verify", "repaired.h5")


def check_copies(folder):
    make("native.h5")
    run("adopt", "native.h5", "run.h5")
    wanted = native("seen", "native.h5")
    (folder / "deep").mkdir()
    # The references stay valid, wherever the copy is stored.
    run("copy", "run.h5", "deep/copy.h5")
    run("copy", "run.h5", f"file://{folder}/objects/copy.h5")
    run("repair", "run.h5", "deep/repaired.h5")
    for name in ("deep/copy.h5", "deep/repaired.h5", f"file://{folder}/objects/copy.h5"):
        assert not differences(name, wanted), name
        run("verify", name)
    assert Path("deep/copy.h5").stat().st_size < 2_000_000
    with h5py.File("run.h5", "a") as f:
        f["long"][0, :10] = 7
    run("copy", "--update", "run.h5", "deep/copy.h5")
    with h5py.File("deep/copy.h5") as f:
        assert (f["long"][0, :10] == 7).all() and f["long"][0, 10] != 7
    # H5Ocopy into another container copies the bytes.
    with h5py.File("run.h5") as f, h5py.File("other.h5", "w") as g:
        f.copy("wide", g)
        f.copy("long", g)
        wide = f["wide"][()]
    # Both files are moved together.
    os.mkdir("elsewhere")
    os.rename("native.h5", "elsewhere/native.h5")
    os.rename("run.h5", "elsewhere/run.h5")
    with h5py.File("elsewhere/run.h5") as f:
        assert (f["wide"][()] == wide).all()
    with h5py.File("other.h5") as f:
        assert (f["wide"][()] == wide).all() and (f["long"][0, :10] == 7).all()
    with h5py.File("deep/copy.h5") as f:
        fails(lambda: f["wide"][()], "native.h5")


def check_stores(folder):
    make("native.h5")
    wanted = native("seen", "native.h5")
    run("adopt", "native.h5", f"file://{folder}/objects/run.h5")
    assert not differences(f"file://{folder}/objects/run.h5", wanted)
    run("verify", f"file://{folder}/objects/run.h5")
    # A source that is an object of a store in a directory, named by its URL.
    run("adopt", f"file://{folder}/native.h5", "run.h5")
    assert not differences("run.h5", wanted)
    run("verify", "run.h5")
    os.utime("native.h5")
    with h5py.File("run.h5") as f:
        fails(lambda: f["wide"][()], "native.h5")
    run("adopt", f"file://{folder}/native.h5", "again.h5")
    run("materialize", "again.h5", code=2)
    os.remove("native.h5")
    assert not differences("again.h5", wanted)


def check_a_source_on_a_web_server(folder):
    (folder / "www").mkdir()
    data = make("www/native.h5")
    wanted = native("seen", "www/native.h5")
    with Server(folder / "www") as server:
        url = f"{server.url}/native.h5"
        more = {"HTTP_ALLOW_HTTP": "true", "H5LAKE_LINKS": "any"}
        os.environ["H5LAKE_LINKS"] = "any"
        said = json.loads(run("adopt", url, "run.h5", "--json", **more))
        assert said["chunks"] > 10
        server.take()
        assert not differences("run.h5", wanted)
        requests, _ = server.take()
        assert requests < 400, requests
        with h5py.File("run.h5") as f:
            f["x axis"][()]
            server.take()
            f["wide"][()]
            requests, length = server.take()
            assert requests <= 6 and length < 2_000_000, (requests, length)
        run("verify", "run.h5", **more)
        # The setting links= decides.
        assert "links=any" in run("materialize", "run.h5", code=1, HTTP_ALLOW_HTTP="true", H5LAKE_LINKS="local")
        with h5py.File("run.h5") as f:
            assert f["long"][0, 0] == f["long"][0, 0]
            (folder / "www/native.h5").write_bytes(data + b"x")
            fails(lambda: f["wide"][()], "native.h5", "errno = 116")
        (folder / "www/native.h5").write_bytes(data)
        run("adopt", url, "again.h5", **more)
        run("materialize", "again.h5", code=2, **more)
    os.environ.pop("H5LAKE_LINKS")
    assert not differences("again.h5", wanted)


def check_refusals(folder):
    before = make("native.h5")
    run("adopt", "native.h5", "run.h5")
    assert "something is there" in run("adopt", "native.h5", "run.h5", code=1)
    assert "container already" in run("adopt", "run.h5", "two.h5", code=1)
    assert "No such file" in run("adopt", "missing.h5", "two.h5", code=1)
    Path("text.h5").write_text("no HDF5")
    assert "no native HDF5 file" in run("adopt", "text.h5", "two.h5", code=1)
    env = dict(os.environ, HDF5_VOL_CONNECTOR="native")
    # A file that another process is writing.
    for swmr in ("False", "True"):
        hold = f"""
import h5py, sys
f = h5py.File("native-held.h5", "w", libver="latest")
f.create_dataset("x", (10,), "i4", chunks=(5,), maxshape=(None,))
if {swmr}:
    f.swmr_mode = True
f.flush()
print("held", flush=True)
sys.stdin.read()
"""
        holder = subprocess.Popen([sys.executable, "-c", hold], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "held\n"
        run("adopt", "native-held.h5", "two.h5", code=1)
        holder.communicate()
    assert not (folder / "two.h5").exists() and not list(folder.glob(".h5lake*"))
    assert Path("native.h5").read_bytes() == before


def check_a_file_that_was_just_written(_):
    native("fill", "native.h5", 1)
    begun = time.time()
    os.utime("native.h5")
    run("adopt", "native.h5", "run.h5")
    assert Path("native.h5").stat().st_mtime >= begun - 1
    wanted = native("seen", "native.h5")
    assert not differences("run.h5", wanted)
    assert time.time() - Path("native.h5").stat().st_mtime >= 2, "a change within a tick of the clock would not be seen"


def check_a_file_whose_time_lies_in_the_future(_):
    make("native.h5")
    later = time.time() + 86_400
    os.utime("native.h5", (later, later))
    run("adopt", "native.h5", "run.h5")
    assert not differences("run.h5", native("seen", "native.h5"))
    run("verify", "run.h5")
    # A file that changes all the time causes an error after a bounded wait.
    touch = "import os, time\nwhile True:\n    os.utime('native.h5')\n    time.sleep(0.2)"
    with subprocess.Popen([sys.executable, "-c", touch]) as toucher:
        try:
            said = run("adopt", "native.h5", "two.h5", code=1)
        finally:
            toucher.kill()
    assert "native.h5" in said and "again and again" in said and not Path("two.h5").exists(), said


def check_the_container_has_the_feature_bit(_):
    make("native.h5")
    run("adopt", "native.h5", "run.h5")
    head = Path("run.h5").read_bytes()[:64]
    assert int.from_bytes(head[20:24], "little") & 8, "the feature bit"
    assert hashlib.sha256(head).digest() != hashlib.sha256(Path("native.h5").read_bytes()[:64]).digest()


if __name__ == "__main__":
    main(globals())
