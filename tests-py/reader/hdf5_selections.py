"""Decodes dataspaces and selections as HDF5 encodes them (its file format specification, IV.A.2.b and VIII.A) to the
selected elements."""

import itertools

import numpy as np

NONE, POINTS, HYPERSLAB, ALL = range(4)
MAX_RANK = 32


class BadSelection(Exception):
    """Bytes that encode no selection."""


class _Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise BadSelection("a selection ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, width):
        return int.from_bytes(self.take(width), "little")

    def numbers(self, width, count):
        return [self.number(width) for _ in range(count)]


class Selection:
    """A decoded selection. `shape` is that of its dataspace, if the encoding has one."""

    def __init__(self, data, rank, shape=None):
        bytes_ = _Bytes(data)
        self.rank, self.shape = rank, shape
        self.kind, version = bytes_.number(4), bytes_.number(4)
        self.points, self.blocks, self.regular = [], [], None
        known = {NONE: (1,), ALL: (1,), POINTS: (1, 2), HYPERSLAB: (1, 2, 3)}
        if version not in known.get(self.kind, ()):
            raise BadSelection(f"a selection of kind {self.kind}, version {version}")
        width, flags = self._widths(bytes_, version)
        if self.kind in (NONE, ALL):
            return
        if width not in (2, 4, 8) or bytes_.number(4) != rank or not rank:
            raise BadSelection("a selection has another rank than its dataspace, or numbers of no size")
        self.endless = (1 << 8 * width) - 1
        if self.kind == POINTS:
            self.points = [bytes_.numbers(width, rank) for _ in range(bytes_.number(width))]
        elif flags & 1:
            self.regular = [bytes_.numbers(width, 4) for _ in range(rank)]
        else:
            self.blocks = [(bytes_.numbers(width, rank), bytes_.numbers(width, rank)) for _ in range(bytes_.number(width))]

    def _widths(self, bytes_, version):
        """Returns the width of each number in bytes, and the flags."""
        if self.kind in (NONE, ALL) or version == 1:
            bytes_.take(8)
            return 4, 0
        if self.kind == POINTS:
            return bytes_.number(1), 0
        flags = bytes_.number(1)
        if version == 2:
            bytes_.take(4)
            return 8, flags
        return bytes_.number(1), flags

    def endless_dimension(self):
        """Returns the unlimited dimension, or None."""
        found = [n for n, four in enumerate(self.regular or []) if self.endless in four[2:]]
        return found[0] if found else None

    def along(self, dimension, extent):
        """Returns the coordinates along one dimension of a regular hyperslab, up to an extent."""
        start, stride, count, block = self.regular[dimension]
        if block == self.endless:
            return np.arange(start, max(start, extent))
        if count == self.endless:
            count = max(0, -(-(extent - start) // stride))
            found = (start + stride * np.arange(count)[:, None] + np.arange(block)).reshape(-1)
            return found[found < extent]
        return (start + stride * np.arange(count)[:, None] + np.arange(block)).reshape(-1)

    def numbered(self, number):
        """Returns the coordinates of the block with a number along the unlimited dimension, and of all blocks along
        the other dimensions."""
        endless = self.endless_dimension()
        start, stride, _, block = self.regular[endless]
        begin = start + number * stride
        return product([np.arange(begin, begin + block) if n == endless else self.along(n, 0) for n in range(self.rank)])

    def coordinates(self, shape, limit=None):
        """Returns rows of coordinates in a dataspace of a shape, in the order of the selection, and at most `limit`
        along the unlimited dimension."""
        empty = np.zeros((0, self.rank), "i8")
        if self.kind == NONE or shape is None:
            return empty
        if self.kind == ALL:
            return product([np.arange(n) for n in shape])
        if self.kind == POINTS:
            return np.array(self.points, "i8").reshape(-1, self.rank)
        if self.regular is not None:
            endless = self.endless_dimension()
            axes = [self.along(n, shape[n]) for n in range(self.rank)]
            return product([axis[:limit] if n == endless else axis for n, axis in enumerate(axes)])
        found = [product([np.arange(a, b + 1) for a, b in zip(first, last)]) for first, last in self.blocks]
        return np.unique(np.concatenate([empty, *found]), axis=0)


def product(axes):
    """Returns all combinations, with the last axis fastest, or one empty row if there are no axes."""
    if not axes:
        return np.zeros((1, 0), "i8")
    return np.stack([grid.reshape(-1) for grid in np.meshgrid(*axes, indexing="ij")], axis=1).astype("i8")


def dataspace(encoded):
    """Decodes a selection after its extent, as H5Sencode2 writes both."""
    bytes_ = _Bytes(encoded)
    message, version, width, length = bytes_.number(1), bytes_.number(1), bytes_.number(1), bytes_.number(4)
    if (message, version) != (1, 0) or width not in (2, 4, 8):
        raise BadSelection("an encoding of no dataspace")
    extent = _Bytes(bytes_.take(length))
    version, rank, _, kind = extent.numbers(1, 4)
    if version == 1:
        extent.take(4)
    if version not in (1, 2) or rank > MAX_RANK:
        raise BadSelection(f"an extent of version {version} and rank {rank}")
    null = version == 2 and kind == 2
    shape = None if null else tuple(extent.numbers(width, rank))
    return Selection(encoded[bytes_.at:], rank, shape)


def of_library(space):
    """Returns the same rows of coordinates for a dataspace (SpaceID) of h5py."""
    import h5py

    rank, kind = space.get_simple_extent_ndims(), space.get_select_type()
    if space.get_simple_extent_type() == h5py.h5s.NULL or kind == h5py.h5s.SEL_NONE:
        return []
    if kind == h5py.h5s.SEL_ALL:
        return [list(row) for row in itertools.product(*map(range, space.get_simple_extent_dims()))]
    if kind == h5py.h5s.SEL_POINTS:
        return space.get_select_elem_pointlist().tolist()
    found = {row for first, last in space.get_select_hyper_blocklist().reshape(-1, 2, rank).tolist()
             for row in itertools.product(*(range(a, b + 1) for a, b in zip(first, last)))}
    return [list(row) for row in sorted(found)]


