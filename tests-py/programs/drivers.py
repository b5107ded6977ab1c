"""Containers that a file driver reads: Python file objects, images in memory, members of archives."""
# only: h5lake
# requires: science.txt

import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import xarray
from cases import main, raises, same

MAKE = """
import sys
import h5py, numpy as np
with h5py.File(sys.argv[1], "w", userblock_size=int(sys.argv[2])) as f:
    f.attrs["name"] = "first"
    f.create_dataset("gzip", data=np.arange(300_000), chunks=(1000,), compression="gzip")
    f["plain"] = np.arange(50_000.0)
    f["group/words"] = ["a", "longer"]
    f.flush()
    f.attrs["name"] = "second"
"""


def container(name="made.h5", user_block=0):
    """Returns the bytes of a container that is an ordinary file, whatever store the settings name."""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake retention=1h"}
    subprocess.run([sys.executable, "-c", MAKE, name, str(user_block)], env=env, check=True)
    with open(name, "rb") as f:
        content = f.read()
    os.remove(name)
    return content


def the_content(f):
    assert f.attrs["name"] == "second"
    same(f["gzip"][...], np.arange(300_000))
    same(f["gzip"][5:290_000:777], np.arange(300_000)[5:290_000:777])
    same(f["plain"][40_000:], np.arange(50_000.0)[40_000:])
    assert f["group/words"].asstr()[1] == "longer" and sorted(f) == ["group", "gzip", "plain"]
    raises(KeyError, f.__getitem__, "missing")


class Watched(io.BytesIO):
    """A file object that counts how many bytes were read, and by which threads."""

    read_bytes, threads = 0, frozenset()

    def readinto(self, buffer):
        n = super().readinto(buffer)
        self.read_bytes += n
        self.threads |= {threading.get_ident()}
        return n


def check_file_objects(_folder):
    for user_block in (0, 512):
        content = container(user_block=user_block)
        with h5py.File(io.BytesIO(content)) as f:
            the_content(f)
        with open("part.bin", "wb") as part:
            part.write(content)
        with open("part.bin", "rb") as part, h5py.File(part) as f:
            the_content(f)


def check_only_what_is_needed_is_read(_folder):
    content = Watched(container())
    with h5py.File(content) as f:
        same(f["gzip"][1234:1236], np.array([1234, 1235]))
    assert content.read_bytes < len(content.getvalue()) / 2, content.read_bytes
    assert content.threads == {threading.get_ident()}


def check_images(_folder):
    with h5py.File.in_memory(file_image=container()) as f:
        the_content(f)
    # The driver creates a backing store as a file: once, and by the native connector.
    with h5py.File("native-core.h5", "w", driver="core") as f:
        f["x"] = [1, 2]
    image = open("native-core.h5", "rb").read()
    for n, content in enumerate((image, container())):
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core()
        access.set_file_image(content)
        with h5py.File(h5py.h5f.open(f"native-none-{n}.h5".encode(), h5py.h5f.ACC_RDONLY, access)) as f:
            same(f["x"][...], np.array([1, 2])) if n == 0 else the_content(f)


def check_archive_members(_folder):
    with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("inner/run.h5", container())
    with zipfile.ZipFile("a.zip") as archive, archive.open("inner/run.h5") as member, h5py.File(member) as f:
        the_content(f)


def check_a_file_object_that_reads_hdf5(_folder):
    """A container inside a dataset of another container: the driver opens and reads the outer container during a
    read of the inner one."""
    content = np.frombuffer(container(), "u1")
    with h5py.File("outer.h5", "w") as f:
        f["inner"] = content

    class Inner(io.RawIOBase):
        at = 0

        def seek(self, offset, whence=os.SEEK_SET):
            self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: len(content)}[whence]
            return self.at

        def tell(self):
            return self.at

        def readinto(self, buffer):
            with h5py.File("outer.h5") as f:
                piece = f["inner"][self.at:self.at + len(buffer)]
            buffer[:len(piece)] = piece.tobytes()
            self.at += len(piece)
            return len(piece)

    with h5py.File(Inner()) as f:
        the_content(f)


