"""The ledger of docs/format.md, read without h5lake: it makes a map of keys and values from one file or a directory
of objects.

Written from that page alone. It reads the newest version of containers that no process writes meanwhile; it takes no
locks and no pins."""

import os
import struct

import manifest
from wire import FILE, SOURCE, Bytes, Damaged, Newer, checked, crc32c

SIGNATURE = b"\x89HDF\r\n\x1a\n\x4c"
EDITS, TAGS, SOURCES = 1 << 1, 1 << 2, 1 << 3
KNOWN_FEATURES = {"files": EDITS | TAGS | SOURCES}  # as the page names them


class Record:
    def __init__(self, data, notes_only=False):
        b = Bytes(checked(data, "a record"), "a record")
        b.expect(b"h5lR")
        self.version, self.nonce, self.time = b.u64(), b.u64(), b.u64()
        self.host, self.pid = b.string().split(b"\0")[0], b.varint()  # then user, program and message
        before = b.varint()
        if before > 1:
            raise Newer("a record with a codec or a key")
        self.before = b.pointer() if before else None
        self.notes = b.string()
        self.entries = []
        for _ in range(b.varint()):
            kind, key = b.u8(), b.string()
            if kind == 0:
                self.entries.append((key, "delete", None))
            elif kind == 1:
                self.entries.append((key, "put", b.string()))
            elif kind == 2:
                self.entries.append((key, "edit", (b.varint(), b.varint(), b.string())))
            else:
                raise Damaged(f"an entry of kind {kind}")
        b.end()
        keys = [key for key, *_ in self.entries]
        if keys != sorted(set(keys)):
            raise Damaged("keys of a record do not ascend")


