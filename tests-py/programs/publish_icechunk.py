"""Repositories of Icechunk that h5lake writes: from containers with any name, only over its own repositories, and
either completely or not at all."""
# requires: zarr.txt
# only: h5lake
# schemes: file,s3
# needs: tool

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import icechunk  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from packaged import installed  # noqa: E402
from zarr_readers import shown_by_icechunk  # noqa: E402
from zarr_views import is_same, run  # noqa: E402

NAME = "a.h5"


def packages(folder):
    """Returns an environment in which the tool finds the Python package."""
    site = folder / "site" if (folder / "site").exists() else installed(folder)
    return {"PYTHONPATH": str(site), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def container(name=NAME, value=0):
    """Creates a container of which some chunks are referenced and some are copied."""
    with h5py.File(name, "w") as f:
        f.create_dataset("x", data=np.arange(60_000) + value, chunks=(20_000,))
        f["small"] = value


def storage(name):
    return icechunk.local_filesystem_storage(str(name))


def snapshots(name):
    """Returns the snapshots of a repository's branch, the newest first."""
    return list(icechunk.Repository.open(storage(name)).ancestry(branch="main"))


def foreign(name, message="mine"):
    """Creates a repository that h5lake did not write."""
    repository = icechunk.Repository.create(storage(name))
    session = repository.writable_session("main")
    zarr.open_group(session.store, mode="w", zarr_format=3).create_array("precious", data=np.arange(3))
    session.commit(message)


def check_names_with_signs_of_urls(folder):
    env = packages(folder)
    names = ["a%41.h5", "a#b.h5", "a?b.h5", "d%41/a.h5", "d#1/a.h5", "d ä/a%2Fb.h5", "d[1]|^/a\\b;{+}%zz.h5"]
    # The files that a wrong decoding of the names would lead to exist, too.
    others = ["aA.h5", "a/b.h5", "dA/a.h5", "d ä/a/b.h5"]
    for n, name in enumerate([*others, *names]):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        container(name, n)
    for n, name in enumerate(names, len(others)):
        run("publish", name, "--icechunk", f"ice{n}", **env)
        group = shown_by_icechunk(f"ice{n}")
        is_same(group["x"][...], np.arange(60_000) + n, name)
        assert group["small"][()] == n, name


def check_what_icechunk_asks_s3_for(folder):
    """A server records the requests, and answers each with the key itself."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from urllib.parse import unquote, urlsplit

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            key = unquote(urlsplit(self.path).path)
            asked.append(key)
            data = (key.encode() * 100)[:16]
            self.send_response(206)
            for header, value in (("Content-Length", "16"), ("Content-Range", "bytes 0-15/16"), ("ETag", '"1"')):
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = ["run/a%41.h5", "run/a#b.h5", "run/a?b.h5", "run/a b+c.h5", "ä/%2F.h5", "d%41#?/x"]
    document = {"zarr_format": 2, "shape": [len(keys), 4], "chunks": [1, 4], "dtype": "<i4", "compressor": None, "filters": None, "fill_value": 0, "order": "C"}
    refs = {".zgroup": '{"zarr_format":2}', "x/.zarray": json.dumps(document), **{f"x/{n}.0": [f"s3://lake/{key}", 0, 16] for n, key in enumerate(keys)}}
    Path("refs.json").write_text(json.dumps({"version": 1, "refs": refs, "h5lake": {"container": "a", "version": 1}}))
    env = {**os.environ, **packages(folder), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}"}
    env.pop("AWS_ENDPOINT_URL", None)
    code = """
import icechunk, zarr
from pathlib import Path
from h5lake._icechunk import to_icechunk
assert to_icechunk(Path("refs.json"), Path("ice")) == []
access = icechunk.containers_credentials({"s3://lake/": icechunk.s3_credentials(from_env=True)})
repository = icechunk.Repository.open(icechunk.local_filesystem_storage("ice"), authorize_virtual_chunk_access=access)
# Icechunk logs to stdout.
Path("read").write_bytes(zarr.open_group(repository.readonly_session("main").store, mode="r")["x"][...].tobytes())
"""
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=100)
    server.shutdown()
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr)
    assert set(asked) == {f"/lake/{key}" for key in keys}, asked
    assert Path("read").read_bytes() == b"".join((f"/lake/{key}".encode() * 100)[:16] for key in keys)
    for key in ("run//a.h5", "run/../a.h5"):
        Path("refs.json").write_text(json.dumps({"version": 1, "refs": {**refs, "x/0.0": [f"s3://lake/{key}", 0, 16]}, "h5lake": {}}))
        failed = subprocess.run([sys.executable, "-c", code.replace('"ice"', '"other"')], env=env, capture_output=True, text=True, timeout=100)
        assert f"s3://lake/{key}: Icechunk takes" in failed.stderr and not Path("other").exists(), failed.stderr


def check_what_is_not_read_back_is_not_published(folder):
    container()
    env = packages(folder)
    # Puts a mistake into the URLs, so that the first chunk is looked up at another place.
    urls = folder / "site" / "h5lake" / "_icechunk_urls.py"
    whole = urls.read_text()
    urls.write_text(whole + "\nright = encoded\ndef encoded(url): return right(url) + 'x'\n")
    is_file = "store=" not in os.environ["HDF5_VOL_CONNECTOR"]
    if is_file:
        run("publish", NAME, "--icechunk", "ice", code=1, **env)
        assert not Path("ice").exists() and not list(Path(".").glob(".ice*")) and run("publish", "--json", NAME) == "[]\n"
    urls.write_text(whole)
    run("publish", NAME, "--icechunk", "ice", **env)
    before = [snapshot.id for snapshot in snapshots("ice")]
    urls.write_text(whole + "\nright = encoded\ndef encoded(url): return right(url) + 'x'\n")
    if is_file:
        run("publish", NAME, "--icechunk", "ice", code=1, **env)
        assert [snapshot.id for snapshot in snapshots("ice")] == before


def check_attributes_that_are_no_json(folder):
    env = packages(folder)
    with h5py.File(NAME, "w") as f:
        f["g/x"] = np.array([1.0, np.nan, 3])
        for object in (f, f["g"], f["g/x"]):
            object.attrs.update({"nan": np.nan, "limits": [-np.inf, 0.5], "units": "K", "big": np.uint64(2**64 - 1), "half": 0.5})
        f["g/x"].attrs["_FillValue"] = np.nan
        f.create_dataset("bytes", data=[b"\xff", b"a"], dtype=h5py.string_dtype("ascii"))
        f["bytes"].attrs["_FillValue"] = "none"
    told = run("publish", NAME, "--icechunk", "ice", **env)
    for path in ("/", "/g", "/g/x"):
        for name in ("nan", "limits"):
            assert f"not shown: {path}@{name}: Icechunk has no NaN" in told, (path, name, told)
    group = shown_by_icechunk()
    for object in (group, group["g"], group["g/x"]):
        assert {name: object.attrs[name] for name in object.attrs if name != "_FillValue"} == {"units": "K", "big": 2**64 - 1, "half": 0.5}
    with xr.open_dataset(group.store, engine="zarr", consolidated=False, group="g") as got:
        np.testing.assert_array_equal(got.x.values, [1, np.nan, 3])


def check_an_array_that_cannot_be_made_is_listed(folder):
    container()
    env = packages(folder)
    module = folder / "site" / "h5lake" / "_icechunk.py"
    module.write_text(module.read_text() + """
make = _array
def _array(zarr, codecs, group, path, *rest):
    if path == "small":
        raise OverflowError("too large")
    make(zarr, codecs, group, path, *rest)
""")
    assert "not shown: /small: too large" in run("publish", NAME, "--icechunk", "ice", **env)
    assert sorted(shown_by_icechunk()) == ["x"]


def check_what_fails_leaves_no_repository(folder):
    container()
    env = packages(folder)
    module = folder / "site" / "h5lake" / "_icechunk.py"
    whole = module.read_text()
    module.write_text(whole + "\ndef _put(*_): raise OSError('no room')\n")
    assert "no room" in run("publish", NAME, "--icechunk", "ice", code=1, **env)
    assert not Path("ice").exists() and not list(Path(".").glob(".ice*"))
    module.write_text(whole)
    run("publish", NAME, "--icechunk", "ice", **env)
    module.write_text(whole + "\ndef _put(*_): raise OSError('no room')\n")
    before = [snapshot.id for snapshot in snapshots("ice")]
    run("publish", NAME, "--icechunk", "ice", code=1, **env)
    assert [snapshot.id for snapshot in snapshots("ice")] == before
    is_same(shown_by_icechunk()["x"][...], np.arange(60_000), "x")


def check_other_repositories_are_left_alone(folder):
    container()
    env = packages(folder)
    foreign("mine")
    said = run("publish", NAME, "--icechunk", "mine", code=1, **env)
    assert "mine: the newest snapshot of its branch main ('mine') is not h5lake's; name another folder" in said, said
    mine = icechunk.Repository.open(storage("mine")).readonly_session("main")
    assert sorted(zarr.open_group(mine.store, mode="r")) == ["precious"] and len(snapshots("mine")) == 2
    assert run("publish", "--json", NAME) == "[]\n", "nothing is held for a target that is refused"
    # A message like the one that h5lake writes for this container.
    foreign("like", f"{NAME}, version 3")
    run("publish", NAME, "--icechunk", "like", code=1, **env)
    # A foreign snapshot on top of one from h5lake.
    run("publish", NAME, "--icechunk", "ice", **env)
    session = icechunk.Repository.open(storage("ice")).writable_session("main")
    zarr.open_group(session.store, mode="a").create_array("precious", data=np.arange(3))
    session.commit("more")
    assert "('more') is not h5lake's" in run("publish", NAME, "--icechunk", "ice", code=1, **env)
    assert sorted(shown_by_icechunk()) == ["precious", "small", "x"]


def check_own_repositories_are_updated(folder):
    container()
    container("b.h5", 5)
    env = packages(folder)
    icechunk.Repository.create(storage("new"))
    for name in ("ice", "new"):
        run("publish", NAME, "--icechunk", name, **env)
        assert snapshots(name)[0].metadata["h5lake"]["container"] == NAME
    # Snapshots of another container, which may be in another folder.
    Path("deep").mkdir()
    container("deep/c.h5", 7)
    for name, value in (("b.h5", 5), ("deep/c.h5", 7)):
        run("publish", name, "--icechunk", "ice", **env)
        is_same(shown_by_icechunk()["x"][...], np.arange(60_000) + value, name)
    config = icechunk.Repository.fetch_config(storage("ice"))
    access = {prefix: None if prefix.startswith("file") else icechunk.s3_credentials(from_env=True) for prefix in config.virtual_chunk_containers}
    repository = icechunk.Repository.open(storage("ice"), authorize_virtual_chunk_access=icechunk.containers_credentials(access))
    for snapshot, value in zip(snapshots("ice"), (7, 5, 0)):
        group = zarr.open_group(repository.readonly_session(snapshot_id=snapshot.id).store, mode="r")
        is_same(group["x"][...], np.arange(60_000) + value, snapshot.message)


def check_other_things_are_refused(folder):
    container()
    env = packages(folder)
    Path("file").write_text("precious")
    Path("folder").mkdir()
    Path("link").symlink_to("file")
    Path("nothing").symlink_to("not-there")
    for name in ("file", "folder", "link", "nothing"):
        said = run("publish", NAME, "--icechunk", name, code=1, **env)
        assert f"{name}: something else is there; name another folder" in said, (name, said)
    assert Path("file").read_text() == "precious" and not Path("not-there").exists() and not list(Path("folder").iterdir())


if __name__ == "__main__":
    main(globals())
