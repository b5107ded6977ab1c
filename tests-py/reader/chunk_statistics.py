"""Statistics of chunks, from docs/format.md alone: they must be true for each element of the chunk."""

import struct

import numpy as np
from ledger import Damaged

#: The number of chunks with statistics that were compared with their elements since the program began.
checked = 0


def number_type(encoded):
    """Returns NumPy's type of a datatype in memory form, or None for a type without statistics."""
    message = encoded[2:]
    if message[0] & 15 == 8:  # an enumeration: its integers
        message = message[8:]
    kind, flags, (size, offset, bits) = message[0] & 15, message[1], struct.unpack_from("<IHH", message, 4)
    if kind not in (0, 1, 4) or offset or bits != 8 * size or size not in ((2, 4, 8) if kind == 1 else (1, 2, 4, 8)):
        return None
    letter = "f" if kind == 1 else "i" if kind == 0 and flags & 8 else "u"
    return np.dtype(f"{'>' if flags & 1 else '<'}{letter}{size}")


def check(statistics, encoded, chunk, data):
    """Compares statistics, (minimum, maximum, count, box) as stored, with the bytes of a chunk."""
    global checked
    dtype, (minimum, maximum, count, box) = number_type(encoded), statistics
    if dtype is None:
        raise Damaged("statistics of elements that are no numbers")
    box = tuple(box or chunk)
    if len(box) != len(chunk) or not all(0 < n <= side for n, side in zip(box, chunk)):
        raise Damaged(f"statistics of the box {box} of a chunk {chunk}")
    elements = np.frombuffer(data, dtype).reshape(chunk)[tuple(slice(n) for n in box)]
    numbers = elements[elements == elements]  # all but NaN
    if count is not None and count != numbers.size:
        raise Damaged(f"{count} elements are counted of {numbers.size}")
    if minimum is None or maximum is None:
        if (minimum, maximum) != (None, None) or count != 0:
            raise Damaged("statistics without a range")
    elif numbers.size:
        form = {"f": "<d", "i": "<q", "u": "<Q"}[dtype.kind]
        low, high = (struct.unpack(form, struct.pack("<Q", bits))[0] for bits in (minimum, maximum))
        if not (low <= numbers.min().item() and numbers.max().item() <= high):
            raise Damaged(f"elements from {numbers.min()} to {numbers.max()} beyond {low} to {high}")
    checked += 1
