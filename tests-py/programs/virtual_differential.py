"""Virtual datasets with sources that are as the mapping says, longer, shorter, of another shape or rank, no datasets, or missing. Each
read and each write happens natively and in the connector, and has to give the result of a model in numpy. Where native HDF5 differs from
the model, the case is named with the reason."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from cases import main, part_of

FILL, OF_SOURCE = -1, 5  # the fill values of virtual datasets, and of sources
ENDLESS = h5py.h5s.UNLIMITED
ERROR = "error"

# --- what is mapped, and read ---

STORAGE = ["contiguous", "chunked", "gzip", "compact", "nested", "native"]
PLACES = [".", "o.h5", "native-sub/o.h5"]
EXTENTS = [(6,), (8,), (3,), (2, 3), (3, 2), (1, 6), (2, 2, 2), (), "null", (0,)]
# Selections of the source, each in a dataspace of its own.
MAPPED = {
    "all of 6": ((6,), None), "all of 2x3": ((2, 3), None), "all of 1x6": ((1, 6), None),
    "slab of 6": ((6,), [((0,), (6,), (1,), (1,))]),
    "every other of 12": ((12,), [((1,), (6,), (2,), (1,))]),
    "two blocks": ((9,), [((0,), (2,), (5,), (3,))]),
    "block of 3x3": ((3, 3), [((0, 0), (1, 1), (1, 1), (2, 3))]),
    "an L": ((3, 3), [((0, 0), (1, 1), (1, 1), (3, 1)), ((2, 0), (1, 1), (1, 1), (1, 3)), ((0, 2), (1, 1), (1, 1), (1, 1))]),
}
# Selections of six elements in a virtual dataset of 4 x 4.
SHOWN = {
    "a block": [((1, 0), (1, 1), (1, 1), (2, 3))],
    "columns": [((0, 1), (3, 2), (1, 2), (1, 1))],
    "a corner": [((0, 0), (1, 1), (1, 1), (4, 1)), ((3, 1), (1, 1), (1, 1), (1, 2))],
}
POINTS = {
    "points": [(1, 0), (1, 1), (2, 2)],
    "points out of order": [(2, 2), (0, 1), (3, 2), (1, 0), (0, 0), (2, 1)],
    "points that repeat": [(1, 1), (1, 1), (3, 3), (2, 2), (1, 1), (0, 3), (2, 2), (0, 1)],
}
SLABS = {
    "everything": [((0, 0), (1, 1), (1, 1), (4, 4))],
    "rows": [((1, 0), (1, 1), (1, 1), (2, 4))],
    "a lattice": [((0, 0), (2, 2), (2, 2), (1, 1))],
    "a union": [((0, 0), (1, 1), (1, 1), (2, 2)), ((2, 1), (1, 1), (1, 1), (2, 2))],
}
NAMES = ["x", "group/x", "soft", "soft to missing", "soft to missing way", "cycle", "group", "type", "nothing", "group/nothing", "no/way",
         "x/through", "soft to missing/x", "", "/", "./x", "x/"]
FILES = ["o.h5", "native-sub/o.h5", "missing.h5", "folder", "", "/", "folder/", "junk.h5", "o.h5/x"]


def space(shape, slabs):
    made = h5py.h5s.create_simple(shape, (ENDLESS,) * len(shape))
    for n, (start, count, stride, block) in enumerate(slabs or []):
        made.select_hyperslab(start, count, stride, block, op=h5py.h5s.SELECT_OR if n else h5py.h5s.SELECT_SET)
    return made


def selected(shape, slabs):
    """Returns the selected coordinates in C order."""
    chosen = np.zeros(shape, bool)
    for start, count, stride, block in slabs or [((0,) * len(shape), shape, (1,) * len(shape), (1,) * len(shape))]:
        each = [[s + n * d + b for n in range(c) for b in range(k)] for s, c, d, k in zip(start, count, stride, block)]
        chosen[np.ix_(*each)] = True
    return [tuple(int(n) for n in at) for at in np.argwhere(chosen)]


def elements_of(extent):
    return {"null": None, (): np.asarray(100, "i4")}.get(
        extent, None if extent == "null" else 100 + np.arange(int(np.prod(extent)), dtype="i4").reshape(extent))


def model(extent, mapped, shown):
    """Returns the expected elements of the virtual dataset, or ERROR if the source does not fit the mapping."""
    shape, slabs = MAPPED[mapped]
    data = elements_of(extent)
    rank, size = (0, 0) if data is None else (data.ndim, data.size)
    there = {at: int(data[at]) for at in np.ndindex(data.shape)} if data is not None else {}
    if slabs is None and size == 6:
        taken = [int(n) for n in np.ravel(data)]
    elif rank != len(shape):
        taken = [ERROR] * 6
    else:
        taken = [there.get(at, OF_SOURCE) for at in selected(shape, slabs)]
    found = np.full((4, 4), FILL, object)
    for at, value in zip(selected((4, 4), SHOWN[shown]), taken):
        found[at] = value
    return found


def values_of_model(found, at):
    values = [found[point] for point in at]
    return ERROR if ERROR in values else values


# --- one side ---


def virtual(f, name, file, dataset, mapped, shown):
    list_ = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    list_.set_fill_value(np.asarray(FILL, "i4"))
    list_.set_virtual(space((4, 4), SHOWN[shown]), file.encode(), dataset.encode(), space(*MAPPED[mapped]))
    return h5py.Dataset(h5py.h5d.create(f.id, name.encode(), h5py.h5t.STD_I32LE, h5py.h5s.create_simple((4, 4)), list_))


def make_source(f, name, storage, extent):
    data = elements_of(extent)
    if data is None:
        f[name] = h5py.Empty("i4")
    elif extent == () or storage in ("contiguous", "native") or 0 in extent:
        f.create_dataset(name, data=data, fillvalue=OF_SOURCE)
    elif storage == "compact":
        list_ = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        list_.set_layout(h5py.h5d.COMPACT)
        list_.set_fill_value(np.asarray(OF_SOURCE, "i4"))
        made = h5py.h5d.create(f.id, name.encode(), h5py.h5t.STD_I32LE, h5py.h5s.create_simple(extent), list_)
        h5py.Dataset(made)[...] = data
    elif storage == "nested":
        make_source(f, name + " within", "chunked", extent)
        layout = h5py.VirtualLayout(extent, "i4")
        layout[...] = h5py.VirtualSource(f[name + " within"])
        f.create_virtual_dataset(name, layout, fillvalue=OF_SOURCE)
    else:
        f.create_dataset(name, data=data, fillvalue=OF_SOURCE, maxshape=(None,) * len(extent), chunks=(2,) * len(extent),
                         compression="gzip" if storage == "gzip" else None)


def name_of(storage, extent):
    return f"{storage} {'x'.join(map(str, extent)) if extent != 'null' else extent}"


def make_sources(f, storages):
    for storage, extent in itertools.product(storages, EXTENTS):
        make_source(f, name_of(storage, extent), storage, extent)


def make_names(f):
    f["x"] = elements_of((6,))
    f["group/x"], f["type"], f["soft"] = f["x"], np.dtype("i4"), h5py.SoftLink("/x")
    f["soft to missing"], f["soft to missing way"] = h5py.SoftLink("/nothing"), h5py.SoftLink("/no/thing")
    f["cycle"], f["cycle 2"] = h5py.SoftLink("/cycle 2"), h5py.SoftLink("/cycle")


def outcome(work):
    """Runs the work in a process of its own, because native HDF5 may crash, and returns its result."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os.close(read)
            try:
                answer = work()
            except Exception:  # noqa: BLE001 - the outcome is data here
                answer = ERROR
            os.write(write, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if status == 0 and said else f"killed by {status}"


def points_of(dataset, at):
    out = np.full(len(at), 99, "i4")
    where = h5py.h5s.create_simple(dataset.shape)
    where.select_elements(at)
    dataset.id.read(h5py.h5s.create_simple((len(at),)), where, out)
    return out.tolist()


def slabs_of(dataset, slabs):
    count = len(selected((4, 4), slabs))
    out = np.full(count, 99, "i4")
    dataset.id.read(h5py.h5s.create_simple((count,)), space((4, 4), slabs), out)
    return out.tolist()


def transfers_of(dataset):
    for name, at in POINTS.items():
        yield name, lambda at=at: points_of(dataset, at)
    for name, slabs in SLABS.items():
        yield name, lambda slabs=slabs: slabs_of(dataset, slabs)


def coordinates(read):
    return POINTS.get(read) or selected((4, 4), SLABS[read])


def extents_of_side():
    """Reads every kind of source in every extent, with every mapping and every selection."""
    os.makedirs("native-sub", exist_ok=True)
    ours = bool(os.environ.get("HDF5_VOL_CONNECTOR"))
    for file in ("o.h5", "native-sub/o.h5"):
        with h5py.File(file, "w") as f:
            make_sources(f, STORAGE[:-1])
    script = "import virtual_differential as v, h5py\nwith h5py.File('native.h5', 'w') as f: v.make_sources(f, ['native'])"
    run_worker(script, ours=False) if ours else exec(script, {})
    found = {}
    with h5py.File("v.h5", "w") as f:
        make_sources(f, STORAGE[:-1])
        for n, case in enumerate(cases()):
            virtual(f, str(n), *case[:2], *case[4:])
    with h5py.File("v.h5", "r") as f:
        for n, case in enumerate(cases()):
            dataset = f[str(n)]
            for read, work in transfers_of(dataset):
                if ours or excused(*case[3:], read) is None:
                    found[" | ".join([case[0], case[1], case[4], case[5], read])] = outcome(work)
    return found


def cases():
    for storage, extent in itertools.product(STORAGE, EXTENTS):
        for mapped, shown in part_of(list(itertools.product(MAPPED, SHOWN)), 5):
            file = "native.h5" if storage == "native" else PLACES[(len(mapped) + len(shown)) % 3]
            yield file, name_of(storage, extent), storage, extent, mapped, shown


def names_of_side():
    """Reads and writes sources with every name of a dataset and of a file."""
    os.makedirs("native-sub", exist_ok=True)
    os.makedirs("folder", exist_ok=True)
    Path("junk.h5").write_bytes(b"no file of HDF5" * 100)
    for file in ("o.h5", "native-sub/o.h5"):
        with h5py.File(file, "w") as f:
            make_names(f)
    found = {}
    with h5py.File("v.h5", "w") as f:
        make_names(f)
        wanted = [(file, name) for file in (".", "o.h5") for name in NAMES] + [(file, "x") for file in FILES]
        for n, (file, name) in enumerate(wanted):
            virtual(f, f"v{n}", file, name, "all of 6", "a block")
    for n, (file, name) in enumerate(wanted):
        found[f"{file} | {name} | read"] = outcome(lambda n=n: shown_by(f"v{n}"))
        found[f"{file} | {name} | write"] = outcome(lambda n=n: written(f"v{n}"))
    return found


def shown_by(name):
    with h5py.File("v.h5", "r") as f:
        return f[name][...].tolist()


def written(name):
    """Returns the content after a write, and undoes the write."""
    with h5py.File("v.h5", "r+") as f:
        f[name][1, 0:2] = 7
    found = shown_by(name)
    with h5py.File("v.h5", "r+") as f:
        f[name][1, 0:2] = elements_of((6,))[:2]
    return found


def numbers_of_side():
    """Numbered sources with gaps, by file and by dataset, and unlimited sources of another rank."""
    with h5py.File("v.h5", "w") as f:
        for n in (0, 1, 3, 4, 8):
            f[f"d{n}"] = np.arange(6, dtype="i4").reshape(2, 3) + 10 * n
            f[f"group {n}/d"] = f[f"d{n}"]
        f["flat 0"], f["flat 1"] = np.arange(6, dtype="i4"), np.arange(6, 12, dtype="i4")
        f["tall"] = f.create_dataset("long", data=np.arange(8, dtype="i4"), maxshape=(None,), chunks=(2,))
        f["square"] = f.create_dataset("deep", data=np.arange(8, dtype="i4").reshape(4, 2), maxshape=(None, 2), chunks=(2, 2))
        blocks = h5py.h5s.create_simple((0, 3), (ENDLESS, 3))
        blocks.select_hyperslab((0, 0), (ENDLESS, 1), (2, 1), (2, 3))
        endless = h5py.h5s.create_simple((0,), (ENDLESS,))
        endless.select_hyperslab((0,), (1,), (1,), (ENDLESS,))
        made = {"numbered": ("d%b", blocks, h5py.h5s.create_simple((2, 3)), (0, 3)),
                "in numbered groups": ("group %b/d", blocks, h5py.h5s.create_simple((2, 3)), (0, 3)),
                "of another rank": ("flat %b", blocks, h5py.h5s.create_simple((2, 3)), (0, 3)),
                "endless": ("long", endless, endless, (0,)), "endless of another rank": ("deep", endless, endless, (0,)),
                "endless and missing": ("nothing", endless, endless, (0,))}
        for name, (source, place, taken, shape) in made.items():
            list_ = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            list_.set_fill_value(np.asarray(FILL, "i4"))
            list_.set_virtual(place, b".", source.encode(), taken)
            h5py.h5d.create(f.id, name.encode(), h5py.h5t.STD_I32LE, h5py.h5s.create_simple(shape, (ENDLESS,) + shape[1:]), list_)
    found = {}
    with h5py.File("v.h5", "r") as f:
        for name, view, gap in itertools.product(made, (h5py.h5d.VDS_FIRST_MISSING, h5py.h5d.VDS_LAST_AVAILABLE), (0, 1, 3)):
            list_ = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            list_.set_virtual_view(view)
            list_.set_virtual_printf_gap(gap)
            found[f"{name} | {view} | {gap}"] = outcome(
                lambda name=name, list_=list_: h5py.Dataset(h5py.h5d.open(f.id, name.encode(), list_))[...].tolist())
    return found


# --- both sides ---


def run_worker(script, ours):
    env = {k: v for k, v in os.environ.items() if ours or not k.startswith(("HDF5_", "H5LAKE_"))}
    env["PYTHONPATH"] = str(Path(__file__).parent)
    run = subprocess.run([sys.executable, "-c", script], env=env, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def both(side):
    """Returns the results of both sides, native HDF5 first."""
    found, start = [], os.getcwd()
    for name, ours in (("native-side", False), ("our-side", True)):
        os.makedirs(name, exist_ok=True)
        os.chdir(name)
        script = f"import json, virtual_differential as v; print(json.dumps(v.{side}()))"
        found.append(json.loads(run_worker(script, ours).splitlines()[-1]))
        os.chdir(start)
    assert found[0].keys() <= found[1].keys()
    return found


IS_OURS = bool(os.environ.get("HDF5_VOL_CONNECTOR"))


def excused(extent, mapped, shown, read):
    """Returns the reason why native HDF5 may differ from the model in this case, if any. Such a case is not tried natively, because some
    of these reads do not end."""
    shape, slabs = MAPPED[mapped]
    rank, size = (0, 0) if extent == "null" else (len(extent), int(np.prod(extent)))
    if slabs is not None and rank != len(shape):
        return "it takes coordinates of another rank, and reads elsewhere, fails or crashes"
    if slabs is None and size != 6:
        return "all of a source of another size is an error, whichever elements are read"
    if slabs is not None and any(last >= n for at in selected(shape, slabs) for last, n in zip(at, extent)):
        return "it reads behind the end of a source that is not in chunks"
    if read in POINTS:
        return "points of virtual datasets fail or crash where the order differs, or a point repeats"
    return None


def check_sources_of_every_extent(folder):
    native, ours = both("extents_of_side")
    failures, same_values = [], 0
    for file, name, storage, extent, mapped, shown in cases():
        found = model(extent, mapped, shown)
        for read in [*POINTS, *SLABS]:
            key = " | ".join([file, name, mapped, shown, read])
            wanted = values_of_model(found, coordinates(read))
            if IS_OURS and ours[key] != wanted:
                failures.append(f"{key}: {ours[key]} and not {wanted}")
            if key in native and native[key] != wanted:
                failures.append(f"{key}: natively {native[key]} and not {wanted}")
            same_values += key in native and native[key] == ours[key]
    assert not failures, f"{len(failures)} differ:\n" + "\n".join(failures[:40])
    assert same_values > 50, same_values


def check_names_of_every_kind(folder):
    native, ours = both("names_of_side")
    different = {key for key in native if native[key] != ours[key]}
    # HDF5 1.14 treats every source that cannot be opened as missing. Since 2.0, a missing group on the way is an error.
    newer = h5py.version.hdf5_version_tuple >= (2, 0, 0)
    missing = [[FILL] * 4] * 4
    for key in sorted(different):
        read_ours = ours[key.rpartition("|")[0] + "| read"]
        # Native HDF5 treats a folder as a missing file if it opens the folder for writing, and as an error if for reading.
        is_folder = key.partition(" | ")[0] in ("folder", "folder/", "", "/")
        excuse = ("no/way" in key or is_folder) and read_ours == missing or not newer and read_ours == ERROR
        assert excuse, (key, native[key], ours[key])
    if IS_OURS:
        for name in ("group", "type", "cycle", "soft to missing way", "x/through", "soft to missing/x", ""):
            assert ours[f". | {name} | read"] == ERROR, name
        # An object store has no object with the name of the root, so reading it is an error.
        assert ours["/ | x | read"] == (ERROR if "store=" in os.environ["HDF5_VOL_CONNECTOR"] else missing), ours["/ | x | read"]
        for key in ("folder | x", " | x", "missing.h5 | x", ". | nothing", ". | soft to missing", ". | group/nothing", ". | no/way"):
            assert ours[f"{key} | read"] == missing, (key, ours[f"{key} | read"])


def check_numbered_and_endless_sources(folder):
    native, ours = both("numbers_of_side")
    for key in native:
        if native[key] != ours[key]:
            # HDF5 2.0 fails at the first missing group. For a source of another rank, it reads unrelated memory as dimensions.
            assert "in numbered groups" in key or "endless of another rank" in key, (key, native[key], ours[key])
        if IS_OURS and key.startswith("in numbered groups"):
            assert ours[key] == ours[key.replace("in numbered groups", "numbered")], key
        if IS_OURS and key.startswith("endless of another rank"):
            assert ours[key] == ERROR, (key, ours[key])


def check_points_are_written_in_order(folder):
    """If a point repeats, its last value is stored, in the source too. In native HDF5, such a write fails or loses elements."""
    if not IS_OURS:
        return
    for mapped, source in (("all of 2x3", (2, 3)), ("all of 6", (2, 3)), ("an L", (3, 3)), ("every other of 12", (12,))):
        with h5py.File("points.h5", "w") as f:
            f["source"] = np.zeros(source, "i4")
            v = virtual(f, "v", ".", "source", mapped, "a block")
            at = [(2, 2), (1, 0), (2, 2), (1, 2), (1, 0)]
            where = h5py.h5s.create_simple((4, 4))
            where.select_elements(at)
            v.id.write(h5py.h5s.create_simple((5,)), where, np.arange(1, 6, dtype="i4"))
            wanted = np.full((4, 4), FILL)
            wanted[1:3, :3] = [[5, 0, 4], [0, 0, 3]]
            assert v[...].tolist() == wanted.tolist(), (mapped, v[...])
            assert sorted(f["source"][...].ravel())[-3:] == [3, 4, 5], (mapped, f["source"][...])
            try:
                where.select_elements([(1, 0), (0, 0)])
                v.id.write(h5py.h5s.create_simple((2,)), where, np.zeros(2, "i4"))
            except OSError as error:
                assert "unmapped portion" in str(error), error
            else:
                raise AssertionError("a point that lies in no source was written")


if __name__ == "__main__":
    main(globals())
