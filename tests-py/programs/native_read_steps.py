"""Runs a random program on native files, for native_reads.py: once with the plugin and once without. Prints the
results.

    native_read_steps.py FOLDER SEED..."""

import hashlib
import json
import os
import sys

import h5py
import hdf5plugin
import numpy as np

TYPES = ["i1", "<u2", ">i4", "<f4", ">f8", "c8", "S5", np.dtype([("a", "<i4"), ("b", "S3"), ("c", "<f8", (2,))]),
         h5py.enum_dtype({"no": 0, "yes": 1}, "i2"), "bool", h5py.string_dtype(),
         np.dtype([("n", "<i2"), ("s", h5py.string_dtype())])]
# h5py's names of filters, and whether a filter accepts only numbers.
FILTERS = [({"compression": "gzip", "shuffle": True}, False), ({"compression": "gzip", "compression_opts": 9}, False),
           ({"compression": "gzip", "fletcher32": True}, False), ({"shuffle": True}, False), ({"fletcher32": True}, False),
           ({"compression": "lzf", "shuffle": True}, False), ({"compression": "szip"}, True), ({"scaleoffset": 4}, True),
           (dict(hdf5plugin.Zstd()), False), (dict(hdf5plugin.Blosc()), False), (dict(hdf5plugin.Blosc2()), False),
           (dict(hdf5plugin.LZ4()), False), (dict(hdf5plugin.BZip2()), False), (dict(hdf5plugin.Bitshuffle()), False),
           (dict(hdf5plugin.Zfp()), True), ({}, False)]


