"""Settings that are mistyped, contain blanks, or come from several places: data is never written to another place
silently."""
# store: any
# only: h5lake
# needs: tool

import os
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

from cases import main  # noqa: E402

WRITE = "import h5py\nwith h5py.File('a.h5', 'w') as f: f['x'] = [1, 2, 3]"
READ = "import h5py\nprint(h5py.File('a.h5')['x'][:].tolist())"


def run(*command, connector="h5lake", **variables):
    """Runs a command with no settings but these. Returns its exit status, output and error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("H5LAKE_")}
    env.update(HDF5_VOL_CONNECTOR=connector, **variables)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout.strip(), done.stderr


def works(*command, **more):
    code, out, err = run(*command, **more)
    assert code == 0, err
    return out


def refused(words, *command, **more):
    code, _, err = run(*command, **more)
    assert code and all(word in err for word in words), (words, err)


def program(code):
    return sys.executable, "-c", code


def check_unknown_variable(folder):
    # The program would otherwise have written to a local file without any notice.
    refused(["variable H5LAKE_STROE is no setting", "did you mean H5LAKE_STORE?"], *program(WRITE), H5LAKE_STROE="memory:x")
    assert not Path("a.h5").exists()
    works(*program(WRITE))
    refused(["H5LAKE_RETENTON", "H5LAKE_RETENTION"], *program(READ), H5LAKE_RETENTON="1h")
    assert works(*program(READ), H5LAKE_RETENTON="", H5LAKE_LOG="1") == "[1, 2, 3]"


def check_unknown_key(folder):
    refused(["unknown key 'stroe'", "did you mean 'store'?"], *program(WRITE), connector="h5lake stroe=memory:x")
    assert not Path("a.h5").exists()


def check_blanks_in_a_url(folder):
    for n, url in enumerate((f"file://{folder}/my data", f"file://{folder}/my%20other%20data")):
        place = folder / ("my data" if n == 0 else "my other data")
        connector = f"h5lake store='{url}' sync=commit"
        works(*program(WRITE), connector=connector)
        assert place.is_dir() and any(place.rglob("*")), list(folder.rglob("*"))
        assert works(*program(READ), connector=connector) == "[1, 2, 3]"
        Path("a.h5").unlink()
        assert works(*program(READ), H5LAKE_STORE=url) == "[1, 2, 3]"
    refused(["begins with '"], *program(READ), connector="h5lake store='file:///x")


def check_sizes(folder):
    for size in ("64MiB", "64MB", "64mb", "1000000"):
        works(*program(WRITE), connector=f"h5lake cache={size}")
    refused(["cache", "256MiB or 256MB"], *program(WRITE), connector="h5lake cache=64M")


# Does the steps NAME:MODE one after another. Prints the kind of each file afterwards, or the error.
STEPS = """
import os, sys, h5py
for step in sys.argv[1:]:
    name, _, mode = step.rpartition(":")
    if mode in ("remove", "touch"):
        os.remove(name) if mode == "remove" else open(name, "w").close()
        continue
    try:
        with h5py.File(name, mode) as f:
            if mode != "r": f.require_dataset("x", (3,), "i4")[:] = [1, 2, 3]
            assert list(f["x"]) == [1, 2, 3]
        with open(name, "rb") as file: head = file.read(16)
        print({b"Lh5lake": "container", b"Lh5lptr": "pointer"}.get(head[8:15], "native"))
    except OSError as error:
        print(type(error).__name__, error)
"""


def stepped(*steps, **more):
    return works(sys.executable, "-c", STEPS, *steps, **more).splitlines()


def check_only_some_names(folder):
    only = dict(connector="h5lake only=*.h5l,sub/*.h5")
    Path("sub").mkdir()
    names = {"a.h5l": "container", "native-a.h5": "native", "sub/a.h5": "container", f"{folder}/sub/b.h5": "container",
             "sub/native-a.nc": "native"}
    modes = ["w", "a", "r+", "r", "w", "x", "remove", "r", "r+", "x", "remove", "a", "remove", "touch", "a"]
    for name, kind in names.items():
        shown = stepped(*(f"{name}:{mode}" for mode in modes), **only)
        wanted = [kind] * 5 + ["FileExistsError"] + ["FileNotFoundError"] * 2 + [kind] * 3
        assert [line.split()[0] for line in shown] == wanted, (name, shown)
    assert stepped("native-b.h5:w", "b.h5l:w", H5LAKE_ONLY="*.h5l") == ["native", "container"]


def check_only_and_what_is_there(folder):
    """An existing file at a name has priority over the settings, and native HDF5 never overwrites a container."""
    only = dict(connector="h5lake only=*.h5l")
    assert stepped("a.h5:w") == ["container"]
    assert stepped("a.h5:r", "a.h5:a", "a.h5:r+", "a.h5:r", **only) == ["container"] * 4
    content = Path("a.h5").read_bytes()
    replaced, made = stepped("a.h5:w", "a.h5:x", **only)
    assert replaced.startswith("OSError") and all(word in replaced for word in ("a.h5", "only=*.h5l", "delete it first")), replaced
    assert made.startswith("FileExistsError"), made
    assert Path("a.h5").read_bytes() == content
    version = "import h5py; print(list(h5py.File('a.h5@v=2')['x']))"
    assert works(*program(version), **only) == works(*program(version))
    # A native file stays native, whatever its name, until another file replaces it.
    assert stepped("b.h5l:w", connector="native") == ["native"]
    assert stepped("b.h5l:a", "b.h5l:r", "b.h5l:w", **only) == ["native", "native", "container"]


def check_only_and_a_store(folder):
    only = dict(connector=f"h5lake store=file://{folder}/objects only=*.h5l")
    assert stepped("a.h5l:w", "native-a.h5:w", **only) == ["pointer", "native"]
    # A pointer file names a container.
    Path("a.h5l").rename("b.h5")
    content = Path("b.h5").read_bytes()
    assert stepped("b.h5:a", "native-a.h5:a", **only) == ["pointer", "native"] and Path("b.h5").read_bytes() == content
    (replaced,) = stepped("b.h5:w", **only)
    assert replaced.startswith("OSError") and "only=*.h5l" in replaced and Path("b.h5").read_bytes() == content, replaced
    url = f"file://{folder}/objects/c.h5"
    works(*program(f"import h5py; h5py.File({url!r}, 'w')['x'] = 1; print(h5py.File({url!r})['x'][()])"), **only)


def check_a_bad_pattern(folder):
    refused(["key 'only'", "'[a'"], *program(WRITE), connector="h5lake only='*.h5l, [a'")
    refused(["variable H5LAKE_ONLY", "*.h5l"], *program(WRITE), H5LAKE_ONLY="*.h5l,")
    assert not Path("a.h5").exists()


def check_the_tool_takes_the_connector_string(folder):
    tool, connector = os.environ["TOOL"], f"h5lake store=file://{folder}/objects"
    works(*program(WRITE), connector=connector)
    Path("a.h5").unlink()
    assert works(tool, "versions", "a.h5", connector=connector).splitlines()
    refused(["a.h5"], tool, "versions", "a.h5")
    # A connector string of another connector does not apply to h5lake.
    refused(["a.h5"], tool, "versions", "a.h5", connector=f"native store=file://{folder}/objects")
    refused(["did you mean 'store'?"], tool, "versions", "a.h5", connector="h5lake stroe=memory:x")
    refused(["H5LAKE_STROE"], tool, "verify", "a.h5", connector=connector, H5LAKE_STROE="x")


main(globals())
