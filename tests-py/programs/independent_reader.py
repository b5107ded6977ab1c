"""Reads files of the plugin without the plugin: tests-py/reader is written from docs/format.md alone. Values,
attributes and links equal those that h5py finds, in the container and in a native file with the same content."""
# only: h5lake

import os
import re
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import numpy as np
from cases import main  # noqa: F401

READER = Path(__file__).resolve().parents[1] / "reader"
sys.path.insert(0, str(READER))
import by_libhdf5  # noqa: E402, F401
import chunk_statistics  # noqa: E402
import compared  # noqa: E402
import ledger  # noqa: E402
import manifest  # noqa: E402
import wire  # noqa: E402

CONNECTOR = os.environ.get("HDF5_VOL_CONNECTOR", "")
TEXT = h5py.string_dtype()
NUMBERS = h5py.vlen_dtype(np.dtype("<i2"))
ROW = np.dtype([("n", "<i4"), ("text", TEXT), ("x", ">f8"), ("numbers", NUMBERS), ("last", "u1")])


def local(check):
    """Runs a case only for files and directories: on S3 the reader cannot read the objects."""
    def case(folder):
        if "store=" not in CONNECTOR or "store=file:///" in CONNECTOR:
            check(folder)
    return case


def rows(count):
    made = np.empty(count, ROW)
    for n in range(count):
        made[n] = n, f"row {n} " * n, n / 3, np.arange(n, dtype="<i2"), n
    return made


def types(f):
    g = f.create_group("types")
    for name in ["i1", "u1", "<i2", ">i2", "<u4", ">u8", "<f2", "<f4", ">f4", "<f8", ">f8", "S7", "V5"]:
        g[name.strip("<>") + ("be" if ">" in name else "")] = np.frombuffer(bytes(n % 251 for n in range(1680)), name)[:6]
    g["bool"] = np.array([True, False, True])
    g["enum"] = np.array([2, 1], h5py.enum_dtype({"one": 1, "two": 2}, "i2"))
    g["complex"] = np.array([1 + 2j, -3j])
    g["compound"] = np.array([(1, (2.5, b"ab")), (3, (4.5, b"cd"))], [("a", "<u2"), ("in", [("x", "<f8"), ("s", "S3")])])
    g["array"] = np.zeros(3, np.dtype(("<i4", (2, 2))).base)
    d = g.create_dataset("arrays", (3,), np.dtype([("m", "<i4", (2, 3))]))
    d[1] = (np.arange(6).reshape(2, 3),)
    g.create_dataset("texts", data=["", "a", "ü" * 300, "end"], dtype=TEXT)
    numbers = g.create_dataset("numbers", (4,), NUMBERS)
    numbers[0], numbers[2] = [1, 2, 3], np.arange(500)
    nested = g.create_dataset("nested", (2,), h5py.vlen_dtype(TEXT))
    nested[1] = np.array(["x", "yy"], object)
    g.create_dataset("rows", data=rows(5))
    g["scalar"], g["text"], g["empty"] = 2.5, "a text", h5py.Empty("f8")


def layouts(f):
    g = f.create_group("layouts")
    data = np.arange(60_000, dtype="<u4").reshape(300, 200)
    g["contiguous"] = data
    g.create_dataset("large", data=np.arange(400_000, dtype="<f8"))
    g.create_dataset("never", (7, 5), "<i4", fillvalue=-3)
    for name, how in {"plain": {}, "gzip": {"compression": "gzip"}, "shuffle": {"compression": 9, "shuffle": True},
                      "fletcher": {"fletcher32": True}, "all": {"compression": 1, "shuffle": True, "fletcher32": True}}.items():
        g.create_dataset(name, data=data, chunks=(70, 64), **how)
        odd = g.create_dataset(f"{name}3", (10, 11, 12), "<i2", chunks=(4, 5, 6), maxshape=(None, 20, None), fillvalue=9, **how)
        odd[2:7, 3:4] = 5
        odd.resize((12, 9, 13))
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(g.id, b"compact", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((4,)), create).write(
        h5py.h5s.ALL, h5py.h5s.ALL, np.arange(4, dtype="i4"))


