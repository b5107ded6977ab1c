"""Branches: h5py, the tool and the Python module write beside the main line. A merge takes over all changes of the
branch, or refuses and takes over none."""
# only: h5lake
# needs: tool

import json
import os
import signal
import subprocess
import sys

os.environ["HDF5_VOL_CONNECTOR"] = os.environ.get("BRANCHES_CONNECTOR", os.environ["HDF5_VOL_CONNECTOR"])

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, raises, same  # noqa: E402
from tool import run  # noqa: E402

NAME = "a.h5"
FIX = f"{NAME}@branch=fix"
DATA = np.arange(4000, dtype="i4").reshape(40, 100)


def make(name=NAME):
    """Creates a container with typical content, and a branch of it."""
    with h5py.File(name, "w") as f:
        f.create_dataset("x", data=DATA, chunks=(10, 100), compression="gzip", maxshape=(None, 100))
        f.create_dataset("plain", data=DATA)
        f["g/below/deep"] = 1
        f["names"] = np.array(["a", "bc", "def"], object)
        f["x"].attrs["unit"] = "K"
        f["link"] = h5py.SoftLink("/x")
    run("branch", name, "fix")


def change(f):
    """Makes the changes of the branch."""
    f["x"][5:15] = -1
    f["x"].attrs["unit"] = "mK"
    f["plain"][3] = 7
    f["new/group/data"] = np.arange(5.0)
    f["names"][1] = "changed in the branch"
    f["more names"] = np.array(["x" * 5000, "y"], object)
    f["points"] = f["new"].ref
    del f["g/below"]
    f.move("link", "moved")


def is_changed(f):
    same(f["x"][5:15], -np.ones((10, 100), "i4"))
    same(f["x"][:5], DATA[:5])
    assert f["x"].attrs["unit"] == "mK"
    same(f["plain"][3], np.full(100, 7, "i4"))
    same(f["new/group/data"][...], np.arange(5.0))
    assert list(f["names"].asstr()) == ["a", "changed in the branch", "def"]
    assert list(f["more names"].asstr()) == ["x" * 5000, "y"]
    assert f[f["points"][()]].name == "/new" and f["moved"] == f["x"]
    assert "below" not in f["g"] and "link" not in f


def is_unchanged(f):
    same(f["x"][...], DATA)
    same(f["plain"][...], DATA)
    assert f["x"].attrs["unit"] == "K" and f["g/below/deep"][()] == 1
    assert list(f["names"].asstr()) == ["a", "bc", "def"]
    assert "new" not in f and "moved" not in f and "link" in f


def listed():
    return {branch["branch"]: branch["commits"] for branch in json.loads(run("branch", "--json", NAME))}


def check_a_branch_is_written_read_compared_and_merged(folder):
    make()
    with h5py.File(FIX, "r+") as f:
        change(f)
        is_changed(f)
    for _ in range(2):
        with h5py.File(NAME) as f, h5py.File(FIX) as g:
            is_unchanged(f)
            is_changed(g)
        assert listed()["fix"] >= 1
        # The branch keeps data that the main line overwrites.
        with h5py.File(NAME, "r+") as f:
            for n in range(5):
                f["plain"][...] = n
                f.flush()
            f["plain"][...] = DATA
            f["theirs"] = 1
            del f["theirs"]
        run("vacuum", NAME)
    assert "/plain" in run("diff", NAME, FIX, code=2)
    assert "new" in run("ls", FIX) and "new" not in run("ls", NAME)
    with h5py.File(NAME, "r+") as f:
        f["plain"][20] = 3
        f["x"][14:16] = DATA[14:16] + 0
        f["g"].attrs["theirs"] = 1
    run("verify", NAME)
    run("branch", "--merge", NAME, "fix")
    with h5py.File(NAME) as f:
        is_changed(f)
        same(f["plain"][20], np.full(100, 3, "i4"))
        assert f["g"].attrs["theirs"] == 1
    assert listed() == {} and json.loads(run("tag", "--json", NAME)) == []
    run("verify", NAME)
    raises(OSError, h5py.File, FIX)


