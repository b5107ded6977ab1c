"""Programs that write a container which they have open for reading, which native HDF5 refuses; and programs that have a file open
while other software changes it, which native HDF5 mostly does not detect."""
# store: any
# only: h5lake

import os
import shutil

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from cases import main, raises  # noqa: E402


def told(call):
    """Returns the error of a call that has to fail."""
    try:
        call()
    except (OSError, RuntimeError) as error:
        return str(error)
    raise AssertionError("no error")


def close_lost(f):
    """Closes a file with lost changes. The first close may report the loss; the second close succeeds."""
    try:
        f.close()
    except (OSError, RuntimeError):
        f.close()


def made(name, value, count=200_000):
    with h5py.File(name, "w") as f:
        f["x"] = np.full(count, value)
        f.attrs["n"] = value
    return name


def check_mode_w_of_what_is_read(_):
    """The open reader keeps its version; a new open shows the new content."""
    reader = h5py.File(made("w.h5", 1), "r")
    with h5py.File("w.h5", "w") as f:
        f["y"] = 2
        f.flush()
        with h5py.File("w.h5", "r") as fresh:
            assert list(fresh) == ["y"]
        assert list(reader) == ["x"] and reader["x"][-1] == 1
    with h5py.File("w.h5", "r") as fresh:
        assert list(fresh) == ["y"] and list(reader) == ["x"]
    assert np.all(reader["x"][:] == 1)
    reader.close()


def check_changes_of_what_is_read(_):
    """Modes `a` and `r+`, and many changes of the same values: none of them reaches the reader before it refreshes."""
    for mode in ("a", "r+"):
        reader = h5py.File(made("a.h5", 1), "r")
        known = reader["x"]
        for value in range(2, 8):
            with h5py.File("a.h5", mode) as f:
                f["x"][:] = value
                f.attrs["n"] = value
            assert known[0] == 1 and np.all(known[:] == 1) and reader.attrs["n"] == 1
            with h5py.File("a.h5", "r") as fresh:
                assert fresh["x"][-1] == value
        known.id.refresh()
        assert known[-1] == 7
        reader.close()


def check_objects_that_outlive_their_reader(_):
    """A writer is not refused because of a dataset that is left open after its file was opened for reading and closed."""
    with h5py.File(made("left.h5", 1), "r") as f:
        group, left = f["/"], f["x"]
        kept = left.id
    again = h5py.File("left.h5", "r+")
    again["x"][0] = 5
    again.close()
    del group, left, kept


def check_links_to_what_is_read(_):
    """A file that is open for writing refers to a file that is open for reading, by an external link and by a virtual dataset."""
    made("target.h5", 1)
    layout = h5py.VirtualLayout((10,), "i8")
    layout[:] = h5py.VirtualSource("target.h5", "x", (200_000,), "i8")[:10]
    with h5py.File("links.h5", "w") as f:
        f["l"] = h5py.ExternalLink("target.h5", "/x")
        f.create_virtual_dataset("v", layout)
    with h5py.File("target.h5", "r") as reader, h5py.File("links.h5", "r+") as f:
        assert f["l"][0] == 1 and f["v"][0] == 1
        f["l"][0] = 9
        assert f["l"][0] == 9 and reader["x"][0] == 1
    with h5py.File("target.h5", "r") as fresh:
        assert fresh["x"][0] == 9


def check_what_stays_refused(_):
    """Mode `w` is refused for a file that the program has open for writing, because changes would be lost. So are other locking flags."""
    with h5py.File(made("refused.h5", 1), "r+") as f:
        f["x"][0] = 3
        error = raises(OSError, h5py.File, "refused.h5", "w")
        assert "open for writing already" in str(error), error
        assert f["x"][0] == 3
    with h5py.File("refused.h5", "r", locking=False) as f:
        error = raises(OSError, h5py.File, "refused.h5", "r", locking=True)
        assert "locking flag" in str(error), error
        assert f["x"][0] == 3


def check_a_file_replaced_in_place(_):
    """After `cp new.h5 old.h5`, a new open shows the new content, beside a reader and beside a writer."""
    made("new.h5", 2, 300_000)
    for mode in ("r", "r+"):
        f = h5py.File(made("old.h5", 1), mode)
        assert f["x"][0] == 1
        shutil.copyfile("new.h5", "old.h5")
        with h5py.File("old.h5", "r") as fresh:
            assert np.all(fresh["x"][:] == 2) and fresh["x"].shape == (300_000,)
        error = told(lambda: f["x"][100_000:])  # noqa: B023
        assert "replaced the content of the file in place" in error and "damaged at" not in error, error
        close_lost(f)
        with h5py.File("old.h5", "r+") as fresh:
            assert fresh["x"][-1] == 2
            fresh["x"][-1] = 4


def check_a_truncated_file(_):
    """The next flush fails whether anything was changed or not. The file can be closed afterwards."""
    for change in (True, False):
        f = h5py.File(made("cut.h5", 1), "r+")
        if change:
            f["y"] = np.ones(1000)
        os.truncate("cut.h5", os.path.getsize("cut.h5") // 2)
        half = os.path.getsize("cut.h5")
        error = told(f.flush)
        assert "truncated by another program while it was open" in error, error
        close_lost(f)
        assert os.path.getsize("cut.h5") == half


def check_a_closed_descriptor(_):
    """Other code closes descriptors that it did not open, and their numbers are reused for another file."""
    text = b"important notes\n" * 100_000
    for amid in (False, True):
        with open("notes.txt", "wb") as notes:
            notes.write(text)
        f = h5py.File("closed.h5", "w")
        f.create_dataset("x", (2_000_000,), "f8", chunks=(100_000,))
        f.flush()
        if amid:
            f["x"][:1_000_000] = 1
        real = os.path.realpath("closed.h5")
        numbers = [int(n) for n in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{n}") == real]
        for number in numbers:
            os.close(number)
        kept = [open("notes.txt", "r+b", buffering=0) for _ in range(len(numbers) + 1)]
        error = told(lambda: f["x"].write_direct(np.full(2_000_000, 2.0)) or f.flush())  # noqa: B023
        assert "another part of this program closed the descriptor" in error and "damaged at" not in error, error
        close_lost(f)
        with open("notes.txt", "rb") as notes:
            assert notes.read() == text
        for file in kept:
            assert file.read(9) == b"important", "closing the container closed a descriptor of other code"
            file.close()
        with h5py.File("closed.h5", "r+") as f:
            assert f["x"].shape == (2_000_000,)


main(globals())
