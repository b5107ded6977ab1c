"""Decodes HDF5's encoded datatypes (the datatype message of its file format), and elements of these types."""

import math
import struct
from fractions import Fraction

import new_references
import numpy as np
from ledger import Damaged

INTEGER, FLOAT, TIME, STRING, BITFIELD, OPAQUE, COMPOUND, REFERENCE, ENUM, VLEN, ARRAY, COMPLEX = range(12)


class Unreadable(Exception):
    """A type that this reader does not support."""


class Type:
    """A datatype. `size` is its number of bytes in memory, `stored` the number of bytes of a stored element."""

    def __init__(self, kind, size):
        self.kind, self.size, self.stored, self.dtype = kind, size, size, None
        self.members, self.base, self.dims, self.is_text, self.reference = [], None, (), False, None
        self.value = None  # converts a stored element to a number if NumPy cannot

    def plain(self):
        """Returns whether NumPy alone can read the elements."""
        return self.dtype is not None


def decode(encoded):
    """Decodes a type as H5Tencode writes it: two bytes (the message's number, a version), then the message."""
    if encoded[:2] != b"\x03\x00":
        raise Unreadable(f"an encoded type that begins with {encoded[:2]}")
    made, _ = message(encoded, 2)
    return made


def message(data, at):
    """Returns the type at an offset, and the offset after it."""
    head, bits, size = data[at], int.from_bytes(data[at + 1:at + 4], "little"), struct.unpack_from("<I", data, at + 4)[0]
    made, version, at = Type(head & 15, size), head >> 4, at + 8
    decoder = DECODERS.get(made.kind)
    if decoder is None:
        raise Unreadable(f"datatype class {made.kind}")
    return made, decoder(made, data, at, bits, version)


def order(bits):
    return ">" if bits & 1 else "<"


BYTE_ORDER, IMPLIED = {"<": "little", ">": "big"}, 2


def integer(made, data, at, bits, version):
    offset, precision = struct.unpack_from("<HH", data, at)
    whole = offset == 0 and precision == 8 * made.size
    signed = bits & 8 and made.kind != BITFIELD
    if whole and made.size in (1, 2, 4, 8):
        made.dtype = np.dtype(f"{order(bits)}{'i' if signed else 'u'}{made.size}")
        return at + 4

    def value(element):
        number = int.from_bytes(element, BYTE_ORDER[order(bits)]) >> offset & (1 << precision) - 1
        return number - (1 << precision) if signed and number >> precision - 1 else number
    made.value = value
    return at + 4


def time(made, data, at, bits, version):
    made.value = lambda element: int.from_bytes(element, BYTE_ORDER[order(bits)])
    return at + 2


IEEE = {2: (15, 10, 5, 0, 10, 15), 4: (31, 23, 8, 0, 23, 127), 8: (63, 52, 11, 0, 52, 1023)}


def float_(made, data, at, bits, version):
    offset, precision, *exponent_and_mantissa, bias = struct.unpack_from("<HHBBBBI", data, at)
    sign, normal, vax = bits >> 8 & 255, bits >> 4 & 3, bits >> 6 & 1
    fields = (sign, *exponent_and_mantissa, bias)
    if vax:
        raise Unreadable("floats in the order of a VAX")
    if fields == IEEE.get(made.size) and (offset, precision, normal) == (0, 8 * made.size, IMPLIED):
        made.dtype = np.dtype(f"{order(bits)}f{made.size}")
        return at + 12
    made.value = lambda element: number_of(int.from_bytes(element, BYTE_ORDER[order(bits)]), normal, *fields)
    return at + 12


def number_of(whole, normal, sign, exponent_at, exponent_bits, mantissa_at, mantissa_bits, bias):
    """Returns the value of a floating-point number of any layout."""
    exponent, mantissa = (whole >> at & (1 << size) - 1 for at, size in ((exponent_at, exponent_bits), (mantissa_at, mantissa_bits)))
    factor = -1.0 if whole >> sign & 1 else 1.0
    if exponent == (1 << exponent_bits) - 1:
        fraction = mantissa & (1 << mantissa_bits - (normal != IMPLIED)) - 1
        return factor * (math.nan if fraction else math.inf)
    if normal == IMPLIED:
        mantissa, exponent = mantissa + ((exponent > 0) << mantissa_bits), max(exponent, 1)
        return factor * float(Fraction(mantissa) * Fraction(2) ** (exponent - bias - mantissa_bits))
    return factor * float(Fraction(mantissa) * Fraction(2) ** (max(exponent, 1) - bias - mantissa_bits + 1))


