"""Stored references of the kind that HDF5 1.12 introduced (`H5R_ref_t`): docs/format.md, "References"."""

import struct

from ledger import Bytes, Damaged
from hdf5_selections import MAX_RANK, BadSelection, Selection

STORED = 22
OBJECT, REGION, ATTRIBUTE = 2, 3, 4
NAMES = {OBJECT: "object", REGION: "region", ATTRIBUTE: "attribute"}
ELSEWHERE = 1


class NewReference:
    """`kind` is object, region or attribute; `identity` the object's id; `file` the name of another file, or None;
    `selection` the selection of a region; `attribute` the name of an attribute. In a null reference all are None."""

    kind = identity = file = selection = attribute = None

    @classmethod
    def of(cls, kind, flags, data):
        made = cls()
        made.read(kind, flags, data)
        return made

    def read(self, kind, flags, data):
        if kind not in NAMES or flags & ~ELSEWHERE:
            raise Damaged(f"a reference of kind {kind} with flags {flags}")
        self.kind, b = NAMES[kind], Bytes(data, "a reference")
        token = b.take(b.u8())
        if len(token) != 8:
            raise Damaged(f"a token of {len(token)} bytes")
        self.identity, = struct.unpack("<Q", token)
        if flags & ELSEWHERE:
            self.file = text(b)
        if kind == REGION:
            length, rank = b.u32(), b.u32()
            if rank > MAX_RANK:
                raise Damaged(f"a region of rank {rank}")
            try:
                self.selection = Selection(b.take(length), rank)
            except BadSelection as error:
                raise Damaged(f"a region reference: {error}") from None
        elif kind == ATTRIBUTE:
            self.attribute = text(b)
        self.rest = b.data[b.at:]


def text(b):
    return b.take(b.fixed("H")[0]).decode(errors="surrogateescape")


def decode(data, blob):
    """Decodes 22 stored bytes. `blob` returns the bytes of an id."""
    kind, flags, length, identity = struct.unpack("<BBI16s", data)
    if kind == OBJECT and not flags & ELSEWHERE:
        return NewReference.of(kind, flags, data[2:])
    if kind == 0 and identity == bytes(16):
        return NewReference()
    content = blob(identity)
    if len(content) != length:
        raise Damaged(f"a reference of {length} bytes in a blob of {len(content)}")
    found = NewReference.of(kind, flags, content)
    if found.rest:
        raise Damaged(f"{len(found.rest)} bytes follow a reference")
    return found
