"""Reads containers of h5lake without h5lake and without HDF5: from docs/format.md alone, in Python and NumPy.

    c = Container(path)                 a container's file, or a pointer file that leads into a directory
    c.root.links()                      {name: Link}
    c.root.attributes()                 {name: Attribute}
    c["group/data"].read()              an array, or a list of elements if they are no plain numbers

It is slow, holds all of the map in memory, and reads containers that no process writes meanwhile: the newest
version, or with `version` an older one."""

import bisect
import itertools
import os
import struct

import chunk_statistics
import hdf5_filters
import hdf5_types
import numpy as np
import virtual_data
from hdf5_types import Unreadable
from ledger import Damaged, open_ledger

ROOT = (1 << 62) + (1 << 12)
COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL, EXTERNAL = range(5)
LOCAL = 1 << 63


def fields(data):
    """Decodes a protobuf message to {number: [values]}. Packed numbers stay bytes until `numbers` reads them."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value & (1 << 64) - 1

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif tag & 7 == 2:
            size = varint()
            value, at = data[at:at + size], at + size
            if len(value) != size:
                raise Damaged("a message ends too early")
        elif tag & 7 == 5:
            value, at = struct.unpack_from("<I", data, at)[0], at + 4
        else:
            raise Damaged(f"wire type {tag & 7}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def one(message, number, missing=0):
    return message[number][-1] if number in message else missing


def numbers(message, number):
    """Returns a repeated number, packed or not."""
    found = []
    for value in message.get(number, []):
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            n = shift = 0
            while True:
                n |= (value[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if value[at - 1] < 128:
                    break
            found.append(n)
    return found


def fnv128(data):
    value = 0x6C62272E07BB014262B821756295C58D
    for byte in data:
        value = (value ^ byte) * 0x0000000001000000000000000000013B & (1 << 128) - 1
    return value


class Space:
    def __init__(self, encoded):
        message = fields(encoded)
        self.null = 1 not in message
        self.rank = one(message, 1)
        self.shape = tuple(numbers(message, 2))
        self.largest = tuple(n - 1 if n else None for n in numbers(message, 3))
        if not self.null and len(self.shape) != self.rank:
            raise Damaged(f"rank {self.rank} with dimensions {self.shape}")

    def count(self):
        return 0 if self.null else int(np.prod(self.shape, dtype=object))


class StoredType:
    """The datatype of a dataset or an attribute."""

    def __init__(self, encoded):
        message = fields(encoded)
        self.stored, self.klass = one(message, 2), one(message, 3)
        self.has_heap, self.has_references, self.committed = one(message, 4), one(message, 5), one(message, 6, None)
        self.type = hdf5_types.decode(one(message, 1, b""))
        if self.type.stored != self.stored:
            raise Damaged(f"elements of {self.type.stored} bytes are said to have {self.stored}")

    def values(self, data, shape, blob):
        """Decodes elements in C order into an array of plain values, or into an array of objects."""
        made = self.type
        if made.plain():
            count = int(np.prod(shape, dtype=object))
            dtype = made.dtype
            whole = np.frombuffer(data, dtype.base if dtype.subdtype else dtype, count * (
                int(np.prod(dtype.shape)) if dtype.subdtype else 1))
            return whole.reshape(tuple(shape) + (dtype.shape if dtype.subdtype else ()))
        found = np.empty(shape, object)
        flat = found.reshape(-1)
        for n in range(flat.size):
            flat[n] = hdf5_types.element(made, data[n * self.stored:(n + 1) * self.stored], blob)
        # Numbers that NumPy cannot read from their bytes.
        return np.array(found.tolist()).reshape(shape) if made.value and flat.size else found


class Link:
    """`kind` is hard, soft, external or user; `target` is its target."""

    def __init__(self, name, value):
        message = fields(value)
        self.name, self.order = one(message, 9, name).decode(errors="surrogateescape"), one(message, 7, None)
        kinds = [n for n in (1, 2, 3, 6) if n in message]
        if len(kinds) != 1:
            raise Damaged(f"a link with {kinds}")
        text = lambda n: one(message, n, b"").decode(errors="surrogateescape")  # noqa: E731
        self.kind, self.target = {
            1: lambda: ("hard", one(message, 1)), 2: lambda: ("soft", text(2)),
            3: lambda: ("external", (text(3), text(4))), 6: lambda: ("user", (one(message, 6), one(message, 4, b"")))}[kinds[0]]()


class Attribute:
    def __init__(self, container, name, value):
        message = fields(value)
        self.container, self.message = container, message
        self.name = one(message, 10, name).decode(errors="surrogateescape")
        self.type, self.space = StoredType(one(message, 1, b"")), Space(one(message, 2, b""))
        self.order = one(message, 4)

    def read(self):
        if self.space.null:
            return None
        size = one(self.message, 6)
        if 7 in self.message:
            data = one(self.message, 7)
        elif 8 in self.message:
            data = b"".join(self.container.ledger.extent(e) for e in self.message[8])
        else:
            data = bytes(size)
        if len(data) > size and not self.type.has_heap:
            raise Damaged("an attribute's value is longer than its elements")
        if self.space.count() * self.type.stored != size or len(data) < size:
            raise Damaged(f"attribute of {self.space.count()} elements in {size} bytes")
        local = data[size:]

        def blob(identity):
            first, length = struct.unpack(">QQ", identity)
            if not first & LOCAL:
                return self.container.blob(identity)
            first -= LOCAL
            if first + length > len(local):
                raise Damaged("a blob beyond its local heap")
            return local[first:first + length]
        return self.type.values(data[:size], self.space.shape, blob)


class Object:
    """A group, a dataset or a committed datatype, as `kind` says."""

    def __init__(self, container, identity):
        self.container, self.identity = container, identity
        header = container.map.get(b"O" + struct.pack(">Q", identity))
        if header is None:
            raise Damaged(f"object {identity:#x} is missing")
        self.message = fields(header)
        kinds = [n for n in (11, 12, 13) if n in self.message]
        if len(kinds) != 1:
            raise Damaged(f"an object that is {kinds}")
        self.kind = {11: "group", 12: "dataset", 13: "datatype"}[kinds[0]]
        self.body = one(self.message, kinds[0])
        self.links_to_it = one(self.message, 1)
        self.comment = one(self.message, 7, b"").decode()
        if self.kind == "dataset":
            self.describe()
        if self.kind == "datatype":
            self.type = StoredType(self.body)

    def describe(self):
        message = fields(self.body)
        self.type, self.space, self.layout = StoredType(one(message, 1, b"")), Space(one(message, 2, b"")), one(message, 3)
        self.chunk = tuple(numbers(message, 4))
        never = one(message, 7) == 1
        self.fill = bytes(self.type.stored) if never else one(message, 6, b"") or bytes(self.type.stored)
        self.filters = [(one(f, 1), one(f, 2), numbers(f, 4)) for f in map(fields, message.get(9, []))]
        self.edges_unfiltered, self.parts = one(message, 10), [fields(p) for p in message.get(11, [])]

    def links(self):
        prefix = b"L" + struct.pack(">Q", self.identity)
        found = [Link(key[9:], value) for key, value in self.container.beneath(prefix)]
        declared = one(fields(self.body), 3)
        if declared != len(found):
            raise Damaged(f"a group of {declared} links has {len(found)}")
        return {link.name: link for link in found}

    def attributes(self):
        prefix = b"A" + struct.pack(">Q", self.identity)
        found = [Attribute(self.container, key[9:], value) for key, value in self.container.beneath(prefix)]
        if one(self.message, 9) != len(found):
            raise Damaged(f"an object of {one(self.message, 9)} attributes has {len(found)}")
        return {attribute.name: attribute for attribute in found}

    def read(self):
        """Returns all elements of a dataset."""
        if self.space.null:
            return None
        if self.layout == CHUNKED:
            return self.type.values(self.read_chunks(), self.space.shape, self.container.blob)
        if self.layout == EXTERNAL:
            return self.type.values(self.read_parts(), self.space.shape, self.container.blob)
        if self.layout == VIRTUAL:
            mappings = [virtual_data.Mapping(fields(m), one) for m in fields(self.body).get(12, [])]
            return virtual_data.read(self, mappings, self.container.beside)
        if self.layout not in (COMPACT, CONTIGUOUS):
            raise Unreadable(f"layout {self.layout}")
        size, stored = self.space.count() * self.type.stored, self.type.stored
        segment = size if self.layout == COMPACT or size <= 16 << 10 else max(1, (1 << 20) // stored) * stored
        data = bytearray()
        for n in range(-(-size // segment) if size else 0):
            data += self.block([n], segment)
        return self.type.values(bytes(data[:size]), self.space.shape, self.container.blob)

    def read_parts(self):
        data, size = b"", self.space.count() * self.type.stored
        for part in self.parts:
            with open(one(part, 1, b"").decode(), "rb") as file:
                file.seek(one(part, 2))
                data += file.read(one(part, 3) - 1 if one(part, 3) else size - len(data))
        return data[:size].ljust(size, b"\0")

    def read_chunks(self):
        stored, shape, chunk = self.type.stored, self.space.shape, self.chunk
        whole = np.empty(shape, f"V{stored}")
        whole[...] = np.frombuffer(self.fill, f"V{stored}")[0]
        counts = [range(-(-n // c)) for n, c in zip(shape, chunk)]
        for at in itertools.product(*counts):
            begin = [a * c for a, c in zip(at, chunk)]
            taken = [min(c, n - b) for b, c, n in zip(begin, chunk, shape)]
            partial = self.edges_unfiltered and taken != list(chunk)
            data = self.block(at, int(np.prod(chunk, dtype=object)) * stored, partial)
            if data is None:
                continue
            values = np.frombuffer(data, f"V{stored}").reshape(chunk)
            whole[tuple(slice(b, b + t) for b, t in zip(begin, taken))] = values[tuple(slice(t) for t in taken)]
        return whole.tobytes()

    def block(self, at, size, unfiltered=False):
        key = b"B" + struct.pack(f">{1 + len(at)}Q", self.identity, *at)
        encoded = self.container.map.get(key)
        fill = self.fill * (size // self.type.stored)
        if encoded is None:
            return None if self.layout == CHUNKED else fill
        message = fields(encoded)
        if not one(message, 2):
            data = self.container.pieces(message, fill)
        else:
            piece, = map(fields, message[1])
            data = self.unfiltered(self.container.piece(piece), one(message, 3), size, unfiltered)
        if 5 in message:
            told = fields(one(message, 5))
            told = one(told, 1, None), one(told, 2, None), one(told, 3, None), numbers(told, 4)
            encoded_type = one(fields(one(fields(self.body), 1, b"")), 1, b"")
            chunk_statistics.check(told, encoded_type, self.chunk, data)
        return data

    def unfiltered(self, data, mask, size, none):
        if not none:
            data = hdf5_filters.undone(data, self.filters, mask)
        if len(data) != size:
            raise Damaged(f"a chunk of {len(data)} bytes instead of {size}")
        return data


class Container:
    def __init__(self, path, version=None, branch=None):
        self.path, self.ledger = str(path), open_ledger(path, version, branch)
        self.map = self.ledger.map
        self.keys = sorted(self.map)
        described = fields(self.map[b"C"])
        self.version = one(described, 1)
        if self.version != 2:
            raise Damaged(f"a container of version {self.version}")
        self.root = Object(self, ROOT)

    def beneath(self, prefix):
        at = bisect.bisect_left(self.keys, prefix)
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            key = self.keys[at]
            yield key, self.map[key]
            at += 1

    def __getitem__(self, path):
        found = self.find(path)
        if found is None:
            raise KeyError(path)
        return found

    def find(self, path, group=None, depth=16):
        """Returns the object at a path from a group, or None. Soft and external links are followed."""
        here = self.root if path.startswith("/") or group is None else group
        for name in filter(lambda name: name not in ("", "."), path.split("/")):
            link = here.links().get(name) if here is not None and here.kind == "group" else None
            if link is None or not depth:
                return None
            if link.kind == "hard":
                here = Object(here.container, link.target)
            elif link.kind == "soft":
                here = here.container.find(link.target, here, depth - 1)
            elif link.kind == "external":
                file, inside = link.target
                container = here.container.beside(file)
                here = container.find(inside, None, depth - 1) if container else None
            else:
                raise Unreadable(f"a link of class {link.target[0]}")
        return here

    def beside(self, file):
        """Returns the container of a name in this container, or None."""
        path = virtual_data.beside(os.path.dirname(self.path), file)
        return Container(path) if path else None

    def piece(self, piece):
        if 3 in piece:
            return one(piece, 3)
        return self.ledger.extent(one(piece, 4), one(piece, 5), one(piece, 2))

    def pieces(self, message, fill):
        """Returns a block's bytes: its pieces, with fill values between them."""
        data, before = bytearray(fill), 0
        for piece in map(fields, message.get(1, [])):
            begin, content = one(piece, 1), self.piece(piece)
            if begin < before or begin + len(content) > len(data):
                raise Damaged(f"a piece at {begin} with {len(content)} bytes in a block of {len(data)}")
            data[begin:begin + len(content)] = content
            before = begin + len(content)
        return bytes(data)

    def region(self, encoded):
        """Returns the target of an old region reference: the dataset's id, and the selection as HDF5 encodes it."""
        segment, first, mark = struct.unpack(REGION, encoded)
        if mark != b"regn":
            raise Damaged("a region reference")
        found = self.blob(struct.pack(HEAP_ID, ROOT, segment, first))
        return struct.unpack(">Q", found[:8])[0], found[8:]

    def blob(self, identity):
        """Returns the data of a 16-byte id in the heap."""
        if identity == bytes(16):
            return b""
        owner, segment, first = struct.unpack(HEAP_ID, identity)
        encoded = self.map.get(b"H" + struct.pack(">QI", owner, segment))
        if encoded is None:
            raise Damaged(f"heap segment {segment} of {owner:#x}")
        message = fields(encoded)
        data = self.pieces(message, bytes(one(message, 4)))
        length = shift = 0
        while True:
            byte = data[first]
            first, length, shift = first + 1, length | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        if first + length > len(data):
            raise Damaged("a blob beyond its segment")
        return data[first:first + length]


HEAP_ID, REGION = ">QII", ">II4s"
