//! Pages: the nodes of the checkpoint, a copy-on-write B-tree.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use bytes::Bytes;

use crate::address::PageRef;
use crate::checksum::unseal_as;
use crate::codec::{Decoded, NEWER, Reader};
use crate::extent::Extent;

mod draft;
mod entries;

pub(crate) use draft::Draft;
pub(crate) use entries::PageEntries;

pub(crate) const MAGIC: &[u8; 4] = b"h5lP";
/// More levels than any container can have; a page with a higher level is damaged.
pub(crate) const MAX_LEVELS: u8 = 48;
/// A reserved bit of the level: a codec and a key id follow. Writers never set it.
const HAS_CODEC: u8 = 0x80;
/// Longer than any page that is written, including pages with the longest keys.
pub(crate) const MAX_PAGE_BYTES: u64 = 16 << 20;

/// A value as a leaf stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    Inline(Bytes),
    Spilled(Extent),
}

/// The number of walks over a page before the start of each entry is recorded, because many pages are searched only
/// once or twice.
const WALKS_BEFORE_INDEX: u8 = 2;

/// A page with a verified checksum. Keys and values are slices of its bytes. An entry is identified by its start
/// offset.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Bytes,
    pub(crate) level: u8,
    count: usize,
    first: u32,
    /// The end offset of the last entry.
    end: usize,
    /// The start offset of each entry, after they were first needed.
    starts: OnceLock<Vec<u32>>,
    walks: AtomicU8,
    /// The entry after the one that was found last, because successive look-ups often find neighbouring entries.
    next: AtomicU32,
}

/// Returns whether a key sorts before another key. Most keys differ in their first eight bytes, or are short and differ
/// in their last eight: these bytes are compared as numbers.
#[inline(always)]
fn is_before(one: &[u8], other: &[u8]) -> bool {
    let less = |x: &[u8; 8], y: &[u8; 8]| u64::from_be_bytes(*x) < u64::from_be_bytes(*y);
    match (one.first_chunk(), other.first_chunk(), one.last_chunk(), other.last_chunk()) {
        (Some(x), Some(y), ..) if x != y => less(x, y),
        (_, _, Some(x), Some(y)) if one.len() == other.len() && one.len() <= 16 => less(x, y),
        _ => one < other,
    }
}

/// Skips the bytes after the key of an entry.
#[inline(always)]
fn skip_after_key(r: &mut Reader<'_>, level: u8) -> Decoded<()> {
    if level > 0 {
        return PageRef::skip(r);
    }
    if r.u8()? > 1 {
        return Err("unknown kind of value");
    }
    r.string().map(drop)
}

