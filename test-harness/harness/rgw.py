"""A real Ceph Object Gateway on loopback: one monitor, one object store daemon and the gateway, from Debian's packages."""

import os
import secrets
import subprocess
import urllib.error
import urllib.request
import uuid

from .daemons import Failed, installed, unused_ports

PROGRAMS = ["ceph-mon", "ceph-osd", "ceph", "monmaptool", "ceph-authtool", "radosgw", "radosgw-admin"]
PACKAGES = ["ceph-mon", "ceph-osd", "ceph-common", "radosgw"]

CONFIGURATION = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
log file = {folder}/log/$name.log
run dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
auth allow insecure global id reclaim = false
mon data avail warn = 1
mon data avail crit = 1
[mon]
mon data = {folder}/mon
mon osd full ratio = .99
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 8589934592
osd memory target = 1073741824
osd class load list = *
"""


class Gateway:
    """The gateway's address and keys."""

    def __init__(self, port):
        self.endpoint = f"http://127.0.0.1:{port}"
        self.access, self.secret = "h5lake", secrets.token_hex(16)

    def answers(self):
        """Returns whether a server listens there."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(self.endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


def run(folder, *command, seconds=60):
    """Runs one of Ceph's tools with the cluster's configuration. Raises Failed."""
    done = subprocess.run([str(word) for word in command], env=dict(os.environ, CEPH_CONF=f"{folder}/ceph.conf"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=seconds)
    if done.returncode:
        raise Failed(f"{command[0]} failed: {done.stdout[-600:]}")


def start_cluster(daemons, v2, v1):
    folder = daemons.folder
    for name in ("mon", "osd", "run"):
        (folder / name).mkdir()
    fsid, osd = uuid.uuid4(), uuid.uuid4()
    (folder / "ceph.conf").write_text(CONFIGURATION.format(fsid=fsid, folder=folder, v2=v2, v1=v1))
    env = dict(os.environ, CEPH_CONF=f"{folder}/ceph.conf")
    keyring, monmap = folder / "keyring", folder / "monmap"
    everything = ["--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
    run(folder, "ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    run(folder, "ceph-authtool", keyring, "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *", *everything)
    run(folder, "ceph-authtool", keyring, "--gen-key", "-n", "osd.0", "--cap", "mon", "allow profile osd", *everything)
    run(folder, "monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a",
        f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]", monmap)
    run(folder, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    daemons.start("mon", ["ceph-mon", "-f", "-i", "a"], env=env)
    run(folder, "ceph", "--connect-timeout", "30", "osd", "new", osd, "0")
    run(folder, "ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd, "--keyring", keyring)
    daemons.start("osd", ["ceph-osd", "-f", "-i", "0"], env=env)


def gateway(daemons):
    """Starts a cluster and its gateway below a folder of `daemons`. Raises daemons.Unavailable or Failed."""
    installed(PROGRAMS, PACKAGES)
    v2, v1, port = unused_ports(3)
    start_cluster(daemons, v2, v1)
    found = Gateway(port)
    folder, env = daemons.folder, dict(os.environ, CEPH_CONF=f"{daemons.folder}/ceph.conf")
    run(folder, "radosgw-admin", "user", "create", "--uid=h5lake", "--display-name=h5lake",
        f"--access-key={found.access}", f"--secret={found.secret}", seconds=120)
    daemons.start("rgw", ["radosgw", "-f", "-n", "client.admin", f"--rgw-frontends=beast endpoint=127.0.0.1:{port}",
                          f"--log-file={folder}/log/rgw.log"], env=env)
    daemons.wait_for("the gateway", found.answers)
    return found