def links(f):
    g = f.create_group("links", track_order=True)
    g["b"] = 1
    g["a"] = g["b"]
    g["soft"] = h5py.SoftLink("/links/b")
    g["beyond"] = h5py.ExternalLink("other.h5", "/x")
    g["name " * 300] = 2
    g.create_group("cycle")["up"] = g
    for n in range(200):
        g.create_group(f"many/{n}")
    g["type"] = np.dtype([("x", "<f4")])


def attributes(f):
    g = f.create_group("attributes")
    g.attrs["text"], g.attrs["texts"], g.attrs["none"] = "a text", ["a", "", "ccc" * 100], h5py.Empty("i4")
    g.attrs["number"], g.attrs["array"], g.attrs["long"] = 7, np.arange(24.0).reshape(2, 3, 4), np.arange(5_000)
    g.attrs.create("rows", rows(4))
    g.attrs["to"], g.attrs["name " * 300] = f["layouts"].ref, 5
    g.attrs["region"] = f["layouts/contiguous"].regionref[2:5, 3]
    g["references"] = np.array([f["types/texts"].ref, h5py.Reference(), f["links/cycle"].ref], h5py.ref_dtype)
    g.create_dataset("regions", (2,), h5py.regionref_dtype)[0] = f["layouts/contiguous"].regionref[0:2]


def changes(f):
    """Changes existing data, so that there are edits, payloads that grow, pieces, and reused space."""
    for n in range(30):
        f.attrs["n"] = n
        f["types/texts"][n % 4] = f"changed {n}" * n
        f["layouts/contiguous"][n * 3, n:n * 2] = n
        f["layouts/all"][n:n + 5, 7] = 2 * n
        log = f.require_dataset("log", (n,), "<u8", maxshape=(None,), chunks=(1000,), exact=False) if "log" not in f else f["log"]
        log.resize((n + 1) * 100, axis=0)
        log[n * 100:] = n
        if n % 7 == 3 and f"links/many/{n}" in f:
            del f[f"links/many/{n}"]
        f.flush()


def bulk(f, n):
    """Stores so much inline data that the commit is a checkpoint."""
    for k in range(60):
        f.require_dataset(f"bulk/{k}", (1875,), "u8")[...] = n


def fill(f):
    for part in types, layouts, links, attributes:
        part(f)
        f.flush()


def native(folder, *parts):
    """Returns the content, as h5py finds it, of a native file that is filled in the same way."""
    with h5py.File(folder / "native.h5", "w", driver="core") as f:
        for part in parts:
            part(f)
    assert (folder / "native.h5").read_bytes()[8] != 0x4C
    with h5py.File(folder / "native.h5", "r", driver="core") as f:
        return compared.by_h5py(f)


@local
def check_values(folder):
    with h5py.File("values.h5", "w") as f:
        fill(f)
        compared.agree(compared.by_reader("values.h5"), compared.by_h5py(f))
    closed = compared.by_reader("values.h5")
    compared.agree(closed, native(folder, fill))
    with h5py.File("values.h5") as f:
        compared.agree(closed, compared.by_h5py(f))


@local
def check_changes(folder):
    """Reads the base and the log of an open container and of a closed one, over several openings."""
    for turn in range(3):
        with h5py.File("changes.h5", "a") as f:
            if not turn:
                fill(f)
            changes(f)
            compared.agree(compared.by_reader("changes.h5"), compared.by_h5py(f))
            bulk(f, turn)
            f.flush()
            compared.agree(compared.by_reader("changes.h5"), compared.by_h5py(f))
            f.attrs["turn"] = turn
    closed = compared.by_reader("changes.h5")
    with h5py.File("changes.h5") as f:
        compared.agree(closed, compared.by_h5py(f))
    compared.agree({k: v for k, v in closed.items() if not k.startswith("/bulk")},
                   {k: v for k, v in native(folder, fill, *[changes] * 3, last).items() if not k.startswith("/bulk")})
    tables_agree("changes.h5")


