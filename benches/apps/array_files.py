"""Workloads on h5py: typical uses of arrays. Each method is a phase, which runs in a process of its own, in the order
of their definition. Its result must be equal natively and under h5lake. `self.n` scales the work."""

import os
import subprocess

import h5py
import numpy as np
from workload import Workload


def in_children(work):
    """Calls `work` with 0 and with 1 in two forked processes; returns their exit states."""
    children = []
    for part in range(2):
        child = os.fork()
        if child == 0:
            work(part)
            os._exit(0)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


class Columns(Workload):
    """Twenty contiguous columns of float64: written, read whole, read in slices."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            for i in range(20):
                f[f"c{i}"] = self.random.random(self.n * 1000)

    def read(self):
        with h5py.File("x.h5") as f:
            return [f[f"c{i}"][:].sum() for i in range(20)]

    def slices(self):
        with h5py.File("x.h5") as f:
            return [f[f"c{i % 20}"][i * 10:i * 10 + 500].sum() for i in range(self.n * 10)]


class Frames(Workload):
    """A detector's frames, gzip and shuffle, one chunk per frame: appended, read in order, read at random."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            d = f.create_dataset("frames", (0, 256, 256), "u2", maxshape=(None, 256, 256), chunks=(1, 256, 256),
                                 compression="gzip", compression_opts=1, shuffle=True)
            for i in range(self.n):
                d.resize(i + 1, 0)
                d[i] = self.random.poisson(20, (256, 256))

    def read(self):
        with h5py.File("x.h5") as f:
            return [int(f["frames"][i].sum()) for i in range(self.n)]

    def at_random(self):
        with h5py.File("x.h5") as f:
            return [int(f["frames"][i, 10:50, 20:30].sum()) for i in self.random.integers(0, self.n, self.n)]


class SliceOfEachChunk(Workload):
    """Small slices of many compressed files that stay open, where caches accumulate."""

    def write(self):
        for i in range(12):
            with h5py.File(f"x{i}.h5", "w") as f:
                f.create_dataset("d", data=self.random.integers(0, 50, (self.n * 4, 10_000), "i4"), chunks=(4, 10_000),
                                 compression="gzip", compression_opts=1)

    def slices(self):
        files = [h5py.File(f"x{i}.h5") for i in range(12)]
        return [int(f["d"][row, :10].sum()) for f in files for row in range(0, self.n * 4, 4)]


