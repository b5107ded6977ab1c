"""The Python side of trap.c: the structure that both share, and the faults that the trap can cause."""

import ctypes
import errno
import mmap
import os
import shlex
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAX_LOG, JOURNAL_AT, TOLD = 8192, 4 << 20, -2

KINDS = ["none", "write", "read", "sync", "rename", "open", "lock", "truncate", "link", "unlink", "mkdir", "create"]
FAULT_NONE, FAULT_ERRNO, FAULT_SHORT, FAULT_TORN, FAULT_KILL_BEFORE, FAULT_KILL_AFTER, FAULT_PAUSE, FAULT_IOCTL_BEFORE = range(8)

CHANGING = {"write", "sync", "rename", "open", "lock", "truncate", "link", "unlink", "mkdir", "create"}
GROWING = {"write", "sync", "rename", "truncate", "link", "mkdir", "create"}

# name: (what the trap does, errno, 1 if all later calls fail too, kinds of calls that it can affect)
FAULTS = {
    "EIO": (FAULT_ERRNO, errno.EIO, 0, CHANGING | {"read"}),
    "ENOSPC": (FAULT_ERRNO, errno.ENOSPC, 0, GROWING),
    "ENOSPC-on": (FAULT_ERRNO, errno.ENOSPC, 1, GROWING),
    "EINTR": (FAULT_ERRNO, errno.EINTR, 0, {"write", "read", "sync", "open", "create", "lock", "truncate"}),
    "short": (FAULT_SHORT, 0, 0, {"write"}),
    "torn": (FAULT_TORN, 0, 0, {"write"}),
    "kill-before": (FAULT_KILL_BEFORE, 0, 0, CHANGING),
    "kill-after": (FAULT_KILL_AFTER, 0, 0, CHANGING),
    "reader": (FAULT_PAUSE, 0, 0, CHANGING),
}
KILLS = {"torn", "kill-before", "kill-after"}

SYSCALLS = {0: "read", 1: "write", 2: "open", 3: "close", 17: "pread64", 18: "pwrite64", 19: "readv", 20: "writev", 40: "sendfile",
            72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir",
            84: "rmdir", 85: "creat", 86: "link", 87: "unlink", 88: "symlink", 257: "openat", 258: "mkdirat", 263: "unlinkat",
            264: "renameat", 265: "linkat", 266: "symlinkat", 277: "sync_file_range", 285: "fallocate", 295: "preadv",
            296: "pwritev", 306: "syncfs", 316: "renameat2", 326: "copy_file_range", 327: "preadv2", 328: "pwritev2",
            437: "openat2", TOLD: "told"}


class Logged(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int32), ("kind", ctypes.c_int32), ("result", ctypes.c_int64),
                ("what", ctypes.c_char * 240)]

    def line(self):
        return f"{SYSCALLS.get(self.number, self.number)}({self.what.decode(errors='replace')}) = {self.result}"


class Control(ctypes.Structure):
    _fields_ = [("kinds", ctypes.c_uint32), ("faulted", ctypes.c_uint32), ("fault", ctypes.c_int32),
                ("error", ctypes.c_int32), ("point", ctypes.c_int32), ("from_here_on", ctypes.c_int32),
                ("done", ctypes.c_int32), ("hit", ctypes.c_int32), ("calls", ctypes.c_uint32), ("paused", ctypes.c_int32),
                ("ioctl_fd", ctypes.c_int32), ("ioctl_argument", ctypes.c_uint32), ("ioctl_request", ctypes.c_uint64),
                ("journal_size", ctypes.c_uint64), ("journal_used", ctypes.c_uint64), ("folder", ctypes.c_char * 240),
                ("log", Logged * MAX_LOG)]


def build(to):
    """Compiles the trap. Returns None and a reason if that is not possible."""
    if os.uname().machine != "x86_64":
        return None, "the trap is written for x86-64"
    to.parent.mkdir(parents=True, exist_ok=True)
    made = to.with_suffix(f".{os.getpid()}")
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
               "-fPIC", "-shared", "-o", made, HERE / "trap.c"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return None, f"the trap does not compile: {run.stderr[-500:]}"
    made.rename(to)
    if not can_arm(to):
        return None, "seccomp filters are not to be had here"
    return to, None


def can_arm(library):
    """Returns whether the system accepts the filter. The attempt is made in a child, because it cannot be undone."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    try:
        trap = Trap(library, "/nowhere")
        trap.set()
        trap.arm()
        os.stat("/")
    except BaseException:  # noqa: BLE001
        os._exit(1)
    os._exit(0)


def bits(kinds):
    return sum(1 << KINDS.index(kind) for kind in kinds)


class Trap:
    """One control structure, which is used again for each run. Only a child that calls `arm` is trapped."""

    def __init__(self, library, folder, journal_size=0):
        self.library = ctypes.CDLL(str(library))
        self.path = str(library)
        self.fd = os.memfd_create("trap", 0)
        size = JOURNAL_AT + journal_size
        assert ctypes.sizeof(Control) <= JOURNAL_AT
        os.ftruncate(self.fd, size)
        self.memory = mmap.mmap(self.fd, size)
        self.control = Control.from_buffer(self.memory)
        self.control.folder = str(folder).encode()
        self.control.journal_size = journal_size
        self.control.kinds = bits(KINDS[1:])

    def set(self, fault=None, point=0):
        c = self.control
        c.done = c.paused = c.calls = c.journal_used = 0
        c.hit = -1
        c.fault, c.error, c.from_here_on, kinds = FAULTS[fault] if fault else (FAULT_NONE, 0, 0, ())
        c.faulted, c.point = bits(kinds), point

    def arm(self):
        """Traps this process. This cannot be undone."""
        if self.library.trap_arm(self.fd):
            raise OSError("seccomp filters are not to be had here")

    def calm(self):
        self.library.trap_calm()

    def tell(self, number):
        self.library.trap_tell(ctypes.c_long(number))

    def calls(self):
        """Returns the calls: [(kind, line)]."""
        return [(KINDS[entry.kind], entry.line()) for entry in self.control.log[:min(self.control.calls, MAX_LOG)]]

    def hit(self):
        """Returns the call that was affected first: (kind, system call, line), or None."""
        at = self.control.hit
        if not 0 <= at < MAX_LOG:
            return None
        entry = self.control.log[at]
        return KINDS[entry.kind], SYSCALLS.get(entry.number, str(entry.number)), entry.line()

    def journal(self):
        """Returns all events: (name of the call, result, inode, offset, length, flags, what, data)."""
        at, end, events = JOURNAL_AT, JOURNAL_AT + self.control.journal_used, []
        assert self.control.journal_used <= self.control.journal_size, "the journal is full"
        layout = struct.Struct("<iIqQqqq240s")
        while at < end:
            number, size, result, inode, offset, length, flags, what = layout.unpack_from(self.memory, at)
            data = self.memory[at + layout.size:at + layout.size + max(0, min(length, size - layout.size))] \
                if number in (1, 18, 20, 296) else b""
            events.append((SYSCALLS.get(number, str(number)), result, inode, offset, length, flags,
                           what.split(b"\0")[0].decode(), data))
            at += size
        return events
