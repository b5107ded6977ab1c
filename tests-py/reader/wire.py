"""Numbers, strings, places, pointers and checksums of docs/format.md. Written from that page alone."""

import struct

FILE, PACK, PAGE, SOURCE = 0, 2, 3, 4


class Damaged(Exception):
    """Bytes that do not conform to docs/format.md."""


class Newer(Exception):
    """A reserved field that is not zero: a newer build wrote it."""


def _table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


TABLE = _table()


def crc32c(data):
    crc, table = 0xFFFFFFFF, TABLE
    for byte in bytes(data):
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def checked(data, what):
    """Returns the bytes before the checksum at the end."""
    if len(data) < 4 or crc32c(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise Damaged(f"checksum of {what}")
    return data[:-4]


class Bytes:
    """A cursor. Reading beyond the end is an error."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Damaged(f"{self.what} ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def fixed(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return self.fixed("I")[0]

    def u64(self):
        return self.fixed("Q")[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                raise Damaged(f"{self.what}: a varint of more than 64 bits")
        if value >> 64:
            raise Damaged(f"{self.what}: a varint of more than 64 bits")
        return value

    def string(self):
        return self.take(self.varint())

    def place(self):
        room = self.u8()
        which = {FILE: lambda: None, PACK: lambda: self.take(16), PAGE: lambda: self.take(16), SOURCE: self.varint}
        if room & 128:
            raise Newer(f"{self.what}: a place with a birth")
        if room not in which:
            raise Damaged(f"{self.what}: room {room}")
        return room, which[room](), self.varint(), self.varint()

    def pointer(self):
        return self.place(), self.u32()

    def flag(self):
        flag = self.u8()
        if flag > 1:
            raise Damaged(f"{self.what}: a flag of {flag}")
        return bool(flag)

    def optional(self, read=None):
        """Returns an item after a flag, by default a pointer, or None if the flag is 0."""
        return (read or self.pointer)() if self.flag() else None

    def number(self):
        """Returns a varint that counts versions, sequences, times or bytes."""
        value = self.varint()
        if value >= 1 << 62:
            raise Damaged(f"{self.what}: the number {value}")
        return value

    def list(self, read, most, least=1):
        """Reads a count and as many items of at least `least` bytes each."""
        count = self.varint()
        if count > most or count * least > len(self.data) - self.at:
            raise Damaged(f"{self.what}: a list of {count}")
        return [read() for _ in range(count)]

    def expect(self, magic):
        if self.take(4) != magic:
            raise Damaged(f"{self.what} does not begin with {magic}")

    def end(self):
        if self.at != len(self.data):
            raise Damaged(f"{self.what}: {len(self.data) - self.at} bytes too many")