class ManyObjects(Workload):
    """Small datasets with attributes in groups: created, visited, changed, and half of them deleted."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            for i in range(self.n * 20):
                d = f.create_dataset(f"g{i % 50}/d{i}", data=np.arange(20) + i)
                d.attrs["unit"], d.attrs["n"] = "m", i

    def walk(self):
        total = []
        with h5py.File("x.h5") as f:
            f.visititems(lambda _, x: total.append(int(x[3]) + int(x.attrs["n"])) if "unit" in x.attrs else None)
        return sorted(total)

    def change(self):
        with h5py.File("x.h5", "r+") as f:
            for i in range(self.n * 20):
                f[f"g{i % 50}/d{i}"].attrs["n"] = i + 1

    def delete(self):
        with h5py.File("x.h5", "r+") as f:
            for i in range(0, self.n * 20, 2):
                del f[f"g{i % 50}/d{i}"]
            return len(f["g1"]), len(f["g2"])


class Appends(Workload):
    """Rows appended with a flush each; then the file is opened, appended to and closed repeatedly."""

    def flushed(self):
        with h5py.File("x.h5", "w") as f:
            d = f.create_dataset("d", (0,), maxshape=(None,), chunks=(1000,))
            for i in range(self.n * 5):
                d.resize(((i + 1) * 100,))
                d[i * 100:] = i
                f.flush()

    def reopened(self):
        for i in range(self.n * 5):
            with h5py.File("x.h5", "r+") as f:
                d = f["d"]
                d.resize((len(d) + 10,))
                d[-10:] = i

    def read(self):
        with h5py.File("x.h5") as f:
            return float(f["d"][:].sum())


class Texts(Workload):
    """Strings of variable length, as datasets and as attributes."""

    def write(self):
        words = np.array([f"word {i} " + "x" * (i % 37) for i in range(self.n * 500)], object)
        with h5py.File("x.h5", "w") as f:
            f.create_dataset("w", data=words, dtype=h5py.string_dtype())
            for i in range(self.n * 5):
                f.attrs[f"a{i}"] = words[i]

    def read(self):
        with h5py.File("x.h5") as f:
            return len(b"".join(f["w"][:])), sum(len(f.attrs[name]) for name in f.attrs)


class Records(Workload):
    """A table of a compound type: written in blocks, read whole and by a field, changed."""

    kind = np.dtype([("t", "i8"), ("x", "f8", 3), ("id", "S8"), ("flag", "?")])

    def write(self):
        block = np.zeros(10_000, self.kind)
        with h5py.File("x.h5", "w") as f:
            d = f.create_dataset("t", (0,), self.kind, maxshape=(None,), chunks=(5000,))
            for i in range(self.n):
                block["t"], block["x"] = np.arange(10_000) + i, self.random.random((10_000, 3))
                d.resize(((i + 1) * 10_000,))
                d[i * 10_000:] = block

    def read(self):
        with h5py.File("x.h5") as f:
            return float(f["t"][:]["x"].sum()), int(f["t"]["t"].sum())

    def change(self):
        with h5py.File("x.h5", "r+") as f:
            d = f["t"]
            for i in range(0, len(d), 5000):
                d[i:i + 100] = d[i + 100:i + 200]
            return float(d[:]["x"].sum())


class Selections(Workload):
    """Lists of columns, masks of points and of rows, on contiguous and chunked datasets."""

    def write(self):
        a = self.random.random((self.n * 20, 1000))
        with h5py.File("x.h5", "w") as f:
            f["contiguous"] = a
            f.create_dataset("chunked", data=a, chunks=(100, 100))

    def columns(self):
        wanted = np.sort(self.random.choice(1000, 60, replace=False))
        with h5py.File("x.h5") as f:
            return [float(f[name][:, wanted].sum()) for name in f for _ in range(5)]

    def points(self):
        mask = self.random.random((self.n * 20, 1000)) < 0.01
        with h5py.File("x.h5") as f:
            return [float(f[name][mask].sum()) for name in f for _ in range(5)]

    def rows(self):
        mask = self.random.random(self.n * 20) < 0.4
        with h5py.File("x.h5") as f:
            return [float(f[name][mask].sum()) for name in f for _ in range(5)]


class Virtual(Workload):
    """A virtual dataset over twenty files."""

    def write(self):
        layout = h5py.VirtualLayout((20, self.n * 100), "f8")
        for i in range(20):
            with h5py.File(f"s{i}.h5", "w") as f:
                f["d"] = self.random.random(self.n * 100)
            layout[i] = h5py.VirtualSource(f"s{i}.h5", "d", shape=(self.n * 100,))
        with h5py.File("x.h5", "w") as f:
            f.create_virtual_dataset("v", layout)

    def read(self):
        with h5py.File("x.h5") as f:
            return [float(f["v"][...].sum()) for _ in range(self.n)]


class Overwritten(Workload):
    """A dataset that is overwritten with a flush each time, and one with single chunks that are overwritten."""

    def whole(self):
        with h5py.File("x.h5", "w") as f:
            d = f.create_dataset("d", data=self.random.random(self.n * 20_000))
            for _ in range(4):
                d[:] = self.random.random(self.n * 20_000)
                f.flush()

    def again(self):
        with h5py.File("x.h5", "r+") as f:
            d = f.create_dataset("small", data=self.random.random(self.n * 2000))
            for i in range(self.n * 2):
                d[:] = i
                f.flush()

    def chunks(self):
        with h5py.File("y.h5", "w") as f:
            d = f.create_dataset("d", (self.n * 100, 200), "f8", chunks=(1, 200))
            d[:] = 1
            for row in self.random.choice(self.n * 100, self.n * 20):
                d[row] = row

    def read(self):
        with h5py.File("x.h5") as x, h5py.File("y.h5") as y:
            return float(x["d"][:].sum()), float(y["d"][:].sum())


class Noise(Workload):
    """LZF on incompressible data, read by this process and by two forked ones."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            f.create_dataset("d", data=self.random.integers(0, 256, self.n * 200_000, "u1"), chunks=(100_000,),
                             compression="lzf")

    def read(self):
        with h5py.File("x.h5") as f:
            return int(f["d"][:].sum())

    def forked(self):
        def half(part):
            with h5py.File("x.h5") as f:
                size = len(f["d"]) // 2
                f["d"][part * size:(part + 1) * size].sum()
        return in_children(half)


