"""Selections of h5lake.open give the elements and the exceptions that h5py gives. Objects, links, old versions, virtual
datasets, pickles and errors."""
# only: h5lake
# schemes: file

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import parallel_reader as reader
from cases import main, part_of
from parallel_reader import h5lake, outcome, same

SHAPES = [(7,), (1,), (0,), (4, 5), (3, 1, 6), (2, 3, 4, 5)]


def axis(random, size):
    kind = random.randrange(9)
    number = lambda: random.randint(-size - 2, size + 2)  # noqa: E731
    if kind == 0:
        return random.randint(-size, max(size - 1, 0))
    if kind == 1:
        return number()
    if kind in (2, 3, 4):
        return slice(random.choice([None, number()]), random.choice([None, number()]), random.choice([None, 1, 2, 3]))
    if kind == 5:
        return slice(None)
    if kind == 6 and size:
        return sorted(random.sample(range(size), random.randint(1, size)))
    if kind == 7:
        return np.array([random.random() < 0.5 for _ in range(size)], bool)
    return random.choice([Ellipsis, np.int64(0), slice(None, None, -1), [], [1, 0], slice(3, 1)])


def check_selections_are_those_of_h5py(folder):
    chosen = random.Random(7)
    with h5py.File("s.h5", "w") as f:
        for n, shape in enumerate(SHAPES):
            data = np.arange(np.prod(shape)).reshape(shape)
            f.create_dataset(f"{n}", data=data, maxshape=(None,) * len(shape), chunks=(2,) * len(shape))
    cases = [(n, chosen.randint(0, 1 << 40)) for n in range(len(SHAPES)) for _ in range(400)]
    with h5py.File("s.h5", "r") as theirs, h5lake.open("s.h5") as ours:
        for n, seed in part_of(cases):
            one, shape = random.Random(seed), SHAPES[n]
            count = one.randint(0, len(shape)) if one.random() < 0.9 else len(shape) + 1
            arguments = tuple(axis(one, shape[d % len(shape)]) for d in range(count))
            wanted, found = outcome(lambda: theirs[f"{n}"][arguments]), outcome(lambda: ours[f"{n}"][arguments])
            where = (shape, arguments, wanted, found)
            if "Use other code" in str(wanted):
                # h5py takes a mask of one dimension alone, and not beside an ellipsis.
                continue
            if isinstance(found, IndexError) and getattr(wanted, "size", 1) == 0:
                # h5py does not check the range of a list if nothing is selected.
                continue
            if isinstance(wanted, Exception) or isinstance(found, Exception):
                assert isinstance(wanted, Exception) and isinstance(found, (TypeError, ValueError, IndexError)), where
            else:
                same(found, wanted, where)


def check_the_byte_order_stays(folder):
    with h5py.File("order.h5", "w") as f:
        f["x"] = np.arange(100, dtype=">i2")
    with h5py.File("order.h5", "r") as theirs, h5lake.open("order.h5") as ours:
        mask = np.zeros(100, bool)
        mask[[3, 90]] = True
        for selection in ([1, 40, 99], [1, 2, 3], slice(5), 4, mask):
            same(ours["x"][selection], theirs["x"][selection], selection)


