"""Tagged versions: h5py, the tool and the Python module can open them as long as the tag exists, whatever is written
later."""
# store: any
# only: h5lake
# needs: tool

import json
import os
import signal
import subprocess
import sys
import time

os.environ["HDF5_VOL_CONNECTOR"] = os.environ.get("TAGS_CONNECTOR", "h5lake replace=any retention=0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, raises, same  # noqa: E402
from tool import run  # noqa: E402

NAME = "a.h5"
ROWS = 40


def grid(n):
    return np.random.default_rng(n).integers(0, 1 << 30, (ROWS, 1000), "i4")


def write(n, name=NAME, mode="r+"):
    """Writes a version that differs from all other ones."""
    with h5py.File(name, mode) as f:
        if "x" not in f:
            f.create_dataset("x", (ROWS, 1000), "i4", chunks=(10, 1000))
        f["x"][...] = grid(n)
        f.attrs["n"] = n
        f.create_group(f"g{n}")
        if f"g{n - 1}" in f:
            del f[f"g{n - 1}"]


def look(n, name=NAME):
    with h5py.File(name, "r") as f:
        assert f.attrs["n"] == n and list(f) == [f"g{n}", "x"], (n, dict(f.attrs), list(f))
        same(f["x"][...], grid(n))


def listed(name=NAME):
    return {tag["tag"]: tag["version"] for tag in json.loads(run("tag", "--json", name))}


def check_a_tag_keeps_its_version(folder):
    write(1, mode="w")
    write(2)
    made = json.loads(run("tag", "--json", NAME, "paper"))
    for n in range(3, 15):
        write(n)
    run("vacuum", NAME)
    for n in range(15, 20):
        write(n)
    for name in (f"{NAME}@tag=paper", f"{NAME}@v={made['version']}"):
        look(2, name)
    look(19)
    kept = {v["number"]: v["tags"] for v in json.loads(run("versions", "--json", NAME))["versions"]}
    assert kept[made["version"]] == ["paper"] and list(kept) == sorted(kept, reverse=True), kept
    assert "[paper]" in run("versions", NAME) and "paper" in run("info", NAME)
    assert run("verify", NAME) and json.loads(run("verify", "--json", NAME))["found"] == []


def check_every_command_opens_it(folder):
    write(1, mode="w")
    run("tag", NAME, "v1.0")
    for n in range(2, 6):
        write(n)
    old = f"{NAME}@tag=v1.0"
    assert "g1" in run("ls", old) and "g1" in run("tree", old) and "g5" not in run("ls", old)
    assert run("cat", old, "/", "--attribute", "n").strip() == "1"
    run("diff", old, NAME, code=2)
    run("copy", "--quiet", old, "copied.h5")
    run("diff", old, "copied.h5")
    assert listed("copied.h5") == {}, "a copy has one version"
    run("restore", "--quiet", old)
    look(1)
    look(1, old)
    raises(OSError, h5py.File, old, "r+")


def check_old_versions_are_tagged(folder):
    code = "import tags; [tags.write(n, mode='w' if n == 1 else 'r+') for n in range(1, 5)]"
    env = {**os.environ, "TAGS_CONNECTOR": "h5lake replace=any retention=1h", "PYTHONPATH": os.path.dirname(__file__)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    numbers = [v["number"] for v in json.loads(run("versions", "--json", NAME))["versions"]]
    run("tag", f"{NAME}@v={numbers[2]}", "earlier", HDF5_VOL_CONNECTOR="h5lake replace=any retention=0s")
    look(2, f"{NAME}@tag=earlier")
    # The version gets another tag, and the first tag is deleted.
    run("tag", f"{NAME}@tag=earlier", "again")
    run("tag", "--delete", NAME, "earlier")
    write(5)
    run("vacuum", NAME)
    write(6)
    look(2, f"{NAME}@tag=again")
    assert list(listed()) == ["again"]


def check_a_tag_for_a_time(folder):
    write(1, mode="w")
    for tag, keep in (("over", "0s"), ("soon", "2s"), ("later", "30d")):
        made = json.loads(run("tag", "--json", NAME, tag, "--keep", keep))
        assert made["until"] >= made["tagged"]
    assert "until" in run("tag", NAME) and json.loads(run("tag", "--json", NAME, "kept"))["until"] is None
    time.sleep(2.1)
    for n in range(2, 6):
        write(n)
    # An expired tag exists until the next vacuum.
    look(1, f"{NAME}@tag=over")
    told = json.loads(run("vacuum", "--json", NAME))
    assert sorted(told["deleted_tags"]) == ["over", "soon"] and list(listed()) == ["kept", "later"]
    assert json.loads(run("vacuum", "--json", NAME))["deleted_tags"] == []
    look(1, f"{NAME}@tag=later")
    look(5)
    assert "30s, 10m, 2h or 7d" in run("tag", NAME, "bad", "--keep", "soon", code=1)
    assert "--keep" in run("tag", NAME, "--keep", "2h", code=1)
    run("tag", NAME, "over", "--keep", "0s")
    assert "the time of the tag over was over" in run("vacuum", NAME)


def check_errors(folder):
    write(1, mode="w")
    run("tag", NAME, "paper")
    assert "exists already, for version" in run("tag", NAME, "paper", code=1)
    write(2)
    run("tag", "--force", NAME, "paper")
    look(2, f"{NAME}@tag=paper")
    for bad in ("-x", "a b", "a/b", "x" * 65):
        assert "letters, digits" in run("tag", "--", NAME, bad, code=1), bad
    assert "no tag 'other'; the tags are paper" in run("tag", "--delete", NAME, "other", code=1)
    assert "no tag 'other'; the tags are paper" in run("ls", f"{NAME}@tag=other", code=1)
    assert "is not retained" in run("tag", f"{NAME}@v=999", "other", code=1)
    assert "no tag 'other'" in str(raises(OSError, h5py.File, f"{NAME}@tag=other", "r"))
    assert "letters, digits" in str(raises(OSError, h5py.File, f"{NAME}@tag=a b", "r"))
    run("tag", "--delete", NAME, "paper")
    assert listed() == {}


def check_room_comes_back(folder):
    write(1, mode="w")
    run("tag", NAME, "paper")
    for n in range(2, 8):
        write(n)
    held = json.loads(run("vacuum", "--json", NAME))["held_by_tags"]
    assert held >= ROWS * 4000, held
    assert "tags hold" in run("vacuum", NAME)
    run("tag", "--delete", NAME, "paper")
    assert json.loads(run("vacuum", "--json", NAME))["held_by_tags"] == 0
    write(8)
    look(8)


def shown(string, **more):
    """Returns what a program reads from the file with the given settings, or its error."""
    code = f"import h5py; print(h5py.File({NAME!r}, 'r').attrs['n'])"
    env = {**os.environ, "HDF5_VOL_CONNECTOR": string, **more}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def check_the_setting(folder):
    write(1, mode="w")
    run("tag", NAME, "paper")
    write(2)
    assert shown("h5lake") == "2"
    assert shown("h5lake tag=paper") == shown("h5lake", H5LAKE_TAG="paper") == "1"
    assert shown("h5lake tag=paper", H5LAKE_VERSION="999") == "1", "the string wins"
    assert "no tag 'other'; the tags are paper" in shown("h5lake tag=other")
    assert "letters, digits" in shown("h5lake tag=a/b")
    assert "exclude each other" in shown("h5lake tag=paper version=1")


WRITER = """
import sys, time, h5py, numpy as np
n = 0
print("begun", flush=True)
while True:
    with h5py.File("a.h5", "r+") as f:
        for _ in range(5):
            f["x"][...] = n
            f.attrs["n"] = n
            f.flush()
            n += 1
"""


def check_many_writers(folder):
    write(1, mode="w")
    string = "h5lake replace=any retention=0s writers=many"
    writer = subprocess.Popen([sys.executable, "-c", WRITER], env={**os.environ, "HDF5_VOL_CONNECTOR": string}, stdout=subprocess.PIPE)
    try:
        writer.stdout.readline()
        seen = {}
        for n in range(4):
            made = json.loads(run("tag", "--json", NAME, f"t{n}", HDF5_VOL_CONNECTOR=string))
            with h5py.File(f"{NAME}@tag=t{n}", "r") as f:
                seen[f"t{n}"] = made["version"], f["x"][...], dict(f.attrs)
            time.sleep(0.3)
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
    for tag, (number, data, attributes) in seen.items():
        with h5py.File(f"{NAME}@tag={tag}", "r") as f:
            same(f["x"][...], data)
            assert dict(f.attrs) == attributes and listed()[tag] == number


def check_a_killed_tagger_leaves_a_tag_or_none(folder):
    write(1, mode="w")
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    for n in range(12):
        tagger = subprocess.Popen([os.environ["TOOL"], "tag", NAME, f"t{n}"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.001 * n)
        tagger.send_signal(signal.SIGKILL)
        tagger.wait()
        write(2 + n)
        for tag, number in listed().items():
            look(1 + int(tag[1:]), f"{NAME}@tag={tag}")
            assert number is not None
    assert json.loads(run("verify", "--json", NAME))["damaged"] == 0


if __name__ == "__main__":
    main(globals())
