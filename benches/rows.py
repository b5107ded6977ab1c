"""The rows of the table that run in Python: the data written and read, and the timed steps. All data that is read is
compared with the data written, outside of the timed steps."""

import time
from contextlib import contextmanager

import numpy as np

from sides import Wrong

MIB = 1 << 20


class Row:
    """One row of a given size; subclasses write and read through a side."""

    def __init__(self, side, name, size):
        self.side, self.name, self.size, self.times, self.work = side, name, size, {}, {}

    @contextmanager
    def clock(self, metric, units=1):
        """Times a block. Stores the seconds of one unit, and the process's working time, under the metric's name."""
        begun, work = time.perf_counter(), time.process_time()
        yield
        self.work[metric] = (time.process_time() - work) / units
        self.times[metric] = (time.perf_counter() - begun) / units

    @property
    def local(self):
        """Returns whether a second read is meaningful: on S3 it comes from a cache."""
        return self.name in ("h5lake", "native", "memory", "core", "zarr")


def same(found, wanted, what):
    """Fails unless two arrays are equal."""
    if found.shape != wanted.shape or not np.array_equal(found, wanted):
        raise Wrong(f"{what}: the data read is not what was written")


class Contiguous(Row):
    """A contiguous dataset of doubles, whole, into a touched buffer and into a fresh one."""

    chunks = None

    def data(self):
        """Returns the elements."""
        return np.arange(self.size // 8, dtype="f8")

    def write(self):
        """Creates, writes, closes."""
        data = self.data()
        with self.clock("write"), self.side.create() as f:
            f.create_dataset("x", data=data, chunks=self.chunks)

    def read(self):
        """Opens and reads."""
        wanted, out = self.data(), np.full(self.size // 8, -1.0)
        with self.side.open() as f:
            with self.clock("read"):
                f["x"].read_direct(out)
            same(out, wanted, "touched")
            if self.local:
                with self.clock("read fresh"):
                    fresh = f["x"][...]
                same(fresh, wanted, "fresh")


class Chunks(Contiguous):
    """A dataset as in Contiguous, in chunks of 1 MiB."""

    chunks = (MIB // 8,)


class Far(Contiguous):
    """A float32 array in chunks of 1 MiB, whole."""

    chunks = (MIB // 4,)

    def data(self):
        """Returns random elements, which cannot be compressed."""
        return np.random.default_rng(7).random(self.size // 4, dtype="f4")

    def read(self):
        """Opens and reads; the open is timed too, as for a program that reads the data once."""
        wanted, out = self.data(), np.full(self.size // 4, -1, "f4")
        with self.clock("read"), self.side.open() as f:
            f["x"].read_direct(out)
        same(out, wanted, "touched")


class Slices(Contiguous):
    """1,000 slices of 64 KiB at random offsets of a contiguous dataset."""

    count = 1000

    def write(self):
        """Writes without timing, because the first row times it."""
        with self.side.create() as f:
            f.create_dataset("x", data=self.data())

    def read(self):
        """Reads slice by slice."""
        length = 8192
        starts = np.random.default_rng(6).integers(0, self.size // 8 - length, self.count if self.size > 4 * MIB else 20)
        with self.side.open() as f:
            dataset, found = f["x"], 0.0
            with self.clock("slice", len(starts)):
                for start in starts.tolist():
                    found += dataset[start:start + length][7]
        if found != float((starts + 7).sum()):
            raise Wrong("the slices are not what was written")


class Planes(Row):
    """A plane of float32 in chunks of 256 x 256: rows, columns, and 200 rows chosen by a list."""

    def data(self):
        """Returns the plane."""
        return np.arange(self.size * self.size, dtype="f4").reshape(self.size, self.size)

    def write(self):
        """Writes all of it."""
        data = self.data()
        with self.clock("write"), self.side.create() as f:
            f.create_dataset("x", data=data, chunks=(256, 256))

    def read(self):
        """Reads rows far from each other, then columns, then a list of rows."""
        data = self.data()
        some = np.random.default_rng(5).permutation(self.size)[:48].tolist()
        with self.side.open() as f:
            x = f["x"]
            with self.clock("row", len(some)):
                rows = [x[i, :] for i in some]
            with self.clock("column", len(some)):
                columns = [x[:, i] for i in some]
            chosen = np.sort(np.random.default_rng(4).permutation(self.size)[:200]).tolist()
            with self.clock("fancy"):
                fancy = x[chosen, :] if self.name not in ("zarr", "zarr-s3") else x[chosen, slice(None)]
        same(np.array(rows), data[some], "rows")
        same(np.array(columns), data[:, some].T, "columns")
        same(fancy, data[chosen], "list")


class Gzip(Row):
    """Smooth float32 with shuffle and gzip 4, in chunks of 1 MiB."""

    def data(self):
        """Returns a smooth field with a little noise in the last bits, as measured fields have."""
        n = np.arange(self.size // 4, dtype="f8")
        return (np.sin(n / 5000) * 100 + np.cos(n / 77) + np.round(np.sin(n * 12.9898) * 4) / 64).astype("f4")

    def write(self):
        """Creates, writes, closes."""
        data = self.data()
        with self.clock("write"), self.side.create() as f:
            f.create_dataset("x", data=data, chunks=(MIB // 4,), compression="gzip", compression_opts=4, shuffle=True)

    def read(self):
        """Opens and reads."""
        wanted, out = self.data(), np.full(self.size // 4, -1, "f4")
        with self.side.open() as f:
            with self.clock("read"):
                f["x"].read_direct(out)
        same(out, wanted, "compressed")


class Filtered(Row):
    """A field in chunks of 1 MiB through a filter that h5py has no name for, which is given by its number, with or
    without shuffle. With `significant` bits, the type in the file has that many bits."""

    filters, dtype, significant = (), "f4", None

    def data(self):
        """Returns a smooth field with a little noise, as measured fields have."""
        n = np.arange(self.size // np.dtype(self.dtype).itemsize, dtype="f8")
        field = np.sin(n / 5000) * 100 + np.cos(n / 77) + np.round(np.sin(n * 12.9898) * 4) / 64
        return field.astype("f4") if self.dtype == "f4" else (field * 16 + 2048).astype(self.dtype)

    def write(self):
        """Creates, writes, closes."""
        import hdf5plugin  # noqa: F401 - native HDF5 has its filters, and those of both sides set up their parameters
        from h5py import h5d, h5p, h5s, h5t
        data = self.data()
        creation, kind = h5p.create(h5p.DATASET_CREATE), h5t.py_create(data.dtype)
        creation.set_chunk((MIB // data.itemsize,))
        for number, values in self.filters:
            creation.set_filter(number, 0, values)
        if self.significant:
            kind = kind.copy()
            kind.set_precision(self.significant)
        memory = h5t.py_create(data.dtype)
        with self.clock("write"), self.side.create() as f:
            dataset = h5d.create(f.id, b"x", kind, h5s.create_simple(data.shape), creation)
            dataset.write(h5s.ALL, h5s.ALL, data, memory)
            del dataset

    def read(self):
        """Opens and reads."""
        import hdf5plugin  # noqa: F401
        wanted = self.data()
        out = np.zeros_like(wanted)
        with self.side.open() as f:
            with self.clock("read"):
                f["x"].read_direct(out)
            same(out, wanted, "filtered")


class Zstd(Filtered):
    """Shuffle and Zstandard 3."""

    filters = ((2, ()), (32015, (3,)))


class Lz4(Filtered):
    """Shuffle and LZ4."""

    filters = ((2, ()), (32004, ()))


class Lzf(Filtered):
    """Shuffle and LZF, which h5py contains."""

    filters = ((2, ()), (32000, ()))


class Bzip2(Filtered):
    """Bzip2 9."""

    filters = ((307, (9,)),)


class Bitshuffle(Filtered):
    """Bitshuffle with LZ4."""

    filters = ((32008, (0, 2)),)


class ScaleOffset(Filtered):
    """Integers of 13 bits in 32, by scale-offset, which determines the 13 bits itself."""

    filters, dtype = ((6, (2, 0)),), "i4"


class NBit(Filtered):
    """Integers by n-bit, with the 17 significant bits given."""

    filters, dtype, significant = ((5, ()),), "i4", 17


class Szip(Filtered):
    """Szip, of samples that can be predicted from the samples before."""

    filters = ((4, (32, 16)),)


class Blosc(Filtered):
    """Blosc with LZ4."""

    filters = ((32001, (0, 0, 0, 0, 5, 1, 1)),)


class BloscLz(Filtered):
    """Blosc with BloscLZ, its default codec."""

    filters = ((32001, (0, 0, 0, 0, 5, 1, 0)),)


class Blosc2(Filtered):
    """Blosc2 with LZ4."""

    filters = ((32026, (0, 0, 0, 0, 5, 1, 1)),)


class Zfp(Filtered):
    """Lossless ZFP, which runs in libhdf5."""

    filters = ((32013, (5, 0, 0, 0, 0, 0)),)


class Datasets(Row):
    """Many datasets of 100 ints in one group, one with an attribute in the middle."""

    def write(self):
        """Creates and writes each dataset."""
        data = np.arange(100, dtype="i4")
        with self.clock("create", self.size), self.side.create() as f:
            for i in range(self.size):
                f.create_dataset(f"d{i}", data=data + i)
            f[f"d{self.size // 2}"].attrs["unit"] = "m"

    def read(self):
        """Opens and reads each dataset."""
        found = []
        with self.side.open() as f:
            with self.clock("open", self.size):
                for i in range(self.size):
                    found.append(f[f"d{i}"][...])
        same(np.array(found), np.arange(100, dtype="i4") + np.arange(self.size, dtype="i4")[:, None], "datasets")


class Cold(Datasets):
    """The first open of a file with many objects in a process, and one attribute of it."""

    def write(self):
        """Writes without timing."""
        super().write()
        self.times.clear()

    def read(self):
        """Opens the file once for the process, and once more."""
        for metric in ("cold", "again"):
            with self.clock(metric), self.side.open() as f:
                unit = f[f"d{self.size // 2}"].attrs["unit"]
            if unit != "m":
                raise Wrong(f"the attribute is {unit!r}")


class Attributes(Row):
    """Ten attributes on each of many groups."""

    def write(self):
        """Creates the groups within the timed step, as programs do."""
        with self.clock("write", self.size * 10), self.side.create() as f:
            for i in range(self.size):
                attributes = f.create_group(f"g{i}").attrs
                for k in range(10):
                    attributes[f"a{k}"] = i * 10 + k

    def read(self):
        """Reads every attribute by name."""
        total = 0
        with self.side.open() as f:
            with self.clock("read", self.size * 10):
                for i in range(self.size):
                    attributes = f[f"g{i}"].attrs
                    for k in range(10):
                        total += int(attributes[f"a{k}"])
        if total != sum(range(self.size * 10)):
            raise Wrong("the attributes are not what was written")


class Texts(Attributes):
    """Attributes of text, which h5py stores as strings of variable length."""

    def write(self):
        """Writes texts of 4 to 30 letters."""
        with self.clock("write", self.size * 10), self.side.create() as f:
            for i in range(self.size):
                attributes = f.create_group(f"g{i}").attrs
                for k in range(10):
                    attributes[f"a{k}"] = f"{i} " + "text" * (k % 8)

    def read(self):
        """Reads every attribute by name."""
        with self.side.open() as f:
            with self.clock("read", self.size * 10):
                found = []
                for i in range(self.size):
                    attributes = f[f"g{i}"].attrs
                    for k in range(10):
                        found.append(attributes[f"a{k}"])
        if found != [f"{i} " + "text" * (k % 8) for i in range(self.size) for k in range(10)]:
            raise Wrong("the texts are not what was written")


class Strings(Row):
    """Strings of variable length."""

    def data(self):
        """Returns words of 6 to 26 letters."""
        return [f"word{i:02}" + "x" * (i % 21) for i in range(self.size)]

    def write(self):
        """Creates, writes, closes."""
        import h5py
        data = np.array(self.data(), dtype=object)
        with self.clock("write"), self.side.create() as f:
            f.create_dataset("x", data=data, dtype=h5py.string_dtype())

    def read(self):
        """Opens and reads."""
        with self.side.open() as f:
            with self.clock("read"):
                found = f["x"][...]
        if [word.decode() for word in found] != self.data():
            raise Wrong("the strings are not what was written")


class Compound(Row):
    """A table of records of 32 bytes."""

    kind = np.dtype([("id", "i8"), ("x", "f8"), ("y", "f8"), ("flag", "i4"), ("n", "i4")])

    def data(self):
        """Returns the records."""
        data = np.zeros(self.size, self.kind)
        data["id"], data["x"], data["n"] = np.arange(self.size), np.arange(self.size) / 3, 7
        return data

    def write(self):
        """Creates, writes, closes."""
        data = self.data()
        with self.clock("write"), self.side.create() as f:
            f.create_dataset("x", data=data)

    def read(self):
        """Opens and reads, into a touched buffer."""
        wanted, out = self.data(), np.ones(self.size, self.kind)
        with self.side.open() as f:
            with self.clock("read"):
                f["x"].read_direct(out)
        same(out, wanted, "records")


class Narrow(Row):
    """Doubles written into a dataset of floats, which libhdf5 converts."""

    def write(self):
        """Creates, writes, closes."""
        data = np.arange(self.size // 8, dtype="f8")
        with self.clock("write"), self.side.create() as f:
            f.create_dataset("x", shape=data.shape, dtype="f4").write_direct(data)

    def read(self):
        """Checks the data without timing."""
        with self.side.open() as f:
            same(f["x"][...], np.arange(self.size // 8, dtype="f8").astype("f4"), "narrowed")


class Appends(Row):
    """Records of 4 KiB at the end of a dataset in chunks of 64 KiB, each flushed."""

    def write(self):
        """Appends records one after another. The bytes written to the file are reported, too."""
        piece = np.arange(512, dtype="f8")
        with self.side.create() as f:
            x = f.create_dataset("x", (0,), "f8", maxshape=(None,), chunks=(8192,))
            f.flush()
            before = written()
            with self.clock("append", self.size):
                for i in range(self.size):
                    x.resize(((i + 1) * 512,))
                    x[i * 512:] = piece + i
                    f.flush()
            self.times["bytes an append"] = (written() - before) / self.size

    def read(self):
        """Checks the data without timing."""
        with self.side.open() as f:
            found = f["x"][...]
        same(found.reshape(-1, 512), np.arange(512, dtype="f8") + np.arange(self.size)[:, None], "appended")


class Poll(Row):
    """A reader that reopens the file and reads the tail, while another process appends once per millisecond."""

    def write(self):
        """Writes nothing: the reader's own child process writes."""

    def read(self):
        """Reads. Native HDF5 needs SWMR for this, on both sides."""
        import os
        import h5py
        native = self.name == "native"
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            self.writer(go)
        os.read(ready, 1)
        last, options = 0, {"swmr": True} if native else {}
        with self.clock("poll", self.size):
            for _ in range(self.size):
                with h5py.File(self.side.path, "r", **options) as f:
                    x = f["x"]
                    tail = x[-512:]
                    if tail[0] + 1 < last or tail[511] != tail[0]:
                        raise Wrong("the tail is not what was appended")
                    last = tail[0]
        os.kill(child, 9)
        os.waitpid(child, 0)

    def writer(self, go):
        """Appends until it is killed."""
        import os
        with self.side.create(libver="latest") as f:
            x = f.create_dataset("x", (0,), "f8", maxshape=(None,), chunks=(8192,))
            x.resize((512,))
            x[:] = np.zeros(512)
            f.flush()
            if self.name == "native":
                f.swmr_mode = True
            os.write(go, b"x")
            for i in range(1, 100_000):
                x.resize(((i + 1) * 512,))
                x[i * 512:] = np.full(512, float(i))
                f.flush()
                time.sleep(0.001)
        os._exit(0)


def written():
    """Returns the bytes that this process has passed to write calls."""
    with open("/proc/self/io") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("wchar"))


ROWS = {"contiguous": Contiguous, "slices": Slices, "chunks": Chunks, "planes": Planes, "gzip": Gzip,
        "zstd": Zstd, "lz4": Lz4, "lzf": Lzf, "bzip2": Bzip2, "bitshuffle": Bitshuffle, "scaleoffset": ScaleOffset, "nbit": NBit,
        "szip": Szip, "blosc": Blosc, "blosclz": BloscLz, "blosc2": Blosc2, "zfp": Zfp,
        "datasets": Datasets, "attributes": Attributes, "strings": Strings, "compound": Compound, "narrow": Narrow,
        "texts": Texts, "appends": Appends, "poll": Poll, "cold": Cold, "s3-array": Far, "s3-array-20ms": Far}
