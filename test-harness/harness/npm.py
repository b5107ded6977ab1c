"""Packages from npm, installed once as a package-lock.json names them."""

import fcntl
import hashlib
import shutil
import subprocess

from harness import cache

LISTS = ("package.json", "package-lock.json", ".npmrc")


def modules(source):
    """Returns the folder node_modules with the packages that the lists in `source` name, or None if npm is not installed or the
    packages are not available. The packages' own scripts are not run."""
    name = hashlib.sha256(b"".join((source / name).read_bytes() for name in LISTS)).hexdigest()[:12]
    folder = cache.folder() / f"{source.name}-{name}"
    cache.folder().mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            if not shutil.which("npm"):
                return None
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in LISTS:
                shutil.copy(source / name, folder)
            if subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=folder).returncode:
                return None
            (folder / "complete").touch()
    return folder / "node_modules"
