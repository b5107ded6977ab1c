"""The plugin's own filters, in programs with a libhdf5 that lacks them: containers can be read and changed. Only
setting up a new dataset needs the filter in libhdf5, as in native HDF5."""
# requires: filters.txt
# only: h5lake

import json
import subprocess
import sys

import h5py
import numpy as np
from cases import main, raises, same
from h5py import h5d, h5p, h5s, h5t, h5z

DATA = (np.arange(70 * 33).reshape(70, 33) // 5 % 300).astype("<i4")
FILTERS = {"zstd": (32015, (3,)), "lz4": (32004, ()), "bzip2": (307, (9,)), "bitshuffle": (32008, (0, 2)),
           "bitshuffle zstd": (32008, (0, 3, 5)),
           **{f"blosc {codec}": (32001, (0, 0, 0, 0, 5, 0, codec)) for codec in range(6)},
           **{f"blosc2 {codec}": (32026, (0, 0, 0, 0, 5, 0, codec)) for codec in (0, 1, 2, 4, 5)}}


def creation(number, flags, values):
    made = h5p.create(h5p.DATASET_CREATE)
    made.set_chunk((20, 10))
    made.set_filter(2, 0, ())
    made.set_filter(number, flags, values)
    return made


def create(file, name, list_):
    dataset = h5d.create(file.id, name.encode(), h5t.STD_I32LE, h5s.create_simple(DATA.shape), list_)
    return h5py.Dataset(dataset)


def masks(dataset):
    return {dataset.id.get_chunk_info(n).filter_mask for n in range(dataset.id.get_num_chunks())}


def in_a_program_with_plugins(code):
    """Runs code that has hdf5plugin's filters, on the same connector."""
    code = f"import h5py, hdf5plugin, json, sys\nsys.path.insert(0, {sys.path[0]!r})\n{code}"
    run = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


WRITE = """
sys.argv[1:] = ["none"]
from without_filter_plugins import *
with h5py.File("with.h5", "w") as f:
    for name, (number, values) in FILTERS.items():
        create(f, name, creation(number, 0, values))[...] = DATA
"""
READ = """
sys.argv[1:] = ["none"]
from without_filter_plugins import *
with h5py.File("with.h5") as f:
    for name in f:
        assert h5z.filter_avail(FILTERS[name][0])
        wanted = DATA.copy()
        wanted[3:60, 5:7] = -9
        same(f[name][...], wanted)
    print(json.dumps({name: f[name].id.get_storage_size() for name in f}))
"""


def check_containers_are_read_and_changed(_):
    in_a_program_with_plugins(WRITE)
    assert not any(h5z.filter_avail(number) for number, _ in FILTERS.values()), "the test has plugins"
    with h5py.File("with.h5", "r+") as f:
        assert len(f) == len(FILTERS)
        for name in f:
            same(f[name][...], DATA)
            f[name][3:60, 5:7] = -9
            assert masks(f[name]) == {0}, name
    with h5py.File("with.h5") as f:
        sizes = {name: f[name].id.get_storage_size() for name in f}
        # A frame of Blosc2 takes nearly 300 bytes in addition to the compressed data.
        most = {name: DATA.nbytes if "blosc2" in name else DATA.nbytes / 2 for name in sizes}
        assert all(size < most[name] for name, size in sizes.items()), sizes
    assert json.loads(in_a_program_with_plugins(READ)) == sizes


def check_a_needed_filter_is_needed_to_create(_):
    with h5py.File("needed.h5", "w") as f:
        for name, (number, values) in FILTERS.items():
            error = raises(ValueError, create, f, name, creation(number, 0, values))
            assert "required filter" in str(error) or "not" in str(error), error
        assert len(f) == 0


def check_an_optional_filter_is_left_out(_):
    with h5py.File("optional.h5", "w") as f:
        for name, (number, values) in FILTERS.items():
            d = create(f, name, creation(number, 1, values))
            d[...] = DATA
            assert masks(d) == {2}, name
            same(d[...], DATA)
            assert d.id.get_create_plist().get_filter(1)[0] == number
            shuffled = np.zeros((20, 10), "<i4")
            shuffled[...] = DATA[:20, :10]
            mask, stored = d.id.read_direct_chunk((0, 0))
            assert (mask, stored) == (2, shuffled.view("u1").reshape(-1, 4).T.tobytes())
    with h5py.File("optional.h5") as f:
        for name in f:
            same(f[name][...], DATA)


if __name__ == "__main__":
    main(globals())
