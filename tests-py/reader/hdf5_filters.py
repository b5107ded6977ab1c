"""Undoes HDF5's filters: returns a chunk as it was before they were applied."""

import struct
import zlib

import numpy as np
from hdf5_types import Unreadable
from ledger import Damaged

DEFLATE, SHUFFLE, FLETCHER32, SZIP, NBIT, SCALE_OFFSET, LZF = 1, 2, 3, 4, 5, 6, 32000


def undone(data, filters, mask):
    """Undoes the filters of a chunk, each of which is (number, flags, client data). If bit n of the mask is set,
    filter n was skipped."""
    for n, (number, _, client) in reversed(list(enumerate(filters))):
        if mask >> n & 1:
            continue
        if number not in UNDO:
            raise Unreadable(f"filter {number}")
        data = UNDO[number](data, client)
    return data


def shuffle(data, client):
    width = client[0]
    count = len(data) // width
    tail = data[count * width:]
    return np.frombuffer(data[:count * width], "u1").reshape(width, count).T.tobytes() + tail


def fletcher32(data, _):
    data, wanted = data[:-4], data[-4:]
    if struct.pack("<I", fletcher32_of(data)) != wanted:
        raise Damaged("fletcher32 of a chunk")
    return data


def fletcher32_of(data):
    """Returns HDF5's checksum: sums of big-endian 16-bit words; a last odd byte is the high half of a word."""
    words = np.frombuffer(data + b"\0" * (len(data) & 1), ">u2").astype("u8")
    low = int(words.sum())
    high = int((words * np.arange(len(words), 0, -1, dtype="u8")).sum())
    fold = lambda n: n % 65535 or (65535 if n else 0)  # noqa: E731
    return fold(high) << 16 | fold(low)


