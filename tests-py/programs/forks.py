"""Processes forked while files are open. A child can read the files that it inherited, commits no change to them,
and does not affect its parent's files, however it ends. Native HDF5 makes no promise about this."""
# only: h5lake

import os
import signal
import sys
from multiprocessing import get_context

import h5py
import numpy as np
from cases import main, same

FORK = get_context("fork")
NAME = "parent.h5"


def begin():
    f = h5py.File(NAME, "w")
    f.create_dataset("x", (1000,), "i8", chunks=(100,))[:] = 1
    f.attrs["n"] = 1
    f.flush()
    return f


def child(body):
    """Runs `body` in a forked child and returns the exit status. The child ends as a program does, with HDF5's
    clean-up."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException as error:  # noqa: BLE001
            print("child:", type(error).__name__, error, flush=True)
            os._exit(9)
        sys.stdout.flush()
        # As at the end of a program, HDF5's own exit handler runs.
        h5py.h5.close() if hasattr(h5py.h5, "close") else None
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def other_process(name=NAME):
    """Returns the content as an unrelated process sees it."""
    code = f"import h5py; f = h5py.File({name!r}, 'r'); print(f['x'][:].sum(), sorted(f.attrs), sorted(f))"
    import subprocess

    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def check_children_commit_nothing(folder):
    f = begin()
    f["x"][:] = 2  # not flushed
    f.attrs["pending"] = 1

    def closes():
        f.close()

    def changes():
        try:
            f["x"][0] = 77
            f.attrs["child"] = 1
            f.flush()
        except (OSError, RuntimeError, ValueError):
            os._exit(3)

    def just_ends():
        sys.exit

    assert child(just_ends) == 0
    assert other_process() == "1000 ['n'] ['x']"
    assert child(closes) in (0, 9)
    assert other_process() == "1000 ['n'] ['x']"
    assert child(changes) == 3, "a child changed what its parent has open"
    assert other_process() == "1000 ['n'] ['x']"
    # The parent continues as if nothing had happened.
    f["x"][1] = 5
    f.flush()
    assert other_process() == "2003 ['n', 'pending'] ['x']"
    f.close()
    assert other_process() == "2003 ['n', 'pending'] ['x']"


def check_children_are_told(folder):
    """A child's changes cannot be stored, so that each change fails at once and not only the close."""
    f = begin()
    f["contiguous"] = np.zeros(100)
    f["small"] = 1
    f["strings"] = np.array(["one", "two"], dtype=h5py.string_dtype())
    f.create_dataset("gzip", data=np.zeros((100, 100)), chunks=(10, 10), compression="gzip")
    f.flush()
    changes = {
        "chunks": lambda: f["x"].__setitem__(0, 77),
        "contiguous": lambda: f["contiguous"].__setitem__(slice(10, 20), 77),
        "a scalar": lambda: f["small"].__setitem__((), 77),
        "strings": lambda: f["strings"].__setitem__(0, "three"),
        "filters": lambda: f["gzip"].__setitem__((slice(None), 3), 77),
        "a stored chunk": lambda: f["x"].id.write_direct_chunk((0,), bytes(800)),
        "an extent": lambda: f["x"].resize((500,)),
        "an attribute": lambda: f.attrs.__setitem__("n", 77),
        "a group": lambda: f.create_group("g"),
        "a name": lambda: f.move("x", "y"),
    }

    def is_told():
        for what, change in changes.items():
            try:
                change()
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                assert "parent process" in str(error), f"{what}: {error}"
            else:
                raise AssertionError(f"{what}: a child changed what its parent has open")

    assert child(is_told) == 0
    f.close()
    assert other_process() == "1000 ['n'] ['contiguous', 'gzip', 'small', 'strings', 'x']"


def check_killed_children(folder):
    f = begin()
    for n in range(5):
        pid = os.fork()
        if pid == 0:
            while True:
                f["x"][:]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        f["x"][:] = n
        f.flush()
        assert other_process() == f"{n * 1000} ['n'] ['x']"
    # The parent still has the lock, and releases it when it closes the file.
    f.close()
    with h5py.File(NAME, "r+") as f:
        f["x"][0] = -1


def check_children_read(folder):
    begin().close()
    with h5py.File(NAME, "r") as f:
        def reads():
            same(f["x"][:], np.ones(1000, "i8"))
            with h5py.File(NAME, "r") as own:
                assert own.attrs["n"] == 1
        assert child(reads) == 0
        same(f["x"][:], np.ones(1000, "i8"))


def part(n):
    with h5py.File(NAME, "r") as f:
        return int(f["x"][n * 100 : (n + 1) * 100].sum())


def write(n):
    with h5py.File(f"child{n}.h5", "w") as f:
        f["x"] = np.full(10, n)


def check_pool(folder):
    f = begin()
    with FORK.Pool(4) as pool:
        assert pool.map(part, range(10)) == [100] * 10
        pool.map(write, range(4))
    for n in range(4):
        assert other_process(f"child{n}.h5").startswith(str(10 * n))
    f["x"][:] = 3
    f.close()
    assert other_process() == "3000 ['n'] ['x']"


def check_child_takes_over(folder):
    """A child can write a container that its parent has closed, and the parent can write it again afterwards."""
    begin().close()

    def writes():
        with h5py.File(NAME, "r+") as f:
            f["x"][:] = 4
    assert child(writes) == 0
    with h5py.File(NAME, "r+") as f:
        same(f["x"][:], np.full(1000, 4))
        f["x"][0] = 0
    assert other_process() == "3996 ['n'] ['x']"


def check_locked_out(folder):
    """While the parent has the file open for writing, a child cannot open it again for writing."""
    f = begin()

    def tries():
        try:
            h5py.File(NAME, "r+")
        except OSError:
            os._exit(4)
    assert child(tries) == 4
    f.close()


if __name__ == "__main__":
    main(globals())