class Ledger:
    """The common part of both kinds. `map` is the newest version in full; `features` has the feature bits of the
    head."""

    def origin(self):
        """Returns (container's id, version, time, host, process id) of the container that this is a copy of, or None
        if it has no valid origin."""
        entry = self.map.get(b"S")
        if entry is None:
            return None
        b = Bytes(entry, "an origin")
        if b.u8() != 1:
            raise Damaged("an origin of an unknown form")
        copy, made = b.take(16), b.varint()
        shown = b.take(16), b.varint(), b.varint(), b.string(), b.varint()
        b.end()
        return shown if (copy, made) == (self.identity, self.version) else None

    def follow(self, pointer, what):
        place, checksum = pointer
        data = self.read(place)
        if len(data) < 4 or struct.unpack("<I", data[-4:])[0] != checksum:
            raise Damaged(f"{what} is not the one that was pointed to")
        return data

    def extent(self, encoded, begin=0, length=None):
        """Returns the bytes of a payload, and verifies the checksums of the blocks that it reads."""
        b = Bytes(encoded, "an extent")
        version, power, whole = b.u8(), b.u8(), b.varint()
        if version > 2:
            raise Newer(f"an extent of version {version}")
        room, which, offset, size = b.place()
        in_source = version == 2
        plain = in_source and power == 0 and whole > 0
        if version not in (1, 2) or in_source != (room == SOURCE) or not (9 <= power <= 20 or plain) or size != whole:
            raise Damaged(f"extent of version {version}, blocks {power}, {whole} and {size} bytes")
        block = 1 << power if power else max(1, whole)
        sums = [b.u32() for _ in range(-(-whole // block))] if power else [None]
        b.end()
        end = whole if length is None else begin + length
        if end > whole:
            raise Damaged(f"bytes {begin} to {end} of an extent of {whole}")
        first, data = begin // block, b""
        for n in range(first, -(-end // block) if end > begin else first):
            size = min(block, whole - n * block)
            part = self.source(which, offset + n * block, size) if in_source else self.read((room, which, offset + n * block, size))
            if sums[n] is not None and crc32c(part) != sums[n]:
                raise Damaged(f"checksum of block {n} of a payload")
            data += part
        return data[begin - first * block:end - first * block]

    def source(self, number, offset, length):
        """Returns bytes of a native file that the container refers to."""
        entry = self.map.get(b"F" + struct.pack(">I", number))
        if entry is None:
            raise Damaged(f"there is no source {number}")
        b = Bytes(entry, "a source")
        if b.u8() != 1:
            raise Damaged("a source of an unknown form")
        place, size, changed, _ = b.string().decode(), b.varint(), b.varint(), b.string()
        b.end()
        if "://" in place:
            raise Damaged(f"the source {place} is in a store, which this reader does not know")
        if not place.startswith("/"):
            if self.home is None:
                raise Damaged("a relative place of a source, of a container in a store")
            place = os.path.join(self.home, place)
        if offset + length > size:
            raise Damaged(f"bytes {offset} to {offset + length} of a source of {size}")
        with open(place, "rb") as file:
            now = os.fstat(file.fileno())
            if now.st_size != size or changed and max(1, now.st_mtime_ns) != changed:
                raise Damaged(f"the source {place} was changed")
            file.seek(offset)
            return file.read(length)

    def pages(self, pointer, level=None, above=None):
        """Yields the entries of the base below a pointer."""
        b = Bytes(checked(self.follow(pointer, "a page"), "a page"), "a page")
        b.expect(b"h5lP")
        here, count = b.u8(), b.varint()
        if here & 128:
            raise Newer("a page with a codec or a key")
        if level is not None and here != level or not count:
            raise Damaged(f"a page of level {here} with {count} entries")
        before = None
        for n in range(count):
            key = b.string()
            if before is not None and key <= before or above is not None and key < above:
                raise Damaged("keys of a page do not ascend")
            before = key
            if here:
                yield from self.pages(b.pointer(), here - 1, key if n else above)
            else:
                kind, value = b.u8(), b.string()
                if kind > 1:
                    raise Damaged(f"a leaf entry of kind {kind}")
                yield key, self.extent(value) if kind else value
        b.end()

    def older(self, version, root):
        """Returns the base that leads to a version: its own version, its root, and the known pointer to the newest
        record after it."""
        if version is None or version >= self.base:
            return self.base, root, None
        found = [kept for kept in self.bases() if kept[0] <= version]
        if not found:
            raise Damaged(f"version {version} is in no base that is kept")
        return found[-1]

    def bases(self):
        """Returns (version, root, newest record after it) of every earlier base that is retained."""
        return [(version, root, record) for (version, _, _), root, record in self.marks()[1]]

    def marks(self):
        """Returns the mark of this base, and (mark, root, newest record after it) of every earlier one. A mark is
        (version, moment, time)."""
        if not self.history:
            return None, []
        b = Bytes(checked(self.follow(self.history, "the history"), "the history"), "the history")
        b.expect(b"h5lH")

        def mark():
            version, moment, time, _ = [b.varint() for _ in range(4)]
            b.string(), b.varint()
            return version, moment, time
        own = mark()
        if own[0] != self.base:
            raise Damaged("the history of another base")
        found = []
        for _ in range(b.varint()):
            earlier, root = mark(), b.optional()
            b.varint(), b.varint(), b.varint()
            found.append((earlier, root, b.optional()))
        b.end()
        return own, found

    def versions(self):
        """Returns {version: its time} of all versions that can be opened, oldest first. If a clock was wrong, the
        time is reduced so that none is later than the next one."""
        own, earlier = self.marks()
        found = {}
        for mark, newest, until in [*((mark, newest, None) for mark, _, newest in earlier), (own, self.newest, self.version)]:
            base = mark[0] if mark else 0
            times = {base: mark[1:]} if mark else {}
            for version, moment, time in self.behind(base, newest, until):
                times[version] = moment, time
            found |= {version: time for version, (moment, time) in times.items() if version and moment >= self.lost}
        latest = None
        for version in sorted(found, reverse=True):
            latest = found[version] = min(found[version], latest or found[version])
        return dict(sorted(found.items()))

    def build(self, root, records, base):
        """Builds the map from the base and the records after it, oldest first."""
        self.map = self.map_of(root, records, base)

    def tagged(self, name):
        """Returns the map of a tagged version, and its number."""
        entry = self.map.get(b"T" + name)
        if entry is None:
            raise Damaged(f"there is no tag {name}")
        b = Bytes(entry, "a tag")
        if b.u8() not in (1, 2):
            raise Damaged("a tag of an unknown form")
        version, _, _, _ = [b.varint() for _ in range(4)]
        b.string(), b.varint()
        base, root, newest = b.varint(), b.optional(), b.optional()
        return self.map_of(root, self.records_between(base, newest, version), base), version

    def branches(self):
        """Returns {name: the version at which the branch began} of the branches."""
        found = {}
        for key, record in self.map.items():
            if key.startswith(b"V\0"):
                b = Bytes(record, "a branch")
                if b.u8() != 1:
                    raise Damaged("a branch of an unknown form")
                b.take(16)
                found[key[2:]] = b.varint()
                b.varint(), b.varint(), b.varint(), b.string(), b.varint()
                b.end()
        return found

    def show_branch(self, name):
        """Makes the map that of a branch."""
        base = self.branches().get(name)
        shown, version = self.tagged(b"branch-" + name)
        if version != base:
            raise Damaged(f"the branch {name} began with version {base}, and its tag leads to {version}")

        def is_own(key):
            return len(key) == 1 or key[:1] in (b"F", b"T", b"V")
        shown = {key: value for key, value in shown.items() if not is_own(key)}
        shown |= {key: value for key, value in self.map.items() if is_own(key)}
        prefix = b"V" + name + b"\0"
        for key, entry in self.map.items():
            if not key.startswith(prefix):
                continue
            if entry[:1] == b"\1":
                shown[key[len(prefix):]] = entry[1:]
            elif entry == b"\0":
                shown.pop(key[len(prefix):], None)
            else:
                raise Damaged("an entry of a branch of an unknown form")
        self.map = shown

    def map_of(self, root, records, base):
        """Returns the map of a base and the records after it, oldest first."""
        if [r.version for r in records] != list(range(base + 1, base + 1 + len(records))):
            raise Damaged(f"records {[r.version for r in records]} behind base {base}")
        found = dict(self.pages(root)) if root else {}
        if list(found) != sorted(found):
            raise Damaged("keys of the base do not ascend")
        in_log = set()
        for record in records:
            for key, kind, value in record.entries:
                if kind == "edit" and not self.has_edits:
                    raise Damaged(f"an edit of {key} in a container that has none")
                if kind == "delete":
                    found.pop(key, None)
                    continue
                if kind == "edit":
                    first, last, middle = value
                    old = found.get(key)
                    if key not in in_log or old is None or first + last > len(old):
                        raise Damaged(f"an edit of {key}")
                    value = old[:first] + middle + old[len(old) - last:]
                found[key] = value
                in_log.add(key)
        return found


def fixed_head(data):
    """Returns (features, container id, user block, time of creation) from the 60 bytes at the beginning of both
    kinds."""
    if data[:9] != SIGNATURE or data[9:16] != b"h5lake\0":
        raise Damaged("no container")
    version, needed, ignorable, identity, block, created = struct.unpack("<III16sQQ", data[16:60])
    if version != 2:
        raise Damaged(f"format version {version}")
    return (needed, ignorable), identity, block, created


class FileLedger(Ledger):
    """A container in one file."""

    kind = "files"

    def __init__(self, path, version=None):
        with open(path, "rb") as file:
            self.data = file.read()
        self.home = os.path.dirname(os.path.realpath(path))
        self.begin = 0
        while self.data[self.begin:self.begin + 9] != SIGNATURE:
            self.begin = max(512, self.begin * 2)
            if self.begin >= len(self.data):
                raise Damaged("no container")
        head = self.at(0, 64)
        (self.features, _), self.identity, _, _ = fixed_head(checked(head, "the head"))
        if self.features & ~KNOWN_FEATURES["files"]:
            raise Damaged(f"features {self.features:#x}")
        self.has_edits = True
        self.read_slot(self.newest_slot(), version)

    def at(self, offset, length):
        data = self.data[self.begin + offset:self.begin + offset + length]
        if len(data) != length:
            raise Damaged(f"the file has no {length} bytes at {offset}")
        return data

    def read(self, place):
        room, _, offset, length = place
        if room != FILE:
            raise Damaged(f"room {room} in a file")
        return self.at(offset, length) if length else b""

    def newest_slot(self):
        def good(offset):
            slot = self.data[self.begin + offset:self.begin + offset + 152]
            right = len(slot) == 152 and slot[:4] == b"h5lS" and crc32c(slot[:148]) == struct.unpack("<I", slot[148:])[0]
            return slot if right else None

        def sequence(slot):
            return struct.unpack_from("<Q", slot, 4)[0]
        slots = [slot for slot in map(good, (512, 4096)) if slot]
        if not slots:
            raise Damaged("both head slots")
        if len(slots) == 1:
            # A copy that is further ahead belongs to another history.
            slots += [copy for copy in map(good, (768, 4352)) if copy and sequence(copy) <= sequence(slots[0]) + 1]
        return max(slots, key=sequence)

    def read_slot(self, slot, version):
        b = Bytes(slot, "a head slot")
        b.expect(b"h5lS")
        if slot[147]:
            raise Newer("a slot with further fields")
        self.sequence, self.version, self.time, end, self.base, _, _ = b.fixed("7Q")
        newest, root, free, history = (b.fixed("QQI") for _ in range(4))
        def pointer(triple):
            offset, length, checksum = triple
            return ((FILE, None, offset, length), checksum) if length else None
        self.free, self.history = pointer(free), pointer(history)
        self.newest, self.lost = pointer(newest), self.read_lost()
        wanted = self.version if version is None else version
        base, root, newest = self.older(version, pointer(root)) if version is not None and version < self.base else (
            self.base, pointer(root), pointer(newest))
        self.build(root, self.records_between(base, newest, wanted), base)

    def records_between(self, base, newest, wanted):
        """Returns the records after a base up to a version, oldest first."""
        records, at = [], newest
        while at:
            record = Record(self.follow(at, "a record"))
            if record.version <= base:
                break
            if record.version <= wanted:
                records.append(record)
            at = record.before
        records.reverse()
        if base + len(records) != wanted:
            raise Damaged(f"version {wanted}, and {len(records)} records behind base {base}")
        return records

    def read_lost(self):
        mark = self.data[self.begin + 1536:self.begin + 1552]
        if not any(mark):
            return 0
        if mark[:4] != b"h5lG":
            raise Damaged("what is lost")
        return struct.unpack("<Q", checked(mark, "what is lost")[4:])[0]

    def behind(self, base, newest, _):
        """Yields (version, moment, time) of the records after a base."""
        while newest:
            record = Record(self.follow(newest, "a record"))
            if record.version <= base:
                return
            yield record.version, Bytes(record.notes, "notes").varint(), record.time
            newest = record.before


def manifest_of(data):
    """Returns the manifest that the bytes encode."""
    return manifest.Manifest(data, fixed_head)


class StoredRecord:
    """A record of a store in the form that `map_of` needs: with the entries of all its commits."""

    def __init__(self, record, read):
        self.version, self.previous, self.time = record.number, record.previous, record.time
        self.sequence, self.entries, self.writers = record.version, [], []
        own = manifest.author_of(record.note)
        for part in record.parts:
            if part.kind == manifest.CANCELLED:
                continue
            if part.kind == manifest.IN_ROOT:
                raise Damaged("a commit that its root contains lies over a root")
            page = part.content
            data = page if part.kind == manifest.INLINE else manifest.long_record(read(page[0]), page[1])
            entries = entries_of(data.entries)
            self.entries += entries
            self.writers.append(((manifest.author_of(data.author) or own)[1:], len(entries)))


def entries_of(encoded):
    """Returns the entries of a commit in a store: puts and deletes."""
    b = Bytes(encoded, "entries")
    found = []
    for _ in range(b.varint()):
        kind, key = b.u8(), b.string()
        if kind > 1:
            raise Damaged(f"an entry of kind {kind}")
        found.append((key, "put", b.string()) if kind else (key, "delete", None))
    b.end()
    keys = [key for key, *_ in found]
    if keys != sorted(set(keys)):
        raise Damaged("keys of a commit do not ascend")
    return found


class DirectoryLedger(Ledger):
    """A container among the objects of a directory."""

    kind, has_edits, features, home = "head objects", False, 0, None

    def __init__(self, folder, name, version=None):
        self.folder, self.name, self.objects, self.segments = folder, name, {}, {}
        with open(os.path.join(folder, name), "rb") as file:
            self.manifest = manifest_of(file.read())
        self.identity, self.line = self.manifest.id, self.manifest.line
        if not any(self.identity):
            raise Damaged("the container was deleted")
        self.base, self.history = self.line.base, self.manifest.tables.history
        self.tags = {tag.name: tag for tag in self.all_tags()}
        self.version = self.line.number if version is None else version
        sequence = self.line.version if self.version == self.line.number else self.sequence_of(self.version)
        self.map = self.map_at(sequence)

    def all_tags(self):
        references = self.manifest.references
        stored = manifest.tags(self.read(references.page[0]), references.page[1]) if references.page else []
        return [tag for tag in stored if tag.id not in references.removed] + references.added

    def eras(self):
        """Returns the eras of the history."""
        return [era for run in self.history for era in manifest.eras(self.read(run.page[0]), run)]

    def records(self, segments, tail, above, to):
        """Returns the records after one sequence up to another one, from segments and the inline tail, oldest first."""
        found = []
        for at in segments:
            if at.last > above and at.first <= to:
                if at not in self.segments:
                    self.segments[at] = manifest.segment(self.read(at.page[0]), at)
                found += self.segments[at]
        return [record for record in [*found, *tail] if above < record.version <= to]

    def marks_of_line(self):
        """Returns the marks of all versions that the manifest and the history name, oldest first."""
        own = self.records(self.line.segments, self.line.tail, self.base - 1, self.line.version)
        found = [mark for era in self.eras() for mark in era.marks]
        found += [manifest.Mark(r.version, r.number, r.time, r.note) for r in own if manifest.is_version(r)]
        return sorted(set(found))

    def is_held(self, version):
        """Returns whether a version is retained, so that all its objects must exist."""
        tags = [tag.mark.version for tag in self.tags.values()]
        return version >= self.line.horizon or version in (self.line.version, *tags)

    def sequence_of(self, number):
        """Returns the sequence of a version that users know by its number."""
        marks = [mark for mark in self.marks_of_line() if mark.number == number]
        marks += [tag.mark for tag in self.tags.values() if tag.mark.number == number]
        if not marks or not self.is_held(marks[0].version):
            raise Damaged(f"version {number} is not kept")
        return marks[0].version

    def map_at(self, sequence):
        """Returns the map of the version that the swap with this sequence made."""
        if sequence >= self.base:
            root, segments, tail = self.line.root, self.line.segments, self.line.tail
        else:
            eras = [era for era in self.eras() if era.root.base <= sequence < era.end]
            if len(eras) != 1:
                raise Damaged(f"version {sequence} is in {len(eras)} eras")
            root, segments, tail = eras[0].root, eras[0].segments, []
        records = [record for record in self.records(segments, tail, root.base, sequence) if manifest.is_version(record)]
        below = [root.base, *(record.version for record in records)]
        if [record.previous for record in records] != below[:-1] or below[-1] != sequence:
            raise Damaged(f"records {below[1:]} over the root of version {root.base}")
        stored = [StoredRecord(record, self.read) for record in records]
        return self.map_of(root.page, stored, stored[0].version - 1 if stored else 0)

    def writers(self):
        """Returns [[((host, process id), number of entries) of each commit] of each record after the root]."""
        over = self.records(self.line.segments, self.line.tail, self.base, self.line.version)
        return [StoredRecord(record, self.read).writers for record in over]

    def versions(self):
        """Returns {version: its time} of all versions that can be opened, oldest first."""
        return {mark.number: mark.time for mark in self.marks_of_line() if mark.version >= self.line.horizon}

    def tagged(self, name):
        """Returns the map of a tagged version, and its number."""
        if name not in self.tags:
            raise Damaged(f"there is no tag {name}")
        mark = self.tags[name].mark
        return self.map_at(mark.version), mark.number

    def size_of(self, found):
        """Returns the size of an object in bytes."""
        return os.path.getsize(self.path(found))

    def check_objects(self):
        """Reads every table, and checks that each object exists and contains the bytes that are in use. Returns the
        number of objects."""
        tables = self.manifest.tables
        usage = manifest.usage(self.read(tables.usage[0]), tables.usage[1]) if tables.usage else {}
        dead = [entry for run in tables.dead for entry in manifest.dead(self.read(run.page[0]), run)]
        ends = {found: use.total for found, use in usage.items()}

        def add(place):
            found = manifest.object_of(place)
            ends[found] = max(ends.get(found, 0), place[2] + place[3])
        for entry in dead:
            add(entry.place)
            if manifest.object_of(entry.place) not in usage:
                raise Damaged(f"the dead list has the place {entry.place} in an object that the usage table does not have")
        references = [self.manifest.references.page] if self.manifest.references.page else []
        for page in [*tables.pages(), *references, *(at.page for at in self.line.segments)]:
            add(page[0])
        for record in self.records(self.line.segments, self.line.tail, self.base, self.line.version):
            for part in record.parts:
                if part.kind == manifest.STORED:
                    add(part.content[0])
                for gained in part.content.gained if part.kind == manifest.INLINE else []:
                    ends[gained.object] = max(ends.get(gained.object, 0), gained.bytes)
        short = [manifest.name_of(found) for found, end in ends.items() if self.size_of(found) < end]
        if short:
            raise Damaged(f"the objects {short} end before the bytes that are in use")
        return len(ends)

    def copies_of_manifests(self):
        """Returns {sequence: manifest} of the retained copies of manifests, oldest first."""
        place = os.path.join(self.folder, f"{self.name}.lake/{self.identity.hex()}/manifest")
        found = {}
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else []:
            if not name.startswith("."):
                with open(os.path.join(place, name), "rb") as file:
                    found[name] = manifest_of(file.read())
        if any(name != f"{copy.sequence:016x}" or copy.id != self.identity for name, copy in found.items()):
            raise Damaged(f"the copies {list(found)} of manifests")
        return {copy.sequence: copy for copy in found.values()}

    def path(self, found):
        return os.path.join(self.folder, f"{self.name}.lake/{self.identity.hex()}/{manifest.name_of(found)}")

    def read(self, place):
        _, _, offset, length = place
        if not length:
            return b""
        found = manifest.object_of(place)
        if found not in self.objects:
            with open(self.path(found), "rb") as file:
                self.objects[found] = file.read()
        data = self.objects[found][offset:offset + length]
        if len(data) != length:
            raise Damaged(f"an object has no {length} bytes at {offset}")
        return data


def pointed_to(path):
    """Returns the target of a pointer file as (URL, key), or None for any other file."""
    with open(path, "rb") as file:
        data = file.read(24 + 65_536 + 4)
    if data[:16] != SIGNATURE + b"h5lptr\0":
        return None
    version, length = struct.unpack("<II", data[16:24])
    if version != 1 or length > 65_536:
        raise Damaged(f"pointer file of version {version} with {length} bytes")
    url, key = checked(data[:28 + length], "a pointer file")[24:].decode().split("\n")
    return url, key


def open_ledger(path, version=None, branch=None):
    """Returns the ledger of a container's file, of the target of a pointer file, or of file:///FOLDER/NAME,
    optionally at a version or for a branch."""
    if branch is not None:
        found = open_ledger(path)
        found.show_branch(branch)
        return found
    if not str(path).startswith("file:///"):
        leads = pointed_to(path)
        if leads is None:
            return FileLedger(path, version)
        path = "/".join(leads)
    if not str(path).startswith("file:///"):
        raise ValueError(f"only containers in directories are read, not {path}")
    return DirectoryLedger(*str(path)[len("file://"):].rsplit("/", 1), version)
