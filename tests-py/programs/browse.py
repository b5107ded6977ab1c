"""The server of `h5lake browse`: what it shows, and to whom. tests-py/browser opens its page in a browser."""
# store: any
# only: h5lake
# requires: browse.txt
# needs: tool

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from cases import main

SOURCE = Path(__file__).resolve().parents[2] / "python" / "src"
# The page itself is built by npm, and has no part in this.
START = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
from h5lake import _browse
page = _browse.Path(sys.argv.pop())
_browse.viewer_folder = lambda: page
sys.exit(_browse.main(sys.argv[1:]))
"""


def make(name):
    with h5py.File(name, "w") as f:
        f["x"], f["g/y"] = np.arange(5.0), [1, 2]
    with h5py.File(name, "a") as f:
        f["x"][:] = 7
        f["new"] = 1


@contextmanager
def server(folder, name):
    page = folder / "page"
    page.mkdir(exist_ok=True)
    for file in ("index.html", "viewer.css", "viewer.js"):
        (page / file).write_text(f"this is {file}")
    tool = Path(os.environ["TOOL"])
    env = {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    started = subprocess.Popen([sys.executable, "-c", START, name, "0", "no", str(page)], env=env, stdout=subprocess.PIPE, text=True)
    try:
        said = started.stdout.readline()
        assert said.startswith(f"{name}: http://127.0.0.1:"), said
        yield said.split(": ", 1)[1].strip()
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0
    finally:
        started.kill()
        started.wait()


def ask(address, route, token=None, **query):
    """Returns the status and the body of an answer."""
    parts = urllib.parse.urlsplit(address)
    request = urllib.request.Request(f"{parts.scheme}://{parts.netloc}/{route}?{urllib.parse.urlencode(query)}")
    token = urllib.parse.parse_qs(parts.query)["token"][0] if token is None else token
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def check_content_and_versions(folder):
    make("run.h5")
    with server(folder, "run.h5") as address:
        assert ask(address, "")[1] == b"this is index.html" and ask(address, "viewer.js")[1] == b"this is viewer.js"
        shown = json.loads(ask(address, "versions")[1])
        assert shown["file"] == "run.h5" and len(shown["versions"]) >= 1
        newest = shown["versions"][0]
        assert newest["file"] == f"run.h5@v={newest['number']}" and {"time", "message", "tags"} <= set(newest), newest

        def x(file):
            return json.loads(ask(address, "h5grove/data", file=file, path="/x")[1])

        assert x("run.h5") == [7] * 5 == x(newest["file"])
        seen = [x(one["file"]) for one in shown["versions"] if ask(address, "h5grove/data", file=one["file"], path="/x")[0] == 200]
        assert all(values in ([7.0] * 5, [0.0, 1.0, 2.0, 3.0, 4.0]) for values in seen), seen
        children = {one["name"] for one in json.loads(ask(address, "h5grove/meta", file="run.h5", path="/")[1])["children"]}
        assert children == {"x", "g", "new"}, children
        with h5py.File("run.h5", "a") as f:
            f["x"][:] = 9
        assert x("run.h5") == [9] * 5 and x(newest["file"]) == [7] * 5


def check_who_may_read(folder):
    make("mine.h5")
    make("other.h5")
    with server(folder, "mine.h5") as address:
        for token in ("", "wrong", "ü"):
            for route in ("versions", "h5grove/meta", "h5grove/data", "h5grove/"):
                status, said = ask(address, route, token=urllib.parse.quote(token), file="mine.h5", path="/x")
                assert status == 401 and b"7" not in said, (route, token, status)
        for file in ("other.h5", "other.h5@v=1", str(folder / "mine.h5"), "/etc/passwd", "../mine.h5", "mine.h5/../other.h5", ""):
            assert ask(address, "h5grove/meta", file=file, path="/")[0] == 403, file
        assert ask(address, "../../etc/passwd")[0] in (401, 404) and ask(address, "nothing")[0] == 404
        status, said = ask(address, "h5grove/meta", file="mine.h5@v=99", path="/")
        assert status >= 400 and b"version" in said or status == 404, (status, said)
        host, port = urllib.parse.urlsplit(address).netloc.split(":")
        own = [one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET) if not one[4][0].startswith("127.")]
        for other in own:
            with socket.socket() as probe:
                probe.settimeout(2)
                assert probe.connect_ex((other, int(port))) != 0, f"{other} answers, too"


def check_names_that_cannot_be_shown(folder):
    (folder / "page").mkdir()
    done = subprocess.run([sys.executable, "-c", START, "none.h5", "0", "no", str(folder / "page")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "none.h5" in done.stderr and len(done.stderr.splitlines()) == 1, done


if __name__ == "__main__":
    main(globals())
