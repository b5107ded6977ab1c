"""The members of a Zarr hierarchy that h5lake.import_zarr finds: each existing member separately, or an error."""
# store: any
# requires: zarr.txt
# only: h5lake
# needs: tool

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from packaged import installed  # noqa: E402
from zarr_missing import call  # noqa: E402
from zarr_views import run  # noqa: E402

DOCUMENTS = {2: ".zarray", 3: "zarr.json"}
#: By version: changes of an array's metadata with which zarr-python cannot open it, by the array's name.
WRONG = {2: {"codec": {"compressor": {"id": "lz77"}}, "objects": {"dtype": "|O", "filters": [{"id": "pickle"}]}, "type": {"dtype": "<q9"},
             "chunks": {"chunks": None}, "shape": {"shape": None}},
         3: {"codec": {"codecs": [{"name": "bytes"}, {"name": "lz77"}]}, "type": {"data_type": "quux"}, "chunks": {"chunk_grid": {"name": "other"}},
             "shape": {"shape": None}, "fill_value": {"fill_value": None}}}


def hierarchy(name, version, arrays):
    root = zarr.open_group(zarr.storage.LocalStore(name), mode="w", zarr_format=version)
    for array in arrays:
        root.create_array(array, data=np.arange(4.0))
    return root


def change(path, changes):
    """Changes a document. None removes a key."""
    document = json.loads(path.read_text())
    for key, value in changes.items():
        document.pop(key, None)
        if value is not None:
            document[key] = value
    path.write_text(json.dumps(document))


def imported(source, target="b.h5"):
    """Imports, and returns what is left out and the paths in the container, or the error."""
    code = f"try: print(list(h5lake.import_zarr({str(source)!r}, {target!r})))\nexcept Exception as error: print(repr([type(error).__name__, str(error)]))"
    said, found = eval(call(Path.cwd(), code)), []
    if not Path(target).exists():
        return said, None
    with h5py.File(target, "r") as f:
        f.visit(found.append)
    run("rm", target)
    return dict(said), found


def check_what_cannot_be_opened_hides_no_other(folder):
    for version, wrong in WRONG.items():
        hierarchy("a.zarr", version, ["first", "z/last", *(f"g/{name}" for name in ("a", *wrong, "z"))])
        for name, changes in wrong.items():
            change(Path("a.zarr/g", name, DOCUMENTS[version]), changes)
        Path("a.zarr/g/cut").mkdir()
        Path("a.zarr/g/cut", DOCUMENTS[version]).write_text('{"zarr_format":')
        left, found = imported("a.zarr")
        # The list is sorted by name.
        assert list(left) == [f"/g/{name}" for name in sorted([*wrong, "cut"])] and all(left.values()), (version, left)
        assert sorted(found) == ["first", "g", "g/a", "g/z", "z", "z/last"], (version, found)
        assert "lz77" in left["/g/codec"], left


