"""Names and dimensions that several writers of one container share: merges and conflicts."""
# only: h5lake

import os

os.environ.setdefault("H5LAKE_WRITERS", "many")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, raises, same  # noqa: E402
from many_writers import DROPPED, Peer  # noqa: E402


def peers(path, make, count=2):
    with h5py.File(path, "w") as f:
        make(f)
    return [Peer(path) for _ in range(count)]


def users(f):
    """The variables that a dimension scale refers to, and the scales that these variables refer to."""
    scale = f["time"]
    known = sorted(f[reference].name for reference, dimension in scale.attrs["REFERENCE_LIST"])
    for name in known:
        assert [one.name for one in f[name].dims[0].values()] == ["/time"], name
    return known


def make_scale(f):
    f["time"] = range(10)
    f["time"].make_scale("time")


def check_writers_share_a_dimension(folder):
    writers = peers("scale.h5", make_scale, 3)
    for n, writer in enumerate(writers):
        writer(f"f['v{n}'] = range(10); f['v{n}'].dims[0].attach_scale(f['time'])")
    for writer in writers:
        writer("f.flush()")
    # One variable detaches the scale while other variables attach it.
    writers[0]("f['v0'].dims[0].detach_scale(f['time'])")
    for n in (1, 2):
        writers[n](f"f['w{n}'] = range(10); f['w{n}'].dims[0].attach_scale(f['time'])")
    for writer in writers:
        writer("f.flush()")
        writer.end()
    with h5py.File("scale.h5", "r+") as f:
        assert users(f) == ["/v1", "/v2", "/w1", "/w2"], users(f)
        for name in users(f):
            f[name].dims[0].detach_scale(f["time"])
        assert "REFERENCE_LIST" not in f["time"].attrs


def check_the_first_users_of_a_dimension(folder):
    """The dataset has no REFERENCE_LIST yet, and both writers turn it into a dimension scale."""
    def make(f):
        f["time"] = range(10)

    a, b = peers("first.h5", make)
    for n, writer in enumerate((a, b)):
        writer(f"f['time'].make_scale('time'); f['v{n}'] = range(10); f['v{n}'].dims[0].attach_scale(f['time'])")
    for writer in (a, b):
        writer("f.flush()")
        writer.end()
    with h5py.File("first.h5") as f:
        assert users(f) == ["/v0", "/v1"] and f["time"].is_scale


def check_a_name_that_was_made_and_removed_is_free(folder):
    def make(f):
        f["a"] = 1

    for thing in "f.create_group('x')", "f['x'] = [1, 2]", "f.attrs['x'] = [1, 2]", "f['x'] = h5py.SoftLink('/a')":
        where = "f.attrs" if "attrs" in thing else "f"
        for mine in "f['x'] = [3]", "f.create_group('x').create_group('y')", "f.attrs['x'] = 'mine'":
            a, b = peers("free.h5", make)
            b(mine)
            for step in thing, "f.flush()", f"del {where}['x']", "f.flush()":
                a(step)
            b("f.flush()")
            a.end()
            b.end()
            with h5py.File("free.h5") as f:
                assert ("x" in f.attrs) == ("attrs" in mine) and ("x" in f) == ("attrs" not in mine)


def check_a_moved_group_is_no_new_one(folder):
    def make(f):
        f["old/data"] = range(5)

    a, b = peers("moved.h5", make)
    b("f['run/mine'] = 1")
    a("f.move('old', 'run')")
    a("f.flush()")
    told = str(raises(RuntimeError, b, "f.flush()"))
    assert DROPPED in told and "/, link 'run', was changed by another writer" in told, told
    # The writer sees the moved group, and its retry changes that group.
    b("f['run/mine'] = 2")
    b("f.flush()")
    a.end()
    b.end()
    with h5py.File("moved.h5") as f:
        assert sorted(f["run"]) == ["data", "mine"] and "old" not in f and f["run/mine"][()] == 2
        same(f["run/data"][:], np.arange(5))


if __name__ == "__main__":
    main(dict(globals()))
