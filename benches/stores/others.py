"""The work of worker.py with other systems that store arrays in S3, in a process of its own. Prints the seconds of the
timed part, and the number of repetitions.

    others.py SYSTEM CASE"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import h5py
import icechunk
import numpy as np
import s3fs
import worker
import zarr
from obstore.store import S3Store
from worker import MIB, SMALL, timed
from zarr.storage import FsspecStore, ObjectStore

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
LENGTH = 8 * MIB
WRITERS = 32  # threads that prepare arrays


class H5py:
    """h5py with s3fs: native HDF5 files, which are written as a whole."""

    def __init__(self):
        self.files = s3fs.S3FileSystem(endpoint_url=ENDPOINT)

    def file(self, name):
        return h5py.File(self.files.open(f"lake/native/{name}", "rb"))

    @contextmanager
    def written(self, name):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/{name}"
            with h5py.File(path, "w") as f:
                yield f
            self.files.put(path, f"lake/native/{name}")

    def make(self):
        worker.file = lambda name, mode: self.written(name)
        worker.datasets("small.h5", SMALL)
        with self.written("plain.h5") as f:
            f["x"] = np.arange(MIB)
            f["x"].attrs["a"] = 1
        with self.written("array.h5") as f:
            f["x"] = np.random.default_rng(1).random(LENGTH)

    def scattered(self):
        with timed(), self.file("small.h5") as f:
            for i in chosen():
                worker.checked(f, i)

    def look(self):
        with timed(), self.file("plain.h5") as f:
            assert f["x"][5000:5010][0] == 5000 and f["x"].attrs["a"] == 1

    def read_all(self):
        out = np.empty(LENGTH)
        with timed(), self.file("array.h5") as f:
            f["x"].read_direct(out)

    def write_all(self):
        data = np.random.default_rng(3).random(LENGTH)
        with timed(), self.written("written.h5") as f:
            f["x"] = data


class Zarr:
    """Zarr, version 3 of the format, without consolidated metadata."""

    prefix = "zarr"

    def group(self, mode="r"):
        return zarr.open_group(self.store(), mode=mode)

    def commit(self):
        """Makes the changes visible. Zarr has no commits."""

    def make(self):
        root = self.group("w")
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda i: root.create_array(f"g{i // 100:04}/d{i:06}", data=np.arange(i, i + 10)), range(SMALL)))
        root.create_array("plain", data=np.arange(MIB), chunks=(65536,)).attrs["a"] = 1
        root.create_array("log", shape=(0,), dtype="u1", chunks=(4096,))
        root.create_array("array", data=np.random.default_rng(1).random(LENGTH), chunks=(MIB,), compressors=None)
        self.commit()

    def scattered(self):
        with timed():
            root = self.group()
            for i in chosen():
                assert root[f"g{i // 100:04}/d{i:06}"][3] == i + 3

    def look(self):
        with timed():
            x = self.group()["plain"]
            assert x[5000:5010][0] == 5000 and x.attrs["a"] == 1

    def reopen(self):
        with timed():
            self.group("r+").attrs["k"] = time.time_ns()  # Icechunk refuses a commit without changes
            self.commit()

    def append(self):
        log = self.group("r+")["log"]
        for _ in range(5):
            with timed():
                log.append(np.full(4096, 7, "u1"))
                self.commit()
            log = self.group("r+")["log"]
        return 5

    def attribute(self):
        root = self.group("r+")
        for i in range(5):
            with timed():
                root.attrs["n"] = i
                self.commit()
            root = self.group("r+")
        return 5

    def read_all(self):
        with timed():
            assert len(self.group()["array"][:]) == LENGTH

    def write_all(self):
        data = np.random.default_rng(3).random(LENGTH)
        with timed():
            self.group("a").create_array("written", data=data, chunks=(MIB,), compressors=None, overwrite=True)
            self.commit()


class ZarrObstore(Zarr):
    def store(self):
        return ObjectStore(S3Store("lake", prefix=self.prefix, endpoint=ENDPOINT, client_options={"allow_http": True}))


class ZarrS3fs(Zarr):
    def make(self):
        """The objects are those of `ZarrObstore`."""

    def store(self):
        files = s3fs.S3FileSystem(endpoint_url=ENDPOINT, asynchronous=True)
        return FsspecStore(files, path=f"lake/{self.prefix}")


class Icechunk(Zarr):
    def storage(self):
        return icechunk.s3_storage(bucket="lake", prefix="icechunk", endpoint_url=ENDPOINT, allow_http=True, from_env=True,
                                   region="us-east-1", force_path_style=True)

    def group(self, mode="r"):
        if mode == "w":
            self.session = icechunk.Repository.create(self.storage()).writable_session("main")
        elif mode == "r":
            self.session = icechunk.Repository.open(self.storage()).readonly_session("main")
        else:
            self.session = icechunk.Repository.open(self.storage()).writable_session("main")
        return zarr.open_group(self.session.store, mode=mode)

    def commit(self):
        self.session.commit("a change")


SYSTEMS = {"h5py with s3fs": H5py, "Zarr with obstore": ZarrObstore, "Zarr with s3fs": ZarrS3fs, "Icechunk": Icechunk}


def chosen():
    return np.random.default_rng(2).permutation(SMALL)[:200].tolist()


if __name__ == "__main__":
    times = getattr(SYSTEMS[sys.argv[1]](), sys.argv[2])()
    print(worker.seconds / (times or 1), times or 1)
