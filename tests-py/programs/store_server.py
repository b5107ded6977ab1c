"""Programs with files in a store of another process (docs/store-protocol.md): the example server, and servers that
are killed, that hang, or that give wrong answers."""
# only: h5lake
# store: any
# needs: tool

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cases import main

SERVER = Path(__file__).resolve().parents[2] / "object-stores/examples/store_server.py"
WRITE = """
import h5py, numpy as np
with h5py.File('x.h5', 'w') as f:
    x = f.create_dataset('x', (1000, 100), 'f8', chunks=(100, 100), compression='gzip')
    x[:] = np.arange(1e5).reshape(1000, 100)
    f['large'] = np.arange(3 << 20, dtype='i8')          # longer than one part of an upload
print('done')"""
READ = """
import h5py
with h5py.File('x.h5') as f:
    print(f['x'][3:5, 7].tolist(), int(f['large'][-1]))"""
SEEN = "[307.0, 407.0] 3145727"
# The server's faults by name; `h` is the handler of a request.
LYING = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location('store_server', sys.argv.pop(1))
s = importlib.util.module_from_spec(spec)
spec.loader.exec_module(s)
fault, whole = sys.argv.pop(1), s.Handler.answer

class Lying(s.Handler):
    def handle_request(h):
        if fault == 'ignores-creates':
            del h.headers['If-None-Match']
        if fault == 'ignores-updates':
            del h.headers['If-Match']
        if fault == 'ignores-ranges':
            del h.headers['Range']
        if fault == 'redirects':
            return whole(h, 307, Location='http://127.0.0.1:9/v1')
        if fault == 'fails' and 'objects' in h.path:
            return whole(h, 503, b'{"error": "later"}')
        if fault == 'denies' and 'objects' in h.path:
            return whole(h, 403, b'{"error": "the robot is\\\\nasleep"}')
        super().handle_request()

    def answer(h, status, body=b'', **headers):
        is_list = h.path.startswith('/v1/objects?')
        if fault == 'no-etag':
            headers.pop('ETag', None)
        if fault == 'stranger' and h.path == '/v1':
            body = b'<html>welcome</html>'
        if fault == 'version-2' and h.path == '/v1':
            body = body.replace(b'[1]', b'[2]')
        if fault == 'promises-nothing' and h.path == '/v1':
            body = body.replace(b'"atomic-create", "atomic-update", ', b'')
        if fault == 'unsorted' and is_list:
            told = s.json.loads(body)
            told['objects'].reverse()
            body = s.json.dumps(told).encode()
        if fault == 'endless' and is_list:
            body = body.replace(b'"more": false', b'"more": true')
        if fault == 'flood' and (is_list or h.command == 'GET' and 'objects' in h.path):
            h.send_response(status)
            for name, value in headers.items():
                h.send_header(name.replace('_', '-'), value)
            h.send_header('Content-Length', str(1 << 40))
            h.end_headers()
            while True:
                h.wfile.write(b'x' * (1 << 20))
        if fault == 'trickle' and h.command == 'GET' and 'objects' in h.path:
            h.send_response(status)
            h.send_header('Content-Length', str(1 << 20))
            h.end_headers()
            while True:
                h.wfile.write(b'x')
                s.time.sleep(0.2)
        if fault == 'short' and h.command == 'GET' and 'objects' in h.path:
            body = body[:-1]
        if fault == 'breaks-off' and h.command == 'GET' and len(body) > 9 and 'objects/' in h.path:
            h.send_response(status)
            for name, value in headers.items():
                h.send_header(name.replace('_', '-'), value)
            h.send_header('Content-Length', str(len(body)))
            h.end_headers()
            h.wfile.write(body[:-7])
            h.close_connection = True
            return
        whole(h, status, body, **headers)

    do_GET = do_HEAD = do_PUT = do_DELETE = handle_request

s.Handler = Lying
s.main()
"""


@contextlib.contextmanager
def server(folder, *where, fault=None):
    """Starts a server at a port, or at the given address. Yields its process, and the URL of its store."""
    start = [sys.executable, SERVER] if fault is None else [sys.executable, "-c", LYING, SERVER, fault]
    process = subprocess.Popen([*start, Path(folder) / "native-store.db", *(where or ("--port", "0"))],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        said = process.stdout.readline().strip()
        yield process, f"h5store+unix://{said}" if where[:1] == ("--socket",) else f"h5store+http://127.0.0.1:{said}"
    finally:
        process.kill()
        process.wait()


def run(code, connector, **variables):
    """Runs a program and returns its output, error and seconds."""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": connector, **variables}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    return done.stdout.strip(), done.stderr, time.monotonic() - begun


def check_store(url, timeout="20s"):
    """Returns the exit code of `h5lake check-store`, and its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HDF5_VOL")}
    done = subprocess.run([os.environ["TOOL"], "check-store", url], env={**env, "H5LAKE_TIMEOUT": timeout},
                          capture_output=True, text=True, timeout=170)
    return done.returncode, done.stdout + done.stderr


