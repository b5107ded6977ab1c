"""Reads everything of a container through h5py, however damaged it is: errors are expected, but crashes are not."""

import sys

import h5py


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except Exception:  # noqa: BLE001
        return None


def whole(dataset):
    if dataset.size is not None and dataset.size * max(dataset.dtype.itemsize, 1) < 1 << 22:
        attempt(lambda: dataset[()])
        attempt(lambda: dataset[..., :2])


def look(obj):
    for name in attempt(list, obj.attrs) or ():
        attempt(lambda: obj.attrs[name])
        attempt(lambda: h5py.h5a.open(obj.id, name.encode()).get_type())
    attempt(lambda: h5py.h5o.get_info(obj.id))
    if isinstance(obj, h5py.Dataset):
        for question in ("dtype", "shape", "chunks", "compression", "fillvalue", "maxshape", "is_virtual"):
            attempt(getattr, obj, question)
        attempt(obj.virtual_sources)
        attempt(lambda: obj.id.get_create_plist().get_fill_value)
        attempt(lambda: [obj.id.get_chunk_info(n) for n in range(min(obj.id.get_num_chunks(), 9))])
        attempt(whole, obj)
    elif isinstance(obj, h5py.Group):
        attempt(lambda: obj.id.get_create_plist().get_link_creation_order())
    elif isinstance(obj, h5py.Datatype):
        attempt(lambda: obj.dtype)


def walk(group, depth):
    attempt(look, group)
    for name in attempt(list, group) or ():
        attempt(lambda: group.get(name, getlink=True))
        found = attempt(lambda: group[name])
        if isinstance(found, h5py.Group) and depth:
            attempt(walk, found, depth - 1)
        elif found is not None:
            attempt(look, found)


def references(f):
    for name in ("regions", "new_references"):
        for reference in attempt(lambda: f[name][()]) if name in f else ():
            attempt(lambda: f[reference])
            attempt(lambda: f[reference][reference])


def main(path):
    with h5py.File(path, "r") as f:
        attempt(lambda: f.id.get_create_plist().get_sizes())
        walk(f, 4)
        attempt(references, f)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        attempt(main, each)
