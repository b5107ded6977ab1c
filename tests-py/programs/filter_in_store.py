"""Searches in which a store server compares the elements. The results equal those of a search that reads, and few
bytes are transferred. Servers that do not promise the request, that refuse it or that give wrong answers are
handled correctly."""
# store: any
# only: h5lake
# needs: tool

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from cases import PART, main
from counting_socket import counting  # noqa: E402

SERVER = Path(__file__).resolve().parents[2] / "object-stores/examples/store_server.py"
RNG = np.random.default_rng(11)
# A server that counts the filters of its requests, and gives a wrong answer that the fault's name selects.
CHANGED = """
import importlib.util, os, struct, sys
spec = importlib.util.spec_from_file_location('store_server', sys.argv.pop(1))
s = importlib.util.module_from_spec(spec)
spec.loader.exec_module(s)
fault, asked = sys.argv.pop(1), sys.argv.pop(1)
if fault == 'promises-nothing':
    s.DESCRIPTION['capabilities'].remove('filter')

class Changed(s.Handler):
    def get_filter(h, key, body):
        with open(asked, 'a') as log:
            log.write(h.path + '\\n')
        if fault.isdecimal():
            raise s.Refused(int(fault), 'not here')
        super().get_filter(key, body)

    def answer(h, status, body=b'', **headers):
        n = int(headers.get('H5store_Matches', 0))
        if n > 1:
            indices, values = list(struct.unpack(f'<{n}Q', body[:8 * n])), body[8 * n:]
            size = len(values) // n
            if fault == 'out-of-order':
                indices.reverse()
            elif fault == 'beyond':
                indices[-1] = int(headers['H5store_Elements'])
            elif fault == 'twice':
                indices[1] = indices[0]
            elif fault == 'no-match':
                values = bytes(size) + values[size:]
            elif fault == 'short':
                values = values[:-1]
            elif fault == 'count':
                headers['H5store_Matches'] = str(n + 1)
            elif fault == 'huge-count':
                headers['H5store_Matches'] = str(1 << 62)
            elif fault == 'elements':
                headers['H5store_Elements'] = str(int(headers['H5store_Elements']) + 1)
            elif fault == 'no-header':
                del headers['H5store_Elements']
            elif fault == 'no-etag':
                del headers['ETag']
            elif fault == 'backwards':
                headers['H5store_Next'] = str(indices[-1])
            elif fault == 'endless' and indices[-1] + 1 < int(headers['H5store_Elements']):
                headers['H5store_Next'] = str(indices[-1] + 1)
            elif fault == 'pages' and n > 3:
                indices, values = indices[:3], values[:3 * size]
                headers.update(H5store_Matches='3', H5store_Next=str(indices[-1] + 1))
            body = struct.pack(f'<{len(indices)}Q', *indices) + values
        super().answer(status, body, **headers)

    do_GET = do_HEAD = do_PUT = do_DELETE = s.Handler.handle_request

s.Handler = Changed
s.main()
"""


@contextlib.contextmanager
def counted_server(folder, fault="none"):
    """Starts a store server. Yields its URL, a list with the number of bytes that it sent, and a function that
    returns the filters that it received."""
    asked = folder / f"asked-{fault}"
    asked.touch()
    server = subprocess.Popen([sys.executable, "-c", CHANGED, SERVER, fault, asked, folder / "native-objects.db", "--socket", "inner.sock"],
                              stdout=subprocess.PIPE)
    assert server.stdout.readline()
    try:
        with counting("x.sock", "inner.sock") as sent:
            yield f"h5store+unix://{folder}/x.sock/", sent, lambda: asked.read_text().splitlines()
    finally:
        server.kill()
        server.wait()


