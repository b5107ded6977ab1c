"""A store that goes away, answers badly or asks for patience: every call ends in time, nothing wrong is read, and a
program that loses changes says so and fails."""
# store: any
# only: h5lake
# needs: tool

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from cases import main

# Seconds: the timeout setting, and the limit for flush, close and exit together. Each of the three has two seconds
# of its own after the timeout has been used up.
TIMEOUT = 6
TOGETHER = TIMEOUT + 3 * 2 + 6
LOSS = 74


class Handler(BaseHTTPRequestHandler):
    """Serves the part of S3 that a container needs, from memory, and does not check signatures."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-request-id", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, **headers):
        self.answer(status, f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode(), **headers)

    def meta(self, body):
        return self.server.store.headers | {"ETag": f'"{md5(body).hexdigest()}"', "Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT"}

    def handle_one(self):
        store = self.server.store
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        store.requests.append((self.command, self.path))
        fault = store.fault
        if fault and fault(self, sent):
            return
        self.effect(sent)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one

    def effect(self, sent):
        objects, lock = self.server.store.objects, self.server.store.lock
        split = urlsplit(self.path)
        key, query = unquote(split.path).lstrip("/").partition("/")[2], parse_qs(split.query)
        with lock:
            found = objects.get(key)
            if self.command == "PUT":
                if self.headers.get("If-None-Match") and found is not None:
                    return self.error(412, "PreconditionFailed")
                match = self.headers.get("If-Match")
                if match and (found is None or match != self.meta(found)["ETag"]):
                    return self.error(412, "PreconditionFailed")
                objects[key] = sent
                return self.answer(200, **{"ETag": self.meta(sent)["ETag"]})
            if self.command == "DELETE":
                objects.pop(key, None)
                return self.answer(204)
            if self.command == "POST":
                gone = [part.split("</Key>")[0] for part in sent.decode().split("<Key>")[1:]]
                for name in gone:
                    objects.pop(unescape(name), None)
                rows = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in gone)
                return self.answer(200, f"<DeleteResult>{rows}</DeleteResult>".encode())
            if not key:
                prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
                rows = "".join(
                    f"<Contents><Key>{escape(k)}</Key><Size>{len(v)}</Size><ETag>{self.meta(v)['ETag']}</ETag>"
                    "<LastModified>2026-11-21T00:00:00.000Z</LastModified></Contents>"
                    for k, v in sorted(objects.items()) if k.startswith(prefix) and k > after)
                return self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}"
                                        "</ListBucketResult>".encode())
        if found is None:
            return self.error(404, "NoSuchKey")
        wanted = self.headers.get("Range")
        if self.command == "HEAD" or not wanted:
            return self.answer(200, found, **self.meta(found))
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        first, last = int(first), min(int(last or len(found)), len(found) - 1)
        if first >= len(found):
            return self.error(416, "InvalidRange")
        return self.answer(206, found[first:last + 1], **{"Content-Range": f"bytes {first}-{last}/{len(found)}"}, **self.meta(found))


class Store:
    """An S3 server on loopback, and the fault that it applies to requests."""

    def __init__(self):
        self.objects, self.lock, self.requests, self.fault = {}, threading.Lock(), [], None
        self.headers = {}  # of answers with an object
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.store = self
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def env(self, **more):
        string = os.environ["HDF5_VOL_CONNECTOR"].split()[0]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "H5LAKE_"))}
        return {**env, "HDF5_VOL_CONNECTOR": string, "H5LAKE_STORE": "s3://lake/x", "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ALLOW_HTTP": "true",
                "H5LAKE_TIMEOUT": f"{TIMEOUT}s", **more}

    def start(self, text, folder, **more):
        return subprocess.Popen([sys.executable, "-c", text], env=self.env(**more), cwd=folder, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, text, folder, **more):
        """Runs a program until it ends. Returns (exit code, stdout, stderr, seconds)."""
        begun = time.monotonic()
        process = self.start(text, folder, **more)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err, time.monotonic() - begun


# The faults of the store. Each takes the handler and the request's body, and returns whether it has handled the request
# completely.
def silent(handler, _):
    time.sleep(100)
    handler.close_connection = True
    return True


def endless(handler, head, pieces, pause):
    """Sends an answer with a head or a body that never ends."""
    try:
        handler.wfile.write(head)
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause)
    except OSError:
        pass
    handler.close_connection = True
    return True


STAMPS = b'ETag: "1"\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n'


def trickling(handler, _):
    head = b"HTTP/1.1 200 OK\r\n" + STAMPS
    head += b"Content-Length: 1000000000000\r\n\r\n" if handler.command == "GET" else b"x: "
    return endless(handler, head, (b"x" for _ in range(1000)), 0.1)


def flooding(handler, _):
    status = b"200 OK" if handler.command == "GET" else b"403 Forbidden"
    head = b"HTTP/1.1 " + status + b"\r\n" + STAMPS + b"Transfer-Encoding: chunked\r\n\r\n"
    return endless(handler, head, (b"100000\r\n" + bytes(1 << 20) + b"\r\n" for _ in range(1 << 16)), 0)


def failing(handler, _):
    handler.error(500, "InternalError")
    return True


def busy(handler, _):
    handler.error(503, "SlowDown", **{"Retry-After": "1"})
    return True


def cut(handler, sent):
    """Carries out the request, but loses the answer."""
    wfile, handler.wfile = handler.wfile, open(os.devnull, "wb")
    handler.effect(sent)
    handler.wfile.close()
    handler.wfile = wfile
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


GONE = {"silent": silent, "trickling": trickling, "flooding": flooding, "failing": failing, "busy": busy, "refusing": None}

WRITER = """
import sys, h5py
f = h5py.File("lost.h5", "w")
f["x"] = list(range(1000))
f.flush()
print("ready", flush=True)
sys.stdin.readline()
f["x"][0] = 77
"""


def lose(folder, how, ending):
    """Runs a program during which the store becomes unreachable. Returns (exit code, stderr, seconds from that
    moment to the end)."""
    folder = folder / f"{how}-{len(ending)}"
    folder.mkdir()
    with Store() as store:
        process = store.start(WRITER + ending, folder)
        assert process.stdout.readline() == "ready\n", process.communicate()
        if GONE[how]:
            store.fault = GONE[how]
        else:
            store.server.shutdown()
            store.server.server_close()
            store.fault = silent
        begun = time.monotonic()
        try:
            _, err = process.communicate("go\n", timeout=100)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return process.returncode, err, time.monotonic() - begun


FAILS = "failed = 0\nfor act in (f.flush, f.close):\n    try:\n        act()\n    except Exception as e:\n        failed += 1\n"


def check_exit(folder):
    # The program closes nothing: libhdf5 closes the file in an exit handler.
    with ThreadPoolExecutor(6) as pool:
        outcomes = dict(zip(GONE, pool.map(lambda how: lose(folder, how, ""), GONE)))
    for how, (code, err, seconds) in outcomes.items():
        assert seconds < TOGETHER, (how, seconds, err)
        assert code == LOSS, (how, code, err)
        assert "lost.h5" in err and "s3://lake/x" in err and "is lost" in err, (how, err)
        assert err.count("is lost") == 1, (how, err)


def check_flush_close_and_exit(folder):
    with ThreadPoolExecutor(6) as pool:
        outcomes = dict(zip(GONE, pool.map(lambda how: lose(folder, how, FAILS + "assert failed == 2\n"), GONE)))
    for how, (code, err, seconds) in outcomes.items():
        assert seconds < TOGETHER, (how, seconds, err)
        # Two errors have been reported to the program. Changes that no further try can save are discarded then, and all
        # other changes when the program ends.
        assert code == (LOSS if "is lost" in err else 0), (how, code, err)


def check_own_exit_code(folder):
    code, err, _ = lose(folder, "refusing", "sys.exit(3)")
    assert code == 3 and "is lost" in err, (code, err)


def check_throttling(folder):
    # Opens, flushes and reads all wait while the store answers 503 for ten seconds.
    acts = {
        "open": ("f = h5py.File('a.h5', 'r'); print('ready', flush=True); f.close(); sys.stdin.readline()\n"
                 "f = h5py.File('a.h5', 'r'); print(f['x'][5])"),
        "flush": ("f = h5py.File('a.h5', 'a'); print('ready', flush=True); sys.stdin.readline()\n"
                  "f['x'][5] = 5; f.flush(); print(f['x'][5])"),
        "read": ("f = h5py.File('a.h5', 'r'); print('ready', flush=True); sys.stdin.readline()\nprint(f['x'][5])"),
    }

    def throttled(name):
        where = folder / name
        where.mkdir()
        with Store() as store:
            made = "import h5py, numpy\nf = h5py.File('a.h5', 'w')\nf.create_dataset('x', data=numpy.arange(600000), chunks=(60000,))\nf.close()"
            code, _, err, _ = store.run(made, where)
            assert code == 0, err
            process = store.start("import sys, h5py\n" + acts[name], where, H5LAKE_TIMEOUT="50s")
            assert process.stdout.readline() == "ready\n", process.communicate()
            until = time.monotonic() + 10
            store.fault = lambda handler, sent: time.monotonic() < until and busy(handler, sent)
            out, err = process.communicate("go\n", timeout=60)
            assert process.returncode == 0 and out == "5\n", (name, out, err)
            assert time.monotonic() > until, name

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(throttled, acts))


COMMITS = """
import h5py
f = h5py.File("c.h5", "w")
for n in range(30):
    f.create_dataset(f"d{n}", data=[n] * 1000)
    f.attrs["n"] = n
    f.flush()
