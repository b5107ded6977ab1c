"""The compared sides: the storage of the data, and the way in which a program opens it. Each side is used in a fresh
process.

A side writes and reads through `create()` and `open()`, which return an object like an h5py file. Sides in memory keep
their file open between the two, as a program would."""

import ctypes
import os
import re
from contextlib import contextmanager


class Wrong(Exception):
    """The data, or the connector that stored it, is not the expected one."""


def h5py_and_its_word():
    """Loads and warms h5py. Returns a function that reports the connector of an open file as libhdf5 states it:
    'native' or 'h5lake'.

    The first file, dataset and attribute of a process cost h5py itself 100 ms, so they are those of a file in memory
    here."""
    import h5py
    with h5py.File("warm", "w", driver="core", backing_store=False) as file:
        file.create_dataset("x", data=[1], chunks=(1,), compression="gzip", shuffle=True)[...]
        file["x"].attrs["a"] = file["x"].attrs.get("b", 1)
    mapped = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5[-.][^/]*$", line)}
    mapped = [path for path in mapped if "_hl" not in path]
    if len(mapped) != 1:
        raise Wrong(f"not one libhdf5 in this process: {mapped}")
    ask = ctypes.CDLL(mapped[0]).H5VLget_connector_name
    ask.argtypes, ask.restype = [ctypes.c_int64, ctypes.c_char_p, ctypes.c_size_t], ctypes.c_ssize_t
    name = ctypes.create_string_buffer(64)

    def connector_of(file):
        if ask(file.id.id, name, 64) < 0:
            raise Wrong("the file's connector has no name")
        return name.value.decode()

    return h5py, connector_of


def is_native(path):
    """Returns whether a file begins as native HDF5 files do."""
    with open(path, "rb") as file:
        head = file.read(9)
    return head[:8] == b"\x89HDF\r\n\x1a\n" and head[8] < 4


class H5:
    """Files of h5py, with any connector and driver."""

    def __init__(self, folder, connector, driver=None, keep=False, native=False):
        self.path, self.connector = os.path.join(folder, "x.h5"), connector
        self.options = dict(driver=driver, backing_store=False) if driver == "core" else {}
        self.keep, self.kept, self.native = keep, None, native
        self.h5py, self.connector_of = h5py_and_its_word()

    def _checked(self, file):
        if (found := self.connector_of(file)) != self.connector:
            raise Wrong(f"the file is {found}'s, not {self.connector}'s")
        if self.native and os.path.getsize(self.path) and not is_native(self.path):
            raise Wrong("the file is a container, not a native file")
        return file

    def create(self, name=None, **options):
        """A context with an empty file, which is closed at its end, or flushed if it is kept open."""
        return self._used("w", name, options)

    def open(self, name=None, mode="r", **options):
        """A context with the file that `create` made."""
        return self._used(mode, name, options)

    @contextmanager
    def _used(self, mode, name, options):
        if self.kept is None:
            path = os.path.join(os.path.dirname(self.path), name) if name else self.path
            file = self._checked(self.h5py.File(path, mode, **self.options, **options))
        else:
            file = self.kept
        yield file
        if self.keep:
            self.kept = file
            file.flush()
        else:
            file.close()


class H5OnS3(H5):
    """h5py writes a local file that is uploaded, and reads through s3fs: the usual way without h5lake."""

    def __init__(self, folder, prefix):
        super().__init__(folder, "native")
        import s3fs
        self.key = f"lake/{prefix}/x.h5"
        self.system = s3fs.S3FileSystem(key=os.environ["AWS_ACCESS_KEY_ID"], secret=os.environ["AWS_SECRET_ACCESS_KEY"],
                                        endpoint_url=os.environ["AWS_ENDPOINT_URL"])

    @contextmanager
    def create(self, name=None, **options):
        with super().create(name, **options) as file:
            yield file
        self.system.put(self.path, self.key)

    @contextmanager
    def open(self, name=None, mode="r", **options):
        with self.system.open(self.key, "rb") as remote, self.h5py.File(remote, mode, **options) as file:
            yield self._checked(file)