def check_suite_at_a_port(folder):
    with server(folder) as (_, url):
        code, said = check_store(f"{url}/a b/c")
        assert code == 0 and "holds   create if absent" in said and " passed, 0 failed" in said, said


def check_suite_at_a_socket(folder):
    with tempfile.TemporaryDirectory() as short, server(folder, "--socket", f"{short}/s.sock") as (_, url):
        code, said = check_store(url)
        assert code == 0 and " passed, 0 failed" in said, said


def check_programs(folder):
    # A proxy is not used for the local machine.
    proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    with tempfile.TemporaryDirectory() as short, server(folder, "--socket", f"{short}/s.sock") as (_, at_socket):
        with server(folder) as (_, at_port):
            out, err, _ = run(WRITE, f"h5lake store={at_port}/data", **proxy)
            assert out == "done", err
            # Both servers serve one file, and the pointer file leads to the first one.
            for connector in ("h5lake", f"h5lake store={at_socket}/data", f"h5lake store={at_port}/data sync=commit"):
                out, err, _ = run(READ, connector, **proxy)
                assert out == SEEN, (connector, err)
            out, err, _ = run(f"import h5py\nprint(sorted(h5py.File('{at_socket}/data/x.h5@v=1')))", "h5lake")
            assert out, err


def check_several_writers(folder):
    with server(folder) as (_, url):
        connector = f"h5lake writers=many store={url}/many"
        out, err, _ = run("import h5py\nh5py.File('x.h5', 'w').close()\nprint('made')", connector)
        assert out == "made", err
        code = """
import h5py, sys
with h5py.File('x.h5', 'a') as f:
    for n in range(10):
        f[f'of {sys.argv[1]}/{n}'] = n
        f.flush()"""
        env = {**os.environ, "HDF5_VOL_CONNECTOR": connector}
        writers = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=env) for n in range(3)]
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
        out, err, _ = run("import h5py\nf = h5py.File('x.h5')\nprint([len(f[name]) for name in f])", connector)
        assert out == "[10, 10, 10]", (out, err)


