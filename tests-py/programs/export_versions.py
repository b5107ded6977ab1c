"""Old versions of a container with a user block as native files: the tool's export finds the user block through the
name of a version."""
# store: any
# only: h5lake
# needs: tool

import os
from pathlib import Path

if os.environ.get("HDF5_VOL_CONNECTOR") != "native":
    os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"
os.environ.setdefault("H5LAKE_RETENTION", "1h")

import h5py  # noqa: E402
from cases import main  # noqa: E402
from tool import natively, run  # noqa: E402


def numbers(name):
    """Returns the size of a native file's user block, and its numbers."""
    with h5py.File(name, "r") as f:
        return [f.userblock_size, f["x"][...].tolist()]


def check_versions_behind_a_user_block(folder):
    with h5py.File("run.h5", "w", userblock_size=512) as f:
        f["x"] = [1, 2]
    with open("run.h5", "r+b") as file:
        file.write(b"in front")
    run("tag", "run.h5", "first")
    with h5py.File("run.h5", "r+") as f:
        f["x"][...] = [3, 4]
    for n, (name, wanted) in enumerate((("run.h5", [3, 4]), ("run.h5@tag=first", [1, 2]))):
        run("export", name, f"native-{n}.h5")
        assert natively("export_versions", "numbers", f"native-{n}.h5") == [512, wanted], name
        assert Path(f"native-{n}.h5").read_bytes().startswith(b"in front"), name


if __name__ == "__main__":
    main(globals())
