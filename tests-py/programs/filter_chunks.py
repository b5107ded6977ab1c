"""h5lake filter finds the same elements as NumPy, and reads only the chunks that can match: for every type of
numbers, in containers that were written at once, in many parts, and by several writers."""
# store: any
# only: h5lake
# needs: tool

import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from cases import main, same  # noqa: E402
from counting_socket import counting  # noqa: E402
from packaged import installed, works  # noqa: E402
from tool import run as run_tool  # noqa: E402

SERVER = Path(__file__).resolve().parents[2] / "object-stores/examples/store_server.py"
RNG = np.random.default_rng(7)


run = functools.partial(run_tool, "filter")


def found(name, path, expression, *more, **variables):
    return json.loads(run("--json", *more, name, path, expression, **variables))


def agrees(name, path, values, expression, wanted):
    """Checks that the tool finds the elements at which `wanted` is true, and their values. Returns its output."""
    with np.errstate(invalid="ignore"):
        where = np.argwhere(wanted)
    told = found(name, path, expression)
    assert told["complete"] and told["count"] == len(where), (expression, told["count"], len(where))
    assert sorted(m["index"] for m in told["matches"]) == where.tolist(), expression
    if values.dtype.kind in "iu":
        assert all(m["value"] == values[tuple(m["index"])] for m in told["matches"]), expression
    counted = found(name, path, expression, "--count")
    assert counted["count"] == len(where) and "matches" not in counted, expression
    return told


def check_sorted_data_is_read_in_part(folder):
    times = np.sort(RNG.integers(0, 1 << 40, 2_000_000))
    with h5py.File("x.h5", "w") as f:
        f.create_dataset("plain", data=times, chunks=(20_000,))
        f.create_dataset("packed", data=times, chunks=(20_000,), compression="gzip", shuffle=True)
        f.create_dataset("contiguous", data=times[:50_000])
    low, high = times[1_000_000], times[1_000_100]
    wanted = (times >= low) & (times < high)
    for path in ("plain", "packed"):
        told = agrees("x.h5", path, times, f"{low} <= x < {high}", wanted)
        assert told["chunks"]["written"] == 100 and told["chunks"]["read"] <= 2, told["chunks"]
        assert told["bytes"]["stored"] >= 10 * told["bytes"]["read"] > 0, told["bytes"]
        # Chunks in which all elements match are counted without reading them.
        told = found("x.h5", path, f"x >= {low}", "--count")
        assert told["count"] == int((times >= low).sum()) and told["chunks"]["read"] <= 1, told
        assert found("x.h5", path, "x < 0")["bytes"]["read"] == 0
    told = agrees("x.h5", "contiguous", times[:50_000], f"x > {times[49_000]}", times[:50_000] > times[49_000])
    assert told["chunks"] is None and told["bytes"] == {"stored": 400_000, "read": 400_000}, told


@contextlib.contextmanager
def counted_server(folder):
    """Starts a store in another process. Yields (its URL, a list with the number of bytes that it sent)."""
    server = subprocess.Popen([sys.executable, SERVER, folder / "objects.db", "--socket", "inner.sock"], stdout=subprocess.PIPE)
    assert server.stdout.readline()
    try:
        with counting("x.sock", "inner.sock") as sent:
            yield f"h5store+unix://{folder}/x.sock/", sent
    finally:
        server.terminate()
        server.wait()


def check_bytes_of_a_store(folder):
    """The bytes that are transferred in total, including the listing of chunks."""
    times = np.sort(RNG.random(4_000_000))
    with counted_server(folder) as (url, sent):
        code = "import h5py, numpy as np\nwith h5py.File('x.h5', 'w') as f:\n    f.create_dataset('t', data=np.load('t.npy'), chunks=(50_000,))"
        np.save("t.npy", times)
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "H5LAKE_STORE": url}, check=True)
        costs = []
        for expression in (f"{times[2_000_000]} <= x < {times[2_000_500]}", "x > 2", "x >= 0"):
            sent[0] = 0
            counted = found("x.h5", "t", expression, "--limit", "4000000", "--count")
            costs.append((counted["count"], sent[0]))
        (few, part), (none, least), (all_, most) = costs
        assert (few, none, all_) == (500, 0, len(times)), costs
        assert most > times.nbytes and part * 10 < most and least * 100 < most, costs