class ZarrGroup:
    """A zarr group under the names that h5py uses."""

    def __init__(self, group):
        self.group = group

    @property
    def attrs(self):
        """Returns its attributes."""
        return self.group.attrs

    def create_group(self, name):
        """Creates a group in it."""
        return ZarrGroup(self.group.create_group(name))

    def create_dataset(self, name, shape=None, dtype=None, data=None, chunks=None, compression=None, **_):
        """Creates an array, with chunks of about 1 MiB by default."""
        import numpy as np
        dtype = np.dtype(dtype if dtype is not None else data.dtype)
        shape = shape or data.shape
        if chunks is None:
            chunks = (max(1, min(shape[0], (1 << 20) // max(1, dtype.itemsize))), *shape[1:])
        more = {"compressors": None}
        if compression:
            import numcodecs.zarr3
            import zarr
            more = {"compressors": [numcodecs.zarr3.Shuffle(elementsize=dtype.itemsize),
                                    zarr.codecs.GzipCodec(level=4)]}
        array = self.group.create_array(name, shape=shape, dtype=dtype, chunks=chunks, **more)
        if data is not None:
            array[...] = data
        return ZarrArray(array)

    def __getitem__(self, name):
        import zarr
        found = self.group[name]
        return ZarrGroup(found) if isinstance(found, zarr.Group) else ZarrArray(found)


class ZarrArray:
    """A zarr array under the names that h5py uses."""

    def __init__(self, array):
        self.array, self.attrs, self.shape = array, array.attrs, array.shape

    def __getitem__(self, index):
        if isinstance(index, tuple) and any(hasattr(i, "__len__") for i in index):
            return self.array.oindex[index]
        return self.array[index]

    def __setitem__(self, index, value):
        self.array[index] = value

    def read_direct(self, out):
        """Reads all of it into an array."""
        out[...] = self.array[...]


class Zarr:
    """zarr-python 3 on a folder, or with obstore on S3."""

    connector = "zarr"

    def __init__(self, folder, prefix=None):
        import zarr
        import zarr.storage
        if prefix is None:
            self.store = zarr.storage.LocalStore(os.path.join(folder, "x.zarr"))
        else:
            import obstore.store
            self.store = zarr.storage.ObjectStore(obstore.store.S3Store(
                "lake", prefix=f"{prefix}/x.zarr", endpoint=os.environ["AWS_ENDPOINT_URL"],
                client_options={"allow_http": True}, region="us-east-1"))

    @contextmanager
    def create(self, name=None, **_):
        """A context with an empty group."""
        import zarr
        yield ZarrGroup(zarr.create_group(self.store, overwrite=False))

    @contextmanager
    def open(self, name=None, mode="r", **_):
        """A context with the group that `create` made."""
        import zarr
        yield ZarrGroup(zarr.open_group(self.store, mode=mode))


class Raw:
    """The bytes of one array in objects of 16 MiB, put and fetched in parallel by object_store: the bound on S3."""

    connector, part = "raw", 16 << 20

    def __init__(self, folder, prefix):
        import obstore.store
        self.store = obstore.store.S3Store("lake", prefix=f"{prefix}/raw", endpoint=os.environ["AWS_ENDPOINT_URL"],
                                           client_options={"allow_http": True}, region="us-east-1")

    @contextmanager
    def create(self, name=None, **_):
        """A context with nothing stored yet."""
        yield self

    @contextmanager
    def open(self, name=None, mode="r", **_):
        """A context with the objects that `create` made."""
        yield {"x": self}

    def create_dataset(self, name, data, **_):
        """Puts all objects at once."""
        import asyncio
        import obstore
        view = memoryview(data).cast("B")
        parts = range(0, len(view), self.part)

        async def put():
            await asyncio.gather(*(obstore.put_async(self.store, f"{at:012}", view[at:at + self.part]) for at in parts))
        asyncio.run(put())

    def read_direct(self, out):
        """Fetches all objects at once, into the array."""
        import asyncio
        import obstore
        view = memoryview(out).cast("B")

        async def get(at):
            got = await obstore.get_async(self.store, f"{at:012}")
            view[at:at + self.part] = memoryview(await got.bytes_async())

        async def all_of_it():
            await asyncio.gather(*(get(at) for at in range(0, len(view), self.part)))
        asyncio.run(all_of_it())


# Name of the side: (HDF5_VOL_CONNECTOR or None, whether it needs the S3 server, a function that makes it).
SIDES = {
    "h5lake": ("h5lake", False, lambda folder, prefix: H5(folder, "h5lake")),
    "native": (None, False, lambda folder, prefix: H5(folder, "native")),
    "passed": ("h5lake only=*.h5l", False, lambda folder, prefix: H5(folder, "h5lake", native=True)),
    "memory": ("h5lake store=memory:bench", False, lambda folder, prefix: H5(folder, "h5lake", keep=True)),
    "core": (None, False, lambda folder, prefix: H5(folder, "native", "core", keep=True)),
    "zarr": (None, False, lambda folder, prefix: Zarr(folder)),
    "s3": ("h5lake store=s3://lake/{prefix}", True, lambda folder, prefix: H5(folder, "h5lake")),
    "zarr-s3": (None, True, Zarr),
    "s3fs": (None, True, H5OnS3),
    "raw": (None, True, Raw),
}
IN_MEMORY = {"memory", "core"}
