"""Opens JupyterLab in a browser: a container from the file browser, and an old version in a notebook. Then the page of `h5lake browse`.

    look.py BROWSER FOLDER

Prints 'passed NAME' or 'failed NAME: why' for each check. FOLDER gets the files, and a picture of each failure. The
environment has the connector's variables."""

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import h5py
import numpy as np
from playwright.sync_api import expect, sync_playwright

# H5Web draws with WebGL, here without a graphics card.
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
POINTS = 41
SECONDS = 60


def make(folder):
    """Creates a container of two versions: a curve up to 40, then up to 4000, and a name that only the newest
    version has."""
    with h5py.File(folder / "run.h5", "w") as f:
        f["curve"] = np.arange(POINTS, dtype="f8")
    with h5py.File(folder / "run.h5", "a") as f:
        f["curve"][:] = np.arange(POINTS) * 100.0
        f["only_in_the_newest"] = np.zeros(3)
        f["image"] = np.outer(np.sin(np.linspace(0, 6, 120)), np.cos(np.linspace(0, 9, 200)))
    with open(folder / "run.h5", "rb") as file:
        assert file.read(16).startswith(b"\x89HDF\r\n\x1a\n\x4ch5lake"), "run.h5 is no container"


def old_version(folder):
    """Returns the number of the version with the first curve."""
    for version in range(1, 20):
        with contextlib.suppress(OSError), h5py.File(f"{folder}/run.h5@v={version}") as f:
            if "curve" in f and f["curve"][-1] == POINTS - 1:
                return version
    raise SystemExit("look: the first version is not there any more")


def write_notebook(folder, version):
    cell = {"cell_type": "code", "execution_count": None, "id": "look", "metadata": {}, "outputs": [],
            "source": f"import h5lake\nh5lake.display('run.h5@v={version}')"}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    (folder / "old.ipynb").write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


@contextlib.contextmanager
def lab(folder):
    """Starts JupyterLab on loopback in a folder. Yields its address, with a token of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {f"JUPYTER_{kind}_DIR": str(folder / ".jupyter" / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}", "--LabApp.news_url=",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--ServerApp.port_retries=0"]
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(SECONDS * 2):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api?token={token}").close()
                break
            time.sleep(0.5)
        yield lambda path: f"{address}/{path}{'&' if '?' in path else '?'}token={token}"
    finally:
        server.terminate()
        server.wait(20)


def largest_tick(page):
    """Waits for a plot, and returns the largest number at its axes."""
    for _ in range(SECONDS):
        texts = page.locator("svg text").all_text_contents()
        words = [word.replace(",", "").replace("\u2212", "-") for text in texts for word in text.split()]
        numbers = [float(word) for word in words if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", word)]
        if numbers:
            return max(numbers)
        time.sleep(1)
    raise AssertionError("no axis of a plot is shown")


def look_at_file_browser(page, url):
    page.goto(url("lab?reset"))
    item = page.locator(".jp-DirListing-item", has_text="run.h5").first
    item.wait_for(timeout=SECONDS * 1000)
    item.dblclick()
    tree = page.locator("[role=tree], [class*=explorer]").last
    expect(tree).to_contain_text("curve", timeout=SECONDS * 1000)
    expect(tree).to_contain_text("only_in_the_newest")
    page.get_by_role("treeitem", name="curve").first.click()
    largest = largest_tick(page)
    assert 3500 <= largest <= 5000, f"the axis ends at {largest}, and the newest curve at 4000"


def look_at_old_version(page, url):
    page.goto(url("lab/tree/old.ipynb?reset"))
    cell = page.locator(".jp-CodeCell .cm-content").first
    cell.wait_for(timeout=SECONDS * 1000)
    # A dialog asks for a kernel if none has started by itself.
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=SECONDS * 1000)
    cell.click()
    page.keyboard.press("Control+Enter")
    output = page.locator(".jp-OutputArea-output").last
    expect(output).to_contain_text("curve", timeout=SECONDS * 1000)
    expect(output).not_to_contain_text("only_in_the_newest")
    output.get_by_role("treeitem", name="curve").first.click()
    largest = largest_tick(page)
    assert 35 <= largest <= 50, f"the axis ends at {largest}, and the old curve at 40"


@contextlib.contextmanager
def viewer(folder):
    """Starts `h5lake browse`. Yields the address."""
    command = [sys.executable, "-c", "import sys; from h5lake import _browse; sys.exit(_browse.main(sys.argv[1:]))", "run.h5", "0", "no"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split(": ", 1)[1].strip()
        yield lambda _: address
    finally:
        server.terminate()
        server.wait(20)


def look_at_viewer(page, url):
    page.goto(url(""))
    tree = page.locator("[role=tree], [class*=explorer]").last
    expect(tree).to_contain_text("only_in_the_newest", timeout=SECONDS * 1000)
    page.get_by_role("treeitem", name="image").first.click()
    expect(page.locator("canvas").first).to_be_visible(timeout=SECONDS * 1000)
    page.get_by_role("treeitem", name="curve").first.click()
    wait_for(lambda: 3500 <= largest_tick(page) <= 5000, "the newest curve ends at 4000")
    menu = page.get_by_role("combobox", name="Version")
    number = old_version(Path.cwd())
    value = next(option.get_attribute("value") for option in menu.locator("option").all() if f"@v={number}" in (option.get_attribute("value") or ""))
    menu.select_option(value=value)
    expect(tree).not_to_contain_text("only_in_the_newest", timeout=SECONDS * 1000)
    page.get_by_role("treeitem", name="curve").first.click()
    wait_for(lambda: 35 <= largest_tick(page) <= 50, "the old curve ends at 40")


def wait_for(check, what):
    for _ in range(20):
        if check():
            return
        time.sleep(1)
    raise AssertionError(what)


def main():
    browser_path, folder = sys.argv[1], Path(sys.argv[2])
    make(folder)
    write_notebook(folder, old_version(folder))
    os.chdir(folder)
    failed = False
    with lab(folder) as lab_url, viewer(folder) as viewer_url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        for look, url in ((look_at_file_browser, lab_url), (look_at_old_version, lab_url), (look_at_viewer, viewer_url)):
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            try:
                look(page, url)
                print(f"passed {look.__name__}", flush=True)
            except Exception as error:  # noqa: BLE001 - the outcome is data here
                failed = True
                page.screenshot(path=folder / f"{look.__name__}.png")
                print(f"failed {look.__name__}: {type(error).__name__}: {str(error)[:1500]}", flush=True)
            page.close()
        browser.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