def check_every_type_of_numbers(folder):
    types = ["i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">i8", "<u8", ">u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
    made = {}
    with h5py.File("x.h5", "w") as f:
        for name in types:
            dtype = np.dtype(name)
            data = np.frombuffer(RNG.bytes(600 * dtype.itemsize), dtype).reshape(20, 30).copy()
            if dtype.kind == "f":
                data[3, 4:9], data[5, 5], data[6, 6] = np.nan, np.inf, -np.inf
            made[name] = np.sort(data, axis=0)
            key = name.replace("<", "l").replace(">", "b")
            f.create_dataset(key, data=made[name], chunks=(7, 30), maxshape=(None, 30))
        f.create_dataset("bool", data=made["i1"] > 0, chunks=(7, 30))
    for name, data in made.items():
        key, middle = name.replace("<", "l").replace(">", "b"), data[10, 15]
        with np.errstate(invalid="ignore"):
            plain = str(middle) if data.dtype.kind in "iu" else repr(float(middle)) if np.isfinite(middle) else "1.5"
            literal = data.dtype.type(middle if data.dtype.kind in "iu" or np.isfinite(middle) else 1.5)
            agrees("x.h5", key, data, f"x > {plain}", data > literal)
            agrees("x.h5", key, data, f"x <= {plain}", data <= literal)
            agrees("x.h5", key, data, f"not (x == {plain} or x > {plain})", ~((data == literal) | (data > literal)))
            agrees("x.h5", key, data, "x != x", data != data)
    agrees("x.h5", "bool", made["i1"] > 0, "x == true", made["i1"] > 0)
    big = np.array([2**53, 2**53 + 1, 2**63 - 1], "u8")
    with h5py.File("x.h5", "r+") as f:
        f.create_dataset("big", data=big, chunks=(3,))
    assert found("x.h5", "big", f"x > {2**53}.0")["count"] == 2
    assert found("x.h5", "big", f"x == {2**53 + 1}")["matches"] == [{"index": [1], "value": 2**53 + 1}]


def check_fill_edges_and_resizing(folder):
    kept = np.full((50, 40), 9.0)
    with h5py.File("x.h5", "w") as f:
        d = f.create_dataset("x", (50, 40), "f8", chunks=(16, 16), maxshape=(None, None), fillvalue=9.0)
        d[3:5, 20:38] = kept[3:5, 20:38] = -1
        f.flush()
        agrees("x.h5", "x", kept, "x == 9", kept == 9)
        agrees("x.h5", "x", kept, "x < 0", kept < 0)
        d.resize((70, 60))
        kept = np.pad(kept, ((0, 20), (0, 20)), constant_values=9.0)
        f.flush()
        agrees("x.h5", "x", kept, "x >= 9", kept >= 9)
        d.resize((10, 30))
        kept = kept[:10, :30]
        f.flush()
        agrees("x.h5", "x", kept, "x >= 9", kept >= 9)
        agrees("x.h5", "x", kept, "x < 9 or x > 9", kept != 9)
        d.resize((40, 40))
        kept = np.pad(kept, ((0, 30), (0, 10)), constant_values=9.0)
        f.flush()
        agrees("x.h5", "x", kept, "x == 9", kept == 9)
        f.create_dataset("sparse", (1 << 40,), "i8", chunks=(1 << 10,))[12345] = 7
        f.flush()
        assert found("x.h5", "sparse", "x > 0")["matches"] == [{"index": [12345], "value": 7}]
        told = found("x.h5", "sparse", "x == 0", "--limit", "3")
        assert [m["index"] for m in told["matches"]] == [[0], [1], [2]] and not told["complete"]


def check_what_was_never_written_is_counted_at_once(folder):
    """There are 2^40 chunks, so that a loop over all of them would not end."""
    with h5py.File("x.h5", "w") as f:
        f.create_dataset("wide", (1 << 50,), "i8", chunks=(1 << 10,))[12345] = 7
        f.create_dataset("plane", (1 << 25, (1 << 25) + 1), "u1", chunks=(32, 32))[-1, -1] = 1
    for path, elements in (("wide", 1 << 50), ("plane", (1 << 50) + (1 << 25))):
        for expression, count in (("x == 0", elements - 1), ("x >= 0", elements), ("x > 0", 1), ("x < 0", 0)):
            told = found("x.h5", path, expression, "--count")
            assert told["count"] == count and told["complete"] and told["chunks"]["written"] == 1, (path, expression, told)


def check_random_histories(folder):
    """Writes, resizes, direct chunks, flushes and copies, with a vacuum now and then, compared with an array of
    NumPy."""
    os.environ["H5LAKE_RETENTION"] = "1h"  # for copies that are brought up to date
    for turn, options in enumerate([{}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {}]):
        chunk = (64, 300) if turn == 3 else (9, 11)
        data = np.zeros((130, 310))
        with h5py.File(f"x{turn}.h5", "w") as f:
            f.create_dataset("x", data=data, chunks=chunk, maxshape=(None, None), **options)
        for n in range(25):
            with h5py.File(f"x{turn}.h5", "r+") as f:
                d, what = f["x"], RNG.integers(10)
                if what < 6:
                    a, b = np.sort(RNG.integers(0, data.shape[0] + 1, 2)), np.sort(RNG.integers(0, data.shape[1] + 1, 2))
                    part = RNG.normal(n, 1, (a[1] - a[0], b[1] - b[0]))
                    part[RNG.random(part.shape) < 0.001] = np.nan
                    d[a[0]:a[1], b[0]:b[1]] = data[a[0]:a[1], b[0]:b[1]] = part
                elif what < 8:
                    shape = tuple(RNG.integers(1, 330, 2))
                    d.resize(shape)
                    grown, both = np.zeros(shape), tuple(map(min, shape, data.shape))
                    grown[:both[0], :both[1]] = data[:both[0], :both[1]]
                    data = grown
                elif what == 8 and data.shape[0] >= chunk[0] and data.shape[1] >= chunk[1]:
                    block = RNG.normal(-n, 1, chunk)
                    d.id.write_direct_chunk((0, 0), block.tobytes(), filter_mask=3)
                    data[:chunk[0], :chunk[1]] = block
            if n % 13 == 12:
                subprocess.run([os.environ["TOOL"], "vacuum", f"x{turn}.h5"], check=True, capture_output=True)
            subprocess.run([os.environ["TOOL"], "copy", *(["--update"] if n else []), f"x{turn}.h5", f"copy{turn}.h5"], check=True, capture_output=True)
            low = RNG.normal(n / 2, n)
            name = f"{'copy' if n % 2 else 'x'}{turn}.h5"
            with np.errstate(invalid="ignore"):
                assert found(name, "x", f"x > {low}", "--count")["count"] == int((data > low).sum()), (turn, n)
                assert found(name, "x", f"not x > {low}", "--count")["count"] == int((~(data > low)).sum()), (turn, n)
            if n % 8 == 7:
                with np.errstate(invalid="ignore"):
                    agrees(name, "x", data, f"{low} < x < {low + 2}", (data > low) & (data < low + 2))
        assert subprocess.run([os.environ["TOOL"], "verify", f"x{turn}.h5"], capture_output=True).returncode == 0


def check_many_writers(folder):
    """Two processes write parts of the same chunks, and some chunks alone."""
    with h5py.File("x.h5", "w") as f:
        f.create_dataset("x", data=np.full(40_000, 100.0), chunks=(1000,))
        f.create_dataset("z", data=np.full(40_000, 100.0), chunks=(20_000,), compression="gzip")
    code = """
import h5py, sys, numpy as np
n = int(sys.argv[1])
with h5py.File('x.h5', 'r+') as f:
    for turn in range(20):
        for name in 'xz':
            at = turn * 2000 + n * 800
            f[name][at:at + 700] = np.arange(700) + 1000 * (n + 1) + turn
        f.flush()"""
    env = {**os.environ, "H5LAKE_WRITERS": "many"}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=env) for n in range(2)]
    assert [w.wait() for w in writers] == [0, 0]
    with h5py.File("x.h5") as f:
        for name in "xz":
            data = f[name][:]
            assert (data != 100).sum() == 20 * 1400
            for expression, wanted in [("x == 100", data == 100), ("x > 2000", data > 2000), ("1000 <= x < 1010", (data >= 1000) & (data < 1010))]:
                agrees("x.h5", name, data, expression, wanted)


