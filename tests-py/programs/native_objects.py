"""Native HDF5 files in stores, read with the plugin: by h5py, netCDF4, xarray, PyTables and HDF5's tools, from a
directory, a web server, and S3 if there is a server. The costs in requests and bytes, and the behaviour when an
object is replaced."""
# store: any
# only: h5lake
# requires: science.txt
# needs: tool

import contextlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

os.environ["HDF5_VOL_CONNECTOR"] = "h5lake"
warnings.simplefilter("ignore")

import h5py  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
import tables  # noqa: E402
import xarray as xr  # noqa: E402
from cases import main, same  # noqa: E402
from s3_object import put  # noqa: E402
from web_server import Server  # noqa: E402

MIB = 1 << 20
# The folder that contains the folders of this program's cases.
MADE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
MAKE = Path(__file__).with_name("native_samples.py")


def native():
    """Returns an environment without the plugin."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("HDF5_", "H5LAKE_"))}


def run(code, *arguments, **variables):
    """Runs a process with the plugin. Returns its output, and the reported costs of its files."""
    log = Path("statistics")
    log.unlink(missing_ok=True)
    env = {**os.environ, "H5LAKE_STATS": "1", "H5LAKE_LOG_FILE": str(log), "H5LAKE_LOG_FORMAT": "json", **variables}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line)["fields"] for line in log.read_text().splitlines()] if log.exists() else []
    return done.stdout, [fields for fields in told if "requests" in fields]


def make(*names):
    """Creates native files in a folder without the plugin, each of them once. Returns the folder's absolute path."""
    folder, made = Path("native-lake"), MADE / "native-made"
    folder.mkdir(exist_ok=True)
    made.mkdir(exist_ok=True)
    for name in names:
        if not (made / f"{name}.h5").exists():
            command = [sys.executable, MAKE, name, made / f"{name}.h5"]
            subprocess.run(command, env=native(), check=True, timeout=300)
        shutil.copyfile(made / f"{name}.h5", folder / f"{name}.h5")
    return folder.resolve()


def everything(file):
    """Returns all datasets and attributes of a file, by path."""
    found = {f"@{key}": value for key, value in file.attrs.items()}

    def add(name, item):
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    file.visititems(add)
    return found


def compare(name, path):
    """Compares a file in a store with the local one."""
    with h5py.File(name) as f, h5py.File(path) as local:
        assert f.mode == "r" and f.filename == str(name)
        ours, theirs = everything(f), everything(local)
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            same(ours[key], value)
        if "gzip" in f:
            random = np.random.default_rng(5)
            for _ in range(40):
                a, b = np.sort(random.integers(0, 512, 2)), np.sort(random.integers(0, 1024, 2))
                step = int(random.integers(1, 5))
                part = (slice(a[0], a[1] + 1, step), slice(b[0], b[1] + 1))
                same(f["gzip"][part], local["gzip"][part])
                points = sorted(set(random.integers(0, 300, 5).tolist()))
                same(f["plain"][points], local["plain"][points])
            same(f["soft"][:], local["soft"][:])


def fails(function, *words, kind=Exception):
    """Returns the text of the error that a call raises."""
    try:
        function()
    except kind as error:
        text = str(error)
        assert all(word in text for word in words), text
        return text
    raise AssertionError("it does not fail")


