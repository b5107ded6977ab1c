"""A real OpenStack Swift on loopback: proxy, account, container and object servers, with tempauth, s3api and SLO.

Its packages come from PyPI, memcached (which stores its tokens) from Debian. Three replicas on three folders stand for
three disks; `Swift.take_away` moves one of these folders aside, like a disk that is gone, and `Swift.put_back` brings
it back."""

import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from . import ROOT
from .daemons import Daemons, Unavailable, installed, unused_ports

USER, KEY = "test:tester", "testing"
KINDS = ("account", "container", "object")

COMMON = """bind_ip = 127.0.0.1
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/srv
mount_check = false
fallocate_reserve = 0
disable_fallocate = true
log_level = WARNING
"""

PIPELINE = ("catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl s3api tempauth copy slo dlo "
            "versioned_writes symlink proxy-server")

FILTERS = {"cache": "memcache_servers = 127.0.0.1:{memcached}",
           "tempauth": "user_test_tester = testing .admin\nuser_test_reader = reading\ntoken_life = {token_life}\nreseller_prefix = AUTH",
           "s3api": "s3_acl = false\ncheck_bucket_owner = false\nlocation = us-east-1",
           "versioned_writes": "allow_versioned_writes = true"}
EGGS = {"cache": "memcache"}


class Swift:
    """Servers in a folder: `env` reaches them as swift: and as s3:, with the container 'lake'."""

    def __init__(self, daemons, port):
        self.folder, self.port = daemons.folder, port
        self.auth = f"http://127.0.0.1:{port}/auth/v1.0"
        self.endpoint = f"http://127.0.0.1:{port}"
        self.account = f"{self.endpoint}/v1/AUTH_test"

    def variables(self):
        """Returns the variables of Swift clients."""
        return dict(ST_AUTH=self.auth, ST_USER=USER, ST_KEY=KEY)

    def asked(self, method, url, headers):
        """Makes one request, without a proxy. Returns status and headers, or None if there is no answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, method=method, headers=headers), timeout=20) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers
        except OSError:
            return None

    def make_container(self, name):
        """Makes a container. Returns False while the servers do not answer correctly."""
        entered = self.asked("GET", self.auth, {"X-Storage-User": USER, "X-Storage-Pass": KEY})
        token = entered and entered[1].get("X-Auth-Token")
        made = token and self.asked("PUT", f"{self.account}/{name}", {"X-Auth-Token": token, "Content-Length": "0"})
        return bool(made) and made[0] in (201, 202)

    def take_away(self, disk):
        """Removes a disk: objects that are put meanwhile have no copy on it."""
        os.rename(self.folder / "srv" / f"d{disk}", self.folder / f"away-d{disk}")

    def put_back(self, disk):
        """Puts the disk back with its previous content."""
        os.rename(self.folder / f"away-d{disk}", self.folder / "srv" / f"d{disk}")


def environment_of_swift():
    """Returns the folder of programs of an environment with Swift. Raises Unavailable."""
    made = subprocess.run([ROOT / "tests-py/venv", ROOT / "tests-py/requirements/swift.txt"], stdout=subprocess.PIPE,
                          text=True)
    if made.returncode:
        raise Unavailable("Swift cannot be installed from PyPI")
    installed(["memcached"], ["memcached"])
    return Path(made.stdout.strip()).parent


def write_rings(folder, programs, ports, replicas):
    for kind in KINDS:
        tool = [programs / "swift-ring-builder", f"{kind}.builder"]
        quiet = dict(os.environ, PYTHONWARNINGS="ignore")
        run = dict(cwd=folder, check=True, stdout=subprocess.DEVNULL, env=quiet)
        subprocess.run([*tool, "create", "4", str(replicas), "0"], **run)
        for disk in range(1, replicas + 1):
            subprocess.run([*tool, "add", f"r1z{disk}-127.0.0.1:{ports[kind]}/d{disk}", "1"], **run)
        # Exit status 1: the ring is written, with a warning about a single zone.
        done = subprocess.run([*tool, "rebalance"], **dict(run, check=False))
        if done.returncode not in (0, 1):
            raise Unavailable("swift-ring-builder fails")


def write_configuration(folder, ports, token_life):
    user = subprocess.run(["id", "-un"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    common = COMMON.format(user=user, folder=folder)
    (folder / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = h5\nswift_hash_path_prefix = lake\n"
        "[storage-policy:0]\nname = gold\ndefault = yes\n")
    for kind in KINDS:
        (folder / f"{kind}.conf").write_text(
            f"[DEFAULT]\n{common}bind_port = {ports[kind]}\n[pipeline:main]\npipeline = {kind}-server\n"
            f"[app:{kind}-server]\nuse = egg:swift#{kind}\n")
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{EGGS.get(name, name)}\n"
        f"{FILTERS.get(name, '').format(memcached=ports['memcached'], token_life=token_life)}\n"
        for name in PIPELINE.split()[:-1])
    (folder / "proxy.conf").write_text(
        f"[DEFAULT]\n{common}bind_port = {ports['proxy']}\n[pipeline:main]\npipeline = {PIPELINE}\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n"
        f"error_suppression_interval = 1\n{filters}")


def servers(daemons, replicas=1, token_life=86400):
    """Starts the servers below a folder of `daemons`, which stops them. Raises Unavailable or Failed."""
    folder, programs = daemons.folder, environment_of_swift()
    for disk in range(1, replicas + 1):
        (folder / "srv" / f"d{disk}").mkdir(parents=True)
    names = (*KINDS, "proxy", "memcached")
    ports = dict(zip(names, unused_ports(len(names))))
    write_configuration(folder, ports, token_life)
    write_rings(folder, programs, ports, replicas)
    user = ["-u", "root"] if os.geteuid() == 0 else []
    env = dict(os.environ, PATH=f"{os.environ.get('PATH', '')}:/usr/sbin")
    daemons.start("memcached", ["memcached", *user, "-l", "127.0.0.1", "-p", ports["memcached"], "-m", "64"], env=env)
    for kind in (*KINDS, "proxy"):
        daemons.start(kind, [programs / f"swift-{kind}-server", folder / f"{kind}.conf", "-v"])
    swift = Swift(daemons, ports["proxy"])
    daemons.wait_for("Swift", lambda: swift.make_container("lake"))
    return swift


__all__ = ["Daemons", "Swift", "servers"]
