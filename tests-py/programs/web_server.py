"""A web server on loopback for tests. It serves the files of a folder with ranges, etags and conditions, or without
them by an option."""

import email.utils
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path


class Server:
    """Serves `folder` at `url` until the end of a with statement. The server is a separate process, because h5py
    keeps Python's lock while HDF5 waits. Options: ranges, conditions (If-Match), etags ("strong", "weak", None),
    delay in seconds, rate: bytes a second of all answers together, fail: a status, and the offset from which on
    requests are answered with it."""

    def __init__(self, folder, **options):
        command = [sys.executable, __file__, str(folder), json.dumps(options)]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HDF5_", "H5LAKE_"))}
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.most = 0
        os.environ["HTTP_ALLOW_HTTP"] = "true"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def tell(self, **options):
        """Changes options. Returns the requests since the last time."""
        self.process.stdin.write(json.dumps(options) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def take(self):
        """Returns the number of requests and of bytes since the last time. Sets `most` to the largest number of
        parallel requests."""
        told = self.tell()
        self.most = told["most"]
        return len(told["asked"]), sum(length for _, length, *_ in told["asked"])

    def round_trips(self):
        """Returns how many requests since the last time were sequential. Parallel requests count once, if the server
        has a delay."""
        row, last = 0, -1
        for _, _, begun, ended in sorted(self.tell()["asked"], key=lambda asked: asked[3]):
            if begun > last:
                row, last = row + 1, ended
        return row


class State:
    """The state that the handlers of a serving process share."""

    def __init__(self, folder, ranges=True, conditions=True, etags="strong", delay=0.0, rate=None, fail=None):
        self.folder, self.ranges, self.conditions, self.etags, self.delay, self.rate = Path(folder), ranges, conditions, etags, delay, rate
        self.fail = fail
        self.files, self.asked, self.most, self.now, self.events, self.lock = {}, [], 0, 0, 0, threading.Lock()
        self.free = 0.0

    def file(self, path):
        """Returns the bytes of a file, their etag, and the file's time. A file is read once for each modification
        time."""
        found = path.stat()
        known = (str(path), found.st_mtime_ns, found.st_ino, found.st_size)
        if known not in self.files:
            whole = path.read_bytes()
            self.files[known] = memoryview(whole), f'"{hashlib.md5(whole).hexdigest()}"', found.st_mtime
        return self.files[known]

    def change(self, step):
        """Counts a request that begins or ends. Returns the number of such events so far."""
        with self.lock:
            self.now += step
            self.events += 1
            self.most = max(self.most, self.now)
            return self.events

    def wait_for_line(self, length):
        """Waits until `length` bytes have gone through a line that all answers share."""
        if self.rate:
            with self.lock:
                self.free = max(self.free, time.monotonic()) + length / self.rate
                free = self.free
            time.sleep(max(0, free - time.monotonic()))


def serve(state):
    """Serves until standard input ends. Each line of input changes options, and is answered with the requests since
    the last line."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"of": state}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    for line in sys.stdin:
        vars(state).update(json.loads(line))
        asked, state.asked, most, state.most = state.asked, [], state.most, 0
        print(json.dumps({"asked": asked, "most": most}), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of = None

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            step = 256 << 10 if self.of.rate else max(1, len(body))
            for at in range(0, len(body), step):
                self.of.wait_for_line(len(body[at:at + step]))
                self.wfile.write(body[at:at + step])

    def do_GET(self):
        begun = self.of.change(1)
        first = length = 0
        try:
            time.sleep(self.of.delay)
            first, length = self.answer()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.of.asked.append((first, length, begun, self.of.change(-1)))

    do_HEAD = do_GET

    def answer(self):
        """Sends an answer. Returns its offset and its number of bytes."""
        of, path = self.of, self.of.folder / self.path.lstrip("/")
        try:
            whole, etag, modified = of.file(path)
        except OSError:
            self.reply(404)
            return 0, 0
        known = {"Last_Modified": email.utils.formatdate(modified, usegmt=True)}
        if of.etags:
            known["ETag"] = etag if of.etags == "strong" else f"W/{etag}"
        condition = self.headers.get("If-Match")
        # A weak etag matches none (RFC 9110, 13.1.1).
        if of.conditions and condition and (condition != known.get("ETag") or of.etags == "weak"):
            self.reply(412)
            return 0, 0
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if of.ranges else None
        if not wanted:
            self.reply(200, whole, **known)
            return 0, len(whole)
        first, last = int(wanted[1]), int(wanted[2] or len(whole) - 1)
        if of.fail and first >= of.fail[1]:
            self.reply(of.fail[0])
            return first, 0
        part = whole[first:last + 1]
        if part:
            self.reply(206, part, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(whole)}", **known)
        else:
            self.reply(416)
        return first, len(part)


if __name__ == "__main__":
    serve(State(sys.argv[1], **json.loads(sys.argv[2])))
