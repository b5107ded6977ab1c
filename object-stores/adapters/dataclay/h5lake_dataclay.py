"""Runs in dataClay's backend: a store of objects, and filters that run where the bytes are (docs/dataclay.md, design 058).

The backend imports this module, so its folder is on the backend's PYTHONPATH. All methods of `Store` are coroutines:
dataClay runs them on its only event loop, as it runs the unloading of objects to its disk. So the code between two
`await`s is one atomic step, which no other call and no unloading interrupts. Methods that are no coroutines would run
in threads, where an unloading between two lines would lose a change that was already answered."""

import asyncio
import bisect
import itertools
import operator
import secrets
import time

from dataclay import DataClayObject, activemethod
from dataclay.config import get_runtime
from dataclay.event_loop import dc_to_thread_cpu

try:
    import numpy
except ImportError:  # without numpy the store promises no filter
    numpy = None

SEGMENT = 8 << 20       # maximum bytes of a segment, of a call's argument, and of its answer
INLINE = 16 << 10       # maximum length of an object that is stored in the catalogue
MAX_MATCHES = 1 << 18   # maximum number of matches in one answer of a filter
TRIES = 8               # number of tries to read an object that is replaced meanwhile
DAY = 86400
TYPES = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
TESTS = {name: getattr(operator, name) for name in ("lt", "le", "eq", "ne", "ge", "gt")}

# An etag identifies its content for ever. A backend that was killed may restart with an older catalogue, so each
# process has another name in its etags.
_process, _number = secrets.token_hex(6), itertools.count(1)
_releasing = set()  # tasks that run in the background; asyncio itself holds only weak references to them


def new_etag():
    return f"{_process}-{next(_number)}"


class Refused(Exception):
    """An answer that reports a failure: its status in the protocol, and a sentence."""


class Payload(bytes):
    """Bytes of an argument. dataClay's client formats each argument as text, which takes longer than sending it."""

    def __repr__(self):
        return f"<{len(self)} bytes>"


async def load(instance):
    """Loads an object that dataClay has unloaded to its disk. No other code runs between the load and the next line."""
    while not instance._dc_is_loaded:
        if not instance._dc_is_local:
            raise Refused(503, "the object has moved to another backend of dataClay")
        await get_runtime().data_manager.load_object(instance)
    return instance


class Segment(DataClayObject):
    """A part of an object. dataClay deletes no object, so a segment that is no longer needed is emptied and reused."""

    etag: str
    data: bytes


