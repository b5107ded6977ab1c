"""Reads everything of a container through h5lake.open, however damaged it is: errors are expected, but crashes are not."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "programs"))
from parallel_reader import h5lake  # noqa: E402


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except Exception:  # noqa: BLE001
        return None


def whole(dataset):
    if dataset.size is not None and dataset.size * max(dataset.dtype.itemsize, 1) < 1 << 22:
        attempt(lambda: dataset[()])
        attempt(lambda: dataset[..., :2])
        attempt(lambda: dataset.read_chunk((0,) * dataset.ndim))


def look(found):
    for name in attempt(list, found.attrs) or ():
        attempt(lambda: found.attrs[name])
    if isinstance(found, h5lake._reader_dataset.Dataset):
        for question in ("dtype", "shape", "chunks", "compression", "fillvalue", "maxshape", "is_virtual"):
            attempt(getattr, found, question)
        attempt(whole, found)
    elif isinstance(found, h5lake._reader_objects.Group):
        for name in attempt(list, found) or ():
            child = attempt(lambda: found[name])
            if child is not None and found.name.count("/") < 6:
                look(child)


def main(path):
    f = attempt(h5lake.open, path)
    if f is not None:
        look(f)
        attempt(f.visit, lambda name: None)
        attempt(f.refresh)


main(sys.argv[1])
