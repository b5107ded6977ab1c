"""Folders of hidden names in which a target is made before it gets its own name. Those of killed processes are removed
after a day."""

import atexit
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

#: Hidden names of h5lake's temporaries are `.h5lake-KIND-…`, with these kinds: the list of `hidden.rs`.
KINDS = ("conversion", "adoption", "references", "zarr", "parquet", "icechunk")
#: A temporary folder of this age, in seconds, was left by a process that was killed.
LEFTOVER_LIFETIME = 86_400
#: The maximum number of entries that are checked in a search for abandoned folders.
MAX_ENTRIES = 4096
#: The attribute in which Linux stores a file's access control list. The bits of the group in its mode are then the
#: list's mask.
ACL = "system.posix_acl_access"


@contextmanager
def folder(target: Path, kind: str):
    """Makes a folder beside `target` that is removed at the end of the block, unless `put` has given it a name. Only
    its owner can read it."""
    new = _name(target, kind)
    new.mkdir(mode=0o700)
    try:
        _sweep(new)
        yield new
    except BaseException:
        # Threads of zarr-python may still write, and create the folder again. They have ended at the process's exit.
        atexit.register(shutil.rmtree, new, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def put(new: Path, target: Path) -> None:
    """Gives a folder its name, on stable storage. The object that has the name is removed; after an error it is there
    as before."""
    old = _name(target, "parquet")
    try:
        if os.path.lexists(target):
            # An old folder might be taken for an abandoned one.
            with suppress(OSError):
                os.utime(target)
            target.rename(old)
        new.rename(target)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        raise
    _sync_one(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _name(target, kind):
    # No other process uses this name, so this process may remove whatever has the name at the end.
    return target.absolute().with_name(f".h5lake-{kind}-{secrets.token_hex(8)}")


def _sweep(new):
    """Removes this user's abandoned folders beside a new folder, by the clock of its file system."""
    own = new.stat()
    with os.scandir(new.parent) as entries:
        for _, entry in zip(range(MAX_ENTRIES), entries):
            if any(entry.name.startswith(f".h5lake-{kind}-") for kind in KINDS) and _is_leftover(Path(entry.path), own, [MAX_ENTRIES]):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_leftover(path, now, most):
    """Returns whether nothing below a path was changed within a day, and nothing belongs to another user. Returns false
    if there are too many entries to check."""
    most[0] -= 1
    try:
        found = path.lstat()
        if most[0] < 0 or found.st_uid != now.st_uid or found.st_mtime > now.st_mtime - LEFTOVER_LIFETIME:
            return False
        return not stat.S_ISDIR(found.st_mode) or all(_is_leftover(below, now, most) for below in path.iterdir())
    except OSError:
        return False


def mode_of_copy(source: "str | os.PathLike", target: Path) -> int:
    """Returns the mode of a file at `target` that is made from the one at `source`: a user who may not read the source
    may not read the copy. The owner can continue to use it, and the umask is applied. This is the rule of the ledger's
    `permissions.rs`."""
    try:
        found, folder = os.stat(source), os.stat(target.absolute().parent)
    except (OSError, ValueError):
        return 0o666
    mode = found.st_mode
    group = folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
    if found.st_gid != group or _has_list(source):
        # The group is another one, so it gets the permissions of all users.
        mode = mode & ~0o070 | (mode >> 3 & mode & 0o007) << 3
    return mode & 0o666 | 0o600


def _has_list(path):
    try:
        return bool(os.getxattr(path, ACL))
    except OSError:
        return False


def restrict(new: Path, mode: int) -> None:
    """Removes the permissions that `mode` does not have from all files of a new folder. Users who can read the files
    can enter the folders."""
    of_folders = mode | (mode & 0o444) >> 2 | 0o700
    for path, _, names in os.walk(new, topdown=False):
        for name in names:
            place = os.path.join(path, name)
            os.chmod(place, os.stat(place).st_mode & 0o777 & mode)
        if Path(path) != new:
            os.chmod(path, os.stat(path).st_mode & 0o777 & of_folders)
    os.chmod(new, 0o777 & ~_umask() & of_folders)


def _umask():
    """Returns the umask. It is read without changing it, because other threads may create files at the same time."""
    with suppress(OSError), open("/proc/self/status") as status:
        for name, _, value in (line.partition(":") for line in status):
            if name == "Umask":
                return int(value, 8)
    return 0o077


@contextmanager
def creating(mode: int):
    """A block in which new files have no more than this mode. The umask belongs to the process, so the files of other
    threads have no more than this mode meanwhile, either."""
    before = os.umask(0o077)
    os.umask(before | 0o666 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def sync(new: Path) -> None:
    """Writes a folder with all files in it to stable storage."""
    for path, _, names in os.walk(new, topdown=False):
        for name in names:
            _sync_one(os.path.join(path, name))
        _sync_one(path)


def _sync_one(path):
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