/// Walks over entries while `more` returns true, and passes the start offset and key of each entry to it. Keys must
/// ascend.
#[inline(always)]
fn each<'a>(
    r: &mut Reader<'a>,
    count: usize,
    level: u8,
    mut more: impl FnMut(u32, &'a [u8]) -> bool,
) -> Decoded<bool> {
    let mut before = None;
    for _ in 0..count {
        // Offsets fit, because longer pages were refused.
        let start = r.position() as u32;
        let key = r.string()?;
        skip_after_key(r, level)?;
        if before.replace(key).is_some_and(|before| !is_before(before, key)) {
            return Err("keys are not in order");
        }
        if !more(start, key) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Page {
    /// Decodes a page, and compares its checksum with that of the pointer to it.
    pub(crate) fn decode(bytes: Bytes, crc: u32) -> Decoded<Self> {
        if bytes.len() as u64 > MAX_PAGE_BYTES {
            return Err("longer than any page");
        }
        let mut r = Reader::new(unseal_as(&bytes, crc)?);
        if r.take(4)? != MAGIC {
            return Err("not a page");
        }
        let level = r.u8()?;
        if level & HAS_CODEC != 0 {
            return Err(NEWER);
        }
        if level > MAX_LEVELS {
            return Err("more levels than possible");
        }
        let count = r.varint()?;
        if count == 0 || count > (r.remaining() / 2) as u64 {
            return Err("an impossible number of entries");
        }
        let first = r.position();
        let end = first + r.remaining();
        Ok(Self {
            bytes,
            level,
            count: count as usize,
            first: first as u32,
            end,
            starts: OnceLock::new(),
            walks: AtomicU8::new(0),
            next: AtomicU32::new(0),
        })
    }

    /// Returns the memory that the page takes, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        (self.bytes.len() + self.count * size_of::<u32>()) as u64
    }

    /// Returns a reader that begins at an entry.
    fn from(&self, start: u32) -> Reader<'_> {
        Reader::at(&self.bytes[..self.end], start as usize)
    }

    /// Calls [`each`] with a level that is known at compile time.
    #[inline(always)]
    fn walk<'a>(&'a self, r: &mut Reader<'a>, more: impl FnMut(u32, &'a [u8]) -> bool) -> Decoded<bool> {
        match self.level {
            0 => each(r, self.count, 0, more),
            level => each(r, self.count, level, more),
        }
    }

    /// Returns all entries; an error if an entry cannot be decoded, or is not in order.
    pub(crate) fn entries(&self) -> Decoded<PageEntries<'_>> {
        if let Some(starts) = self.starts.get() {
            return Ok(PageEntries { page: self, starts });
        }
        let (mut starts, mut r) = (Vec::with_capacity(self.count), self.from(self.first));
        self.walk(&mut r, |start, _| {
            starts.push(start);
            true
        })?;
        r.end()?;
        Ok(PageEntries { page: self, starts: self.starts.get_or_init(|| starts) })
    }

    /// Returns whether the list of the entries exists, or is worth making.
    fn is_listed(&self) -> bool {
        let more = |walks: u8| (walks < WALKS_BEFORE_INDEX).then(|| walks + 1);
        self.starts.get().is_some()
            || self.walks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err()
    }

    fn search(&self, key: &[u8]) -> Decoded<Option<u32>> {
        if self.is_listed() {
            return Ok(self.entries()?.find(key));
        }
        let (mut found, mut r) = (None, self.from(self.first));
        let to_the_end = self.walk(&mut r, |start, at| {
            found = (at == key).then_some(start);
            is_before(at, key)
        })?;
        if to_the_end {
            r.end()?;
        }
        Ok(found)
    }

    /// Returns the entry with this key.
    pub(crate) fn find(&self, key: &[u8]) -> Decoded<Option<u32>> {
        let next = self.is_next(key);
        let Some(found) = next.map_or_else(|| self.search(key), |next| Ok(Some(next)))? else {
            return Ok(None);
        };
        self.next.store(self.after(found)?.unwrap_or(0), Ordering::Relaxed);
        Ok(Some(found))
    }

    /// Returns the entry after another entry.
    fn after(&self, start: u32) -> Decoded<Option<u32>> {
        let mut r = self.from(start);
        r.string()?;
        skip_after_key(&mut r, self.level)?;
        Ok((r.remaining() > 0).then_some(r.position() as u32))
    }

    /// Returns the entry after the one that was found last, if it has this key.
    fn is_next(&self, key: &[u8]) -> Option<u32> {
        let next = self.next.load(Ordering::Relaxed);
        (next > 0 && self.key(next) == Ok(key)).then_some(next)
    }

    /// Returns whether the page's first key is not greater than a key.
    pub(crate) fn begins_before(&self, key: &[u8]) -> bool {
        self.key(self.first).is_ok_and(|first| first <= key)
    }

    /// Returns whether the first key is in a range. The other keys are greater.
    pub(crate) fn begins_within(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        self.key(self.first).is_ok_and(|first| from <= first && to.is_none_or(|to| first < to))
    }

    /// Returns the key of an entry.
    fn key(&self, start: u32) -> Decoded<&[u8]> {
        self.from(start).string()
    }

    /// Returns the value of a leaf's entry.
    pub(crate) fn stored(&self, start: u32) -> Decoded<Stored> {
        let mut r = self.from(start);
        r.string()?;
        let kind = r.u8()?;
        let value = r.string()?;
        if kind == 0 {
            return Ok(Stored::Inline(self.bytes.slice_ref(value)));
        }
        Extent::read(&mut Reader::new(value)).map(Stored::Spilled)
    }

    /// Returns the child of a branch's entry.
    fn child(&self, start: u32) -> Decoded<PageRef> {
        let mut r = self.from(start);
        r.string()?;
        PageRef::read(&mut r)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    fn leaf() -> (Vec<u8>, u32) {
        let mut d = Draft::default();
        for k in ["b", "d", "f"] {
            d.push_value(k.as_bytes(), &Stored::Inline(Bytes::from(k.repeat(3))));
        }
        let (bytes, crc, first) = d.finish(0).unwrap();
        assert_eq!(first, "b");
        (bytes, crc)
    }

    /// Returns the value under a key, or the fault of the page.
    fn value(p: &Page, key: &[u8]) -> Decoded<Option<Stored>> {
        p.find(key)?.map(|at| p.stored(at)).transpose()
    }

    #[test]
    fn a_page_is_searched() {
        let (bytes, crc) = leaf();
        let p = Page::decode(bytes.into(), crc).unwrap();
        let all = p.entries().unwrap();
        assert_eq!(all.stored(1), Ok(Stored::Inline(Bytes::from("ddd"))));
        assert_eq!(all.first_from(Bound::Excluded(b"d")), 2);
        assert_eq!(all.first_from(Bound::Included(b"c")), 1);
        assert_eq!(all.end_before(Bound::Excluded(b"b")), 0);
        assert_eq!((all.branch_for(b"a"), all.branch_for(b"b"), all.branch_for(b"z")), (0, 0, 2));
    }

    #[test]
    fn a_page_is_searched_in_any_order() {
        let (bytes, crc) = leaf();
        let keys = [&b"a"[..], b"b", b"c", b"d", b"e", b"f", b"g"];
        let there = |n: usize| {
            let text = String::from_utf8(keys[n].repeat(3)).unwrap();
            (n % 2 == 1).then(|| Stored::Inline(Bytes::from(text)))
        };
        for (x, y, z) in (0..343).map(|n| (n / 49, n / 7 % 7, n % 7)) {
            let p = Page::decode(bytes.clone().into(), crc).unwrap();
            for n in [x, y, z, x, y] {
                assert_eq!(value(&p, keys[n]), Ok(there(n)), "{n} of {x} {y} {z}");
            }
            assert_eq!(keys.map(|k| p.begins_before(k)), [false, true, true, true, true, true, true]);
        }
    }

    #[test]
    fn a_branch_leads_to_the_last_child_that_is_not_behind() {
        let mut d = Draft::default();
        let child =
            |n: u8| PageRef { place: crate::address::Address::file(u64::from(n) * 16, 16), crc: n.into() };
        [b"b", b"d", b"f"]
            .iter()
            .zip(1..)
            .for_each(|(k, n)| d.push_child(&Bytes::from_static(*k), &child(n)));
        let (bytes, crc, _) = d.finish(1).unwrap();
        let page = Page::decode(bytes.into(), crc).unwrap();
        let all = page.entries().unwrap();
        for (key, n) in [(b"a", 1), (b"b", 1), (b"c", 1), (b"d", 2), (b"e", 2), (b"f", 3), (b"z", 3)] {
            let next = [b"d", b"f"].get(usize::from(n) - 1).map(|k| Bytes::from_static(*k));
            let at = all.branch_for(key);
            let behind = (at + 1 < all.len()).then(|| all.key_bytes(at + 1));
            assert_eq!((all.child(at), behind), (Ok(child(n)), next), "{key:?}");
        }
    }

    #[test]
    fn keys_have_to_ascend() {
        let decoded = |keys: &[&[u8]]| {
            let mut d = Draft::default();
            keys.iter().for_each(|k| d.push_inline(k, b"value"));
            let (bytes, crc, _) = d.finish(0).unwrap();
            Page::decode(bytes.into(), crc).unwrap()
        };
        let all = [
            &b""[..],
            b"\0",
            b"a",
            b"aaaaaaaa",
            b"aaaaaaaa\0",
            b"aaaaaaaaaa",
            b"aaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaaa\0",
            b"aaaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaab",
            b"aaaaaaaaaabaaaaa",
            b"aaaaaaaaab",
            b"aaaaaaaaabaaaaaaaaaaaa",
            b"aaaaaaaaabaaaaaaaaaaab",
            b"aaaaaaaab",
            b"aaaaaab",
            b"b",
            b"\xffaaaaaaaa",
        ];
        let found = Ok(Some(Stored::Inline(Bytes::from_static(b"value"))));
        all.iter().for_each(|k| assert_eq!(value(&decoded(&all), k), found));
        let page = decoded(&all);
        all.iter().enumerate().for_each(|(n, k)| {
            assert_eq!((page.entries().unwrap().key(n), value(&page, k)), (*k, found.clone()));
        });
        for (n, one) in all.iter().enumerate() {
            for other in &all[..=n] {
                let wrong = "keys are not in order";
                assert_eq!(decoded(&[one, other]).entries().unwrap_err(), wrong, "{one:?} {other:?}");
                // The error is the same for a search that walks and for one that uses the list.
                let page = decoded(&[one, other]);
                assert_eq!([(); 4].map(|()| page.find(b"\xff\xff")), [Err(wrong); 4], "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn unreadable_entries_are_reported() {
        let sealed = |body: &[u8]| {
            let mut out = [&MAGIC[..], body].concat();
            let crc = crate::checksum::seal(&mut out);
            Page::decode(out.into(), crc)
        };
        let bad: [&[u8]; 4] =
            [b"\0\x02\x01a\0\x01x", b"\0\x01\x01a\x02\x01x", b"\0\x01\x01a\0\x01xx", b"\0\x01\x01a\0\x09x"];
        for body in bad {
            let page = sealed(body).unwrap();
            assert!([(); 4].iter().all(|()| page.find(b"b").is_err()), "{body:?}");
            assert!(page.entries().is_err(), "{body:?}");
        }
        assert!(sealed(b"\0\x01\x01a\0\x01x").unwrap().entries().is_ok());
    }

    #[test]
    fn damage_and_strangers_are_seen() {
        let (good, crc) = leaf();
        assert!(Page::decode(good.clone().into(), crc ^ 1).is_err());
        for n in 0..good.len() {
            let mut bad = good.clone();
            bad[n] ^= 1;
            assert!(Page::decode(bad.into(), crc).is_err(), "byte {n}");
        }
    }
}