class Store(DataClayObject):
    """A flat map from keys to bytes.

    An entry is (etag, time, length, bytes or None, segments), and a segment in it is (id, etag, length)."""

    entries: dict   # by the key's bytes
    keys: list      # these keys in order
    uploads: dict   # by the upload's name: {offset: (segment, time)}
    free: list      # ids of empty segments

    def __init__(self):
        self.entries, self.keys, self.uploads, self.free = {}, [], {}, []

    @activemethod
    async def describe(self):
        """Returns the promised capabilities, once the catalogue is loaded."""
        await load(self)
        return ["atomic-create", "atomic-update"] + (["filter"] if numpy else [])

    @activemethod
    async def put(self, key, data, condition):
        """Puts an object of one part. `condition` is None, "*" (the key has no object) or the etag that is replaced."""
        await load(self)
        self._check(key, condition)
        if len(data) <= INLINE:
            return await self._commit(key, condition, bytes(data), ())
        segment = await self._new_segment(bytes(data))
        return await self._commit(key, condition, None, (segment,))

    @activemethod
    async def put_part(self, upload, offset, data):
        segment = await self._new_segment(bytes(data))
        await load(self)
        parts = self.uploads.setdefault(upload, {})
        replaced, parts[offset] = parts.get(offset), (segment, time.time())
        if replaced:
            await self._release([replaced[0]])

    @activemethod
    async def put_upload(self, key, upload, length, condition):
        """Makes an upload's parts the object, if their total length is `length` bytes."""
        await load(self)
        parts = self.uploads.get(upload, {})
        segments = tuple(parts[offset][0] for offset in sorted(parts))
        if sum(segment[2] for segment in segments) != length:
            raise Refused(404, f"the upload has {sum(segment[2] for segment in segments)} bytes")
        self._check(key, condition)
        self.uploads.pop(upload, None)
        etag = await self._commit(key, condition, None, segments)
        await self._sweep()
        return etag

    @activemethod
    async def drop_upload(self, upload):
        await load(self)
        parts = self.uploads.pop(upload, {})
        await self._release([segment for segment, _ in parts.values()])

    @activemethod
    async def delete(self, key):
        await load(self)
        entry = self.entries.pop(key, None)
        if entry:
            del self.keys[bisect.bisect_left(self.keys, key)]
            await self._release(entry[4])

    @activemethod
    async def look(self, key):
        """Returns an object's etag, time and length."""
        await load(self)
        return self._entry(key)[:3]

    @activemethod
    async def read(self, key, first, last, expected=None, known=None):
        """Returns (etag, time, length, bytes) of the range from `first` to before `last`, of at most SEGMENT bytes. With
         `expected`, fails if the object has another etag. Returns no bytes if the etag is `known`."""
        for _ in range(TRIES):
            await load(self)
            entry = self._entry(key)
            if expected not in (None, entry[0]):
                raise Refused(412, "the object was replaced while it was read")
            if entry[0] == known:
                return (*entry[:3], b"")
            end = max(first, min(last, first + SEGMENT, entry[2]))
            data = await self._bytes(entry, first, end)
            if await self._is_still(key, entry, data, end - first):
                return (*entry[:3], data)
        raise Refused(503, "the object is replaced again and again")

    @activemethod
    async def list(self, prefix, after, limit):
        await load(self)
        begin = max(bisect.bisect_left(self.keys, prefix), bisect.bisect_right(self.keys, after))
        keys = list(itertools.takewhile(lambda key: key.startswith(prefix), self.keys[begin:begin + limit + 1]))
        return [(key, *self.entries[key][:3]) for key in keys[:limit]], len(keys) > limit

    @activemethod
    async def filter(self, key, first, last, kind, order, tests, skip, limit):
        """Returns (etag, elements, indices, values, next): the elements between two bytes for which all tests are true,
         after the first `skip`. Indices are counted from `first`; `next` is the index to continue from, or None."""
        if numpy is None:
            raise Refused(501, "the backend has no numpy")
        await load(self)
        entry = self._entry(key)
        last = entry[2] if last is None else min(last, entry[2])
        if first > last:
            raise Refused(416, f"the object has {entry[2]} bytes")
        size = int(kind[1])
        if (last - first) % size:
            raise Refused(400, f"{last - first} bytes are no whole number of elements of {size} bytes")
        elements, step = (last - first) // size, SEGMENT // size
        indices, values, found, following = [], [], 0, None
        limit = min(limit, MAX_MATCHES)
        for at in range(skip, elements, step):
            begin = first + at * size
            end = min(begin + step * size, last)
            data = await self._bytes(entry, begin, end)
            if not await self._is_still(key, entry, data, end - begin):
                raise Refused(503, "the object was replaced while it was filtered")
            where, there = await dc_to_thread_cpu(matching, data, kind, order, tests, limit - found)
            indices.append((where + at).astype("<u8").tobytes())
            values.append(there)
            found += len(where)
            if found == limit:
                following = at + int(where[-1]) + 1
                break
        more = following if following is not None and following < elements else None
        return entry[0], elements, b"".join(indices), b"".join(values), more

    # A function marked "One step" contains no `await`, so that no other call interrupts it.

    def _entry(self, key):
        """Returns an entry. One step."""
        entry = self.entries.get(key)
        if entry is None:
            raise Refused(404, "no such object")
        return entry

    def _check(self, key, condition):
        """Checks whether a put may happen. One step."""
        there = self.entries.get(key)
        if condition == "*" and there:
            raise Refused(412, "there is such an object")
        if condition not in (None, "*") and (not there or there[0] != condition):
            raise Refused(412, "there is another version, or none")

    def _exchange(self, key, condition, data, segments):
        """Checks the condition and puts. Returns the new etag, and the entry that was replaced. One step."""
        self._check(key, condition)
        replaced = self.entries.get(key)
        length = len(data) if data is not None else sum(segment[2] for segment in segments)
        self.entries[key] = (new_etag(), int(time.time()), length, data, segments)
        if replaced is None:
            bisect.insort(self.keys, key)
        return self.entries[key][0], replaced

    async def _commit(self, key, condition, data, segments):
        try:
            await load(self)
            etag, replaced = self._exchange(key, condition, data, segments)
        except BaseException:  # also when the client abandoned the call: its segments must not be leaked
            task = asyncio.ensure_future(self._release(segments))
            _releasing.add(task)
            task.add_done_callback(_releasing.discard)
            raise
        if replaced:
            await self._release(replaced[4])
        return etag

    async def _is_still(self, key, entry, data, length):
        """Returns whether an object is unchanged after its bytes were fetched. If so, its segments were its own all the time."""
        await load(self)
        if self.entries.get(key, (None,))[0] != entry[0]:
            return False
        if len(data) != length:
            raise Refused(500, "dataClay has lost bytes of this object: its backend was killed")
        return True

    async def _new_segment(self, data):
        """Returns (id, etag, length) of a segment with these bytes: a reused empty segment, or a new one."""
        await load(self)
        etag = new_etag()
        if self.free:
            segment = await load(await get_runtime().get_object_by_id(self.free.pop()))
            segment.etag, segment.data = etag, data
        else:
            segment = Segment.new_proxy_object()
            segment.etag, segment.data = etag, data
            segment._dc_meta.dataset_name = self._dc_meta.dataset_name
            await segment.a_make_persistent()
        return segment._dc_meta.id, etag, len(data)

    async def _release(self, segments):
        """Empties segments that no entry names any more."""
        for name, etag, _ in segments:
            segment = await load(await get_runtime().get_object_by_id(name))
            if segment.etag == etag:  # otherwise an upload that was committed twice has released it already
                segment.etag, segment.data = "", b""
                await load(self)
                self.free.append(name)

    async def _sweep(self):
        """Drops uploads that were not finished within a day."""
        since = time.time() - DAY
        old = [name for name, parts in self.uploads.items() if all(begun < since for _, begun in parts.values())]
        for name in old:
            await load(self)
            await self._release([segment for segment, _ in self.uploads.pop(name, {}).values()])

    async def _bytes(self, entry, first, last):
        """Returns bytes of an entry, without those of segments that were reused meanwhile. The caller checks `_is_still`."""
        if entry[3] is not None:
            return entry[3][first:last]
        found, at = [], 0
        for name, etag, length in entry[4]:
            if at < last and at + length > first:
                segment = await load(await get_runtime().get_object_by_id(name))
                if segment.etag == etag:
                    found.append(segment.data[max(first - at, 0):last - at])
            at += length
        return found[0] if len(found) == 1 else b"".join(found)


def matching(data, kind, order, tests, limit):
    """Returns the indices of the first elements for which all tests are true, and their bytes. Numbers are compared by value:
     narrow floats are widened, and integers are compared with integers of any size."""
    there = numpy.frombuffer(data, {"little": "<", "big": ">"}[order] + kind)
    wide = there.astype("f8") if kind[0] == "f" else there
    true = numpy.ones(len(there), bool)
    for name, value in tests:
        true &= TESTS[name](wide, value)
    where = numpy.flatnonzero(true)[:limit]
    return where, there[where].tobytes()