def check_versions_compounds_and_mistakes(folder):
    row = np.dtype([("x", "<i4"), ("in", [("y", ">f4")]), ("text", "S4"), ("flag", "?")])
    rows = np.zeros(500, row)
    rows["x"], rows["in"]["y"], rows["text"], rows["flag"] = range(500), np.arange(500) / 4, b"ab", np.arange(500) % 2
    with h5py.File("x.h5", "w") as f:
        f.create_dataset("rows", data=rows, chunks=(50,))
        f["scalar"], f["text"], f["null"] = 3.5, "word", h5py.Empty("f4")
        f["group/in"] = [1]
    with h5py.File("x.h5", "r+") as f:
        f["scalar"][()] = 4.5
    told = found("x.h5", "rows", "x >= 490 and in.y < 123 and flag == true")
    assert [m["index"] for m in told["matches"]] == [[491]], told
    assert told["matches"][0]["value"] == {"x": 491, "in": {"y": 122.75}, "text": "ab", "flag": "TRUE"}
    assert found("x.h5", "scalar", "x > 4")["matches"] == [{"index": [], "value": 4.5}]
    assert found("x.h5@v=2", "scalar", "x > 4")["count"] == 0, "the version before"
    assert found("x.h5", "null", "x > 4")["count"] == 0
    text = run("x.h5", "rows", "x < 2")
    assert text.splitlines()[0].startswith("[0]: ") and "2 elements match; 10 of 10 chunks were read" in text, text
    assert run("--count", "x.h5", "scalar", "x > 4") == "1 element matches; 8 of 8 bytes were read\n"
    assert "the first 1 elements that match; there are more" in run("--limit", "1", "x.h5", "rows", "x < 2")
    wrong = run("x.h5", "rows", "x > 5 and z < 1", code=1)
    assert "there is no member 'z'; the members are x, in, text, flag" in wrong and "\n            ^" in wrong, wrong
    for path, expression, word in [("text", "x > 1", "string"), ("rows", "text == 1", "string[4]"), ("group", "x > 1", "is no dataset"),
                                   ("no", "x > 1", "no"), ("scalar", "x", "a comparison is missing")]:
        assert word in run("x.h5", path, expression, code=1), path