def write(url, code, **arrays):
    """Creates x.h5 in the store; `code` uses the arrays by their names."""
    np.savez("arrays.npz", **arrays)
    whole = f"import h5py, numpy as np\nglobals().update(np.load('arrays.npz'))\nwith h5py.File('x.h5', 'w') as f:\n    {code}"
    env = {**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake store={url}"}
    done = subprocess.run([sys.executable, "-c", whole], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def search(url, path, expression, *more, code=0):
    """Returns the JSON output of `h5lake filter`, or its error."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("H5LAKE_", "HDF5_VOL"))}
    command = [os.environ["TOOL"], "filter", "--json", *more, f"{url}x.h5", path, expression]
    done = subprocess.run(command, env={**env, "H5LAKE_TIMEOUT": "20s"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (expression, done.returncode, done.stdout[-500:], done.stderr)
    return json.loads(done.stdout) if code == 0 else done.stderr


def agrees(url, path, expression, wanted=None):
    """Checks that the matches and their order equal those of a search that reads, and those of NumPy. Returns the
    output of the search in the store."""
    told, read = search(url, path, expression), search(url, path, expression, "--local")
    assert read["chunks"]["searched"] == 0, read["chunks"]
    assert told["matches"] == read["matches"] and told["count"] == read["count"] and told["complete"], expression
    if wanted is not None:
        assert sorted(m["index"] for m in told["matches"]) == np.argwhere(wanted).tolist(), expression
    assert search(url, path, expression, "--count")["count"] == told["count"], expression
    some = search(url, path, expression, "--limit", "3")
    assert some["matches"] == told["matches"][:3] and some["complete"] == (told["count"] <= 3), expression
    return told


def check_few_bytes_come(folder):
    """Statistics exclude no chunk, because the matches are scattered. The goal is ten times fewer bytes."""
    x = RNG.random(1 << 20)
    x[RNG.integers(0, len(x), 500)] += 1
    with counted_server(folder) as (url, sent, asked):
        write(url, "f.create_dataset('x', data=x, chunks=(1 << 14,))", x=x)
        sent[0] = 0
        told = search(url, "x", "x > 1", "--count")
        part, sent[0] = sent[0], 0
        read = search(url, "x", "x > 1", "--count", "--local")
        assert told["count"] == read["count"] == int((x > 1).sum()) > 400, (told, read)
        assert sent[0] > x.nbytes and 10 * part < sent[0], (part, sent[0], x.nbytes)
        assert told["chunks"] == {"written": 64, "read": 0, "searched": 64}, told["chunks"]
        assert told["bytes"]["read"] == 16 * told["count"], told["bytes"]
        # Adjacent chunks are one request.
        assert 1 <= len(asked()) <= 2, asked()
        agrees(url, "x", "x > 1", x > 1)


def check_results_are_those_of_a_search_that_reads(folder):
    types = ["i1", ">i2", "<u8", ">f2", ">f4", "<f8"]
    arrays = {}
    for n, name in enumerate(types):
        dtype = np.dtype(name)
        data = RNG.integers(0, 100, (1100, 350)).astype(dtype)
        if dtype.kind == "f":
            data[RNG.random(data.shape) < 0.02] = np.nan
        arrays[f"a{n}"] = data
    arrays["b"] = RNG.random((1100, 350)) < 0.01
    with counted_server(folder) as (url, _, asked):
        # Chunks at the edge have elements outside of the extent, which are fill values.
        write(url, "[f.create_dataset(n, data=globals()[n], chunks=(500, 200), fillvalue=60) for n in %r]" % sorted(arrays), **arrays)
        for n, name in enumerate(types):
            data = arrays[f"a{n}"]
            with np.errstate(invalid="ignore"):
                every = [("x > 97", data > 97), ("x == 50", data == 50), ("x < 1 or x >= 98.5", (data < 1) | (data >= 98.5)),
                         ("10 < x <= 11", (data > 10) & (data <= 11)), ("not x <= 98", ~(data <= 98))]
                # A short run tries each expression with some of the types.
                for expression, wanted in [one for m, one in enumerate(every) if (m + n) % PART == 0]:
                    told = agrees(url, f"a{n}", expression, wanted)
                    if name[-2] != "f" or not expression.startswith("not"):
                        assert told["chunks"]["searched"] == 6, (name, expression, told["chunks"])
                    else:
                        assert told["chunks"]["searched"] == 0, "NaN cannot be asked for"
        # Elements outside of the extent equal the fill value, and are no matches.
        last = f"a{len(types) - 1}"
        assert agrees(url, last, "x == 60", arrays[last] == 60)["chunks"]["searched"] == 6
        told = agrees(url, "b", "x == true", arrays["b"])
        assert told["chunks"]["searched"] == 6, told["chunks"]
        assert asked()


def check_what_the_store_cannot_compare_is_read(folder):
    x = RNG.integers(0, 1000, 40_000)
    rows = np.zeros(3000, [("n", "<i8"), ("v", "<f8")])
    rows["n"] = RNG.integers(0, 1000, len(rows))
    code = """f.create_dataset('packed', data=x, chunks=(8000,), compression='gzip')
    f.create_dataset('small', data=x[:600], chunks=(60,))
    f.create_dataset('rows', data=rows, chunks=(1500,))
    f.create_dataset('mixed', data=x, chunks=(8000,))
    f.create_dataset('sparse', (40_000,), 'i8', chunks=(8000,), fillvalue=999)[8000:16000] = x[:8000]
    f['flat'] = x"""
    with counted_server(folder) as (url, _, asked):
        write(url, code, x=x, rows=rows)
        code = "import h5py\nwith h5py.File('x.h5', 'r+') as f:\n    f['mixed'][8010:8020] = 999\n    f['mixed'][24000:24001] = 999"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake store={url}"}, check=True)
        mixed = x.copy()
        mixed[8010:8020] = mixed[24000] = 999
        assert agrees(url, "packed", "x > 990", x > 990)["chunks"]["searched"] == 0
        assert agrees(url, "small", "x > 990", x[:600] > 990)["chunks"]["searched"] == 0
        assert agrees(url, "rows", "n > 990", rows["n"] > 990)["chunks"]["searched"] == 0
        assert search(url, "flat", "x > 990")["count"] == int((x > 990).sum())
        assert not asked()
        told = agrees(url, "mixed", "x > 990", mixed > 990)
        assert 0 < told["chunks"]["searched"] < 5 and told["chunks"]["searched"] + told["chunks"]["read"] == 5, told["chunks"]
        sparse = np.full(40_000, 999)
        sparse[8000:16000] = x[:8000]
        assert agrees(url, "sparse", "x > 990", sparse > 990)["chunks"]["searched"] == 1


def check_many_matches_are_read(folder):
    """If most elements match, their indices would make the answers longer than the data. The number of useless bytes
    is bounded."""
    x = RNG.random(4 << 20)
    with counted_server(folder) as (url, sent, asked):
        write(url, "f.create_dataset('x', data=x, chunks=(1 << 16,))", x=x)
        sent[0] = 0
        told = search(url, "x", "x > 0.2", "--count")
        assert told["count"] == int((x > 0.2).sum()) and told["chunks"]["read"] == 64, told
        assert x.nbytes < sent[0] < 1.5 * x.nbytes, (sent[0], x.nbytes)
        assert 1 <= len(asked()) <= 4, asked()


def check_servers_that_do_not_filter(folder):
    x = RNG.integers(0, 1000, 40_000)
    code = "f.create_dataset('x', data=x, chunks=(8000,))"
    wanted = sorted(np.flatnonzero(x > 990).tolist())
    for fault in ("promises-nothing", "501", "400"):
        with counted_server(folder, fault) as (url, _, asked):
            write(url, code, x=x)
            told = search(url, "x", "x > 990")
            assert [m["index"][0] for m in told["matches"]] == wanted, fault
            assert told["chunks"] == {"written": 5, "read": 5, "searched": 0}, (fault, told["chunks"])
            # The requests of the first batch run in parallel. After a refusal the tool sends no further ones.
            few = range(1) if fault == "promises-nothing" else range(1, 5)
            assert len(asked()) in few, (fault, asked())
    for fault, word in (("403", "not here"), ("410", "not here"), ("404", "missing")):
        with counted_server(folder, fault) as (url, _, _):
            assert word in search(url, "x", "x > 990", code=1), fault
            assert search(url, "x", "x > 990", "--local")["count"] == len(wanted)


def check_servers_that_lie(folder):
    x = RNG.integers(0, 1000, 40_000)
    for fault in ("out-of-order", "beyond", "twice", "no-match", "short", "count", "huge-count", "elements", "no-header", "no-etag",
                  "backwards"):
        with counted_server(folder, fault) as (url, _, _):
            write(url, "f.create_dataset('x', data=x, chunks=(8000,))", x=x)
            said = search(url, "x", "x > 990", code=1)
            assert "protocol" in said or "does not match what it was asked for" in said, (fault, said)
    # The protocol allows these answers; they only take time.
    for fault in ("endless", "pages"):
        with counted_server(folder, fault) as (url, _, asked):
            told = search(url, "x", "x > 990")
            assert [m["index"][0] for m in told["matches"]] == np.flatnonzero(x > 990).tolist(), fault
            requests = len({line.split("&skip")[0] for line in asked()})
            assert len(asked()) <= 16 * requests, (fault, asked())


main(globals())
