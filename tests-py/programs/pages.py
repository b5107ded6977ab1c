"""The blocks of code on each page of docs/ and in the README run from top to bottom, each page in an empty folder and in one shell.
A block after a line '<!-- not run: REASON -->' is left out, and one after '<!-- file: NAME -->' becomes a file. The lines of a comment
that begins with '<!-- setup' are run, too; readers do not see them."""
# store: any
# only: h5lake
# requires: pages.txt
# needs: tool

import contextlib
import fnmatch
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request

from cases import main
from packaged import ROOT, installed

BLOCK = re.compile(r"(?:^<!-- (not run|file): ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$|^<!-- setup\n(.*?)^-->$", re.M | re.S)
# The native files that pages make on purpose. All other HDF5 files have to be containers.
NATIVE = ["archive/archive", "archive/native", "sharing/for-anna.h5"]
LANGUAGES = {"sh", "python"}
SHOWN = {"text", "c", "cmake", "rust", "proto", "json"}
# The blocks of these pages run in programs of their own.
ELSEWHERE = {"many-machines": "recipes.py, worker_tasks.py", "format": "worked_example.py"}


def script_of(page):
    """Returns the shell script that a page describes, and the number of its blocks."""
    parts, count, text_of_page = [], 0, page.read_text()
    assert not re.search(r"^ +```", text_of_page, re.M), f"{page.name}: an indented block would not be run"
    for mark, argument, language, text, setup in BLOCK.findall(text_of_page):
        if setup:
            parts.append(setup)
            continue
        assert language in LANGUAGES | SHOWN, f"{page.name}: a block of the language {language!r}"
        assert mark != "not run" or argument.strip(), f"{page.name}: a block is not run, and no reason is given"
        if mark == "not run" or language in SHOWN:
            continue
        count += 1
        target = f"cat > '{argument}'" if mark == "file" else "python3 -"
        parts.append(text if language == "sh" else f"{target} <<'END OF BLOCK'\n{text}\nEND OF BLOCK")
    return "\n".join(["set -euo pipefail", *parts, ""]), count


def with_entry_points(folder):
    """Returns a site folder in which xarray finds its engine, as in the wheel's metadata."""
    site = installed(folder)
    project = tomllib.loads((ROOT / "python" / "pyproject.toml").read_text())["project"]
    info = site / f"h5lake-{project.get('version', '0.1.0')}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: h5lake\nVersion: 0.1.0\n")
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


def run_page(page, folder, site, **variables):
    script, count = script_of(page)
    if not count:
        return 0
    work = folder / page.stem
    work.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_", "AWS_"))}
    path = os.pathsep.join([str(site / "bin"), os.path.dirname(sys.executable), env["PATH"]])
    env |= {"PYTHONPATH": str(site), "PATH": path, "TMPDIR": str(work), **variables}
    done = subprocess.run(["bash", "-c", script], cwd=work, env=env, capture_output=True, text=True, timeout=150,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{page.name}: exit {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return count


def pages(folder):
    found = sorted((ROOT / "docs" / folder).glob("*.md"))
    assert len(found) > 5, found
    return found


def check_tutorials(folder):
    site = with_entry_points(folder)
    counts = [run_page(page, folder, site) for page in pages("tutorials") if page.stem != "s3"]
    assert min(counts) > 0, counts
    for name in NATIVE:
        made = folder / name
        shutil.rmtree(made) if made.is_dir() else made.unlink()


def begin_with_an_empty_bucket(endpoint):
    for path, method in (("/moto-api/reset", "POST"), ("/lab", "PUT")):
        urllib.request.urlopen(urllib.request.Request(endpoint + path, method=method)).close()


@contextlib.contextmanager
def moto():
    """A server that speaks S3. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def check_tutorial_of_s3(folder):
    with moto() as port:
        # The page names moto's usual port.
        page = folder / "s3.md"
        text = (ROOT / "docs/tutorials/s3.md").read_text()
        assert "127.0.0.1:5000" in text
        page.write_text(text.replace("127.0.0.1:5000", f"127.0.0.1:{port}"))
        assert run_page(page, folder, installed(folder)) >= 3


def check_questions(folder):
    site = installed(folder)
    assert sum(run_page(page, folder, site) for page in pages("how-to")) > 10


def check_other_pages(folder):
    """Runs the pages that are neither tutorials nor questions. Each may use an empty bucket, s3://lab, and the files of the project in
    $SOURCE. PAGES='names' runs only the pages that match."""
    site = with_entry_points(folder)
    found = [page for page in [ROOT / "README.md", *pages(".")] if page.stem not in ELSEWHERE]
    chosen = [page for page in found if fnmatch.fnmatch(page.stem, os.environ.get("PAGES", "*"))]
    count = 0
    with moto() as port:
        endpoint = f"http://127.0.0.1:{port}"
        for page in chosen:
            begin_with_an_empty_bucket(endpoint)
            count += run_page(page, folder, site, AWS_ENDPOINT_URL=endpoint, AWS_ALLOW_HTTP="true", AWS_REGION="us-east-1",
                              AWS_ACCESS_KEY_ID="lab", AWS_SECRET_ACCESS_KEY="lab", SOURCE=str(ROOT))
    assert count > 30 or len(chosen) < len(found), count


if __name__ == "__main__":
    main(globals())
