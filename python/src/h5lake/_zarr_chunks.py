"""The parts in which elements are copied: whole chunks, as many as one step may have in memory."""

from itertools import product
from math import prod

#: The bytes that are copied at once. A larger chunk is a step of its own.
STEP = 64 << 20
#: The bytes of a chunk for a dataset without chunks.
CHUNK = 1 << 20


def chosen(shape, itemsize):
    """Returns the shape of chunks for a dataset without chunks: as many whole rows as fit, or a part of one."""
    left, chunks = max(1, CHUNK // max(1, itemsize)), []
    for side in reversed(shape):
        chunks.append(max(1, min(side, left)))
        left = max(1, left // chunks[-1])
    return tuple(reversed(chunks))


def _steps(shape, chunks, itemsize):
    """Returns the number of elements of a step along each dimension."""
    left, steps = max(1, STEP // max(1, prod(chunks) * itemsize)), []
    for side, chunk in zip(reversed(shape), reversed(chunks)):
        count = max(1, min(-(-side // chunk), left))
        steps.append(count * chunk)
        left = max(1, left // count)
    return tuple(reversed(steps))


def _part(corner, steps, shape):
    return tuple(slice(at, min(at + step, side)) for at, step, side in zip(corner, steps, shape))


def parts(shape, chunks, itemsize):
    """Returns slices that cover a shape."""
    steps = _steps(shape, chunks, itemsize)
    for corner in product(*(range(0, side, step) for side, step in zip(shape, steps))):
        yield _part(corner, steps, shape)


def parts_of(dataset, chunks):
    """Returns slices that cover a dataset of h5py's."""
    return parts(dataset.shape, chunks, dataset.dtype.itemsize)


def stored_parts(dataset, chunks):
    """Returns the slices that have a stored chunk, because a huge extent may have few written elements."""
    if not dataset.chunks or dataset.id.get_num_chunks() == prod(-(-side // chunk) for side, chunk in zip(dataset.shape, chunks)):
        yield from parts_of(dataset, chunks)
        return
    steps = _steps(dataset.shape, chunks, dataset.dtype.itemsize)
    for corner in sorted({tuple(at // step * step for at, step in zip(offset, steps)) for offset in _stored(dataset)}):
        yield _part(corner, steps, dataset.shape)


def _stored(dataset):
    """Returns the offsets of all stored chunks."""
    if not hasattr(dataset.id, "chunk_iter"):
        return [dataset.id.get_chunk_info(n).chunk_offset for n in range(dataset.id.get_num_chunks())]
    found = []
    # A value other than None would end the iteration.
    dataset.id.chunk_iter(lambda chunk: found.append(chunk.chunk_offset))
    return found
