"""Servers that a test starts on loopback, all below one folder, and stops by their process ids."""

import os
import socket
import subprocess
import time
from pathlib import Path


class Failed(Exception):
    """A server did not start. The text names it, with its output."""


class Unavailable(Exception):
    """A requirement of a server is not on this machine and cannot be installed. The text names it."""


def unused_ports(count):
    """Returns distinct ports of 127.0.0.1 without listeners."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def installed(programs, packages):
    """Installs Debian's `packages` as root if one of `programs` is not on PATH. Raises Unavailable."""
    def missing():
        folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin"]
        return [p for p in programs if not any(os.access(f"{folder}/{p}", os.X_OK) for folder in folders if folder)]

    if not missing():
        return
    if os.geteuid() != 0 or not os.access("/usr/bin/apt-get", os.X_OK):
        raise Unavailable(f"{', '.join(missing())} not found: apt-get install {' '.join(packages)}")
    wait = ["-o", "DPkg::Lock::Timeout=300", "-q", "-y"]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["update"], ["install", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *wait, *command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if missing():
        raise Unavailable(f"{', '.join(missing())} not found, and apt-get does not install {' '.join(packages)}")


class Daemons:
    """Servers below a folder. As a context manager it stops all of them, the last one first."""

    def __init__(self, folder):
        self.folder, self.running = Path(folder), []
        (self.folder / "log").mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, process in reversed(self.running):
            process.terminate()
        for _, process in reversed(self.running):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name, command, **options):
        """Starts a server in a process group of its own, so that an interrupt from the terminal ends the test first."""
        with open(self.folder / "log" / f"{name}.out", "wb") as log:
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, start_new_session=True, **options)
        self.running.append((name, process))

    def wait_for(self, what, ready, seconds=60):
        """Waits until `ready` returns a true value, and returns it. Raises Failed with the ends of the logs."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and all(process.poll() is None for _, process in self.running):
            answer = ready()
            if answer:
                return answer
            time.sleep(0.1)
        logs = sorted((self.folder / "log").glob("*.out"))
        ends = [f"{log.stem}: {log.read_text(errors='replace')[-600:]}" for log in logs]
        raise Failed(f"{what} did not start\n" + "\n".join(ends))