def string(made, data, at, bits, version):
    made.dtype = np.dtype(f"S{made.size}")
    return at


def opaque(made, data, at, bits, version):
    made.dtype = np.dtype(f"V{made.size}")
    return at + (bits & 255)


def name_at(data, at, padded):
    end = data.index(b"\0", at)
    return data[at:end].decode(), at + (end - at) // 8 * 8 + 8 if padded else end + 1


def compound(made, data, at, bits, version):
    for _ in range(bits & 0xFFFF):
        name, at = name_at(data, at, version < 3)
        if version < 3:
            offset, = struct.unpack_from("<I", data, at)
            at += 4
            dims = ()
            if version == 1:
                dims = struct.unpack_from("<4I", data, at + 12)[:data[at]]
                at += 28
        else:
            width = max(1, (made.size.bit_length() + 7) // 8)
            offset, dims = int.from_bytes(data[at:at + width], "little"), ()
            at += width
        member, at = message(data, at)
        if dims:
            raise Unreadable("an array in a compound of version 1")
        made.members.append([name, offset, member])
    # If the stored form of a member has another size, the members after it move.
    grown = 0
    for entry in sorted(made.members, key=lambda entry: entry[1]):
        entry[1] += grown
        grown += entry[2].stored - entry[2].size
    made.stored = made.size + grown
    if all(member.plain() for _, _, member in made.members):
        made.dtype = np.dtype({"names": [m[0] for m in made.members], "offsets": [m[1] for m in made.members],
                               "formats": [m[2].dtype for m in made.members], "itemsize": made.size})
    return at


def reference(made, data, at, bits, version):
    made.reference = bits & 15
    if made.reference == 0:
        made.stored = 8
    elif made.reference == 1:
        made.stored = 12
    elif made.reference in new_references.NAMES:
        made.stored = new_references.STORED
    else:
        raise Unreadable(f"references of kind {made.reference}")
    return at


def enum(made, data, at, bits, version):
    made.base, at = message(data, at)
    for _ in range(bits & 0xFFFF):
        _, at = name_at(data, at, version < 3)
    made.dtype, made.value = made.base.dtype, made.base.value
    return at + (bits & 0xFFFF) * made.base.size


def vlen(made, data, at, bits, version):
    made.base, at = message(data, at)
    made.is_text = bits & 15 == 1
    made.stored = 4 + 16  # the number of elements, and the blob's id
    return at


def array(made, data, at, bits, version):
    rank = data[at]
    at += 1 if version >= 3 else 4
    made.dims = struct.unpack_from(f"<{rank}I", data, at)
    at += 4 * rank * (1 if version >= 3 else 2)
    made.base, at = message(data, at)
    made.stored = made.base.stored * int(np.prod(made.dims))
    if made.base.plain():
        made.dtype = np.dtype((made.base.dtype, made.dims))
    return at


def complex_(made, data, at, bits, version):
    """Decodes a complex number of HDF5 2.0: two floating-point numbers, real and imaginary."""
    made.base, at = message(data, at)
    made.dims = (2,)
    return at


DECODERS = {INTEGER: integer, FLOAT: float_, STRING: string, BITFIELD: integer, TIME: time, OPAQUE: opaque, COMPOUND: compound,
            REFERENCE: reference, ENUM: enum, VLEN: vlen, ARRAY: array, COMPLEX: complex_}


def element(made, data, blob):
    """Returns one stored element as a Python value; `blob` returns the bytes of an id."""
    if made.plain():
        return np.frombuffer(data, made.dtype, 1)[0]
    if made.value:
        return made.value(data[:made.size])
    if made.kind == COMPOUND:
        return tuple(element(m, data[at:at + m.stored], blob) for _, at, m in made.members)
    if made.kind == ARRAY:
        width = made.base.stored
        return [element(made.base, data[at:at + width], blob) for at in range(0, made.stored, width)]
    if made.kind == COMPLEX:
        width = made.base.size
        return tuple(element(made.base, data[at:at + width], blob) for at in (0, width))
    if made.kind == VLEN:
        count, = struct.unpack_from("<I", data)
        content = blob(data[4:20])
        if made.is_text:
            return content[:count]
        width = made.base.stored
        if count * width > len(content):
            raise Damaged(f"a sequence of {count} elements of {width} bytes in a blob of {len(content)}")
        return [element(made.base, content[at:at + width], blob) for at in range(0, count * width, width)]
    if made.reference == 0:
        return "object", int.from_bytes(data[:8], "little")
    if made.reference == 1:
        return "region", data[:12]
    if made.reference:
        return new_references.decode(data[:new_references.STORED], blob)
    raise Unreadable(f"class {made.kind}")