def check_a_conflict_is_told_and_nothing_is_merged(folder):
    make()
    with h5py.File(FIX, "r+") as f:
        change(f)
    with h5py.File(NAME, "r+") as f:
        f["x"][6, 50] = 12345
        f["x"].attrs["unit"] = "C"
    told = run("branch", "--merge", NAME, "fix", code=1)
    for text in ("/x", "'unit'", "in the main line too", "Nothing is merged", "'fix' stays"):
        assert text in told, told
    with h5py.File(NAME) as f:
        assert f["x"][6, 50] == 12345 and f["x"].attrs["unit"] == "C" and "new" not in f
    with h5py.File(FIX) as f:
        is_changed(f)
    # After the conflict is resolved in the branch, it can be merged: if both lines write the same bytes, there is no
    # conflict.
    with h5py.File(FIX, "r+") as f:
        f["x"][6, 50] = 12345
        f["x"].attrs["unit"] = "C"
    run("branch", "--merge", NAME, "fix")
    with h5py.File(NAME) as f:
        assert f["x"][6, 50] == 12345 and f["x"][6, 51] == -1
    run("verify", NAME)


def conflicts(branch, main, *words):
    """Changes both lines; the merge then names the conflict and says how to resolve it."""
    run("branch", NAME, "fix")
    with h5py.File(FIX, "r+") as f:
        branch(f)
    with h5py.File(NAME, "r+") as f:
        main(f)
    told = run("branch", "--merge", NAME, "fix", code=1)
    assert all(word in told for word in ("in the main line too", "Nothing is merged", "merge again", *words)), told


def settled(change):
    """Resolves the conflict in the branch, and merges."""
    with h5py.File(FIX, "r+") as f:
        change(f)
    run("branch", "--merge", NAME, "fix")
    run("verify", NAME)
    return h5py.File(NAME)


def check_conflicts_are_settled_in_the_branch(folder):
    make()
    run("branch", "--delete", NAME, "fix")

    # Variable-length elements: the same content in both lines is no conflict.
    def text(f, *texts):
        for n, text in enumerate(texts):
            f["names"][n] = text
    conflicts(lambda f: text(f, "ours"), lambda f: text(f, "theirs", "theirs too"), "/names, 1 of the elements 0 to 0",
              "write in the branch what the main line has", "H5LAKE_CONFLICT=last")
    with settled(lambda f: text(f, "theirs")) as f:
        assert list(f["names"].asstr()) == ["theirs", "theirs too", "def"]

    # Sequences, and an attribute of strings.
    with h5py.File(NAME, "r+") as f:
        f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))[0] = [1]
    def rows(f, row):
        f["ragged"][1] = row
        f["ragged"].attrs["rows"] = [str(row)]
    conflicts(lambda f: rows(f, [2, 3]), lambda f: rows(f, [4, 5, 6]), "/ragged, 1 of the elements", "attribute 'rows'")
    with settled(lambda f: rows(f, [4, 5, 6])) as f:
        assert [list(row) for row in f["ragged"]] == [[1], [4, 5, 6], []] and f["ragged"].attrs["rows"][0] == "[4, 5, 6]"

    # A link gets another name.
    conflicts(lambda f: f.__setitem__("made", 1), lambda f: f.__setitem__("made", 2), "link 'made'", "give it another name in the branch")
    with settled(lambda f: f.move("made", "made in the branch")) as f:
        assert f["made"][()] == 2 and f["made in the branch"][()] == 1

    # Dimensions are set to those of the main line.
    conflicts(lambda f: f["x"].resize(60, 0), lambda f: f["x"].resize(50, 0), "/x, its dimensions ([40, 100] to [50, 100])",
              "set the dimensions that the main line has")
    with settled(lambda f: f["x"].resize(50, 0)) as f:
        assert f["x"].shape == (50, 100)

    # The main line deleted the object, so the branch deletes it, too.
    conflicts(lambda f: f["g/below"].attrs.__setitem__("ours", 1), lambda f: f.__delitem__("g/below"), "/g/below, which was deleted",
              "delete it in the branch, too")
    def keep_elsewhere(f):
        f.copy("g/below", "kept")
        del f["g/below"]
    with settled(keep_elsewhere) as f:
        assert "below" not in f["g"] and f["kept"].attrs["ours"] == 1 and f["kept/deep"][()] == 1


def check_a_branch_that_is_to_count_overrules_the_main_line(folder):
    make()
    with h5py.File(FIX, "r+") as f:
        f["x"][0] = f["x"].attrs["unit"] = -7
        f["names"][0] = "ours"
        del f["g"]
        f["x"].resize(20, 0)
    with h5py.File(NAME, "r+") as f:
        f["x"][:2] = f["x"].attrs["unit"] = -8
        f["names"][:2] = "theirs"
        f["g/below/more"] = 1
        f["x"][30] = 9
    # The setting overrides a deletion, too, and either everything is merged or nothing.
    assert "which this batch deletes" in run("branch", "--merge", NAME, "fix", code=1)
    assert "Nothing is merged" in run("branch", "--merge", NAME, "fix", code=1, H5LAKE_CONFLICT="merge")
    run("branch", "--merge", NAME, "fix", H5LAKE_CONFLICT="last")
    with h5py.File(NAME) as f:
        assert f["x"].shape == (20, 100) and (f["x"][0] == -7).all() and (f["x"][1] == -8).all() and f["x"].attrs["unit"] == -7
        assert list(f["names"].asstr()) == ["ours", "theirs", "def"] and "g" not in f
    run("verify", NAME)