class Program:
    """One file, and the results of the calls on it."""

    def __init__(self, folder, seed):
        self.rng, self.seen = np.random.default_rng(seed), []
        self.path = os.path.join(folder, f"native-{seed}.h5")
        self.options = self.of([{}, {}, {}, {"driver": "core"}, {"driver": "sec2"}, {"driver": "stdio"}, {"driver": "split"},
                                {"driver": "family", "memb_size": 1 << 16}])
        self.creation = self.of([{}, {}, {"userblock_size": 1024}, {"libver": "latest"}, {"fs_strategy": "page"}])
        if "driver" in self.options and self.creation != {"libver": "latest"}:
            self.creation = {}
        if self.options.get("driver") == "family":
            self.path = self.path.replace(".h5", "-%d.h5")
        # Most chunks are larger than the library's cache, so that the plugin decodes most reads.
        self.options["rdcc_nbytes"] = self.of([0, 64, 64, 2000, 1 << 20])

    def of(self, choices):
        return choices[self.rng.integers(len(choices))]

    def data(self, dtype, shape):
        dtype, n = np.dtype(dtype), int(np.prod(shape))
        if h5py.check_string_dtype(dtype) and dtype.kind == "O":
            return np.array([f"text {i % 7}" for i in range(n)], object).reshape(shape)
        if dtype.names and dtype["s" if "s" in dtype.names else "a"].kind == "O":
            return np.array([(i, f"text {i % 5}") for i in range(n)], dtype).reshape(shape)
        if h5py.check_enum_dtype(dtype) or dtype == bool:
            return self.rng.integers(0, 2, shape).astype(dtype)
        if dtype.kind in "fc":
            return np.cumsum(self.rng.integers(-3, 4, n)).astype(dtype).reshape(shape)
        if dtype.kind in "iu":
            return (np.arange(n) % 100 + self.rng.integers(0, 3, n)).astype(dtype).reshape(shape)
        return np.frombuffer(self.rng.integers(65, 70, n * dtype.itemsize, "u1").tobytes(), dtype).reshape(shape)

    def note(self, what, see):
        """Records the result of a call, or the class of its error."""
        try:
            answer = see()
        except Exception as error:  # noqa: BLE001 - the outcome is data here
            self.seen.append([what, type(error).__name__])
            return
        answer = np.ascontiguousarray(answer)
        raw = repr(answer.tolist()).encode() if answer.dtype.hasobject else answer.tobytes()
        self.seen.append([what, str(answer.dtype), list(answer.shape), hashlib.sha1(raw).hexdigest()])

    def index(self, shape):
        """Returns an index: a hyperslab of any stride, a list, or points."""
        kind = self.rng.integers(8)
        if kind == 0:
            return ...
        if kind == 1:
            axis = self.rng.integers(len(shape))
            rows = np.sort(self.rng.permutation(shape[axis])[:self.rng.integers(1, 20)])
            return tuple(rows.tolist() if d == axis else slice(None) for d in range(len(shape)))
        if kind == 2:
            return self.rng.random(shape) < self.of([0.001, 0.1, 0.9])
        index = []
        for n in shape:
            first = self.rng.integers(0, n) if n else 0
            index.append(slice(int(first), int(self.rng.integers(first, n + 1)), int(self.of([1, 1, 1, 2, 3, 7]))))
        return tuple(index)

    def look(self, data, how):
        """Reads one dataset in the ways that programs do."""
        for n in range(4):
            index = self.index(data.shape)
            self.note(f"{how} {n}", lambda: data[index])
        self.note(f"{how} all", lambda: data[...])
        if data.dtype.kind in "iuf":
            self.note(f"{how} as f8", lambda: data.astype("f8")[...])
        if len(data.shape) == 2 and not data.dtype.hasobject:
            self.note(f"{how} into a part", lambda: self.into_a_part(data))
        self.note(f"{how} untouched", lambda: self.onto(data))

    def into_a_part(self, data):
        """Reads rows into every other column of a larger array."""
        out = np.zeros((data.shape[0] + 3, data.shape[1] * 2 + 1), data.dtype)
        data.read_direct(out, np.s_[:, :], np.s_[2:-1, 1::2])
        return out

    def onto(self, data):
        """Reads into a buffer with data: elements of chunks without storage may stay unchanged."""
        if data.dtype.hasobject:
            return data[...]
        out = np.frombuffer(b"\x5a" * (data.dtype.itemsize * data.size), data.dtype).reshape(data.shape).copy()
        data.id.read(h5py.h5s.ALL, h5py.h5s.ALL, out)
        return out

    def new(self, file, name):
        filters, only_numbers = self.of(FILTERS)
        dtype = self.of(TYPES[:5] if only_numbers else TYPES)
        if only_numbers and np.dtype(dtype).kind not in ("iu" if "scaleoffset" in filters else "iuf"):
            dtype = "<i4"
        if only_numbers and not isinstance(filters.get("compression"), str) and "compression" in filters:
            dtype = "<f4"
        if np.dtype(dtype).hasobject and not isinstance(filters.get("compression", ""), str):
            filters = {"compression": "gzip"}  # c-blosc divides by zero for some of the others
        # Most datasets are long enough for the plugin. Elements that are Python objects take long, and the plugin never
        # decodes them.
        is_long = not np.dtype(dtype).hasobject and self.rng.random() < 0.8
        rank = self.rng.integers(1, 4)
        longest = ([300_000, 560, 68] if is_long else [3000, 90, 20])[rank - 1]
        shape = tuple(int(n) for n in self.rng.integers(longest // 2 if is_long else 1, longest, rank))
        chunks = tuple(int(self.rng.integers(max(1, n // 10), n // 2 + 2)) for n in shape)
        # hdf5plugin has names of its own, and h5py's names are passed unchanged.
        grows = self.rng.integers(len(shape) + 1)  # either one dimension is unlimited, or all of them are
        most = [None if n == grows or grows == len(shape) else 2 * size + 1 for n, size in enumerate(shape)]
        options = {"maxshape": tuple(most), "chunks": chunks, **filters}
        if self.rng.random() < 0.3 and np.dtype(dtype).kind in "iuf" and not h5py.check_enum_dtype(np.dtype(dtype)):
            options["fillvalue"] = 7
        if self.rng.random() < 0.3:
            options["fill_time"] = self.of(["never", "alloc", "ifset"])
        if self.rng.random() < 0.15:
            file[f"type of {name}"] = np.dtype(dtype)
            dtype = file[f"type of {name}"]
        return file.create_dataset(name, shape, dtype, **options)

    def write(self, data):
        """Writes all elements, some or none, so that some chunks are missing."""
        kind = self.rng.integers(4)
        if kind == 0:
            return
        values = self.data(data.dtype, data.shape)
        if kind == 1:
            data[:data.shape[0] // 2] = values[:data.shape[0] // 2]
        elif kind == 2:
            data[::5] = values[::5]
        else:
            data[...] = values

    def run(self):
        with h5py.File(self.path, "w", **self.options, **self.creation) as file:
            for name in "abc":
                try:
                    data = self.new(file, name)
                except (ValueError, OSError, TypeError) as error:
                    self.seen.append([name, type(error).__name__])
                    continue
                self.write(data)
                self.look(data, f"new {name}")
                if self.rng.random() < 0.5:
                    data[0] = self.data(data.dtype, data.shape)[-1]
                    self.look(data, f"changed {name}")
                if self.rng.random() < 0.5:
                    data.resize([int(n * self.of([1, 1, 0.5, 1.7])) or 1 for n in data.shape])
                    self.look(data, f"resized {name}")
                if self.rng.random() < 0.3 and data.compression == "gzip" and not data.dtype.hasobject:
                    # A chunk that skips the filters. The dataset is opened again, because libhdf5 may have the old mask
                    # of the chunk that it looked up last, and would then decode a chunk that is not encoded.
                    raw = self.data(data.dtype, data.chunks).astype(data.dtype).tobytes()
                    data.id.write_direct_chunk((0,) * len(data.shape), raw, (1 << data.id.get_create_plist().get_nfilters()) - 1)
                    del data
                    data = file[name]
                    self.look(data, f"direct {name}")
        options = dict(self.options)
        if self.creation.get("fs_strategy") and "driver" not in options:
            options["page_buf_size"] = 1 << 16
        with h5py.File(self.path, self.of(["r", "r+"]), **options) as file:
            for name in [name for name in file if isinstance(file[name], h5py.Dataset)]:
                again = file[name]
                self.look(file[name], f"again {name}")
                if file.mode == "r+":
                    again[-1] = self.data(again.dtype, again.shape)[0]
                    self.look(file[name], f"written {name}")
        return self.seen


def main():
    print(json.dumps({seed: Program(sys.argv[1], int(seed)).run() for seed in sys.argv[2:]}))


if __name__ == "__main__":
    main()