@contextlib.contextmanager
def setting(name, value):
    """Applies a setting to files that are opened meanwhile."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def patience(timeout):
    return setting("H5LAKE_TIMEOUT", timeout)


def check_a_directory(folder):
    lake = make("mixed", "block")
    for name in ("mixed", "block"):
        compare(f"file://{lake}/{name}.h5", lake / f"{name}.h5")
    assert h5py.h5f.is_hdf5(f"file://{lake}/mixed.h5".encode())


def check_a_web_server(folder):
    lake = make("mixed", "block")
    with Server(lake) as server:
        for name in ("mixed", "block"):
            compare(f"{server.url}/{name}.h5", lake / f"{name}.h5")
        fails(lambda: h5py.File(f"{server.url}/none.h5"), kind=FileNotFoundError)


def check_servers_with_weak_etags_or_none_or_without_conditions(folder):
    lake = make("mixed", "long", "scattered")
    for more in ({"etags": "weak"}, {"etags": None}, {"conditions": False}):
        with Server(lake, **more) as server:
            with h5py.File(f"{server.url}/mixed.h5") as f, h5py.File(lake / "mixed.h5") as local:
                same(f["gzip"][:], local["gzip"][:])
            with h5py.File(f"{server.url}/long.h5") as f:
                assert f["x"][3] == 3
                f["d"][5]
                shutil.copyfile(lake / "scattered.h5", lake / "long.h5")
                os.utime(lake / "long.h5", (1, 1))
                fails(lambda: f["d"][50:70], "replaced", "open the file again", "errno = 116")
            make("long")


def check_a_server_that_ignores_ranges(folder):
    lake = make("mixed")
    with Server(lake, ranges=False) as server:
        fails(lambda: h5py.File(f"{server.url}/mixed.h5"), "ignores ranges", kind=OSError)


def check_s3(folder):
    if not os.environ.get("AWS_ENDPOINT_URL"):
        return
    lake = make("mixed", "block")
    for name in ("mixed", "block"):
        url = f"s3://lake/{os.getpid()}-{name}.h5"
        put(url, (lake / f"{name}.h5").read_bytes())
        compare(url, lake / f"{name}.h5")
    with h5py.File(url) as f, h5py.File("copied.h5", "w") as g:
        f.copy("x", g)
    with h5py.File("copied.h5") as g:
        same(g["x"][...], np.arange(100_000))
    with h5py.File(url) as f:
        put(url, (lake / "mixed.h5").read_bytes())
        f["x"][0]  # All of the object is in memory.
    with h5py.File(url) as f:
        assert f.attrs["title"] == "native"


def check_pointer_files_serve_all_clients(folder):
    lake = make("mixed", "netcdf", "tables")
    with Server(lake) as server:
        for name in ("mixed", "netcdf", "tables"):
            link = [os.environ["TOOL"], "link", f"{server.url}/{name}.h5", f"{name}.h5"]
            subprocess.run(link, check=True, stdout=subprocess.DEVNULL)
        compare("mixed.h5", lake / "mixed.h5")
        with netCDF4.Dataset("netcdf.h5") as f, netCDF4.Dataset(lake / "netcdf.h5") as local:
            same(f["v"][10:20, ::3], local["v"][10:20, ::3])
            assert f["v"].units == "m"
        with xr.open_dataset(lake / "netcdf.h5") as local:
            for engine in ("netcdf4", "h5netcdf"):
                with xr.open_dataset("netcdf.h5", engine=engine) as data:
                    assert data.identical(local)
        with tables.open_file("tables.h5") as f:
            assert f.root.a[3, 4] == 304 and f.root.t.read_where("i > 96")["f"].tolist() == [97.0, 98.0]
        fails(lambda: tables.open_file("tables.h5", "a"), "can only be read")
        fails(lambda: h5py.File("mixed.h5", "r+"), "can only be read", "h5lake import", kind=OSError)
        assert server.take()[0] > 3
    # The server is stopped.
    with patience("2s"):
        fails(lambda: h5py.File("mixed.h5"), kind=OSError)


def check_the_store_of_the_settings(folder):
    lake = make("mixed")
    code = "import h5py; f = h5py.File('mixed.h5'); print(f['x'][4], f.filename)"
    shown, _ = run(code, HDF5_VOL_CONNECTOR=f"h5lake store=file://{lake}")
    assert shown == "4 mixed.h5\n", shown
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env={**os.environ, "HDF5_VOL_CONNECTOR": f"h5lake store=file://{lake} native=refuse"})
    assert "native=refuse" in shown.stderr


def check_a_file_in_a_store_is_not_written(folder):
    lake = make("mixed")
    name, before = f"file://{lake}/mixed.h5", (lake / "mixed.h5").read_bytes()
    for mode in ("r+", "a"):
        fails(lambda mode=mode: h5py.File(name, mode), "can only be read", "copy it", "h5lake import", "Errno 30", kind=OSError)
    fails(lambda: h5py.File(name, "w"), "not an h5lake container", kind=OSError)
    with h5py.File(name) as f:
        fails(lambda: f.create_group("new"))
        fails(lambda: f["x"].__setitem__(0, 5))
    fails(lambda: h5py.File(name + "@v=3"), "no versions", kind=OSError)
    assert (lake / "mixed.h5").read_bytes() == before


def check_names_in_such_files_are_not_followed(folder):
    lake = make("mixed", "links")
    os.chdir(lake)  # Where libhdf5 would find them by itself.
    Path("raw.bin").write_bytes(bytes(12))
    with h5py.File(f"file://{lake}/links.h5") as f:
        fails(lambda: f["out"], "names it", "not followed")
        fails(lambda: f["virtual"][:], "mixed.h5", "another file")
        fails(lambda: f["raw"][:], "raw.bin", "another file")
        assert f["inner"][3] == 3 and f["own"][4] == 4
        # Through another dataset of the file, too.
        fails(lambda: f["inner of raw"][:], "raw.bin", "another file")
        fails(lambda: f["inner of inner of raw"][:], "raw.bin", "another file")
        fails(lambda: f["inner of virtual"][:], "mixed.h5", "another file")
        fails(lambda: f["inner of out"][:], "mixed.h5", "not followed")
        assert f["inner of inner"][3] == 3 and f["inner of none"][3] == -1
        assert "out" in f.keys() and f.get("out", getlink=True).filename == "mixed.h5"


def check_no_layout_hides_that_elements_are_in_another_file(folder):
    lake = make("links")
    whole = (lake / "links.h5").read_bytes()
    # A layout message: version 3, contiguous, no address, 12 bytes. It becomes a compact one of 4 bytes.
    contiguous = b"\3\1" + b"\xff" * 8 + (12).to_bytes(8, "little")
    compact = b"\3\0" + (4).to_bytes(2, "little") + bytes(14)
    # The offset of the elements in the second file: a value that no file can have.
    offset = b"\x7a" * 6 + bytes(2)
    assert whole.count(contiguous) == 2 and whole.count(offset) == 1
    (lake / "compact.h5").write_bytes(whole.replace(contiguous, compact))
    (lake / "offset.h5").write_bytes(whole.replace(offset, b"\xff" * 8))
    os.chdir(lake)
    Path("raw.bin").write_bytes(b"secretsecret")
    for name in ("compact", "offset"):
        with h5py.File(f"file://{lake}/{name}.h5") as f:
            for path in ("raw", "two", "inner of raw"):
                fails(lambda path=path, f=f: f[path][:2], "raw.bin", "another file")


def check_containers_lead_to_such_files_and_no_further(folder):
    lake = make("mixed", "links")
    os.chdir(lake)
    Path("raw.bin").write_bytes(bytes(12))
    name = f"file://{lake}/links.h5"
    with h5py.File("c.h5", "w") as f:
        for path, shape, kind in (("raw", 3, "i4"), ("inner of raw", 3, "i4"), ("virtual", 10, "i8"), ("inner", 10, "i8"), ("none", 10, "i8")):
            f[f"to {path}"] = h5py.ExternalLink(name, path)
            layout = h5py.VirtualLayout((shape,), kind)
            layout[:] = h5py.VirtualSource(name, path, (shape,))
            f.create_virtual_dataset(f"of {path}", layout, fillvalue=-2)
    for mode in ("r", "r+"):
        with h5py.File("c.h5", mode) as f:
            for way in ("to", "of"):
                fails(lambda way=way, f=f: f[f"{way} raw"][:], "raw.bin", "another file")
                fails(lambda way=way, f=f: f[f"{way} inner of raw"][:], "raw.bin", "another file")
                fails(lambda way=way, f=f: f[f"{way} virtual"][:], "mixed.h5", "another file")
                assert f[f"{way} inner"][3] == 3
            assert f["of none"][3] == -2
    with h5py.File("native-top.h5", "w", driver="stdio") as top, h5py.File(name) as f:
        top.create_group("mounted")
        h5py.h5f.mount(top.id, b"mounted", f.id)
        fails(lambda: top["mounted/raw"][:], "raw.bin", "another file")
        # libhdf5 looks for sources of "." in the parent file.
        assert top["mounted/own"][4] == 4
        h5py.h5f.unmount(top.id, b"mounted")


def check_a_source_that_the_store_cannot_read_is_no_missing_one(folder):
    lake = make("far")
    with Server(lake) as server, patience("2s"), setting("H5LAKE_LINKS", "any"):
        name = f"{server.url}/far.h5"
        with h5py.File("c.h5", "w") as f:
            for source in ("far", "fixed"):
                layout = h5py.VirtualLayout((10,), "i8")
                layout[:] = h5py.VirtualSource(name, source, (10,))
                f.create_virtual_dataset(source, layout, fillvalue=-2)
                f[f"to {source}"] = h5py.ExternalLink(name, source)
        with h5py.File(name) as f, h5py.File("c.h5") as c:
            reads = [f["fixed"], c["far"], c["fixed"], c["to fixed"]]
            server.tell(fail=[503, MIB])
            for read in reads:
                fails(lambda read=read: read[:], "503")
            fails(lambda: f["grows"].shape, "503")
            fails(lambda: c["to far"], kind=(KeyError, OSError))
            server.tell(fail=None)
            for read in reads:
                same(read[:], np.arange(10))
            same(f["grows"][:], np.arange(12))
            same(c["to far"][:], np.arange(12))


def check_a_file_that_a_writer_had_open(folder):
    lake = make("writing")
    for name in (f"file://{lake}/writing.h5", lake / "writing.h5"):
        with h5py.File(name, swmr=True) as f:
            assert f["x"].shape == (1100,) and f.swmr_mode
            same(f["x"][:1050], np.r_[np.arange(1000), np.full(50, 7)])
            f["x"].refresh()
            assert f["x"][1050] == 7
        fails(lambda name=name: h5py.File(name), "truncated file", kind=OSError)


def check_containers_lead_to_such_files(folder):
    lake = make("mixed")
    name = f"file://{lake}/mixed.h5"
    with h5py.File("c.h5", "w") as f:
        f["out"] = h5py.ExternalLink(name, "/x")
        layout = h5py.VirtualLayout((10,), "i8")
        layout[:] = h5py.VirtualSource(name, "x", (10,))
        f.create_virtual_dataset("virtual", layout, fillvalue=-1)
        assert f["out"][4] == 4
        assert f["virtual"][:].tolist() == list(range(10))
    with h5py.File("c.h5") as f:
        assert f["out"].attrs["unit"] in ("m", b"m") and f["virtual"][9] == 9


def check_a_truncated_object(folder):
    lake = make("mixed")
    whole = (lake / "mixed.h5").read_bytes()
    (lake / "cut.h5").write_bytes(whole[:len(whole) // 2])
    (lake / "head.h5").write_bytes(whole[:20])
    (lake / "empty.h5").write_bytes(b"")
    with Server(lake) as server:
        fails(lambda: h5py.File(f"{server.url}/cut.h5"), "truncated file", kind=OSError)
        fails(lambda: h5py.File(f"{server.url}/head.h5"), kind=OSError)
        fails(lambda: h5py.File(f"{server.url}/empty.h5"), kind=OSError)


def check_a_replaced_object_is_told_and_never_mixed(folder):
    lake = make("long", "scattered")
    with Server(lake) as server:
        name = f"{server.url}/long.h5"
        with h5py.File(name) as f:
            first = f["d"][0]
            os.replace(lake / "scattered.h5", lake / "long.h5")
            fails(lambda: f["d"][40], "replaced", "errno = 116")
            same(f["d"][0], first)  # Data that was read before is unchanged.
            fails(lambda: f["d"][60:90], "replaced")
            # A new open shows the new object, beside the old one.
            with h5py.File(name) as new:
                assert "d99" in new and new["d50"].attrs["unit"] == "K"
        os.remove(lake / "long.h5")
        make("long")
        with h5py.File(name) as f:
            os.remove(lake / "long.h5")
            fails(lambda: f["d"][40], "deleted")


def check_an_open_and_an_attribute_are_few_requests(folder):
    lake = make("scattered", "long")
    # Parallel requests overlap, unless the machine is slower than the server. A request is repeated after 3 seconds.
    for delay in (0.4, 0.8, 1.6):
        with Server(lake, delay=delay) as server:
            with h5py.File(f"{server.url}/scattered.h5") as f:
                assert f["d50"].attrs["unit"] == "K"
            rounds = server.round_trips()
        if rounds <= 3:
            break
    assert rounds <= 3, rounds
    with Server(lake) as server:
        with h5py.File(f"{server.url}/long.h5") as f:
            assert f["x"].shape == (10,) and "unit" not in f["d"].attrs
        count, length = server.take()
        assert count <= 3 and length <= 3 * MIB, (count, length)


def check_a_container_costs_no_request_more(folder):
    make()
    name = f"file://{folder}/native-lake/c.h5"
    with h5py.File(name, "w") as f:
        f["x"] = [1, 2]
    _, told = run(f"import h5py; f = h5py.File({name!r}); f['x'][:]; f.close()")
    assert told[-1]["requests"]["get"]["count"] <= 2, told


def check_scattered_slices_fetch_a_short_file_once(folder):
    lake = make("scattered")
    size = (lake / "scattered.h5").stat().st_size
    assert 40 * MIB < size < 48 * MIB
    with Server(lake, delay=1.5) as server:
        with h5py.File(f"{server.url}/scattered.h5") as f, h5py.File(lake / "scattered.h5") as local:
            for n in range(100):
                same(f[f"d{n}"][20:25, :100], local[f"d{n}"][20:25, :100])
        count, length = server.take()
        assert length == size and count <= 20, (count, length, size)
        assert server.most >= 8


def check_a_slice_of_a_long_dataset_fetches_its_chunks_side_by_side(folder):
    lake = make("long")
    with Server(lake, delay=0.1) as server:
        with h5py.File(f"{server.url}/long.h5") as f, h5py.File(lake / "long.h5") as local:
            f["d"].shape
            server.take()
            same(f["d"][30:60], local["d"][30:60])
            needed = sum(local["d"].id.get_chunk_info(n).size for n in range(30, 60))
            count, length = server.take()
            assert length <= 1.3 * needed, (length, needed)
            assert count <= 2 + needed / (2 * MIB) and server.most >= 4, (count, server.most)
            same(f["d"][30:60], local["d"][30:60])
            assert server.take() == (0, 0)
            # A read of one chunk transfers no more than this chunk.
            same(f["d"][80, 3:9], local["d"][80, 3:9])
            assert server.take()[1] <= 1.3 * local["d"].id.get_chunk_info(80).size
            # Rows that are read one after another are prefetched.
            for n in range(1, 29):
                same(f["d"][n], local["d"][n])
            count, length = server.take()
            assert count <= 14 and length <= 40 * MIB, (count, length)
            assert server.most <= 16


def check_the_memory_of_what_was_fetched_is_bounded(folder):
    lake = make("long")
    with Server(lake) as server:
        code = """
