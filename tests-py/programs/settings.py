"""Settings that are mistyped, hold blanks, or come from several places: data never goes elsewhere in silence."""
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
    """A command's exit status, output and error, with no settings but these."""
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
    # It would have written to a local file, and nobody would have known.
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


def check_the_tool_takes_the_connector_string(folder):
    tool, connector = os.environ["TOOL"], f"h5lake store=file://{folder}/objects"
    works(*program(WRITE), connector=connector)
    Path("a.h5").unlink()
    assert works(tool, "versions", "a.h5", connector=connector).splitlines()
    refused(["a.h5"], tool, "versions", "a.h5")
    # Another connector's string is none of ours.
    refused(["a.h5"], tool, "versions", "a.h5", connector=f"native store=file://{folder}/objects")
    refused(["did you mean 'store'?"], tool, "versions", "a.h5", connector="h5lake stroe=memory:x")
    refused(["H5LAKE_STROE"], tool, "verify", "a.h5", connector=connector, H5LAKE_STROE="x")


main(globals())
