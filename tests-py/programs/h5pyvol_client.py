"""The client with which H5PyVOL was demonstrated: N files, each with a group and a float32 dataset, are written, and
then read back completely, with a stride, and filtered."""

import os

import h5py
import numpy as np
from cases import main, same

FILES, SIZE = 20, 100_000


def values(i):
    return np.random.default_rng(i).random(SIZE).astype("float32")


def check_put_get(folder):
    for i in range(FILES):
        with h5py.File(f"file{i}", "w") as f:
            f.create_group("group").create_dataset(f"mydataset{i}", data=values(i), dtype="float32")
    assert len(os.listdir(".")) == FILES
    for i in range(FILES):
        with h5py.File(f"file{i}", "r") as f:
            dataset = f[f"group/mydataset{i}"]
            same(dataset[:], values(i))
            same(dataset[10:90_000:100], values(i)[10:90_000:100])
            same(dataset[dataset[:] > 0.9], values(i)[values(i) > 0.9])


main(globals())