def check_info_says_which_branch_it_shows(folder):
    make()
    with h5py.File(FIX, "r+") as f:
        f["more"] = 1
    told, plain = run("info", FIX), run("info", NAME)
    assert "branch" in told and "fix, which began with version" in told and "began with" not in plain, told
    said = json.loads(run("info", "--json", FIX))
    assert said["branch"]["branch"] == "fix" and said["branch"]["commits"] == 1, said
    assert json.loads(run("info", "--json", NAME))["branch"] is None


def check_several_branches_and_the_main_line_are_written_at_once(folder):
    make()
    run("branch", NAME, "other")
    many = {"HDF5_VOL_CONNECTOR": os.environ["HDF5_VOL_CONNECTOR"] + " writers=many"}
    code = """
import h5py, sys
name, row = sys.argv[1], int(sys.argv[2])
with h5py.File(name, "r+") as f:
    for n in range(10):
        f["x"][row, n] = -n
        f[f"by {row}/{n}"] = [f"text {n}"]
        f.flush()
"""
    names = [NAME, FIX, f"{NAME}@branch=other"]
    jobs = [subprocess.Popen([sys.executable, "-c", code, name, str(n)], env={**os.environ, **many})
            for n, name in enumerate(names)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    for branch in ("other", "fix"):
        run("branch", "--merge", NAME, branch)
    with h5py.File(NAME) as f:
        for row in range(3):
            same(f["x"][row, :10], -np.arange(10, dtype="i4"))
            assert [f[f"by {row}/{n}"].asstr()[0] for n in range(10)] == [f"text {n}" for n in range(10)]
    run("verify", NAME)


def check_a_killed_writer_leaves_whole_commits(folder):
    make()
    code = """
import h5py, sys
with h5py.File(sys.argv[1], "r+") as f:
    for n in range(10000):
        f["plain"][...] = n
        f["x"][...] = n
        f.flush()
        print(n, flush=True)
"""
    for _ in range(3):
        job = subprocess.Popen([sys.executable, "-c", code, FIX], stdout=subprocess.PIPE, text=True)
        for _ in range(5):
            job.stdout.readline()
        job.send_signal(signal.SIGKILL)
        job.wait()
        with h5py.File(FIX) as f, h5py.File(NAME) as g:
            n = f["plain"][0, 0]
            assert n >= 4 and (f["plain"][...] == n).all() and (f["x"][...] == n).all()
            is_unchanged(g)
    run("verify", NAME)
    run("branch", "--merge", NAME, "fix")
    with h5py.File(NAME) as f:
        assert (f["plain"][...] == f["x"][...]).all()


def check_old_versions_deletion_and_bad_names(folder):
    make()
    with h5py.File(NAME, "r+") as f:
        f["plain"][...] = 0
    with h5py.File(FIX, "r+") as f:
        change(f)
    run("branch", "--delete", NAME, "fix")
    run("verify", NAME)
    raises(OSError, h5py.File, FIX)
    raises(OSError, h5py.File, FIX, "r+")
    assert "there is no branch 'fix', nor any other" in run("ls", FIX, code=1)
    run("branch", NAME, "again")
    assert "exists already" in run("branch", NAME, "again", code=1)
    assert "no name of a branch" in run("branch", NAME, "a b", code=1)
    assert "delete the branch" in run("tag", "--delete", NAME, "branch-again", code=1)
    raises(OSError, h5py.File, f"{NAME}@branch=again", "w")
    assert "names one version" in run("branch", f"{NAME}@v=1", "again", "--merge", code=1)
    assert "merge it" in run("restore", f"{NAME}@branch=again", code=1)
    assert "no version of its own" in run("tag", f"{NAME}@branch=again", "kept", code=1)
    if "store=" not in os.environ["HDF5_VOL_CONNECTOR"]:
        assert "merge it first" in run("publish", f"{NAME}@branch=again", "--kerchunk", "refs.json", code=1)
        run("copy", "--quiet", f"{NAME}@branch=again", "copied.h5")
        run("diff", NAME, "copied.h5")
        assert json.loads(run("branch", "--json", "copied.h5")) == []
        assert "copy it anew" in run("copy", "--update", f"{NAME}@branch=again", "copied.h5", code=1)


if __name__ == "__main__":
    main(globals())
