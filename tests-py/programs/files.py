"""Files: modes and the exceptions that programs catch, moving and copying, several handles, damaged files."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from cases import main, raises, same


def make(path, values=5):
    with h5py.File(path, "w") as f:
        f["data"] = np.arange(values)
        f.attrs["title"] = "made"


def obey_permissions():
    """Drops root's capabilities to read and write despite the permissions. An ordinary user never had them."""
    drop_from_bounding_set, override, read_search = 24, 1, 2
    for capability in (override, read_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def plainly(code):
    """Runs code in a process to which permissions apply. Returns its output."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         preexec_fn=obey_permissions)
    return run.stdout.strip() or run.stderr[-500:]


TRY = """
import h5py
try:
    h5py.File({path!r}, {mode!r}).close()
    print("no error")
except Exception as error:
    print(type(error).__name__)
"""


def check_modes(folder):
    raises(FileNotFoundError, h5py.File, "absent.h5", "r")
    raises(FileNotFoundError, h5py.File, "absent.h5", "r+")
    raises(FileNotFoundError, h5py.File, "no/such/folder.h5", "w")
    assert not os.path.exists("absent.h5")
    h5py.File("a.h5", "x").close()
    raises(FileExistsError, h5py.File, "a.h5", "x")
    raises(FileExistsError, h5py.File, "a.h5", "w-")
    with h5py.File("a.h5", "a") as f:
        f["one"] = 1
        assert f.mode == "r+"
    with h5py.File("a.h5", "r+") as f:
        f["two"] = 2
    with h5py.File("a.h5") as f:
        assert sorted(f) == ["one", "two"] and f.mode == "r"
        raises(ValueError, f.create_group, "three")
        raises(KeyError, f.__delitem__, "one")
    with h5py.File("a.h5", "w") as f:
        assert list(f) == []
    with h5py.File("new.h5", "a") as f:
        f["x"] = 1
    raises(ValueError, h5py.File, "a.h5", "q")


def check_directory(folder):
    os.mkdir("folder")
    for mode in ("r", "r+", "w", "a"):
        error = None
        try:
            h5py.File("folder", mode)
        except OSError as caught:
            error = caught
        assert error is not None, mode
    assert os.path.isdir("folder") and os.listdir("folder") == []


def check_permission(folder):
    make("locked.h5")
    os.chmod("locked.h5", 0o444)
    os.chmod(folder, 0o555)
    assert plainly(TRY.format(path="locked.h5", mode="r")) == "no error"
    assert plainly(TRY.format(path="locked.h5", mode="r+")) == "PermissionError"
    assert plainly(TRY.format(path="new.h5", mode="w")) == "PermissionError"
    os.chmod("locked.h5", 0o000)
    assert plainly(TRY.format(path="locked.h5", mode="r")) == "PermissionError"
    os.chmod(folder, 0o755)


def check_second_writer(folder):
    with h5py.File("busy.h5", "w") as f:
        f["x"] = 1
        run = subprocess.run([sys.executable, "-c", TRY.format(path="busy.h5", mode="r+")], capture_output=True,
                             text=True)
        assert run.stdout.strip() == "BlockingIOError", run
    run = subprocess.run([sys.executable, "-c", TRY.format(path="busy.h5", mode="r+")], capture_output=True,
                         text=True)
    assert run.stdout.strip() == "no error", run


def check_ordinary_file(folder):
    make("one.h5", 1000)
    assert os.path.isfile("one.h5") and h5py.is_hdf5("one.h5") and not h5py.is_hdf5(__file__)
    before = os.listdir(".")
    shutil.copy("one.h5", "copy.h5")
    os.rename("one.h5", "renamed.h5")
    os.mkdir("elsewhere")
    shutil.move("renamed.h5", "elsewhere/moved.h5")
    for path in ("copy.h5", "elsewhere/moved.h5"):
        with h5py.File(path) as f:
            same(f["data"][:], np.arange(1000))
    with h5py.File("copy.h5", "r+") as f:
        f["data"][0] = 42
    with h5py.File("elsewhere/moved.h5") as f:
        assert f["data"][0] == 0
    os.remove("copy.h5")
    shutil.rmtree("elsewhere")
    assert os.listdir(".") == [] and before == ["one.h5"], "nothing may be left beside the file"


def check_symlink(folder):
    make("real.h5")
    os.symlink("real.h5", "link.h5")
    with h5py.File("link.h5", "r+") as f:
        f["more"] = 1
    with h5py.File("link.h5", "w") as f:
        f["only"] = 1
    assert os.path.islink("link.h5")
    with h5py.File("real.h5") as f:
        assert list(f) == ["only"]


def check_two_handles(folder):
    make("twice.h5")
    with h5py.File("twice.h5", "r+") as a, h5py.File("twice.h5", "r+") as b:
        a["seen"] = 5
        assert b["seen"][()] == 5 and a == b
        b["data"][1] = 77
        assert a["data"][1] == 77
    raises(KeyError, lambda: a["seen"])
    assert not a and not a.id.valid


def check_closing(folder):
    f = h5py.File("closing.h5", "w")
    d = f.create_dataset("d", data=np.arange(3))
    g = f.create_group("g")
    f.close()
    assert not d and not g
    raises(RuntimeError, lambda: d[0])
    with h5py.File("closing.h5", "r+") as f:
        f["d"][0] = 8
    with h5py.File("closing.h5") as f:
        assert f["d"][0] == 8


def check_left_open(folder):
    # A program that never closes its file: its data is present after it has ended.
    code = "import h5py; f = h5py.File('open.h5', 'w'); f['d'] = range(9); f.attrs['a'] = 1"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with h5py.File("open.h5") as f:
        assert f["d"][8] == 8 and f.attrs["a"] == 1


def check_broken(folder):
    make("whole.h5", 5000)
    content = Path("whole.h5").read_bytes()
    Path("empty.h5").write_bytes(b"")
    Path("text.h5").write_text("this is no HDF5 file\n" * 50)
    Path("short.h5").write_bytes(content[:20])
    Path("half.h5").write_bytes(content[: len(content) // 2])
    Path("zeros.h5").write_bytes(bytes(len(content)))
    for path in ("empty.h5", "text.h5", "short.h5", "zeros.h5"):
        raises(OSError, h5py.File, path, "r")
        if path != "empty.h5":  # native HDF5 treats it as a new file
            raises(OSError, h5py.File, path, "r+")
    try:
        with h5py.File("half.h5") as f:
            same(f["data"][:], np.arange(5000))
    except (OSError, KeyError):
        pass  # an error is valid, and so is the whole content, but nothing in between
    with h5py.File("text.h5", "w") as f:
        f["x"] = 1


def check_reserved_name(folder):
    # Programs reserve a name by a temporary file. If it is opened for writing, the empty file becomes an HDF5 file.
    for mode in ("a", "r+"):
        path = Path(f"reserved-{mode}.h5")
        path.touch()
        path.chmod(0o640)
        raises(OSError, h5py.File, path, "r")
        assert path.stat().st_size == 0
        with h5py.File(path, mode) as f:
            assert len(f) == 0
            f["data"] = np.arange(5)
        with h5py.File(path, "a") as f:
            same(f["data"][:], np.arange(5))
        assert path.stat().st_mode & 0o777 == 0o640


def check_filename(folder):
    name = "smörgås ☃ #%&.h5"
    make(name)
    with h5py.File(name) as f:
        assert f.filename == name and f.attrs["title"] == "made"
    with h5py.File(os.fsencode(name)) as f:
        assert len(f) == 1
    assert os.path.getsize(name) > 0 and h5py.File(Path(name), "r").id.get_filesize() > 0


def check_errno(folder):
    error = raises(FileNotFoundError, h5py.File, "absent.h5", "r")
    assert error.errno == errno.ENOENT and "absent.h5" in str(error)
    for mode in ("w", "x", "a"):
        error = raises(FileNotFoundError, h5py.File, "absent/new.h5", mode)
        assert error.errno == errno.ENOENT and "no such container" not in str(error), error


main(globals())