import sys, h5py
def peak(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) >> 10
f = h5py.File(sys.argv[1]); f['x'][:]; before = peak()
for n in 2 * list(range(0, 96, 8)): f['d'][n:n + 8]
print(peak() - before)
"""
        shown, told = run(code, f"{server.url}/long.h5", HDF5_VOL_CONNECTOR="h5lake cache=16MiB")
        # The cache, two arrays, and the memory that glibc keeps for the fetching threads: 62 to 72 MiB on a busy
        # machine.
        assert int(shown) < 16 + 16 + 64, shown
        assert told[-1]["requests"]["get"]["bytes"] >= 180 * MIB


def check_a_local_cache_is_used_and_never_for_another_version(folder):
    lake = make("long", "scattered")
    with Server(lake) as server:
        code = """
import sys, h5py
with h5py.File(sys.argv[1]) as f:
    print(f[sys.argv[2]][-5:].sum())
"""
        setting = f"h5lake disk_cache={folder}/cache"
        first, _ = run(code, f"{server.url}/long.h5", "d", HDF5_VOL_CONNECTOR=setting)
        server.take()
        again, _ = run(code, f"{server.url}/long.h5", "d", HDF5_VOL_CONNECTOR=setting)
        count, length = server.take()
        assert again == first and count == 1 and length <= MIB, (count, length)
        os.replace(lake / "scattered.h5", lake / "long.h5")
        shown, _ = run(code, f"{server.url}/long.h5", "d7", HDF5_VOL_CONNECTOR=setting)
        with h5py.File(lake / "long.h5") as local:
            assert int(shown) == local["d7"][-5:].sum()


def check_two_opens_share_what_was_fetched(folder):
    lake = make("long")
    with Server(lake) as server:
        with h5py.File(f"{server.url}/long.h5") as one:
            one["d"][10:20]
            server.take()
            with h5py.File(f"{server.url}/long.h5") as two:
                same(two["d"][10:20], one["d"][10:20])
                assert one == one and two["d"].file.id.valid
            count, length = server.take()
            assert count == 1 and length <= MIB, (count, length)
            again = h5py.File(one.id.get_access_plist() and f"{server.url}/long.h5")
            assert again["x"][3] == 3
            again.close()


def check_a_child_reads_with_connections_of_its_own(folder):
    lake = make("long")
    with Server(lake) as server, h5py.File(f"{server.url}/long.h5") as f:
        first = f["d"][0]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                same(f["d"][0], first)
                f["d"][40:50]
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        f["d"][60:70]


def check_threads_read_beside_each_other(folder):
    import threading
    lake, failed = make("long"), []
    with Server(lake) as server, h5py.File(f"{server.url}/long.h5") as f, h5py.File(lake / "long.h5") as local:
        def work(first):
            try:
                for n in range(first, 96, 4):
                    same(f["d"][n:n + 3], local["d"][n:n + 3])
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
        workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
    assert not failed, failed


def check_a_server_that_does_not_answer_is_an_error_in_time(folder):
    lake = make("long")
    with Server(lake) as server, patience("3s"), h5py.File(f"{server.url}/long.h5") as f:
        server.tell(delay=60)
        fails(lambda: f["d"][40], "timeout")
        server.tell(delay=0)


main(globals())