def last(f):
    bulk(f, 2)
    f.attrs["turn"] = 2


@local
def check_a_user_block(folder):
    with h5py.File("a_user_block.h5", "w", userblock_size=1024) as f:
        types(f)
        wanted = compared.by_h5py(f)
    compared.agree(compared.by_reader("a_user_block.h5"), wanted)


def as_one_of_many(which):
    with h5py.File("many_writers.h5", "r+") as f:
        for n in range(12):
            f.create_dataset(f"{which}/d{n}", data=np.arange(n * 2000), chunks=(1500,) if n else None)
            f[which].attrs["text"] = [f"{which} {n}"] * n
            f.create_dataset(f"{which}/t{n}", data=["a", which * n], dtype=TEXT)
            f.flush()


@local
def check_many_writers(folder):
    with h5py.File("many_writers.h5", "w") as f:
        fill(f)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: run_here("r.as_one_of_many(sys.argv[1])", name, H5LAKE_WRITERS="many"), ("one", "two", "three")))
    with h5py.File("many_writers.h5") as f:
        compared.agree(compared.by_reader("many_writers.h5"), compared.by_h5py(f))


def print_by_h5py(path):
    with h5py.File(path, "r") as f:
        print(repr(compared.by_h5py(f)))


def run_here(code, *arguments, **settings):
    """Runs Python code that imports this program, in a process with settings of its own. Returns its output."""
    env = {**os.environ, **settings, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run([sys.executable, "-c", f"import independent_reader as r, sys; {code}", *map(str, arguments)],
                          env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def make_history_of(path):
    """Makes versions, some of them bases, and prints {version: content as h5py finds it}."""
    found = {}

    def flush(f):
        f.flush()
        found[compared.Container(path).ledger.version] = compared.by_h5py(f)
    for turn in range(2):
        with h5py.File(path, "a") as f:
            if not turn:
                types(f)
                flush(f)
            f.attrs["turn"] = [f"turn {turn}"] * (turn + 1)
            flush(f)
            bulk(f, turn)
            flush(f)
            f.attrs["last"] = turn
            flush(f)
    print(repr(found))


def tables_agree(path):
    """Checks that the usage tables, dead lists and references of a container in a store name existing objects."""
    found = compared.Container(path).ledger
    if found.kind == "head objects":
        assert found.check_objects() and not found.manifest.sessions, found.manifest.sessions
        copies = found.copies_of_manifests()
        # Each checkpoint of a container with a root leaves a copy of the manifest.
        assert bool(copies) == bool(found.line.root.page) and len(copies) <= 2, copies.keys()
        assert all(sequence <= found.manifest.sequence for sequence in copies), copies.keys()


@local
def check_old_versions(folder):
    # The evaluated text is a repr from a process of this program.
    wanted = eval(run_here("r.make_history_of(sys.argv[1])", "old_versions.h5", H5LAKE_RETENTION="7d"))  # noqa: S307
    newest = compared.Container("old_versions.h5").ledger
    assert newest.base and newest.history and len(wanted) == 7, (newest.base, newest.history, wanted.keys())
    for version, found in wanted.items():
        compared.agree(compared.by_reader("old_versions.h5", version), found)
    told = run_here("r.print_by_h5py(sys.argv[1])", "old_versions.h5", H5LAKE_VERSION=str(min(wanted)))
    compared.agree(eval(told), wanted[min(wanted)])  # noqa: S307
    times = newest.versions()
    assert wanted.keys() <= times.keys() and list(times.values()) == sorted(times.values()), times
    for version in wanted:
        when = datetime(1970, 1, 1) + timedelta(microseconds=times[version])
        with h5py.File(f"old_versions.h5@t={when:%Y-%m-%dT%H:%M:%S.%fZ}", "r") as f:
            compared.agree(compared.by_h5py(f), wanted[version])
    tables_agree("old_versions.h5")


@local
def check_long_commits(folder):
    """A commit that takes too much memory and is therefore stored in pages, and a commit with a record that is too
    long for the manifest of a store."""
    with h5py.File("long_commits.h5", "w") as f:
        types(f)
    with h5py.File("long_commits.h5", "r+") as f:
        many = f.create_group("many").attrs
        for n in range(9_500):
            many[f"{n}"] = np.full(450, n)
        f.flush()
        found = compared.Container("long_commits.h5")
        assert len(found["/many"].attributes()) == 9_500
        if found.ledger.kind == "head objects":
            kinds = [part.kind for record in found.ledger.line.tail for part in record.parts]
            assert manifest.IN_ROOT in kinds, kinds
        del f["many"]
        f.flush()
        for n in range(1500):
            f.attrs[f"attribute {n:04d}"] = "of some length, so that the record is an object of its own"
        f.flush()
        found = compared.Container("long_commits.h5").ledger
        if found.kind == "head objects":
            assert any(part.kind == manifest.STORED for record in found.line.tail for part in record.parts), found.line.tail
        compared.agree(compared.by_reader("long_commits.h5"), compared.by_h5py(f))
    tables_agree("long_commits.h5")


@local
def check_leases_and_tombstones(folder):
    """The objects beside a container in a store: the writer's lease, and the containers that were replaced."""
    with h5py.File("replaced.h5", "w") as f:
        f["first"] = 1
        found = compared.Container("replaced.h5").ledger
        if found.kind != "head objects":
            return
        beside = Path(found.folder, found.name + ".lake")
        writer = manifest.lease((beside / "lease").read_bytes())
        assert (writer.pid, writer.queues) == (os.getpid(), []), writer
    assert not (beside / "lease").exists()
    # A container that a pointer file leads to may be replaced.
    with h5py.File("replaced.h5", "w") as f:
        f["second"] = 2
    now = compared.Container("replaced.h5").ledger
    stones = [path for path in (beside / "replaced").iterdir() if not path.name.startswith(".")]
    assert len(stones) == 1 and now.identity != found.identity, stones
    stone = manifest.tombstone(stones[0].read_bytes())
    old = ledger.manifest_of(stone.manifest)
    assert not stone.deleted and stone.pid == os.getpid() and old.id == found.identity, stone
    assert stones[0].name == f"{old.id.hex()}-{old.sequence:x}" and old.line.number >= 1 and not old.sessions, stones


def samples():
    """Returns (a sample's folder, True for a store in a directory) for all samples that the present connector can
    open."""
    found = [(sample, (sample / "objects").exists()) for sample in sorted((READER / "samples").iterdir())]
    assert len(found) >= 20, found
    # If the setting `store` is given, plain names are names in that store.
    return [(sample, in_objects) for sample, in_objects in found if in_objects or "store=" not in CONNECTOR]


def features_of_the_page():
    """Returns (kind of container, bit) of every feature that docs/format.md names."""
    page = (READER.parents[1] / "docs/format.md").read_text()
    table = page.split("| feature bit | value | in |", 1)[1].split("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([a-z ]+) \|", table, re.M)
    assert len(rows) == table.count("\n") - 1 and all(1 << int(bit) == int(value) for bit, value, _ in rows), table
    return {(kind, int(bit)) for bit, _, kind in rows}


def bits_of(container):
    """Returns (kind, bit, True if set) for the features that the page names for a container's kind."""
    return {(kind, bit, bool(container.ledger.features >> bit & 1)) for kind, bit in features_of_the_page()
            if kind == container.ledger.kind}


def change(f):
    """Writes values that differ a little from the values before. Such changes are stored as edits where the
    container's features allow edits."""
    for n in range(3):
        f.attrs["later"] = "written later, of some length, so that it could be an edit " * 3 + str(n)
        f.flush()


def agrees_on_branch(sample, name):
    """Checks that the branch of a sample has the expected content, can be written, and leaves the main line
    unchanged."""
    expected = sample / "expected-branch.txt"
    assert expected.exists() == sample.name.endswith("branched")
    if not expected.exists():
        return
    main_line, branch = compared.by_reader(name), f"{name}@branch=fix"
    read = compared.by_reader(name, branch=b"fix")
    compared.agree(compared.without_selections(read), compared.without_selections(eval(expected.read_text())))  # noqa: S307
    for _ in range(2):
        with h5py.File(branch, "r") as f:
            compared.agree(compared.by_h5py(f), read)
        with h5py.File(branch, "r+") as f:
            change(f)
        read = compared.by_reader(name, branch=b"fix")
        assert read != main_line
    compared.agree(compared.by_reader(name), main_line)


@local
def check_samples(folder):
    """Every later build reads the samples and finds the expected content. Each feature is set in some samples but
    not in all, except for edits, which every file may hold."""
    seen, of_sources = set(), set()
    for sample, in_objects in samples():
        expected = eval((sample / "expected.txt").read_text())  # noqa: S307 - a file of ours, bytes and tuples in it
        place = folder / sample.name
        shutil.copytree(sample, place)
        for path in place.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            if path.name == "native.h5":
                os.utime(path, (compared.SOURCE_TIME, compared.SOURCE_TIME))
        # Its writer ran on another machine, and a copied lease looks as if it had just been renewed.
        (place / "objects/x.h5.lake/lease").unlink(missing_ok=True)
        name = f"file://{place}/objects/x.h5" if in_objects else str(place / "x.h5")
        checked = chunk_statistics.checked
        if in_objects:
            of_sources.add(compared.Container(name).ledger.manifest.has_sources)
        read, before = compared.by_reader(name), bits_of(compared.Container(name))
        origin = compared.Container(name).ledger.origin()
        assert (origin is not None) == sample.name.endswith("copied"), (sample.name, origin)
        compared.agree(compared.without_selections(read), compared.without_selections(expected))
        if sample.name == "statistics":
            has_statistics = chunk_statistics.checked - checked
            assert has_statistics > 60, has_statistics
        with h5py.File(name, "r") as f:
            compared.agree(compared.by_h5py(f), read)
        with h5py.File(name, "r+") as f:
            change(f)
            changed = compared.by_h5py(f)
        compared.agree(compared.by_reader(name), changed)
        agrees_on_branch(sample, name)
        assert compared.Container(name).ledger.origin() is None, "what was written to is no copy"
        seen |= before
        (place / "x.h5").unlink(missing_ok=True)
    kinds = {in_objects for _, in_objects in samples()}
    wanted = {(kind, bit, is_set) for kind, bit in features_of_the_page() for is_set in (True, False)
              if (kind == "head objects") in kinds and (kind, bit, is_set) != ("files", 1, False)}
    assert seen == wanted, f"without a sample: {wanted - seen}"
    assert of_sources == {True, False}, of_sources


def check_reserved_fields_are_those_of_newer_builds(folder):
    def sealed(body):
        return body + struct.pack("<I", wire.crc32c(body))

    def is_newer(name, data):
        place = folder / "x.h5"
        place.write_bytes(data)
        try:
            ledger.open_ledger(name.format(place))
        except wire.Newer:
            return True
        return False
    data = (READER / "samples/closed/x.h5").read_bytes()
    assert not is_newer("{}", data)
    for at in (512, 768, 4096, 4352):
        slot = data[at:at + 147] + b"\1"
        data = data[:at] + sealed(slot) + data[at + 152:]
    assert is_newer("{}", data)
    head = (READER / "samples/dir-closed/objects/x.h5").read_bytes()
    for field in (64, 65):
        assert is_newer("file://{}", sealed(head[:field] + b"\1" + head[field + 1:-4])), field


def check_the_reader_knows_the_features_of_the_page(folder):
    known = {(kind, bit) for kind, bits in ledger.KNOWN_FEATURES.items() for bit in range(32) if bits >> bit & 1}
    assert known == features_of_the_page(), known ^ features_of_the_page()


if __name__ == "__main__":
    main(globals())