def check_lists_of_indices_are_read_in_boxes(folder):
    with h5py.File("l.h5", "w") as f:
        f.create_dataset("x", (1 << 25, 1), "i8")[::1000, 0] = np.arange(0, 1 << 25, 1000)
    most_of_72_mb = np.delete(np.arange(9 << 20), [5, 4_000_000])
    with h5lake.open("l.h5") as f:
        for indices in (most_of_72_mb, np.array([0, 1, 3000, 9000, 500_000, (1 << 25) - 1]), np.arange(0, 1 << 25, 4097)):
            wanted = np.where(indices % 1000 == 0, indices, 0)
            same(f["x"][indices][:, 0], wanted, "first dimension")
            same(f["x"][indices, 0], wanted, "and an index")
    for indices, row, most in ((most_of_72_mb, 8, 1 << 20), ([0, 4096, 8194, 20_000], 8, 1 << 30), ([3, 4, 9], 1 << 20, 1 << 20)):
        found = h5lake._reader_selection.groups(np.asarray(indices), row, most)
        assert (np.concatenate(found) == indices).all()
        assert all((group[-1] - group[0] + 1) * row <= max(most, row) for group in found), found
        assert all((np.diff(group) - 1 <= (32 << 10) // row).all() for group in found), found
    assert len(h5lake._reader_selection.groups(np.array([0, 4096, 8194, 20_000]), 8, 1 << 30)) == 3


def check_masks_and_buffers(folder):
    data = np.random.default_rng(3).integers(0, 99, (40, 30))
    with h5py.File("m.h5", "w") as f:
        f.create_dataset("x", data=data, chunks=(7, 11), compression="gzip")
        f["scalar"] = 3.5
    with h5lake.open("m.h5") as f:
        x = f["x"]
        for mask in (data > 50, data < 0, data > 97, np.eye(40, 30, dtype=bool)):
            same(x[mask], data[mask], "mask")
        rows = data[:, 0] > 60
        same(x[rows], data[rows], "rows")
        same(x[:, [1, 5, 29]], data[:, [1, 5, 29]], "sparse")
        same(x[[0, 39], 3:9:2], data[[0, 39], 3:9:2], "sparse rows")
        out = np.zeros((40, 30), data.dtype)
        assert x.read(out=out) is out and (out == data).all()
        part = np.zeros((5, 30), "f4")
        assert (x.read(np.s_[5:10], out=part) == data[5:10]).all()
        x.read_direct(out, np.s_[:3], np.s_[10:13])
        assert (out[10:13] == data[:3]).all()
        assert isinstance(outcome(lambda: x.read(out=part)), TypeError)
        many = x.read_many([np.s_[n] for n in range(40)] + [np.s_[2, 3], np.s_[::9, 1:4]])
        assert (np.array(many[:40]) == data).all() and many[40] == data[2, 3] and (many[41] == data[::9, 1:4]).all()
        assert f["scalar"][()] == 3.5 and f["scalar"][...].shape == () and isinstance(f["scalar"][()], np.float64)
        assert (np.asarray(x) == data).all() and len(x) == 40 and (np.array(list(x)) == data).all()
        assert sum(int(np.prod([s.stop - s.start for s in part])) for part in x.iter_chunks()) == data.size
        mask, stored = x.read_chunk((7, 11))
        assert mask == 0 and len(stored) > 8
        for wrong in (lambda: x[None], lambda: x["name"], lambda: x[40], lambda: x[0, 0, 0], lambda: f["nothing"], lambda: f[5]):
            assert isinstance(outcome(wrong), (TypeError, ValueError, IndexError, KeyError))


def check_links_and_groups(folder):
    with h5py.File("other.h5", "w") as f:
        f["g/x"] = [1, 2]
    with h5py.File("l.h5", "w") as f:
        f["a/b/c"] = 1
        f["soft"], f["dangling"] = h5py.SoftLink("a/b"), h5py.SoftLink("nowhere")
        f["out"], f["lost"] = h5py.ExternalLink("other.h5", "g"), h5py.ExternalLink("no.h5", "/")
        f["again"] = f["a"]
        f["type"] = np.dtype([("a", "i4")])
        f["a"].attrs["n"] = 1
        f["ä b"] = 2
        h5py.h5g.create(f.id, b"\xff")
    with h5lake.open("l.h5") as ours, h5py.File("l.h5", "r") as theirs:
        assert list(ours) == list(theirs) and len(ours) == len(theirs)
        for path in ("a", "a/b/c", "soft", "soft/c", "dangling", "out", "out/x", "lost", "/", "a/./b", "none/x", "ä b"):
            assert (path in ours) == (path in theirs), path
        assert ours["out/x"][:].tolist() == [1, 2] and ours["soft"]["c"][()] == 1 and ours["a"]["/a/b/c"][()] == 1
        found, wanted = [], []
        ours.visititems(lambda path, found_object: found.append((path, type(found_object).__name__)))
        theirs.visititems(lambda path, found_object: wanted.append((path, type(found_object).__name__)))
        assert [path for path, _ in found] == [path for path, _ in wanted]
        assert ours.links()["soft"] == {"link": "soft", "target": "a/b"} and ours.links()["out"]["file"] == "other.h5"
        assert ours["a/b"].parent == ours["a"] and ours.get("none") is None and ours.get("a", getclass=True) is type(ours["a"])
        assert isinstance(outcome(lambda: ours["dangling"]), KeyError) and isinstance(outcome(lambda: ours["lost"]), KeyError)
        assert ours["type"].dtype == np.dtype([("a", "i4")])


def check_virtual_datasets(folder):
    with h5py.File("source.h5", "w") as f:
        f["x"] = np.arange(60).reshape(6, 10)
        f["texts"] = ["a", "bb", "ccc"]
    with h5py.File("v.h5", "w") as f:
        f["own"] = np.arange(100, 130).reshape(3, 10)
        layout = h5py.VirtualLayout((10, 10), "i8")
        layout[:6] = h5py.VirtualSource("source.h5", "x", (6, 10))
        layout[6:9, ::2] = h5py.VirtualSource(f["own"])[:, 5:]
        f.create_virtual_dataset("v", layout, fillvalue=-1)
        missing = h5py.VirtualLayout((4, 10), "i8")
        missing[1:3] = h5py.VirtualSource("gone.h5", "x", (2, 10))
        f.create_virtual_dataset("missing", missing, fillvalue=7)
        texts = h5py.VirtualLayout((5,), h5py.string_dtype())
        texts[1:4] = h5py.VirtualSource("source.h5", "texts", (3,), h5py.string_dtype())
        f.create_virtual_dataset("texts", texts)
        nested = h5py.VirtualLayout((5, 5), "i8")
        nested[:] = h5py.VirtualSource(f["v"])[::2, 5:]
        f.create_virtual_dataset("nested", nested)
        growing = h5py.VirtualLayout((6, 10), "i8", maxshape=(None, 10))
        growing[:h5py.h5s.UNLIMITED] = h5py.VirtualSource("source.h5", "x", (6, 10), maxshape=(None, 10))[:h5py.h5s.UNLIMITED]
        f.create_virtual_dataset("growing", growing)
    with h5lake.open("v.h5") as ours, h5py.File("v.h5", "r") as theirs:
        for name in ("v", "missing", "texts", "nested"):
            same(ours[name][()], theirs[name][()], name)
            same(ours[name][1:4], theirs[name][1:4], name)
        same(ours["v"][1:9:3, 2:9:2], theirs["v"][1:9:3, 2:9:2], "part")
        error = outcome(lambda: ours["growing"][()])
        assert isinstance(error, NotImplementedError) and "h5py" in str(error), error


def check_versions_and_refresh(folder):
    for n in range(3):
        with h5py.File("t.h5", "a") as f:
            f.require_dataset("x", (n + 1,), "i8", maxshape=(None,)).resize((n + 1,)) if "x" in f else f.create_dataset(
                "x", (1,), "i8", maxshape=(None,))
            f["x"][n] = n
    with h5lake.open("t.h5") as f:
        x = f["x"]
        assert x[:].tolist() == [0, 1, 2]
        with h5py.File("t.h5", "a") as writer:
            writer["x"].resize((5,))
            writer["new"] = 1
            writer.flush()
            assert x.shape == (3,) and "new" not in f and not f.refresh() is None
            assert x.shape == (5,) and x[4] == 0 and "new" in f and not f.refresh()
            writer["x"][4] = 9
            f.refresh()
            assert x[4] == 0, "uncommitted changes are not visible"
    with h5lake.open("t.h5") as f:
        assert f["x"][4] == 9


def check_pickles_and_closed_files(folder):
    with h5py.File("p.h5", "w") as f:
        f["g/x"] = np.arange(10)
    with h5lake.open("p.h5") as f:
        file, group, x = pickle.loads(pickle.dumps((f, f["g"], f["g/x"])))
        assert x[3] == 3 and group["x"] == x and group.file is file and pickle.loads(pickle.dumps(x)).file is file
        packed = pickle.dumps(f["g/x"])
    source = Path(h5lake.__file__).resolve().parents[1]
    plugin = os.environ["HDF5_PLUGIN_PATH"]
    code = (f"import sys, os, pickle; sys.path.insert(0, {str(source)!r}); from h5lake import _plugin; "
            f"_plugin._plugin = lambda: {plugin.split(':')[0] + '/libh5lake.so'!r}; "
            f"print(pickle.loads({packed!r})[:].sum(), 'h5py' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.stdout.split() == ["45", "False"], done
    closed = h5lake.open("p.h5")
    x = closed["g/x"]
    closed.close()
    assert not closed and isinstance(outcome(lambda: closed["g"]), ValueError) and isinstance(outcome(lambda: x[0]), ValueError)
    pid = os.fork()
    if not pid:
        os._exit(0 if outcome(lambda: file["g/x"][2]) == 2 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def check_errors_of_names(folder):
    assert isinstance(outcome(lambda: h5lake.open("none.h5")), FileNotFoundError)
    Path("text.h5").write_text("this is no container" * 100)
    assert isinstance(outcome(lambda: h5lake.open("text.h5")), OSError)
    with h5py.File("v.h5", "w") as f:
        f["x"] = 1
    assert isinstance(outcome(lambda: h5lake.open("v.h5@v=999")), OSError)
    assert isinstance(outcome(lambda: h5lake.open("v.h5", nonsense=1)), ValueError)
    assert isinstance(outcome(lambda: h5lake.open("nothing://x/y")), (OSError, ValueError))


if __name__ == "__main__":
    main(globals())
