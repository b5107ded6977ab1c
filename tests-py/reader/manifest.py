"""The manifest of a container in a store, and the pages that it names, as docs/format.md describes them. Written from that page alone.

Each decoder takes all bytes of one object or page, and refuses what the page does not allow."""

import re
import struct
from collections import namedtuple

from wire import PACK, PAGE, Bytes, Damaged, Newer, checked

MAX_SEGMENTS, MAX_PARTS, MAX_TAGS, MAX_PLACES, MAX_ITEMS = 96, 128, 1 << 16, 1 << 24, 1 << 20
INLINE, STORED, IN_ROOT, CANCELLED = range(4)
NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

Root = namedtuple("Root", "page base")
SegmentRef = namedtuple("SegmentRef", "page first last count")
Record = namedtuple("Record", "version previous number time note parts")
Part = namedtuple("Part", "nonce kind content")
Data = namedtuple("Data", "gained freed author entries")
Gained = namedtuple("Gained", "object bytes stood")
Mark = namedtuple("Mark", "version number time note")
Tag = namedtuple("Tag", "name id mark made until publication")
Run = namedtuple("Run", "page placed first last")
Usage = namedtuple("Usage", "birth total named")
Dead = namedtuple("Dead", "place birth death")
Era = namedtuple("Era", "root end segments marks")
Tombstone = namedtuple("Tombstone", "deleted retention host pid manifest")
Lease = namedtuple("Lease", "host pid since nonce queues identity")


class Canonical(Bytes):
    """A cursor that accepts integers only in their shortest form."""

    def varint(self):
        begin = self.at
        value = super().varint()
        if self.at > begin + 1 and not self.data[self.at - 1]:
            raise Damaged(f"{self.what}: a number that is longer than it has to be")
        return value


def reserved(b):
    """Checks that codec and key id are zero: no codec, no key."""
    if b.varint() or b.varint():
        raise Newer(f"{b.what}: a codec or a key")


def framed(data, magic, what, checksum=None):
    """Returns a cursor in the content of a frame; `checksum` is that of the pointer to it."""
    b = Bytes(checked(data, what), what)
    if checksum is not None and struct.unpack("<I", data[-4:])[0] != checksum:
        raise Damaged(f"{what} is not the one that was pointed to")
    b.expect(magic)
    reserved(b)
    return b


def whole(b, found):
    b.end()
    return found


def ascending(numbers, what):
    numbers = list(numbers)
    if any(a >= b for a, b in zip(numbers, numbers[1:], strict=False)):
        raise Damaged(f"{what} are out of order")


def session(b):
    """Returns the entry of a session: its id, its day, its flags, and its process if it has one."""
    number, day, flags = b.u64(), b.number(), b.u8()
    if flags > 3:
        raise Damaged("a session with unknown flags")
    process = (b.u64(), b.varint(), b.number()) if flags & 2 else None
    if process and process[1] >= 1 << 32:
        raise Damaged("a process id that is too large")
    return number, day, flags, process


def object_of(place):
    """Returns (session, number) of the object that contains a place."""
    room, which, _, _ = place
    if room not in (PACK, PAGE):
        raise Damaged(f"a place in room {room} of a container in a store")
    return struct.unpack(">QQ", which)


def object_id(b):
    return struct.unpack(">QQ", b.take(16))


def name_of(found):
    session, number = found
    return f"{session:016x}-{number:x}"


def nonce(b):
    return b.u64(), b.number()


def name(b):
    text = b.string()
    if not NAME.match(text):
        raise Damaged(f"the name {text}")
    return text


def note(b):
    text = b.string()
    if len(text) > 256:
        raise Damaged(f"a note of {len(text)} bytes")
    return text


def author_of(text):
    """Returns (bytes of the version, host, process id) of a note, or None for a note without them."""
    try:
        b = Bytes(text, "a note")
        return whole(b, (b.number(), b.string(), b.varint()))
    except Damaged:
        return None


