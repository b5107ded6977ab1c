"""The cases of `make bench-growth`: operations that must not become expensive as data, objects and repetitions grow.

Each case is a class with three sizes, the unit of its cost, and two steps, which run in processes of their own: `prepare`
makes the file, and `run` returns the cost. Both sides run the same code. A case without a native counterpart states the
expected growth of its cost instead."""

import json
import os
import resource
import subprocess
import sys
import threading

import h5py
import numpy as np

PATH = "x.h5"
CASES = {}


def cpu():
    """Returns the processor time of this process in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak():
    """Returns the largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Case:
    """One operation. The cost is processor time in ms unless `unit` says otherwise."""

    sizes = (1_000, 10_000, 100_000)
    unit = "ms"
    # None if the case runs natively, too; otherwise "constant" or "linear".
    expected = None
    # The text of the plot's horizontal axis.
    axis = "objects"
    # The setting of the connector.
    setting = ""

    def __init_subclass__(cls):
        CASES[cls.__name__] = cls

    def prepare(self, n):
        """Makes the file."""

    def operation(self, n):
        """The measured operation."""
        raise NotImplementedError

    def run(self, n):
        """Returns the cost of the operation."""
        before = cpu() if self.unit == "ms" else peak()
        self.operation(n)
        return (cpu() - before) * 1000 if self.unit == "ms" else peak() - before


def group_of(n, make):
    """Makes a group with n members."""
    with h5py.File(PATH, "w", libver="latest") as file:
        group = file.create_group("g")
        make(file, group, n)


class SmallChunksMemory(Case):
    """Memory of a session that writes many chunks of 512 bytes."""
    unit, axis = "MiB", "chunks"

    def operation(self, n):
        side = int(n**0.5)
        with h5py.File(PATH, "w") as file:
            data = file.create_dataset("x", (side * 8, side * 8), "f8", chunks=(8, 8))
            row = np.ones((8, side * 8))
            for i in range(side):
                data[i * 8:i * 8 + 8] = row


class RefusedMemory(Case):
    """Memory of datasets that are created and deleted, or refused because the name exists, before one flush."""
    unit, axis, sizes = "MiB", "datasets", (300, 3_000, 30_000)

    def operation(self, n):
        with h5py.File(PATH, "w") as file:
            file.create_group("e")
            for i in range(n):
                file.create_dataset(f"d{i}", data=1)
                del file[f"d{i}"]
                try:
                    file.create_group("e")
                except ValueError:
                    continue
                raise SystemExit("a second group has the same name")


class DeletionsFlush(Case):
    """The flush after every other dataset of a group was deleted."""
    axis, sizes = "deletions", (300, 3_000, 30_000)

    def prepare(self, n):
        def make(_, group, count):
            for i in range(2 * count):
                group.create_dataset(f"d{i}", data=[1, 2, 3, 4])
        group_of(n, make)

    def run(self, n):
        with h5py.File(PATH, "r+") as file:
            for i in range(n):
                del file[f"g/d{2 * i}"]
            before = cpu()
            file.flush()
            return (cpu() - before) * 1000


def hard_links(file, group, n):
    """Makes n hard links to one dataset."""
    data = file.create_dataset("d", data=1)
    for i in range(n):
        group[f"m{i:07}"] = data


class DeleteGroup(Case):
    """Deletion of a group of hard links, and the flush."""
    axis = "links"

    def prepare(self, n):
        group_of(n, hard_links)

    def operation(self, n):
        with h5py.File(PATH, "r+") as file:
            del file["g"]
            file.flush()


class CopyLinksMemory(DeleteGroup):
    """Memory of a copy of a group of hard links."""
    unit = "MiB"

    def operation(self, n):
        with h5py.File(PATH, "r+") as file:
            file.copy("g", "h")


class ListMembersMemory(Case):
    """Memory of listing all members of a group."""
    unit, axis = "MiB", "members"

    def prepare(self, n):
        def make(_, group, count):
            for i in range(count):
                group[f"m{i:07}"] = h5py.SoftLink("/x")
        group_of(n, make)

    def operation(self, n):
        with h5py.File(PATH, "r") as file:
            if len(list(file["g"])) != n:
                raise SystemExit("members are missing")