def check_from_python(folder):
    site = installed(folder)
    with h5py.File("x.h5", "w") as f:
        f.create_dataset("x", data=np.arange(1000, dtype=">i2").reshape(100, 10), chunks=(10, 10))
        f.create_dataset("f", data=[1.5, np.inf, np.nan], chunks=(3,))
        f.create_dataset("b", data=[True, False, True])
        f.create_dataset("rows", data=np.array([(1, 2.5), (3, 4.5)], [("n", "u1"), ("v", "<f8")]), chunks=(2,))
        f.create_dataset("names", data=np.array([(1, b"ab")], [("n", "u1"), ("s", "S3")]))
        level = h5py.enum_dtype({"LOW": 0, "HIGH": 1}, "u1")
        parts = np.zeros(2, [("n", "u1"), ("a", "<f4", (2,)), ("level", level, (2,)), ("long", np.longdouble)])
        parts[0] = (1, (np.nan, np.inf), (0, 1), 2.5)
        f.create_dataset("parts", data=parts)
        lists = np.empty(1, [("n", "u1"), ("v", h5py.vlen_dtype("f8"))])
        lists["n"], lists["v"][0] = 1, np.array([1.5, -np.inf])
        f.create_dataset("lists", data=lists)
    works(site, """
import h5lake, numpy as np
m = h5lake.filter("x.h5", "x", "150 <= x < 153")
assert m.indices.tolist() == [[15, 0], [15, 1], [15, 2]] and m.indices.dtype == np.uint64, m
assert m.values.tolist() == [150, 151, 152] and m.values.dtype == ">i2", m
assert (m.count, m.complete, m.chunks, m.chunks_read, m.bytes, m.bytes_read) == (3, True, 10, 1, 2000, 200), m
none = h5lake.filter("x.h5", "x", "x < 0")
assert none.indices.shape == (0, 2) and none.values.dtype == ">i2" and none.chunks_read == 0, none
first = h5lake.filter("x.h5", "x", "x > 0", limit=2)
assert first.values.tolist() == [1, 2] and not first.complete
assert h5lake.filter("x.h5", "x", "x > 0", count=True).count == 999
f = h5lake.filter("x.h5", "f", "not x < 1").values
assert f[:2].tolist() == [1.5, np.inf] and np.isnan(f[2]) and f.dtype == "<f8"
b = h5lake.filter("x.h5", "b", "x == true").values
assert b.tolist() == [True, True] and b.dtype == bool
rows = h5lake.filter("x.h5", "rows", "v > 3").values
assert rows.dtype.names == ("n", "v") and rows.tolist() == [(3, 4.5)]
assert h5lake.filter("x.h5", "names", "n == 1").values == [(1, "ab")]
(n, floats, levels, long), = h5lake.filter("x.h5", "parts", "n == 1").values
assert np.isnan(floats[0]) and floats[1] == np.inf and levels == [0, 1] and long.startswith("0x"), (floats, levels, long)
assert h5lake.filter("x.h5", "lists", "n == 1").values == [(1, [1.5, -np.inf])]
try:
    h5lake.filter("x.h5", "x", "x >> 1")
except h5lake.ToolError as error:
    assert "is missing here" in str(error) and "^" in str(error), error
else:
    raise AssertionError
""")
    works(site, """
import sys
sys.modules["numpy"] = None
import h5lake
m = h5lake.filter("x.h5", "x", "x == 7")
assert m.indices == [(0, 7)] and m.values == [7], m
""")
    with h5py.File("x.h5") as f:
        same(f["x"][15, :3], np.array([150, 151, 152], ">i2"))


main(globals())