def data_of(b):
    gained = b.list(lambda: Gained(object_id(b), b.number(), b.number()), MAX_PLACES, 18)
    freed = b.list(b.place, MAX_PLACES, 3)
    author = note(b)
    return Data(gained, freed, author, b.string())


def part(b):
    who, kind = nonce(b), b.u8()
    if kind > CANCELLED:
        raise Damaged(f"a commit of kind {kind}")
    return Part(who, kind, {INLINE: lambda: data_of(b), STORED: b.pointer}.get(kind, lambda: None)())


def record(b):
    found = Record(b.number(), b.number(), b.number(), b.number(), note(b), b.list(lambda: part(b), MAX_PARTS, 10))
    if found.previous >= found.version or found.number > found.version or not found.parts:
        raise Damaged(f"the record of version {found.version}")
    return found


def is_version(found):
    """Returns whether a record makes a version. A record that only cancels commits makes none."""
    return any(part.kind != CANCELLED for part in found.parts)


def long_record(data, checksum):
    """Returns the content of a commit that is stored as an object of its own."""
    b = framed(data, b"h5lC", "a long record", checksum)
    return whole(b, data_of(b))


def segment_ref(b):
    found = SegmentRef(b.pointer(), b.number(), b.number(), b.number())
    object_of(found.page[0])
    if not 0 < found.count <= found.last - found.first + 1:
        raise Damaged(f"the segment {found}")
    return found


def segment(data, at):
    """Returns the records of the segment at a reference."""
    b = framed(data, b"h5lG", "a segment", at.page[1])
    records = b.list(lambda: record(b), 1 << 16, 6)
    b.end()
    ascending((r.version for r in records), "records of a segment")
    if not records or (records[0].version, records[-1].version, len(records)) != (at.first, at.last, at.count):
        raise Damaged("a segment with other records than the manifest names")
    return records


def root(b):
    return Root(b.optional(), b.number())


def mark(b):
    found = Mark(b.number(), b.number(), b.number(), note(b))
    if found.number > found.version:
        raise Damaged(f"the mark {found}")
    return found


class Line:
    """The versions of the container."""

    def __init__(self, b):
        self.version, self.number, self.time, self.horizon, self.records_from, self.retention = [b.number() for _ in range(6)]
        self.root = root(b)
        self.segments = b.list(lambda: segment_ref(b), MAX_SEGMENTS, 10)
        self.tail = b.list(lambda: record(b), 1 << 16, 6)
        self.base = self.root.base
        if self.base > self.version or self.number > self.version or self.records_from > self.base + 1:
            raise Damaged("versions of the line")
        ends = [at for s in self.segments for at in ((s.first, s.last) if s.first < s.last else (s.first,))]
        ascending(ends + [r.version for r in self.tail], "records of a line")


def tag(b):
    found = Tag(name(b), nonce(b), mark(b), b.number(), b.optional(b.number), b.optional(b.string))
    if len(found.publication or b"") > 1024:
        raise Damaged(f"the tag {found.name}")
    return found


class References:
    """The tags that the manifest names."""

    def __init__(self, b):
        self.since, self.page = b.number(), b.optional()
        self.added = b.list(lambda: tag(b), MAX_TAGS, 15)
        self.removed = b.list(lambda: nonce(b), MAX_TAGS, 9)
        if self.removed and not self.page:
            raise Damaged("tags are removed from a page that is not there")


def tags(data, checksum):
    """Returns the tags of the references page."""
    b = framed(data, b"h5lN", "the references page", checksum)
    return whole(b, b.list(lambda: tag(b), MAX_TAGS, 15))


def run(b):
    found = Run(b.pointer(), b.number(), b.number(), b.number())
    object_of(found.page[0])
    if found.first > found.last or not found.placed:
        raise Damaged(f"the run {found}")
    return found