f.close()
f = h5py.File("c.h5", "r")
assert f.attrs["n"] == 29 and all(f[f"d{n}"][7] == n for n in range(30))
"""


def struck(folder, name, select):
    """Commits while every third request that `select` chooses gets the fault that `select` names."""
    where = folder / name
    where.mkdir()
    count = 0

    def fault(handler, sent):
        nonlocal count
        chosen = select(handler)
        if chosen is None:
            return False
        count += 1
        return count % 3 == 0 and chosen(handler, sent)

    with Store() as store:
        store.fault = fault
        code, _, err, seconds = store.run(COMMITS, where, H5LAKE_TIMEOUT="20s")
        assert code == 0, (name, err)
        assert seconds < 60, (name, seconds)
    assert count > 5, (name, count)


def check_lost_answers_and_errors(folder):
    cases = {
        "lost-answers": lambda handler: cut if handler.command in ("PUT", "GET") else None,
        "errors-of-reads": lambda handler: failing if handler.command == "GET" else None,
        "errors-of-writes": lambda handler: busy if handler.command == "PUT" else None,
    }
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: struck(folder, name, cases[name]), cases))


READ = "import h5py\nh5py.File('a.h5', 'r')"


def check_no_s3(folder):
    # A server that answers 404 to everything is reported as no S3 server, not as a missing container.
    def nothing(handler, _):
        handler.send_response(404)
        handler.send_header("Content-Length", "9")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(b"not found")
        return True

    with Store() as store:
        store.fault = nothing
        for text in (READ, READ.replace("'r'", "'w'")):
            code, _, err, _ = store.run(text, folder)
            assert code == 1 and "does not look like S3" in err and store.endpoint in err, err


def check_redirects(folder):
    # The settings do not name the other server, so it must receive no request.
    with Store() as store, Store() as other:
        def elsewhere(handler, _):
            handler.answer(307, Location=other.endpoint + handler.path)
            return True

        store.fault = elsewhere
        for text in (READ, READ.replace("'r'", "'w'")):
            code, _, err, _ = store.run(text, folder)
            assert code == 1 and "redirect" in err, err
        assert not other.requests, other.requests


def check_unknown_host(folder):
    with Store() as store:
        code, _, err, seconds = store.run(READ, folder, AWS_ENDPOINT_URL="http://no-such-host.invalid")
        assert code == 1 and "cannot be reached" in err or "came of it" in err, err
        assert seconds < TOGETHER, seconds


def check_a_denied_read_says_what(folder):
    def denied(handler, _):
        handler.error(403, "AccessDenied")
        return True

    with Store() as store:
        store.fault = denied
        code, _, err, _ = store.run(READ, folder)
        assert code == 1 and "PermissionError" in err and "s3://lake" in err and 'a.h5"' in err, err
        assert "AccessDenied" in err, err


def check_a_listing_without_end_is_an_error(folder):
    """A server that repeats a continuation token causes an error. An empty token ends the listing."""
    for token, is_told in (("", False), ("again", True)):
        with Store() as store:
            def listing(handler, _, token=token):
                is_listing = handler.command == "GET" and "list-type" in handler.path
                if is_listing:
                    handler.answer(200, "<ListBucketResult><IsTruncated>false</IsTruncated><NextContinuationToken>"
                                   f"{token}</NextContinuationToken></ListBucketResult>".encode())
                return is_listing
            code, _, err, _ = store.run("import h5py; h5py.File('x.h5', 'w').close()", folder, H5LAKE_REPLACE="any")
            assert code == 0, err
            store.fault = listing
            done = subprocess.run([os.environ["TOOL"], "vacuum", "x.h5"], env=store.env(), cwd=folder, capture_output=True,
                                  text=True, timeout=60)
            lists = sum("list-type" in path for _, path in store.requests)
            assert 0 < lists < 20, lists
            assert (done.returncode != 0 and "circle" in done.stderr) == is_told, (done.returncode, done.stdout, done.stderr)


def check_doctor_reports_a_bucket_with_versioning(folder):
    for version in (None, "null", "3HL4kqtJlcpXroDTDmJ"):
        with Store() as store:
            def doctor(store=store):
                env = store.env(HDF5_VOL_CONNECTOR="h5lake")
                done = subprocess.run([os.environ["TOOL"], "doctor", "--python", sys.executable], env=env, cwd=folder,
                                      capture_output=True, text=True, timeout=60)
                assert "s3://lake/x answers" in done.stdout, done
                return done.stdout

            assert "versioning" not in doctor(), "an empty bucket does not show it"
            store.headers = {"x-amz-version-id": version} if version else {}
            code, _, err, _ = store.run("import h5py; h5py.File('x.h5', 'w').close()", folder, H5LAKE_REPLACE="any")
            assert code == 0, err
            assert ("a noncurrent version for each commit" in doctor()) == (version not in (None, "null")), version


if __name__ == "__main__":
    main(globals())
