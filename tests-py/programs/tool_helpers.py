"""The tool runs h5lake's Python package: which modules are imported, how the process ends, who may read the files
that it creates, and which files stay."""
# store: any
# requires: zarr.txt
# only: h5lake
# needs: tool

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("HDF5_VOL_CONNECTOR", "h5lake")
os.environ.update(H5LAKE_REPLACE="any", H5LAKE_RETENTION="0s")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import zarr  # noqa: E402
from cases import main  # noqa: E402
from packaged import installed  # noqa: E402
from zarr_views import run  # noqa: E402

OLD = (1_600_000_000, 1_600_000_000)


def container(name="a.h5"):
    with h5py.File(name, "w") as f:
        f["x"] = np.arange(5000)


def environment(folder, first=""):
    site = folder / "site" if (folder / "site").exists() else installed(folder)
    return {"PYTHONPATH": f"{first}{site}", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def hidden():
    return sorted(path.name for path in Path(".").glob(".h5lake-*"))


def check_modules_of_the_working_folder_are_not_run(folder):
    container()
    # An empty entry in PYTHONPATH means the working folder.
    env = environment(folder, first=":")
    for name in ("secrets.py", "zarr.py", "json.py"):
        Path(name).write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nraise SystemExit(0)\n")
    assert run("export", "--zarr", "a.h5", "a.zarr", **env) == ""
    run("publish", "a.h5", "--kerchunk", "a.parquet", **env)
    assert not Path("ran").exists()
    assert Path("a.zarr/x/zarr.json").exists() and Path("a.parquet/.zmetadata").exists()


def check_what_ends_without_an_answer_has_failed(folder):
    container()
    env = environment(folder)
    (folder / "site/h5lake/__init__.py").write_text("raise SystemExit(0)\n")
    for arguments in (["export", "--zarr", "a.h5", "a.zarr"], ["publish", "a.h5", "--icechunk", "a.ice"]):
        assert "without an answer" in run(*arguments, code=1, **env)


def check_a_dataset_that_is_left_out_is_found(folder):
    env = environment(folder)
    with h5py.File("links.h5", "w") as f:
        f["x"], f["soft"] = 1, h5py.SoftLink("/x")
    assert "not copied: /soft" in run("export", "--zarr", "links.h5", "links.zarr", **env)
    for name, more in (("lists", {"dtype": h5py.vlen_dtype("f8")}), ("zarr.json", {"dtype": "i4"})):
        with h5py.File("a.h5", "w") as f:
            f.create_dataset(name, (3,), **more)
        done = subprocess.run([os.environ["TOOL"], "export", "--zarr", "a.h5", f"{name}.out"], env=os.environ | env, capture_output=True, text=True)
        assert done.returncode == 2 and f"not copied: /{name}: " in done.stdout, done
        assert Path(f"{name}.out").is_dir()


def check_errors_without_a_text_have_a_name(folder):
    env = environment(folder)
    code = """
import sys
from h5lake import _helper, _zarr
def fails(*_):
    raise MemoryError()
_helper._end_with_starter, _zarr.export_zarr = (lambda: None), fails
sys.exit(_helper.main(["zarr", "export", "a", "b"]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "MemoryError\n", done


def check_who_may_not_read_the_source_may_not_read_what_is_made(folder):
    container()
    env = environment(folder)
    os.umask(0o022)
    for mode, of_folders in ((0o600, 0o700), (0o640, 0o750), (0o644, 0o755)):
        os.chmod("a.h5", mode)
        run("export", "--zarr", "a.h5", "a.zarr", **env)
        run("publish", "a.h5", "--kerchunk", "a.json", **env)
        run("publish", "a.h5", "--kerchunk", "a.parquet", **env)
        run("import", "--zarr", "a.zarr", "b.h5", **env)
        # A repository of Icechunk is continued and not replaced, so each mode has one of its own.
        run("publish", "a.h5", "--icechunk", f"{mode:o}.ice", **env)
        made = [Path(name) for name in ("a.zarr", "a.json", "a.parquet", "b.h5", f"{mode:o}.ice")]
        for path in [*made, *(below for one in made for below in one.rglob("*"))]:
            wanted = of_folders if path.is_dir() else mode
            assert path.stat().st_mode & 0o777 == wanted, (path, oct(path.stat().st_mode), oct(mode))
        shutil.rmtree("a.zarr")
        os.unlink("b.h5")
    assert not hidden()


def check_a_killed_tool_leaves_nothing(folder):
    env = os.environ | environment(folder)
    with h5py.File("a.h5", "w") as f:
        for n in range(20):
            f.create_dataset(f"{n}", data=np.random.default_rng(n).normal(size=500_000), chunks=(5_000,))
    for how in (signal.SIGKILL, signal.SIGTERM):
        tool = subprocess.Popen([os.environ["TOOL"], "export", "--zarr", "a.h5", "a.zarr"], env=env)
        until(lambda: any(Path(name, "0").exists() for name in hidden()) or tool.poll() is not None)
        assert hidden() and tool.poll() is None, "it was killed too late"
        tool.send_signal(how)
        tool.wait()
        until(lambda: not hidden())
        assert not Path("a.zarr").exists()


def until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, list(Path(".").iterdir())
        time.sleep(0.01)


def check_old_leftovers_go(folder):
    container()
    env = environment(folder)
    for name in (".h5lake-zarr-0", ".h5lake-parquet-1", ".h5lake-zarr-new", ".h5lake-mine"):
        Path(name).mkdir()
        Path(name, "made").touch()
        if "new" not in name:
            os.utime(f"{name}/made", OLD)
        os.utime(name, OLD)
    run("export", "--zarr", "a.h5", "a.zarr", **env)
    assert hidden() == [".h5lake-mine", ".h5lake-zarr-new"]


def parts(shape, chunks, itemsize, step):
    """Returns the elements of each part, and checks that each element is in exactly one part."""
    from h5lake import _zarr_chunks

    _zarr_chunks.STEP = step
    seen, sizes = np.zeros(shape, "u1"), []
    for part in _zarr_chunks.parts(shape, chunks, itemsize):
        seen[part] += 1
        sizes.append(seen[part].size)
        assert all(one.start % chunk == 0 for one, chunk in zip(part, chunks))
    assert (seen == 1).all()
    return sizes


def check_steps_are_bounded(folder):
    sys.path.insert(0, environment(folder)["PYTHONPATH"])
    from h5lake import _zarr_chunks

    for shape, itemsize in (((2, 1 << 30), 4), ((1 << 40,), 8), ((3, 5, 1 << 20, 7), 1), ((7,), 1 << 22), ((), 8)):
        chunks = _zarr_chunks.chosen(shape, itemsize)
        assert np.prod(chunks, dtype=int) * itemsize <= max(1 << 20, itemsize), chunks
        one = next(_zarr_chunks.parts(shape, chunks, itemsize))
        assert np.prod([of.stop - of.start for of in one], dtype=int) * itemsize <= 64 << 20
    for shape, chunks in (((10, 11, 12), (3, 4, 5)), ((2, 100), (1, 7)), ((5,), (2,)), ((), ()), ((0, 3), (1, 3))):
        assert all(size <= 60 for size in parts(shape, chunks, 8, 480)), shape


def check_of_a_huge_extent_only_what_is_stored_is_read(folder):
    with h5py.File("a.h5", "w") as f:
        f.create_dataset("long", (1 << 34,), "f4", chunks=(1 << 16,), fillvalue=-1)[[5, 1 << 33]] = 1
        f.create_dataset("wide", (2, 1 << 33), "i2", chunks=(1, 1 << 16))[1, -1] = 3
    run("export", "--zarr", "a.h5", "a.zarr", **environment(folder))
    root = zarr.open_group("a.zarr", mode="r")
    assert root["long"][:7].tolist() == [-1] * 5 + [1, -1] and root["long"][1 << 33] == 1 and root["long"][-1] == -1
    assert root["wide"][1, -2:].tolist() == [0, 3]
    assert sum(path.is_file() for path in Path("a.zarr").rglob("*")) == 3 + 3


def publish(folder, code=0, name="a.h5"):
    return run("publish", name, "--kerchunk", "r.parquet", code=code, **environment(folder))


def content():
    return {path: path.read_bytes() for path in Path("r.parquet").rglob("*") if path.is_file()}


def check_references_of_others_in_parquet_stay(folder):
    from fsspec.implementations.reference import LazyReferenceMapper
    import fsspec

    container()
    Path("r.parquet").mkdir()
    theirs = LazyReferenceMapper.create("r.parquet", fs=fsspec.filesystem("file"), record_size=1000)
    theirs[".zgroup"] = b'{"zarr_format":2}'
    theirs["y/.zarray"] = json.dumps(dict(shape=[4], chunks=[2], dtype="<i4", zarr_format=2, compressor=None, filters=None, fill_value=0, order="C")).encode()
    theirs["y/0"] = ["s3://precious/data", 0, 8]
    theirs.flush()
    before = content()
    assert "something else is there" in publish(folder, code=1)
    assert content() == before and len(before) == 2
    shutil.rmtree("r.parquet")
    Path("empty").mkdir()
    Path("r.parquet").symlink_to("empty")
    assert "something else is there" in publish(folder, code=1)


def check_references_in_parquet_are_known_by_their_mark(folder):
    container()
    container("b.h5")
    publish(folder)
    whole = Path("r.parquet/.zmetadata").read_text()
    about = json.loads(whole)
    assert about["h5lake"]["container"] == "a.h5"
    del about["h5lake"]
    Path("r.parquet/.zmetadata").write_text(json.dumps(about))
    assert "something else is there" in publish(folder, code=1)
    Path("r.parquet/.zmetadata").write_text(whole)
    publish(folder, name="b.h5")
    assert json.loads(Path("r.parquet/.zmetadata").read_text())["h5lake"]["container"] == "b.h5"


def check_references_in_parquet_are_replaced_whole_or_not(folder):
    container()
    publish(folder)
    before = content()
    run("publish", "a.h5", "--kerchunk", "refs.json")
    sys.path.insert(0, environment(folder)["PYTHONPATH"])
    from h5lake import _parquet

    real, count = Path.rename, []

    def fails(path, to):
        count.append(to)
        if len(count) in failing:
            raise OSError(5, "it fails here")
        return real(path, to)

    Path.rename = fails
    try:
        for failing in ({1}, {2}):
            count.clear()
            try:
                _parquet.to_parquet(Path("refs.json"), Path("r.parquet"))
                raise AssertionError("no error")
            except OSError as error:
                assert error.errno == 5
            assert content() == before and not hidden()
    finally:
        Path.rename = real


if __name__ == "__main__":
    main(globals())
