"""The targets of publications: references may replace earlier references, and nothing else."""
# requires: zarr.txt
# only: h5lake
# schemes: file,s3
# needs: tool

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from packaged import installed  # noqa: E402
from zarr_views import agrees, opened, publish, run  # noqa: E402

NAME = "a.h5"


def container():
    with h5py.File(NAME, "w") as f:
        f["x"] = list(range(1000))


def check_only_references_are_replaced(folder):
    container()
    Path("text.json").write_text("precious")
    Path("kerchunk.json").write_text('{"version": 1, "refs": {}}')
    Path("short.json").write_text('{"version":1,')
    Path("empty.json").touch()
    Path("folder.json").mkdir()
    Path("other.json").symlink_to("text.json")
    Path("nothing.json").symlink_to("not-there")
    os.mkfifo("pipe.json")
    native = Path("native.h5")
    native.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    names = [NAME, "text.json", "kerchunk.json", "short.json", "empty.json", "folder.json", "other.json", "nothing.json", "pipe.json", "native.h5"]
    before = {name: Path(name).read_bytes() for name in names if Path(name).is_file()}
    for name in names:
        said = run("publish", NAME, "--kerchunk", name, code=1)
        assert "something is there that is no file of h5lake's references" in said, (name, said)
    assert {name: Path(name).read_bytes() for name in before} == before
    assert run("publish", "--json", NAME) == "[]\n", "nothing is published for a target that is refused"
    assert not [path for path in Path(".").iterdir() if path.name.startswith(".a") or path.name.startswith(".text")]
    for _ in range(2):
        publish(NAME)
    assert agrees(NAME) == 1


def check_only_folders_of_references_are_replaced(folder):
    container()
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    root = zarr.open_group(zarr.storage.LocalStore("zarr.parquet"), mode="w", zarr_format=2)
    root.create_array("x", data=np.array([1, 2, 3]))
    zarr.consolidate_metadata(root.store)
    assert Path("zarr.parquet/.zmetadata").exists()
    assert "something else is there" in run("publish", NAME, "--kerchunk", "zarr.parquet", code=1, **env)
    assert zarr.open_group("zarr.parquet", mode="r")["x"][...].tolist() == [1, 2, 3]
    run("publish", NAME, "--kerchunk", "refs.parquet", **env)
    Path("refs.parquet/x/mine.parq").touch()
    assert "something else is there" in run("publish", NAME, "--kerchunk", "refs.parquet", code=1, **env)
    Path("refs.parquet/x/mine.parq").unlink()
    told = json.loads(run("publish", "--json", NAME, "--kerchunk", "refs.parquet", **env))
    assert told["left_out"] == []


def check_a_publication_that_fails_withdraws_none_of_another(folder):
    container()
    version = json.loads(run("versions", "--json", NAME))["versions"][0]["number"]
    name = f"{NAME}@v={version}"
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    package, published = folder / "site/h5lake/__init__.py", lambda: [one["version"] for one in json.loads(run("publish", "--json", NAME))]
    # While the package makes a folder for one publication, another process publishes the same version.
    other = f"import os, subprocess\nsubprocess.run([os.environ['TOOL'], 'publish', {name!r}, '--kerchunk', 'other.json'], check=True, capture_output=True)\n"
    failing = "raise SystemExit('it fails here')\n"
    package.write_text(other + failing)
    assert "it fails here" in run("publish", name, "--kerchunk", "refs.parquet", code=1, **env)
    assert published() == [version]
    # An earlier publication of the version stays, too. A version that only the failed publication needs is withdrawn.
    package.write_text(failing)
    run("publish", name, "--kerchunk", "refs.parquet", code=1, **env)
    assert published() == [version]
    with h5py.File(NAME, "r+") as f:
        f["x"][...] = 0
    assert opened("other.json")["x"][...].tolist() == list(range(1000))
    run("publish", "--withdraw", name)
    version = json.loads(run("versions", "--json", NAME))["versions"][0]["number"]
    run("publish", f"{NAME}@v={version}", "--kerchunk", "refs.parquet", code=1, **env)
    assert published() == []


def check_names_that_no_folder_can_have(folder):
    env = {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    long, longest = "n" * 256, "m" * 255
    with h5py.File(NAME, "w") as f:
        for name in ("x", f"g/{long}/x", f"g/{long}/y", f"g/{longest}"):
            f[name] = np.arange(5)
    told = json.loads(run("publish", "--json", NAME, "--kerchunk", "refs.parquet", **env))
    assert [(one["path"], "255 bytes" in one["reason"]) for one in told["left_out"]] == [(f"/g/{long}", True)], told
    shown = json.loads(Path("refs.parquet/.zmetadata").read_text())["metadata"]
    assert {key for key in shown if key.endswith(".zarray")} == {"x/.zarray", f"g/{longest}/.zarray"}, sorted(shown)
    assert Path(f"refs.parquet/g/{longest}/refs.0.parq").exists()


if __name__ == "__main__":
    main(globals())