def lzf(data, _):
    """Decodes LibLZF: literal runs, and copies of earlier output."""
    made, at = bytearray(), 0
    while at < len(data):
        control, at = data[at], at + 1
        if control < 32:
            made += data[at:at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length, at = length + data[at], at + 1
        back = ((control & 31) << 8) + data[at] + 1
        at += 1
        if back > len(made):
            raise Damaged("lzf copies from before the chunk")
        for _ in range(length + 2):
            made.append(made[-back])
    return bytes(made)


def unpacked(data, count, width):
    """Returns `count` numbers of `width` bits each, the highest bit first."""
    bits = np.unpackbits(np.frombuffer(data, "u1"), count=count * width).reshape(count, width).astype("u8")
    return (bits << np.arange(width - 1, -1, -1, dtype="u8")).sum(axis=1, dtype="u8")


def scale_offset(data, client):
    kind, digits, count, is_float, size, signed, big, has_fill, *fill = client
    width, minimum = struct.unpack("<I", data[:4])[0], data[5:5 + data[4]].ljust(8, b"\0")[:8]
    packed, order = data[21:], ">" if big else "<"
    if width == 8 * size:
        return packed[:count * size]
    found = unpacked(packed, count, width)
    is_fill = (found == (1 << width) - 1) & bool(has_fill)
    filling = struct.pack(f"<{len(fill)}I", *fill)[:size].ljust(size, b"\0")
    if is_float:
        if kind != 0:
            raise Unreadable("scaling of floats by an exponent")
        dtype = np.dtype(f"f{size}")
        least = np.frombuffer(minimum[:size], dtype)[0]
        values = found.astype(dtype) / dtype.type(10.0 ** np.int32(np.uint32(digits))) + least
    else:
        dtype = np.dtype(f"{'i' if signed else 'u'}{size}")
        values = (found + np.frombuffer(minimum, "<u8")[0]).astype(f"u{size}").view(dtype)
    values = values.astype(dtype)
    values[is_fill] = np.frombuffer(filling, dtype)[0]
    return values.astype(dtype.newbyteorder(order)).tobytes()


class Bits:
    """A stream of bits, the highest first."""

    def __init__(self, data):
        self.text, self.at = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else "", 0

    def take(self, width):
        if self.at + width > len(self.text):
            raise Damaged("a chunk has too few bits")
        self.at += width
        return int(self.text[self.at - width:self.at] or "0", 2)

    def zeros(self):
        """Skips the zeros before the next one bit, and the one bit. Returns the number of zeros."""
        one = self.text.find("1", self.at)
        if one < 0:
            raise Damaged("a chunk has too few bits")
        count, self.at = one - self.at, one + 1
        return count


ATOMIC, ARRAY, COMPOUND, AS_IT_IS = 1, 2, 3, 4


def nbit(data, client):
    """Unpacks elements of which only the significant bits are stored. The client data describe the types."""
    _, not_packed, count, *described = client
    if not_packed:
        return data
    bits, made = Bits(data), bytearray()
    for _ in range(count):
        element, _ = nbit_element(bits, described, 0)
        made += element
    return bytes(made)


def nbit_element(bits, described, at):
    """Returns one element, and the end of the description of its type."""
    kind, size = described[at:at + 2]
    if kind == ATOMIC:
        big, precision, offset = described[at + 2:at + 5]
        return (bits.take(precision) << offset).to_bytes(size, "big" if big else "little"), at + 5
    if kind == AS_IT_IS:
        return bytes(bits.take(8) for _ in range(size)), at + 2
    made = bytearray(size)
    if kind == ARRAY:
        width, begin = described[at + 3], 0
        while begin < size:
            made[begin:begin + width], end = nbit_element(bits, described, at + 2)
            begin += width
        return made, end
    if kind != COMPOUND:
        raise Unreadable(f"nbit of kind {kind}")
    members, at = described[at + 2], at + 3
    for _ in range(members):
        offset = described[at]
        member, at = nbit_element(bits, described, at + 1)
        made[offset:offset + len(member)] = member
    return made, at


MOST_FIRST, PREDICTED = 16, 32  # options of szip


def szip(data, client):
    """Decodes CCSDS 121.0-B in the same way as libaec: samples of more than 16 bits were split into planes of bytes
    before."""
    options, block, width, line = client
    length, = struct.unpack("<I", data[:4])
    planes = width // 8 if width in (32, 64) else 1
    if planes > 1:
        width = 8
    size = -(-width // 8)
    blocks = -(-line // block)
    lines = -(-length // size // line)
    # Lines are padded to complete blocks.
    count = lines * blocks * block if line % block else length // size
    samples = szip_samples(Bits(data[4:]), width, block, blocks, count, bool(options & PREDICTED))
    if line % block:
        padded = blocks * block
        samples = [sample for at in range(0, count, padded) for sample in samples[at:at + line]]
    order = "big" if options & MOST_FIRST else "little"
    made = b"".join(sample.to_bytes(size, order) for sample in samples)[:length]
    return np.frombuffer(made, "u1").reshape(planes, -1).T.tobytes() if planes > 1 else made


def szip_samples(bits, width, block, blocks, count, predicted):
    """Returns the samples of intervals of `blocks` blocks. In each interval the first sample is stored in full, and
    every later one is predicted from the one before."""
    found = []
    while len(found) < count:
        interval = []
        while len(interval) < blocks * block and len(found) + len(interval) < count:
            interval += szip_block(bits, width, block, blocks, len(interval) // block, predicted)
        found += foretold(interval, width) if predicted else interval
    return found[:count]


def szip_block(bits, width, block, blocks, number, predicted):
    """Returns the samples of a block, or of several blocks of zeros."""
    id_bits = 5 if width > 16 else 4 if width > 8 else 3
    kind = bits.take(id_bits)
    if kind == (1 << id_bits) - 1:
        return [bits.take(width) for _ in range(block)]
    by_pairs = bits.take(1) if kind == 0 else None
    first = [bits.take(width)] if predicted and number == 0 else []
    if kind:
        high = [bits.zeros() for _ in range(block - len(first))]
        return first + [zeros << kind - 1 | bits.take(kind - 1) for zeros in high]
    if not by_pairs:
        zeros = bits.zeros() + 1
        if zeros == 5:
            zeros = min(blocks - number, 64 - number % 64)
        elif zeros > 5:
            zeros -= 1
        return first + [0] * (zeros * block - len(first))
    made = first
    while len(made) < block:
        code, total = bits.zeros(), 0
        while (total + 1) * (total + 2) // 2 <= code:
            total += 1
        second = code - total * (total + 1) // 2
        # The first pair may begin with the sample that is stored in full.
        made += [second] if len(made) % 2 else [total - second, second]
    return made


def foretold(interval, width):
    """Returns samples from their mapped differences."""
    most, made = (1 << width) - 1, interval[:1]
    for step in interval[1:]:
        before = made[-1]
        mirror = most if before >> width - 1 else 0
        if (step + 1) // 2 <= mirror ^ before:
            made.append(before + (-(step + 1) // 2 if step & 1 else step // 2))
        else:
            made.append(mirror ^ step)
    return made


UNDO = {DEFLATE: lambda data, _: zlib.decompress(data), SHUFFLE: shuffle, FLETCHER32: fletcher32, LZF: lzf,
        SCALE_OFFSET: scale_offset, NBIT: nbit, SZIP: szip}