def check_killed_server(folder):
    """Committed data is present when the server runs again, and a call meanwhile fails within the time limit."""
    with tempfile.TemporaryDirectory() as short:
        at = f"{short}/s.sock"
        connector = f"h5lake timeout=10s store=h5store+unix://{at}/data"
        with server(folder, "--socket", at):
            out, err, _ = run(WRITE, connector)
            assert out == "done", err
        out, err, seconds = run(READ, connector)
        assert not out and "cannot be reached" in err and seconds < 30, (seconds, err)
        # The server is killed while a program writes, and started again for the same program.
        code = """
import h5py, sys
f = h5py.File('x.h5', 'a')
f['y'] = 1
f.flush()
print('flushed', flush=True)
sys.stdin.readline()
f['z'] = 2
try:
    f.flush()
except (OSError, RuntimeError):
    print('failed', flush=True)
else:
    print('nothing', flush=True)
sys.stdin.readline()
f.flush()
f.close()
print('closed', flush=True)"""
        env = {**os.environ, "HDF5_VOL_CONNECTOR": connector}
        with server(folder, "--socket", at):
            program = subprocess.Popen([sys.executable, "-c", code], env=env, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert program.stdout.readline() == "flushed\n"
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "failed\n"
        with server(folder, "--socket", at):
            program.stdin.write("\n")
            program.stdin.flush()
            assert program.stdout.read() == "closed\n" and program.wait(timeout=60) == 0
            out, err, _ = run("import h5py\nprint(sorted(h5py.File('x.h5')))", connector)
            assert out == "['large', 'x', 'y', 'z']", err


def check_hanging_server(folder):
    with server(folder) as (process, url):
        connector = f"h5lake timeout=3s store={url}/data"
        out, err, _ = run(WRITE, connector)
        assert out == "done", err
        process.send_signal(signal.SIGSTOP)
        out, err, seconds = run(READ, connector)
        process.send_signal(signal.SIGCONT)
        assert not out and "timed out" in err and seconds < 20, (seconds, err)
        out, err, _ = run(READ, connector)
        assert out == SEEN, err


def check_server_that_lies_about_itself(folder):
    for fault, words in (("stranger", "no store server of version 1"), ("version-2", "no store server of version 1"),
                         ("redirects", "HTTP status 307")):
        with server(folder, fault=fault) as (_, url):
            out, err, _ = run(WRITE, f"h5lake timeout=5s store={url}/data")
            assert not out and words in err, (fault, err)
    for fault, condition, words in (("ignores-creates", "create", "lets several racing puts win"),
                                    ("ignores-updates", "update", "lets several racing puts win"),
                                    ("promises-nothing", "create", "the server does not promise it")):
        with server(folder, fault=fault) as (_, url):
            code, said = check_store(f"{url}/{fault}")
            assert code == 2 and re.search(f"^is not  {condition} if .*{words}", said, re.M), (fault, said)
            # A single writer needs no conditional writes.
            out, err, _ = run(WRITE + READ, f"h5lake store={url}/one-{fault} replace=any")
            assert out == f"done\n{SEEN}", err
            out, err, _ = run(WRITE, f"h5lake writers=many store={url}/many-{fault} replace=any")
            assert not out and "writers" in err, (fault, err)


def check_server_that_breaks_the_protocol(folder):
    with server(folder) as (_, url):
        out, err, _ = run(WRITE, f"h5lake store={url}/data")
        assert out == "done", err
    for fault, words in (("no-etag", "has no ETag"), ("ignores-ranges", "another part"), ("flood", "longer than"),
                         ("trickle", "Error"), ("short", "Error"), ("fails", "HTTP status 503"),
                         ("denies", "the robot is asleep")):
        with server(folder, fault=fault) as (_, url):
            out, err, seconds = run(READ.replace("x.h5", f"{url}/data/x.h5"), "h5lake timeout=4s")
            assert not out and words in err and seconds < 30, (fault, seconds, err)
            assert "MemoryError" not in err and "panicked" not in err, err
    # Answers that break off at times are requested again from the point where they ended.
    with server(folder, fault="breaks-off") as (_, url):
        out, err, _ = run(READ.replace("x.h5", f"{url}/data/x.h5"), "h5lake timeout=20s")
        assert out == SEEN, err
    for fault, words in (("unsorted", "out of order"), ("endless", "more behind nothing")):
        with server(folder, fault=fault) as (_, url):
            code, said = check_store(f"{url}/lists", timeout="4s")
            assert code == 2 and words in said, (fault, said)


def check_filters(folder):
    """The optional request that sends only matches. tests-dataclay/checks does the same with dataClay, and more
    types."""
    values = np.random.default_rng(3).random(50_000).astype("<f4")
    with server(folder) as (_, url):
        connection = http.client.HTTPConnection(url.removeprefix("h5store+http://"))

        def ask(method, path, body=None, **headers):
            connection.request(method, f"/v1/{path}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

        assert ask("PUT", "objects/a/b", values.tobytes())[0] == 200
        true, skip, found, there = np.flatnonzero(values.astype("f8") >= 0.9), 0, [], b""
        while skip is not None:
            status, about, body = ask("GET", f"filter/a/b?type=f4&where=ge:0.9&limit=2000&skip={skip}")
            count, skip = int(about["H5store-Matches"]), about["H5store-Next"]
            assert (status, about["H5store-Elements"], len(body)) == (200, "50000", 12 * count), (status, body[:200])
            found.append(np.frombuffer(body[:8 * count], "<u8"))
            there += body[8 * count:]
        assert np.array_equal(np.concatenate(found), true) and there == values[true].tobytes()
        part = ask("GET", "filter/a/b?type=f4&where=gt:-1,lt:2", Range="bytes=40-47")
        assert part[2] == np.array([0, 1], "<u8").tobytes() + values[10:12].tobytes(), part
        for path, wanted in (("filter/none?type=f4&where=gt:0", 404), ("filter/a/b?type=f5&where=gt:0", 400),
                             ("filter/a/b?type=f4&where=near:0", 400), ("filter/a/b?type=u4&where=gt:0.5", 400)):
            assert ask("GET", path)[0] == wanted, path
        assert ask("GET", "filter/a/b?type=f4&where=gt:0", Range="bytes=0-5")[0] == 400


def check_other_machines_are_refused(folder):
    for host in ("example.org:80", "10.0.0.1:80", "127.0.0.1.example.org:80"):
        out, err, seconds = run(WRITE, f"h5lake store=h5store+http://{host}/data")
        assert not out and "is on this machine" in err and seconds < 10, err
    out, err, _ = run(WRITE, "h5lake store=h5store+unix:///tmp/no-socket")
    assert not out and "NAME.sock" in err, err


if __name__ == "__main__":
    main(globals())
