"""A disk that loses power: synced data is present afterwards; each unsynced write and each unsynced name may be
present or not.

Unsynced writes survive one by one, in any order, completely, not at all, or torn between sectors. Unsynced names
survive in the order in which they were made, in each directory up to a moment of its own: each directory is synced
separately, and the sync of a file does not cover its name."""

import os
from pathlib import Path

SECTOR = 512
O_CREAT, O_TRUNC, RENAME_EXCHANGE = 0o100, 0o1000, 2


class File:
    """An inode: the content that is certainly on the disk, and the writes since."""

    def __init__(self, content=b""):
        self.durable, self.pending = bytes(content), []

    def content(self, rng, everything=False):
        data = bytearray(self.durable)
        for change in self.pending:
            if everything:
                self.apply(data, change)
                continue
            fate = rng.random()
            if fate < 0.45:
                self.apply(data, change)
            elif fate < 0.65 and change[0] == "write":
                _, offset, content = change
                for at in range(0, len(content), SECTOR):
                    if rng.random() < 0.5:
                        self.apply(data, ("write", offset + at, content[at:at + SECTOR]))
        return bytes(data)

    @staticmethod
    def apply(data, change):
        kind, at, what = change
        if kind == "size":
            del data[at:]
            data.extend(bytes(at - len(data)))
        elif what:
            data.extend(bytes(max(0, at + len(what) - len(data))))
            data[at:at + len(what)] = what

    def sync(self):
        self.durable, self.pending = self.content(None, True), []


class Disk:
    """A tree of files; the `events` of the trap change it."""

    def __init__(self, root):
        self.files, self.names, self.durable, self.pending = {}, {}, {}, []
        for path in sorted(Path(root).rglob("*")):
            name = str(path.relative_to(root))
            if path.is_dir():
                self.names[name] = None
            else:
                inode = path.stat().st_ino
                self.names[name] = inode
                self.files[inode] = File(path.read_bytes())
        self.durable = dict(self.names)

    @staticmethod
    def normal(name):
        """Returns a name below the folder, as the trap logs it. Relative names are relative to the program's
        directory."""
        name = os.path.normpath(name)
        return name if name.split("/")[0] in ("names", "objects") else os.path.normpath(os.path.join("names", name))

    @staticmethod
    def rename_here(names, change):
        """Carries out a change of names. An entry in a directory that does not exist is ignored, but may count
        later."""
        kind, name, other, inode = change
        if kind == "make":
            names[name] = inode
        elif kind == "mkdir":
            names.setdefault(name, None)
        elif kind == "unlink":
            names.pop(name, None)
        elif kind == "link":
            names[other] = inode
        elif kind == "exchange":
            names[name], names[other] = names.get(other), names.get(name)
        elif kind == "rename":
            names.pop(name, None)
            names[other] = inode

    def change(self, kind, name, other=None, inode=None):
        change = kind, name, other, inode
        self.rename_here(self.names, change)
        self.pending.append(change)

    def take(self, event):
        call, result, inode, offset, length, flags, what, data = event
        if result < 0:
            return
        if call in ("open", "openat", "creat") and (flags & (O_CREAT | O_TRUNC) or call == "creat"):
            name = self.normal(what)
            if name not in self.names:
                self.files[inode] = File()
                self.change("make", name, inode=inode)
            elif flags & O_TRUNC:
                self.files[inode].pending.append(("size", 0, b""))
        elif call in ("write", "pwrite64", "writev", "pwritev"):
            self.files.setdefault(inode, File()).pending.append(("write", offset, data))
        elif call == "ftruncate":
            self.files[inode].pending.append(("size", length, b""))
        elif call in ("fsync", "fdatasync"):
            self.sync(inode, what)
        elif call in ("rename", "renameat", "renameat2"):
            name, other = map(self.normal, what.split(" -> "))
            kind = "exchange" if flags & RENAME_EXCHANGE and call == "renameat2" else "rename"
            self.change(kind, name, other, self.names.get(name, inode))
        elif call in ("link", "linkat"):
            name, other = what.split(" -> ")
            self.change("link", name, self.normal(other), inode)
        elif call in ("unlink", "unlinkat", "rmdir"):
            self.change("unlink", self.normal(what))
        elif call in ("mkdir", "mkdirat"):
            self.change("mkdir", self.normal(what))

    def directory_of(self, change):
        kind, name, other, _ = change
        return os.path.dirname(name if kind in ("make", "mkdir", "unlink") else other)

    def sync(self, inode, what):
        if inode in self.files:
            self.files[inode].sync()
            return
        directory, kept = self.normal(what), []
        for change in self.pending:
            if self.directory_of(change) == directory:
                self.rename_here(self.durable, change)
            else:
                kept.append(change)
        self.pending = kept

    def after_power_loss(self, rng, root):
        """Writes one of the trees that a power loss may leave."""
        last = {}
        for change in self.pending:
            directory = self.directory_of(change)
            last.setdefault(directory, rng.choice([0, 1 << 30, rng.randrange(len(self.pending) + 1)]))
        names, done = dict(self.durable), {}
        for change in self.pending:
            directory = self.directory_of(change)
            done[directory] = done.get(directory, 0) + 1
            if done[directory] <= last[directory]:
                self.rename_here(names, change)
        contents = {}
        for name, inode in sorted(names.items()):
            path = Path(root) / name
            if inode is None and path.parent.is_dir():
                path.mkdir(exist_ok=True)
            elif inode is not None and path.parent.is_dir():
                if inode not in contents:
                    contents[inode] = self.files[inode].content(rng)
                path.write_bytes(contents[inode])
