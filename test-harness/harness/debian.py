"""Debian systems in folders of the cache, which debootstrap and apt-get fill once. Programs run in them by chroot."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import ROOT

# Programs for root alone must be found, too.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The mounts belong to a namespace of the command's own, and end with it.
ENTER = """
set -e
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""


class Impossible(Exception):
    """A system cannot be made or entered here; the text is the reason."""


class Debian:
    """A system in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def run(self, *command, env=None, mounts=None, cwd="/", **options):
        """Runs a command in the system, as subprocess.run does. `mounts` maps folders in the system to folders of this
        machine."""
        pairs = [word for inside, outside in (mounts or {}).items() for word in (outside, inside)]
        env = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
        line = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", ENTER, "sh", self.folder, *pairs, "--",
                "env", f"--chdir={cwd}", *command]
        return subprocess.run([str(word) for word in line], env=env, **options)

    def versions(self, packages):
        """Returns the versions of installed packages, {package: version}."""
        shown = self.run("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages, check=True, capture_output=True, text=True)
        return dict(line.split() for line in shown.stdout.splitlines())


def cache():
    """Returns the folder of everything that tests build once."""
    build = ROOT / "tests-c" / "hdf5" / "build"
    return Path(subprocess.run([build, "--cache"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def mirror():
    """Returns a list with the address from which this machine gets Debian's packages; empty if debootstrap has to
    choose."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines() if shutil.which("apt-get") else []
    uris = (line.partition(" ")[2] for line in listed if line.startswith("Debian "))
    return [uri for uri in uris if "security" not in uri][:1]


def system(suite, packages):
    """Returns the system with these packages, without the packages that they only recommend; made now if necessary.

    Raises Impossible without root, debootstrap, the right to mount, or Debian's packages."""
    if os.geteuid():
        raise Impossible("only root may make and enter another system's folder")
    name = f"debian-{suite}-{hashlib.sha256(' '.join(sorted(packages)).encode()).hexdigest()[:12]}"
    folder = cache() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fill(folder, suite, packages)
    return Debian(folder)


def fill(folder, suite, packages):
    """Makes a system's folder, completely or not at all."""
    if not shutil.which("debootstrap", path=PATH):
        subprocess.run(["apt-get", "install", "-qq", "-y", "debootstrap"], stdout=sys.stderr)
    if not shutil.which("debootstrap", path=PATH):
        raise Impossible("there is no debootstrap")
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", suite, unfinished, *mirror()]
    made = subprocess.run(command, stdout=sys.stderr, env=os.environ | {"PATH": PATH})
    if made.returncode:
        raise Impossible(f"debootstrap cannot fetch Debian {suite}")
    new = Debian(unfinished)
    if new.run("true").returncode:
        raise Impossible("this machine lets its root mount nothing")
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    if new.run(*install, stdout=sys.stderr).returncode:
        raise Impossible(f"packages of Debian {suite} cannot be fetched: {' '.join(packages)}")
    new.run("apt-get", "clean", check=True)
    unfinished.rename(folder)
