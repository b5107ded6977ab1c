"""Several processes of one program read a file: dask's workers, pools of multiprocessing, and a data loader that
forks its workers after the file was opened, as PyTorch's does."""
# requires: loaders.txt

import multiprocessing
import os

import distributed
import h5py
import numpy as np
from cases import main

ROWS, COLUMNS = 4000, 32
SAMPLES = np.arange(ROWS * COLUMNS, dtype="f4").reshape(ROWS, COLUMNS)


def write(path):
    with h5py.File(path, "w") as f:
        f.create_dataset("samples", data=SAMPLES, chunks=(100, COLUMNS), compression="gzip")
        f["labels"] = np.arange(ROWS) % 7
    return path


def kind(path):
    """Returns whether the connector of the environment opened the file. The first bytes of the file tell."""
    with open(path, "rb") as file:
        is_ours = file.read(16).startswith(b"\x89HDF\r\n\x1a\n\x4ch5l")
    return is_ours == os.environ.get("HDF5_VOL_CONNECTOR", "").startswith("h5lake")


def part(path, first, count):
    """Reads rows of the file in this process. Returns their sum, the process id, and the result of `kind`."""
    with h5py.File(path) as f:
        rows = f["samples"][first:first + count]
        assert np.array_equal(rows, SAMPLES[first:first + count])
        return float(rows.sum(dtype="f8")), os.getpid(), kind(path)


def prove(parts, workers):
    sums, pids, kinds = zip(*parts)
    assert sum(sums) == SAMPLES.sum(dtype="f8"), sums
    assert os.getpid() not in pids and len(set(pids)) >= workers, pids
    assert all(kinds), kinds


def check_workers_of_dask(folder):
    path = write(str(folder / "dask.h5"))
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None,
                                  local_directory=str(folder / "scratch")) as cluster, distributed.Client(cluster) as client:
        names = list(client.scheduler_info()["workers"])
        tasks = [client.submit(part, path, first, 100, pure=False, workers=names[first // 100 % 3])
                 for first in range(0, ROWS, 100)]
        prove(client.gather(tasks), 3)


def with_pool(method, folder):
    path = write(str(folder / f"{method}.h5"))
    # The parent has the file open too, while its children read.
    with h5py.File(path) as held, multiprocessing.get_context(method).Pool(3) as pool:
        parts = pool.starmap(part, [(path, first, 200) for first in range(0, ROWS, 200)], chunksize=1)
        prove(parts, 1)
        assert held["labels"][-1] == (ROWS - 1) % 7


def check_pool_by_fork(folder):
    with_pool("fork", folder)


def check_pool_by_spawn(folder):
    with_pool("spawn", folder)


class Samples:
    """A dataset as its users write it for PyTorch: a length, and a sample for each index. The file is open before the
    workers are forked, and they read from it."""

    def __init__(self, path):
        self.file = h5py.File(path)

    def __len__(self):
        return len(self.file["labels"])

    def __getitem__(self, index):
        return self.file["samples"][index], int(self.file["labels"][index])


def work(dataset, wanted, answers):
    """Does the work of a worker of torch.utils.data.DataLoader: receives lists of indices until it gets None, and
    answers with batches."""
    for number, indices in iter(wanted.get, None):
        samples, labels = zip(*(dataset[i] for i in indices))
        answers.put((number, np.stack(samples), np.array(labels), os.getpid()))


class Loader:
    """Returns batches in their order, which forked workers read ahead, as DataLoader(num_workers=…) does on Linux."""

    def __init__(self, dataset, batch, workers, ahead=2):
        self.dataset, self.batch, self.workers, self.ahead = dataset, batch, workers, ahead

    def __iter__(self):
        fork = multiprocessing.get_context("fork")
        order = np.random.default_rng(1).permutation(len(self.dataset))
        batches = [order[i:i + self.batch].tolist() for i in range(0, len(order), self.batch)]
        wanted, answers = [fork.Queue() for _ in range(self.workers)], fork.Queue()
        processes = [fork.Process(target=work, args=(self.dataset, queue, answers), daemon=True) for queue in wanted]
        for process in processes:
            process.start()
        sent, early = 0, {}
        for number in range(len(batches)):
            while sent < min(len(batches), number + self.ahead * self.workers):
                wanted[sent % self.workers].put((sent, batches[sent]))
                sent += 1
            while number not in early:
                answer = answers.get(timeout=60)
                early[answer[0]] = (batches[answer[0]], *answer[1:])
            yield early.pop(number)
        for queue, process in zip(wanted, processes):
            queue.put(None)
            process.join()
            assert process.exitcode == 0, process.exitcode


def check_data_loader(folder):
    dataset = Samples(write(str(folder / "loader.h5")))
    for _epoch in range(2):
        seen, pids = [], set()
        for indices, samples, labels, pid in Loader(dataset, batch=50, workers=3):
            assert np.array_equal(samples, SAMPLES[indices]) and np.array_equal(labels, np.array(indices) % 7)
            seen += indices
            pids.add(pid)
        assert sorted(seen) == list(range(ROWS)) and len(pids) == 3 and os.getpid() not in pids
    # The parent's file still works.
    assert np.array_equal(dataset[5][0], SAMPLES[5])


if __name__ == "__main__":
    main(globals())
