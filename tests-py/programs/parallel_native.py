"""Native HDF5 files, read by h5lake.open without libhdf5 in this process."""
# store: any
# only: h5lake
# needs: tool

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import parallel_reader as reader
from cases import main
from s3_object import put
from tool import natively, run

h5lake, outcome = reader.h5lake, reader.outcome
OLD = (1_700_000_000, 1_700_000_000)
# The start of a program without h5py that uses the plugin and the tool under test.
OPEN = f"""
import os, sys
sys.path.insert(0, {str(Path(h5lake.__file__).resolve().parents[1])!r})
from h5lake import _plugin, _reader_native, _tool
_plugin._plugin = lambda: os.environ['HDF5_PLUGIN_PATH'].split(':')[0] + '/libh5lake.so'
_reader_native.find = lambda: os.environ['TOOL']
import h5lake
"""


@contextmanager
def own_folder_of_temporaries(folder):
    """Yields a function that returns the temporaries that are left in a folder of this check."""
    before, own = os.environ.get("TMPDIR"), folder / "temporaries"
    own.mkdir()
    os.environ["TMPDIR"] = str(own)
    try:
        yield lambda: os.listdir(own)
    finally:
        del os.environ["TMPDIR"]
        os.environ.update({} if before is None else {"TMPDIR": before})


def in_folder(task, folder, module):
    """Runs a check of another program in a folder. With native HDF5, its files are native, and not those of h5lake."""
    Path(folder).mkdir()
    os.chdir(folder)
    getattr(__import__(module), task)(Path(folder))
    left = [path for path in Path(folder).iterdir() if h5py.is_hdf5(path)]
    assert left, "no file was written"
    for path in left:
        assert path.read_bytes()[:16].startswith(b"\x89HDF\r\n\x1a\n") and b"h5lake" not in path.read_bytes()[:16], path
        path.unlink()


def check_values_of_every_type(folder):
    tasks = [("parallel_types", task) for task in (
        "check_numbers_and_texts", "check_unusual_types", "check_compounds_and_lists", "check_references", "check_texts_in_other_forms")]
    tasks += [("parallel_selections", task) for task in (
        "check_selections_are_those_of_h5py", "check_masks_and_buffers")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda task: natively("parallel_native", "in_folder", task[1], str(folder / task[1]), task[0]), tasks))


def make_linked(name):
    make("linked.h5")
    with h5py.File(name, "w") as f:
        f["link"] = h5py.ExternalLink("linked.h5", "/plain")
        layout = h5py.VirtualLayout((1000,), "i8")
        layout[:] = h5py.VirtualSource("linked.h5", "plain", (1000,))
        f.create_virtual_dataset("virtual", layout)
        f["own"] = 5
    os.utime(name, OLD)


def check_names_of_other_native_files_are_refused(folder):
    natively("parallel_native", "make_linked", "linking.h5")
    with h5lake.open("linking.h5") as f:
        assert f["own"][()] == 5 and f.links()["link"]["link"] == "external"
        for call in (lambda: f["link"], lambda: f["virtual"][:]):
            error = outcome(call)
            assert isinstance(error, NotImplementedError) and "linking.h5: names another file, 'linked.h5'" in str(error), error
    for name in ("linking.h5", "linked.h5"):
        os.unlink(name)


def make(name, rows=1000):
    with h5py.File(name, "w") as f:
        f.create_dataset("x", data=np.arange(rows * 50.0).reshape(rows, 50), chunks=(10, 50), compression="gzip")
        f["plain"], f["text"] = np.arange(1000), "ü"
        f.attrs["unit"] = "K"
    os.utime(name, OLD)


def as_made(f, rows=1000):
    assert sorted(f) == ["plain", "text", "x"] and f.attrs["unit"] == "K" and f["text"][()] == "ü".encode()
    assert f["x"].chunks == (10, 50) and f["plain"][::3].tolist() == list(range(0, 1000, 3))
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda n: f["x"][n : n + 7].sum(), range(0, rows, 7)))
    assert sum(sums) == np.arange(rows * 50.0).sum()


def check_files_of_each_name(folder):
    with own_folder_of_temporaries(folder) as left:
        open_each_name(folder)
        assert not left(), left()


def open_each_name(folder):
    objects = folder / "objects"
    objects.mkdir()
    natively("parallel_native", "make", str(objects / "object.h5"))
    local = folder / "local.h5"
    local.write_bytes((objects / "object.h5").read_bytes())
    os.utime(local, OLD)
    before = local.read_bytes()
    url = f"file://{objects}/object.h5"
    for name, settings in [("local.h5", {}), (local, {}), (url, {}), ("local.h5", {"store": f"file://{objects}", "cache": "1MiB"}),
                           (url, {"store": "memory:none", "root": "/nothing"})]:
        with h5lake.open(name, **settings) as f:
            as_made(f)
            assert not f.refresh() and f.filename == os.fspath(name)
    os.environ["HDF5_VOL_CONNECTOR"] = f"h5lake store='file://{objects}' root='{os.getcwd()}' cache=2MiB"
    with h5lake.open(local) as f:
        as_made(f)
    for name in ("object.h5", Path("object.h5")):
        with h5lake.open(name) as f:
            as_made(f)
    run("link", url, "pointer.h5")
    with h5lake.open("pointer.h5") as f:
        as_made(f)
    os.unlink("pointer.h5")
    for word in ("tag=paper", "version=7", "as_of=2020-01-01T00:00:00Z"):
        os.environ["HDF5_VOL_CONNECTOR"] = f"h5lake 'store=file://{objects}' \"root={os.getcwd()}\" {word}"
        with h5lake.open("local.h5") as f:
            as_made(f)
    for words in ("native=refuse", "links=local native=refuse foreign_filters=refuse"):
        os.environ["HDF5_VOL_CONNECTOR"] = f"h5lake {words}"
        for name in ("local.h5", url):
            error = outcome(lambda: h5lake.open(name))
            assert isinstance(error, PermissionError) and "native=refuse" in str(error), error
    os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"
    error = outcome(lambda: h5lake.open("local.h5@v=3"))
    assert isinstance(error, OSError) and "version" in str(error), error
    assert local.read_bytes() == before and sorted(path.name for path in folder.glob("*.h5")) == ["local.h5"]
    local.unlink()
    (objects / "object.h5").unlink()


