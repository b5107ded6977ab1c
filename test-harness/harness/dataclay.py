"""A real dataClay 4 on loopback: redis, metadata service, one backend, and the adapter that serves h5lake's protocol.

dataClay comes from PyPI, redis from Debian. All files are below one folder, where a backend finds them again."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from . import ROOT
from .daemons import Daemons, Failed, Unavailable, installed, unused_ports

ADAPTER = ROOT / "object-stores/adapters/dataclay"
NAME = "lake"


class Dataclay:
    """Servers below the folder of `daemons`; `url` is the URL of the store."""

    def __init__(self, daemons, python, options):
        self.daemons, self.python, self.processes = daemons, python, {}
        self.redis, self.metadata, self.backend, self.port = unused_ports(4)
        self.url = f"h5store+http://127.0.0.1:{self.port}"
        self.http = f"http://127.0.0.1:{self.port}/v1"
        for name in ("storage", "redis"):
            (daemons.folder / name).mkdir()
        foreign = ("DATACLAY_", "DC_", "PYTHON", "HDF5_", "H5LAKE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.env = dict(
            kept, PYTHONPATH=str(ADAPTER), PYTHONWARNINGS="ignore", PYTHONDONTWRITEBYTECODE="1",
            DATACLAY_KV_HOST="127.0.0.1", DATACLAY_KV_PORT=str(self.redis), DATACLAY_LOGLEVEL="WARNING",
            DATACLAY_STORAGE_PATH=f"{daemons.folder}/storage/",
            DATACLAY_METADATA_HOST="127.0.0.1", DATACLAY_METADATA_PORT=str(self.metadata),
            DATACLAY_METADATA_LISTEN_ADDRESS="127.0.0.1", DATACLAY_BACKEND_HOST="127.0.0.1",
            DATACLAY_BACKEND_PORT=str(self.backend), DATACLAY_BACKEND_LISTEN_ADDRESS="127.0.0.1",
            DATACLAY_USERNAME="h5lake", DATACLAY_PASSWORD="h5lake", DATACLAY_DATASET="h5lake",
            DC_HOST="127.0.0.1", DC_PORT=str(self.metadata), DC_USERNAME="h5lake", DC_PASSWORD="h5lake",
            DC_DATASET="h5lake")
        self.env.update(options)

    def start(self, part):
        """Starts one part and waits until it answers. Raises Failed."""
        commands = {
            "redis": ["redis-server", "--bind", "127.0.0.1", "--port", self.redis, "--save", "",
                      "--appendonly", "yes", "--dir", self.daemons.folder / "redis"],
            "metadata": [self.python, "-m", "dataclay.metadata"], "backend": [self.python, "-m", "dataclay.backend"],
            "adapter": [self.python, ADAPTER / "serve", NAME, "--port", self.port, "--limit", "20"]}
        # The folder has no .env of a user, which dataClay would read.
        self.daemons.start(part, commands[part], env=self.env, cwd=self.daemons.folder)
        self.processes[part] = self.daemons.running[-1][1]
        ports = {"redis": self.redis, "metadata": self.metadata, "backend": self.backend, "adapter": self.port}
        self.daemons.wait_for(part, lambda: listens(ports[part]))
        if part == "adapter":
            self.daemons.wait_for(part, lambda: self.ask("GET", "")[0] == 200)

    def stop(self, part, with_signal=signal.SIGTERM, seconds=60):
        """Stops one part; returns its exit code."""
        process = self.processes.pop(part)
        self.daemons.running = [one for one in self.daemons.running if one[1] is not process]
        process.send_signal(with_signal)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def forget_backend(self):
        """Removes a killed backend's entry from redis, because the backend refuses to start while the entry exists."""
        name = f"/backend/{(self.daemons.folder / 'storage/BACKEND_ID').read_text().strip()}"
        with socket.create_connection(("127.0.0.1", self.redis), 5) as redis:
            redis.sendall(f"DEL {name}\r\n".encode())
            if redis.recv(64) != b":1\r\n":
                raise Failed(f"redis has no {name}")

    def ask(self, method, path, body=None, timeout=60, **headers):
        """Makes one request below /v1, without a proxy. Returns status, headers and body; status 0 if there is no
        answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.http + path, body, headers, method=method)
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()
        except OSError as error:
            return 0, {}, str(error).encode()

    def why(self, body):
        """Returns the message of a failure."""
        return json.loads(body)["error"]

    def variables(self):
        """Returns the variables by which the tests' programs find the store."""
        return dict(DATACLAY_TEST_STORE=self.url, LEDGER_TEST_STORE=f"{self.url}/ledger")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def python_with_dataclay():
    """Returns the interpreter of an environment with dataClay. Raises Unavailable."""
    made = subprocess.run([ROOT / "tests-py/venv", ROOT / "tests-py/requirements/dataclay.txt"],
                          stdout=subprocess.PIPE, text=True)
    if made.returncode:
        raise Unavailable("dataClay cannot be installed from PyPI (it wants Python before 3.13)")
    installed(["redis-server"], ["redis-server"])
    return Path(made.stdout.strip())


def servers(daemons, **options):
    """Starts all parts below a folder of `daemons`, which stops them. `options` are additional variables of dataClay's
    servers. Raises Unavailable or Failed."""
    dataclay = Dataclay(daemons, python_with_dataclay(), options)
    for part in ("redis", "metadata", "backend", "adapter"):
        dataclay.start(part)
    return dataclay


__all__ = ["Daemons", "Dataclay", "Failed", "Unavailable", "servers"]