class DirectChunks(Workload):
    """Chunks that bypass the filters, as detectors write them and viewers read them."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            d = f.create_dataset("d", (self.n, 512, 512), "u2", chunks=(1, 512, 512), compression="gzip")
            for i in range(self.n):
                d.id.write_direct_chunk((i, 0, 0), self.random.bytes(1 << 18))

    def read(self):
        with h5py.File("x.h5") as f:
            return [sum(f["d"].id.read_direct_chunk((i, 0, 0))[1][:9]) for i in range(self.n)]


class SmallFiles(Workload):
    """A file for each measurement."""

    def write(self):
        for i in range(self.n * 3):
            with h5py.File(f"m{i}.h5", "w") as f:
                f["x"] = self.random.random(1000)
                f.create_dataset("z", data=self.random.random((20, 50)), chunks=(10, 50), compression="gzip")
                f.create_group("meta").attrs["sample"] = f"sample {i}"

    def read(self):
        total = 0.0
        for i in range(self.n * 3):
            with h5py.File(f"m{i}.h5") as f:
                total += f["x"][5] + f["z"][3, 4] + len(f["meta"].attrs["sample"])
        return float(total)


class Images(Workload):
    """Images of a training set in any order, in this process and in two forked ones."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            f.create_dataset("images", data=self.random.integers(0, 256, (self.n * 20, 64, 64, 3), "u1"),
                             chunks=(16, 64, 64, 3))
            f["labels"] = self.random.integers(0, 10, self.n * 20)

    def shuffled(self):
        with h5py.File("x.h5") as f:
            images, labels = f["images"], f["labels"][:]
            return sum(int(images[i].sum()) * int(labels[i]) for i in self.random.permutation(self.n * 20))

    def forked(self):
        def half(part):
            with h5py.File("x.h5") as f:
                for i in range(part, self.n * 20, 2):
                    f["images"][i].sum()
        return in_children(half)


class OpenFiles(Workload):
    """128 files that stay open, as xarray keeps them; a little of each is read repeatedly."""

    def write(self):
        for i in range(128):
            with h5py.File(f"x{i}.h5", "w") as f:
                f.create_dataset("d", data=self.random.integers(0, 50, (self.n, 2000), "i4"), chunks=(5, 2000),
                                 compression="gzip", compression_opts=1)

    def slices(self):
        files = [h5py.File(f"x{i}.h5") for i in range(128)]
        return [int(f["d"][row, :10].sum()) for _ in range(2) for f in files for row in range(0, self.n, 5)]


class FilledTogether(Workload):
    """Four compressed datasets that grow in parallel, a row at a time."""

    def write(self):
        with h5py.File("x.h5", "w") as f:
            all_sets = [f.create_dataset(f"d{i}", (0, 10_000), "i4", maxshape=(None, 10_000), chunks=(64, 10_000),
                                         compression="gzip", compression_opts=1) for i in range(4)]
            for row in range(self.n * 10):
                for d in all_sets:
                    d.resize(row + 1, 0)
                    d[row] = np.arange(10_000) % (row + 7)

    def read(self):
        with h5py.File("x.h5") as f:
            return [int(f[f"d{i}"][-1].sum()) for i in range(4)]


class Tools(Workload):
    """HDF5's own tools on a small file, each in a process: the cost of loading the plugin."""

    def _tool(self, name, *words):
        for _ in range(max(1, self.n // 5)):
            subprocess.run([os.path.join(os.environ["BENCH_TOOLS"], name), *words], check=True, stdout=subprocess.DEVNULL)

    def write(self):
        with h5py.File("x.h5", "w") as f:
            for i in range(10):
                f.create_dataset(f"g/d{i}", data=np.arange(100) + i).attrs["unit"] = "m"

    def h5ls(self):
        self._tool("h5ls", "-r", "x.h5")

    def h5dump(self):
        self._tool("h5dump", "x.h5")

    def h5copy(self):
        for i in range(max(1, self.n // 5)):
            subprocess.run([os.path.join(os.environ["BENCH_TOOLS"], "h5copy"), "-i", "x.h5", "-o", "y.h5", "-s", "/g", "-d", f"/g{i}"],
                           check=True)