def check_the_tool_finds_what_was_left_out(folder):
    hierarchy("a.zarr", 3, ["a", "b"])
    change(Path("a.zarr/b/zarr.json"), WRONG[3]["codec"])
    env = os.environ | {"PYTHONPATH": str(installed(folder)), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([os.environ["TOOL"], "import", "--zarr", "a.zarr", "b.h5"], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "not copied: /b: " in done.stdout and "lz77" in done.stdout, done
    run("rm", "b.h5")


def check_names_without_metadata_are_listed(folder):
    for version in (2, 3):
        hierarchy("a.zarr", version, ["g/a"])
        Path("a.zarr/README").write_text("mine")
        # A folder may contain arrays.
        Path("a.zarr/g/folder/x").mkdir(parents=True)
        # zarr-python would show g/a under this name.
        Path("a.zarr/g\\a").mkdir()
        Path("a.zarr/g\\a", "x").touch()
        left, found = imported("a.zarr")
        assert set(left) == {"/README", "/g/folder", "/g\\a"} and f"no metadata of Zarr {version}" in left["/g/folder"], left
        assert sorted(found) == ["g", "g/a"]
        code = "found = h5lake.import_zarr('a.zarr', 'c.h5'); print([entry['path'] for entry in found.entries() if entry['is_object']])"
        assert eval(call(folder, code)) == ["/g/folder", "/g\\a"]
        run("rm", "c.h5")


def check_an_error_of_a_store_names_the_object(folder):
    hierarchy("a.zarr", 3, ["g/a", "g/b"])
    for method, key, named in (("get", "g/b/zarr.json", "/g/b: "), ("list_dir", "g", "a.zarr/g: ")):
        code = f"""
import errno, zarr
real = zarr.storage.LocalStore.{method}
def fails(self, key, *rest, **more):
    if key == {key!r}: raise OSError(errno.ETIMEDOUT, "Connection timed out")
    return real(self, key, *rest, **more)
zarr.storage.LocalStore.{method} = fails
try: h5lake.import_zarr("a.zarr", "b.h5")
except OSError as error: print(error.errno == errno.ETIMEDOUT, error)
"""
        said = call(folder, code)
        assert said.startswith("True") and f"{named}Connection timed out" in said and not Path("b.h5").exists(), said


def check_consolidated_metadata_that_is_older_is_not_used(folder):
    for version in (2, 3):
        hierarchy("a.zarr", version, ["x", "g/y"])
        # The consolidated metadata of a group in the hierarchy is equally old.
        for place in ("a.zarr/g", "a.zarr"):
            zarr.consolidate_metadata(zarr.storage.LocalStore(place))
        root = zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="r+", use_consolidated=False)
        root["x"].resize((6,))
        root["x"][4:] = 7
        for name in ("later", "g/later"):
            root.create_array(name, data=np.arange(3))
        assert sorted(zarr.open_group(zarr.storage.LocalStore("a.zarr"), mode="r")) == ["g", "x"]
        for source in ("a.zarr", (folder / "a.zarr").as_uri()):
            assert call(folder, f"print(h5lake.import_zarr({source!r}, 'b.h5'))") == "[]"
            with h5py.File("b.h5", "r") as f:
                assert f["x"][...].tolist() == [0, 1, 2, 3, 7, 7] and f["later"].shape == f["g/later"].shape == (3,), (version, source)
            run("rm", "b.h5")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files. `status` is the answer for a folder, or None if folders are listed."""

    status = None

    def list_directory(self, path):
        return self.send_error(self.status) if self.status else super().list_directory(path)

    def log_message(self, *_):
        pass


def served(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def check_web_servers(folder):
    url, every = served(folder), ["e", "g", "g/#1", "g/h", "g/h/a b", "x"]
    for version in (2, 3):
        root = hierarchy("a.zarr", version, ["x", "g/#1", "g/h/a b"])
        root.create_group("e")
        Handler.status = None
        assert imported(f"{url}/a.zarr") == ({}, every), version
        for Handler.status in (404, 403):
            (kind, text), found = imported(f"{url}/a.zarr")
            assert kind == "OSError" and f"{url}/a.zarr" in text and "consolidate" in text and found is None, (version, text)
        zarr.consolidate_metadata(zarr.storage.LocalStore("a.zarr"))
        # Here, too, one array that cannot be opened does not hide the other arrays.
        change(Path("a.zarr/x", DOCUMENTS[version]), WRONG[version]["codec"])
        for Handler.status in (None, 404):
            left, found = imported(f"{url}/a.zarr")
            assert set(left) == {"/x"} and found == every[:-1], (version, left, found)


def check_which_stores_need_list_nothing(folder):
    sys.path.insert(0, str(installed(folder)))
    from h5lake._zarr_members import Members

    web = ("http://h/a.zarr", "https://h/a.zarr", "simplecache::https://h/a.zarr", "filecache::simplecache::http://h/a.zarr")
    for source in (*web, "reference::https://h/refs.json"):
        assert Members(None, source)._is_unlisted, source
    for source in ("a.zarr", "/http/a.zarr", "s3://b/https/a.zarr", "simplecache::s3://b/a.zarr", "zip::https://h/a.zip", "file:///a.zarr"):
        assert not Members(None, source)._is_unlisted, source


if __name__ == "__main__":
    main(globals())