class Tables:
    """The pages of usage, dead lists and history that the manifest names."""

    def __init__(self, b):
        self.since, self.usage = b.number(), b.optional()
        self.dead, self.history = b.list(lambda: run(b), 24, 12), b.list(lambda: run(b), 24, 12)
        if any(run.placed > self.since for run in self.dead + self.history):
            raise Damaged("a page that is newer than its table")

    def pages(self):
        return [page for page in [self.usage] if page] + [run.page for run in self.dead + self.history]


def usage(data, checksum):
    """Returns {object: its bytes}."""
    b = framed(data, b"h5lU", "the usage table", checksum)
    found = whole(b, b.list(lambda: (object_id(b), Usage(b.number(), b.number(), b.number())), 1 << 26, 19))
    ascending((each for each, _ in found), "objects of the usage table")
    if any(not 0 < use.named <= use.total for _, use in found):
        raise Damaged("bytes of an object in the usage table")
    return dict(found)


def dead(data, at):
    """Returns the entries of a run of the dead lists."""
    b = framed(data, b"h5lD", "a dead list", at.page[1])

    def entry():
        place, birth, death = b.place(), b.number(), b.number() or at.placed
        found = Dead(place, birth - 1 if birth else death, death)
        object_of(found.place)
        if found.birth > found.death:
            raise Damaged(f"the entry {found} of a dead list")
        return found
    return whole(b, b.list(entry, MAX_PLACES, 5))


def eras(data, at):
    """Returns the eras of a run of the history."""
    b = framed(data, b"h5lE", "the history", at.page[1])

    def era():
        found = Era(root(b), b.number(), b.list(lambda: segment_ref(b), MAX_ITEMS, 10),
                    b.list(lambda: mark(b), MAX_ITEMS, 4))
        if found.root.base >= found.end:
            raise Damaged("an era that ends before it begins")
        return found
    return whole(b, b.list(era, MAX_PLACES, 5))


class Manifest:
    """The content of a head object."""

    def __init__(self, data, fixed_head):
        if len(data) > 8 << 20:
            raise Damaged(f"a manifest of {len(data)} bytes")
        b = Canonical(checked(data, "the manifest"), "the manifest")
        features, self.id, block, self.created = fixed_head(checked(b.take(64), "the first 64 bytes of the manifest"))
        if any(features) or block:
            raise Damaged(f"features {features} or a user block of {block} bytes in a head object")
        reserved(b)
        self.has_sources, self.sequence, self.nonce = b.flag(), b.number(), nonce(b)
        self.maker, self.numbers = b.take(8), b.number()
        self.sessions = b.list(lambda: session(b), 1000, 10)
        self.copies = b.list(lambda: (b.take(16), b.u64(), b.number()), 64, 25)
        lines = b.varint()
        if lines != 1:
            raise Newer(f"{lines} lines")
        self.line = Line(b)
        self.references, self.tables = References(b), Tables(b)
        b.end()
        ascending((entry[0] for entry in self.sessions), "sessions")
        ascending((copy for copy, _, _ in self.copies), "copies")
        if max(self.line.version, self.line.horizon, self.tables.since, self.references.since) > self.sequence:
            raise Damaged("a version that is newer than the manifest")


def tombstone(data):
    b = Bytes(checked(data, "a tombstone"), "a tombstone")
    b.expect(b"h5lZ")
    return whole(b, Tombstone(b.flag(), b.varint(), b.string(), b.varint(), b.string()))


def lease(data):
    b = Bytes(checked(data, "a lease"), "a lease")
    b.expect(b"h5lL")
    host, pid, since, nonce_, queues = b.string(), b.varint(), b.number(), b.take(16), b.list(lambda: (b.string(), b.string(), b.string()), 64, 3)
    identity = (b.string(), b.varint(), b.varint()) if b.at < len(b.data) else None
    return whole(b, Lease(host, pid, since, nonce_, queues, identity))