def check_two_at_once(_folder):
    first, second = io.BytesIO(container()), io.BytesIO(container())
    with h5py.File(first) as a, h5py.File(second) as b, h5py.File(first) as c:
        for f in (a, b, c, a):
            the_content(f)


def check_nothing_is_written(_folder):
    content = io.BytesIO(container())
    before = content.getvalue()
    error = raises(OSError, h5py.File, content, "r+")
    assert "can only be read" in str(error) and error.errno == 30, error
    with h5py.File(content) as f:
        raises(ValueError, f.create_group, "new")
    assert content.getvalue() == before


def check_damage_and_what_does_not_read(_folder):
    content = bytearray(container())
    content[len(content) // 3:len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    try:
        with h5py.File(io.BytesIO(bytes(content))) as f:
            the_content(f)
    except (OSError, KeyError, RuntimeError):
        pass
    else:
        raise AssertionError("damage was not seen")

    class Broken(io.BytesIO):
        allowed = 10

        def readinto(self, buffer):
            self.allowed -= 1
            if self.allowed < 0:
                raise OSError("the network is gone")
            return super().readinto(buffer)

    broken = Broken(container())
    with h5py.File(broken) as f:
        raises(OSError, f["gzip"].__getitem__, ...)
        # If Python code ran while its exception waits for the end of the call, it would replace the exception.
        assert broken.allowed == -1, "it was asked again in the same call"
        broken.allowed = 1000
        same(f["gzip"][...], h5py.File(io.BytesIO(container()))["gzip"][...])
    cut = container()[:6000]
    raises(OSError, h5py.File, io.BytesIO(cut))


def check_native_content_stays_native(_folder):
    store = io.BytesIO()
    with h5py.File(store, "w") as f:
        f["x"] = [1, 2]
    with h5py.File(store, "r+") as f:
        f["x"][0] = 7
    with h5py.File(store) as f:
        same(f["x"][...], np.array([7, 2]))
    with h5py.File("core.h5", "w", driver="core", backing_store=False) as f:
        f["x"] = 1


def check_what_only_names_a_container(folder):
    """The manifest of a container in a store, and a pointer file: fsspec, and xarray through fsspec, read nothing
    else of a container in S3."""
    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake"}
    code = "import h5py\nh5py.File('a.h5', 'w')['x'] = [1, 2]"
    subprocess.run([sys.executable, "-c", code], env={**env, "H5LAKE_STORE": f"file://{folder}/objects"}, check=True)
    [manifest] = [path for path in (folder / "objects").rglob("a.h5") if path.is_file()]
    for words, content in ((["manifest", "store=", "URL"], manifest.read_bytes()), (["pointer file", "path"], Path("a.h5").read_bytes())):
        for open_it in (lambda: h5py.File(io.BytesIO(content)), lambda: xarray.open_dataset(io.BytesIO(content), engine="h5netcdf"),
                        lambda: h5py.File.in_memory(file_image=content)):
            error = raises(OSError, open_it)
            assert all(word in str(error) for word in words), error


def check_clients(_folder):
    env = {**os.environ, "HDF5_VOL_CONNECTOR": "h5lake"}
    code = "import xarray; xarray.Dataset({'t': ('x', [1.5, 2.5])}).to_netcdf('n.nc', engine='h5netcdf')"
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    with open("n.nc", "rb") as f:
        content = f.read()
    assert content[8:15] == b"Lh5lake"
    with h5netcdf.File(io.BytesIO(content), "r") as f:
        same(f["t"][...], np.array([1.5, 2.5]))
    with xarray.open_dataset(io.BytesIO(content), engine="h5netcdf") as d:
        same(d.t.values, np.array([1.5, 2.5]))
    os.remove("n.nc")


main(globals())
