"""Selections as h5py understands them: integers, slices with steps, an ellipsis, boolean masks, and one list of indices."""

import operator

import numpy as np


class Axis:
    """The selection of one dimension: `start`, `count` and `step`; or increasing `indices`. The result of an index alone
    does not have the dimension (`is_scalar`). `is_vector` says that the caller gave a list or a mask."""

    __slots__ = ("count", "indices", "is_scalar", "is_vector", "start", "step")

    def __init__(self, start, count, step=1, is_scalar=False, is_vector=False, indices=None):
        self.start, self.count, self.step, self.indices = start, count, step, indices
        self.is_scalar, self.is_vector = is_scalar, is_vector


def axes(arguments: tuple, shape: tuple) -> "list[Axis]":
    """Returns the selection of each dimension for the arguments of an index expression."""
    rank, given, ellipsis = len(shape), len(arguments), None
    for n, argument in enumerate(arguments):
        if argument is Ellipsis:
            if ellipsis is not None:
                raise ValueError("Only one ellipsis may be used.")
            ellipsis = n
    if ellipsis is None:
        ellipsis, behind = given, ()
    else:
        behind, given = arguments[ellipsis + 1:], given - 1
    if given > rank:
        raise ValueError(f"{given} indexing arguments for {rank} dimensions")
    before = arguments[:ellipsis]
    made = [_axis(argument, size) for argument, size in zip(before, shape)]
    made += [Axis(0, size) for size in shape[len(before):rank - len(behind)]]
    made += [_axis(argument, size) for argument, size in zip(behind, shape[rank - len(behind):])]
    if sum(axis.is_vector for axis in made) > 1:
        raise TypeError("Only one indexing vector or array is currently allowed for fancy indexing")
    return made


def _axis(argument, size: int) -> Axis:
    if isinstance(argument, slice):
        start, stop, step = argument.indices(size)
        if step < 1:
            raise ValueError(f"Step must be >= 1 (got {step})")
        return Axis(start, max(0, -(-(stop - start) // step)), step)
    if not isinstance(argument, (bool, np.bool_)):
        try:
            index = operator.index(argument)
        except TypeError:
            return _vector(argument, size)
        if index < 0:
            index += size
        if not 0 <= index < size:
            where = "empty dimension" if size == 0 else f"(0-{size - 1})"
            raise IndexError(f"Index ({index}) out of range for {where}")
        return Axis(index, 1, 1, True)
    raise TypeError("a boolean is no index")


def _vector(argument, size: int) -> Axis:
    """The axis for a list of indices, or for a mask of one dimension."""
    indices = np.asarray(argument)
    if indices.dtype.kind == "b":
        if indices.shape != (size,):
            raise TypeError(f"boolean index array has shape {indices.shape}, and the dimension {size} elements")
        indices = indices.nonzero()[0]
    elif indices.size == 0:
        indices = indices.astype("i8")
    if indices.ndim != 1:
        raise TypeError("Only one-dimensional lists of indices are allowed")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"Indices must be integers, not {indices.dtype}")
    indices = indices.astype("i8")
    indices = np.where(indices < 0, indices + size, indices)
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise IndexError(f"Fancy indexing out of range for (0-{size - 1})")
    if (np.diff(indices) <= 0).any():
        raise TypeError("Indexing elements must be in increasing order")
    steps = np.unique(np.diff(indices))
    if indices.size and steps.size <= 1:
        return Axis(int(indices[0]), indices.size, int(steps[0]) if steps.size else 1, False, True)
    if not indices.size:
        return Axis(0, 0, 1, False, True)
    return Axis(int(indices[0]), indices.size, 1, False, True, indices)


#: The bytes between two selected elements that are read with them, because they cost less than another read.
_GAP_BYTES = 32 << 10


def groups(indices, row: int, most: int) -> "list":
    """Divides increasing indices into groups that are read as one box each. Rows of `row` bytes lie at the indices. The rows between
    two indices of a group have at most 32 KiB, and a box has about `most` bytes at most."""
    breaks = np.diff(indices) > _GAP_BYTES // row + 1
    begins = np.concatenate(([0], breaks.nonzero()[0] + 1))
    lengths = np.diff(np.append(begins, len(indices)))
    slices = (indices - np.repeat(indices[begins], lengths)) // max(most // row, 1)
    return np.split(indices, (breaks | (np.diff(slices) != 0)).nonzero()[0] + 1)