def check_a_changed_file_is_an_error(folder):
    natively("parallel_native", "make", "changed.h5")
    with h5lake.open("changed.h5") as f:
        assert f["x"][3, 4] == 154
        with open("changed.h5", "r+b") as native:
            native.seek(5000)
            native.write(b"changed")
        error = outcome(lambda: f["x"][500])
        assert isinstance(error, OSError) and error.errno == errno.ESTALE and "changed.h5" in str(error), error
    os.unlink("changed.h5")


def check_a_replaced_file_is_not_read(folder):
    """The file that was opened is read, also if another one gets its name, length and time."""
    for name in ("old.h5", "new.h5"):
        natively("parallel_native", "make", name)
    changed = bytearray(Path("new.h5").read_bytes())
    at = changed.find(np.arange(1000).tobytes())
    changed[at : at + 8000] = np.arange(1000, 2000).tobytes()
    Path("new.h5").write_bytes(changed)
    os.utime("new.h5", OLD)
    with h5lake.open("old.h5") as f:
        os.replace("new.h5", "old.h5")
        found = outcome(lambda: f["plain"][5])
        assert found == 5 or isinstance(found, OSError), found
    with h5lake.open("old.h5") as f:
        assert f["plain"][5] == 1005
    os.unlink("old.h5")


def check_nothing_is_left_by_killed_programs(folder):
    natively("parallel_native", "make", "k.h5")
    with own_folder_of_temporaries(folder) as left:
        kill_programs()
        end = time.monotonic() + 10
        while left() and time.monotonic() < end:
            time.sleep(0.1)
        assert not left(), left()
    os.unlink("k.h5")


def kill_programs():
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        for delay in (0.05, 0.15, 0.2, 0.3):
            program = subprocess.Popen([sys.executable, "-c", OPEN + "for _ in range(100): h5lake.open('k.h5').close()"], stderr=subprocess.DEVNULL)
            time.sleep(0.2 + delay)
            program.send_signal(number)
            program.wait()


def check_errors(folder):
    natively("parallel_native", "make", "whole.h5")
    whole = Path("whole.h5").read_bytes()
    Path("short.h5").write_bytes(whole[:3000])
    os.utime("short.h5", OLD)
    assert isinstance(outcome(lambda: h5lake.open("short.h5")), OSError)
    find = h5lake._reader_native._library
    h5lake._reader_native._library = lambda _: ["--library", "/nothing/libhdf5.so"]
    error = outcome(lambda: h5lake.open("whole.h5"))
    h5lake._reader_native._library = find
    assert isinstance(error, OSError) and "/nothing/libhdf5.so" in str(error), error
    for name in ("whole.h5", "short.h5"):
        os.unlink(name)


def check_threads_that_open_and_close(folder):
    natively("parallel_native", "make", "t.h5", 200)
    end, failed = time.monotonic() + 4, []

    def work():
        try:
            while time.monotonic() < end:
                with h5lake.open("t.h5") as f:
                    for n in range(0, 200, 9):
                        assert f["x"][n, 1] == n * 50 + 1
        except BaseException as error:  # noqa: BLE001 - reported below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    os.unlink("t.h5")


def check_a_process_without_h5py(folder):
    natively("parallel_native", "make", "n.h5")
    source = Path(h5lake.__file__).resolve().parents[1]
    plugin = os.environ["HDF5_PLUGIN_PATH"].split(":")[0]
    code = f"""
import os, sys
sys.path.insert(0, {str(source)!r})
from h5lake import _plugin, _tool
_plugin._plugin = lambda: {plugin + '/libh5lake.so'!r}
_tool.find = lambda: os.environ['TOOL']
import h5lake
print(h5lake.open('n.h5')['x'][2, 3], 'h5py' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["103.0", "False"], done
    os.unlink("n.h5")


def check_s3(folder):
    if "AWS_ENDPOINT_URL" not in os.environ:
        return
    natively("parallel_native", "make", "s3.h5")
    url = f"s3://lake/{folder.name}-parallel/native.h5"
    put(url, Path("s3.h5").read_bytes())
    with h5lake.open(url) as f:
        as_made(f)
    with h5lake.open(url) as f:
        put(url, Path("s3.h5").read_bytes() + b"more")
        error = outcome(lambda: f["plain"][()])
        assert isinstance(error, OSError) and error.errno == errno.ESTALE, error
    os.unlink("s3.h5")


if __name__ == "__main__":
    main(globals())