class MemberByIndex(ListMembersMemory):
    """The first member that an opening finds by its position."""
    unit = "ms"

    def operation(self, n):
        with h5py.File(PATH, "r") as file:
            file["g"].id.get_objname_by_idx(n // 2)


class RenameAttributes(Case):
    """Renames of all attributes of a group, and the flush."""
    axis, sizes = "attributes", (100, 1_000, 10_000)

    def prepare(self, n):
        def make(_, group, count):
            for i in range(count):
                group.attrs[f"a{i}"] = i
        group_of(n, make)

    def operation(self, n):
        with h5py.File(PATH, "r+") as file:
            for i in range(n):
                h5py.h5a.rename(file["g"].id, b"a%d" % i, b"b%d" % i)
            file.flush()


class RegionReferences(Case):
    """A read of region references."""
    axis, sizes = "references", (100, 1_000, 10_000)

    def prepare(self, n):
        with h5py.File(PATH, "w") as file:
            data = file.create_dataset("d", data=np.arange(100_000))
            file.create_dataset("r", (n,), h5py.regionref_dtype)[:] = np.array([data.regionref[i:i + 5] for i in range(n)], object)

    def operation(self, n):
        with h5py.File(PATH, "r") as file:
            file["r"][:]


class ThreadsMemory(Case):
    """Memory of four threads that read compressed chunks."""
    unit, axis = "MiB", "chunks"

    def prepare(self, n):
        with h5py.File(PATH, "w") as file:
            data = file.create_dataset("x", (n * 1000,), "i4", chunks=(1000,), compression="gzip", compression_opts=1)
            for i in range(0, n, 100):
                data[i * 1000:(i + 100) * 1000] = np.arange(100_000, dtype="i4")

    def operation(self, n):
        with h5py.File(PATH, "r") as file:
            data = file["x"]

            def read(part):
                for i in range(part * n // 4, (part + 1) * n // 4):
                    data[i * 1000:i * 1000 + 1000]
            threads = [threading.Thread(target=read, args=(part,)) for part in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def strings(first, count, text):
    """Returns variable-length strings."""
    return np.array([b"%s %d" % (text, i) for i in range(first, first + count)], object)


class RewrittenStringsMemory(Case):
    """Memory of rewriting a tenth of the strings of a dataset."""
    unit, axis, sizes = "MiB", "strings", (10_000, 100_000, 1_000_000)

    def prepare(self, n):
        with h5py.File(PATH, "w") as file:
            data = file.create_dataset("s", (n,), h5py.string_dtype(), chunks=(1000,))
            for i in range(0, n, 1000):
                data[i:i + 1000] = strings(i, 1000, b"string")

    def operation(self, n):
        with h5py.File(PATH, "r+") as file:
            for i in range(0, n, 1000):
                file["s"][i:i + 100] = strings(i, 100, b"rewritten")


class CopyStrings(RewrittenStringsMemory):
    """A copy of variable-length strings."""
    unit = "ms"

    def operation(self, n):
        with h5py.File(PATH, "r+") as file:
            file.copy("s", "t")


class ChunkIteration(Case):
    """`chunk_iter` over all chunks."""
    axis = "chunks"

    def prepare(self, n):
        side = int(n**0.5)
        with h5py.File(PATH, "w") as file:
            data = file.create_dataset("x", (side * 16, side * 16), "u1", chunks=(16, 16))
            for i in range(side):
                data[i * 16:i * 16 + 16] = 1

    def operation(self, n):
        with h5py.File(PATH, "r") as file:
            file["x"].id.chunk_iter(lambda chunk: None)


class Shrink(Case):
    """A shrink by one chunk."""
    axis, sizes = "rows", (800, 8_000, 80_000)

    def prepare(self, n):
        with h5py.File(PATH, "w") as file:
            file.create_dataset("x", data=np.ones((n, 64), "f4"), chunks=(8, 32), maxshape=(None, 64))

    def operation(self, n):
        with h5py.File(PATH, "r+") as file:
            file["x"].resize((n - 8, 64))
            file.flush()


class VirtualSources(Case):
    """A column of a virtual dataset, read again."""
    axis, sizes = "sources", (10, 100, 1_000)

    def prepare(self, n):
        layout = h5py.VirtualLayout((n, 100), "f8")
        for i in range(n):
            with h5py.File(f"s{i}.h5", "w") as file:
                file["x"] = np.arange(100.0)
            layout[i] = h5py.VirtualSource(f"s{i}.h5", "x", (100,))
        with h5py.File(PATH, "w", libver="latest") as file:
            file.create_virtual_dataset("v", layout)

    def run(self, n):
        with h5py.File(PATH, "r") as file:
            file["v"][:, 0]
            before = cpu()
            for column in range(1, 6):
                file["v"][:, column]
            return (cpu() - before) * 1000


class Overwrite(Case):
    """The size of a file after a dataset was overwritten as a whole in one session."""
    unit, axis, sizes = "MB", "MiB", (4, 40, 400)

    def prepare(self, n):
        with h5py.File(PATH, "w") as file:
            file.create_dataset("x", data=np.ones(n << 17))

    def run(self, n):
        with h5py.File(PATH, "r+") as file:
            for i in range(n):
                file["x"][i << 17:(i + 1) << 17] = i
        return os.path.getsize(PATH) / 1e6


class RemovedRows(Case):
    """The size of a PyTables file after rows at its front were removed."""
    unit, axis, sizes = "MB", "rows", (30_000, 300_000, 3_000_000)

    def prepare(self, n):
        import tables
        row = np.dtype([(f"f{i}", "f8") for i in range(17)])
        with tables.open_file(PATH, "w") as file:
            table = file.create_table("/", "t", row, expectedrows=n)
            for i in range(0, n, 30_000):
                table.append(np.full(30_000, i, row))

    def run(self, n):
        import tables
        with tables.open_file(PATH, "r+") as file:
            file.root.t.remove_rows(0, n // 10)
        return os.path.getsize(PATH) / 1e6


class ArrayAppends(Case):
    """Appends of one row to a PyTables EArray."""
    axis = "appends"

    def operation(self, n):
        import tables
        row = np.arange(10.0)[None]
        with tables.open_file(PATH, "w") as file:
            array = file.create_earray("/", "e", tables.Float64Atom(), (0, 10))
            for _ in range(n):
                array.append(row)


class Commits(Case):
    """Appends of 32 bytes, each with a flush."""
    axis = "commits"

    def operation(self, n):
        with h5py.File(PATH, "w") as file:
            data = file.create_dataset("x", (0,), "i8", maxshape=(None,), chunks=(1024,))
            for i in range(n):
                data.resize((4 * i + 4,))
                data[4 * i:] = np.arange(4)
                file.flush()


class VersionBytes(Commits):
    """The size of a file that retains the version of each commit."""
    unit, expected, setting = "MB", "linear", "retention=1h"

    def run(self, n):
        self.operation(n)
        return os.path.getsize(PATH) / 1e6


class DirectoryVersionBytes(VersionBytes):
    """The bytes of a directory store that retains the version of each commit."""
    setting = "retention=1h store=file://{work}/objects"

    def run(self, n):
        self.operation(n)
        every = (os.path.join(folder, name) for folder, _, names in os.walk("objects") for name in names)
        return sum(os.path.getsize(path) for path in every) / 1e6


class CopyVersion(VersionBytes):
    """`h5lake copy NAME@v=2` beside later versions."""
    unit, expected = "ms", "constant"

    def prepare(self, n):
        self.operation(n)

    def run(self, n):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([os.environ["BENCH_CLI"], "copy", f"{PATH}@v=2", "copy.h5"], check=True, capture_output=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main():
    name, n, step = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    case = CASES[name]()
    if step == "prepare":
        case.prepare(n)
        return
    print(json.dumps({"cost": case.run(n)}))


if __name__ == "__main__":
    main()
