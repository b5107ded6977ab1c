//! Pages: the nodes of the base, a B-tree that is copied on write.

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::extent::Extent;
use crate::record::{seal, unseal_as};
use crate::space::Pointer;

pub(crate) const MAGIC: &[u8; 4] = b"h5lP";
/// More levels than any container can have; a page that says more is damaged.
pub(crate) const MOST_LEVELS: u8 = 48;
/// Longer than any page that is written, the longest keys included.
pub(crate) const LONGEST: u64 = 16 << 20;

/// A value as a leaf holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    Inline(Bytes),
    Spilled(Extent),
}

/// A decoded page. Keys and values are slices of its bytes.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Bytes,
    pub(crate) level: u8,
    /// Where each entry begins: its key's length.
    starts: Vec<u32>,
    /// The entry behind the one that was found last: what is looked up one after the other often lies so.
    next: AtomicUsize,
}

/// Passes over an entry, and gives its key.
#[inline(always)]
fn pass_over<'a>(r: &mut Reader<'a>, level: u8) -> Decoded<&'a [u8]> {
    let key = r.string()?;
    if level > 0 {
        Pointer::skip(r)?;
    } else {
        if r.u8()? > 1 {
            return Err("unknown kind of value");
        }
        r.string()?;
    }
    Ok(key)
}

/// Whether a key is before another. Most differ in their first bytes, which are compared as one number.
#[inline(always)]
fn is_before(one: &[u8], other: &[u8]) -> bool {
    match (one.first_chunk(), other.first_chunk()) {
        (Some(x), Some(y)) if x != y => u64::from_be_bytes(*x) < u64::from_be_bytes(*y),
        _ => one < other,
    }
}

/// Where each entry begins; all of them can be read, and their keys ascend.
#[inline(always)]
fn entries(r: &mut Reader<'_>, count: usize, level: u8) -> Decoded<Vec<u32>> {
    let mut starts = Vec::with_capacity(count);
    let mut before = None;
    for _ in 0..count {
        // Positions fit, as longer pages were refused.
        starts.push(r.position() as u32);
        let key = pass_over(r, level)?;
        if before.replace(key).is_some_and(|before| !is_before(before, key)) {
            return Err("keys are not in order");
        }
    }
    Ok(starts)
}

impl Page {
    pub(crate) fn decode(bytes: Bytes, crc: u32) -> Decoded<Self> {
        if bytes.len() as u64 > LONGEST {
            return Err("longer than any page");
        }
        let mut r = Reader::new(unseal_as(&bytes, crc)?);
        if r.take(4)? != MAGIC {
            return Err("not a page");
        }
        let level = r.u8()?;
        if level > MOST_LEVELS {
            return Err("more levels than possible");
        }
        let count = r.varint()?;
        if count == 0 || count > (r.remaining() / 2) as u64 {
            return Err("an impossible number of entries");
        }
        let starts = match level {
            0 => entries(&mut r, count as usize, 0),
            _ => entries(&mut r, count as usize, level),
        }?;
        r.end()?;
        Ok(Self { bytes, level, starts, next: AtomicUsize::new(0) })
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Memory that the page takes.
    pub(crate) fn weight(&self) -> u64 {
        (self.bytes.len() + self.starts.len() * size_of::<u32>()) as u64
    }

    fn entry(&self, start: u32) -> Reader<'_> {
        Reader::at(&self.bytes, start as usize)
    }

    /// The key of the entry that begins there.
    fn key_at(&self, start: u32) -> &[u8] {
        // No page is made with an entry that cannot be read.
        self.entry(start).string().unwrap_or_default()
    }

    pub(crate) fn key(&self, n: usize) -> &[u8] {
        self.key_at(self.starts[n])
    }

    pub(crate) fn key_bytes(&self, n: usize) -> Bytes {
        self.bytes.slice_ref(self.key(n))
    }

    pub(crate) fn stored(&self, n: usize) -> Decoded<Stored> {
        let mut r = self.entry(self.starts[n]);
        r.string()?;
        let kind = r.u8()?;
        let value = r.string()?;
        if kind == 0 {
            return Ok(Stored::Inline(self.bytes.slice_ref(value)));
        }
        Extent::read(&mut Reader::new(value)).map(Stored::Spilled)
    }

    pub(crate) fn child(&self, n: usize) -> Decoded<Pointer> {
        let mut r = self.entry(self.starts[n]);
        r.string()?;
        Pointer::read(&mut r)
    }

    /// Whether a key is not before the first one here, and not behind the last.
    pub(crate) fn spans(&self, key: &[u8]) -> bool {
        let (first, last) = (self.starts.first(), self.starts.last());
        self.is_next(key).is_some()
            || first.is_some_and(|s| self.key_at(*s) <= key) && last.is_some_and(|s| key <= self.key_at(*s))
    }

    /// The entry with this key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        let found =
            self.is_next(key).or_else(|| self.starts.binary_search_by(|s| self.key_at(*s).cmp(key)).ok())?;
        self.next.store(found + 1, Ordering::Relaxed);
        Some(found)
    }

    /// The entry behind the one that was found last, if it has this key.
    fn is_next(&self, key: &[u8]) -> Option<usize> {
        let next = self.next.load(Ordering::Relaxed);
        self.starts.get(next).filter(|s| self.key_at(**s) == key).map(|_| next)
    }

    /// The child below which a key is, if it is anywhere.
    pub(crate) fn branch_for(&self, key: &[u8]) -> usize {
        self.starts.partition_point(|s| self.key_at(*s) <= key).saturating_sub(1)
    }

    /// The first entry that is not before a lower bound.
    pub(crate) fn first_from(&self, lower: Bound<&[u8]>) -> usize {
        match lower {
            Bound::Unbounded => 0,
            Bound::Included(k) => self.starts.partition_point(|s| self.key_at(*s) < k),
            Bound::Excluded(k) => self.starts.partition_point(|s| self.key_at(*s) <= k),
        }
    }

    /// One more than the last entry that is not behind an upper bound.
    pub(crate) fn end_before(&self, upper: Bound<&[u8]>) -> usize {
        match upper {
            Bound::Unbounded => self.starts.len(),
            Bound::Included(k) => self.starts.partition_point(|s| self.key_at(*s) <= k),
            Bound::Excluded(k) => self.starts.partition_point(|s| self.key_at(*s) < k),
        }
    }
}

/// Collects the entries of one page.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    body: Vec<u8>,
    count: u64,
    first: Option<Bytes>,
}

impl Draft {
    pub(crate) fn push_value(&mut self, key: &[u8], value: &Stored) {
        match value {
            Stored::Inline(v) => self.push_inline(key, v),
            Stored::Spilled(e) => {
                self.start(key);
                self.body.push(1);
                put_string(&mut self.body, &e.to_bytes());
            }
        }
    }

    pub(crate) fn push_inline(&mut self, key: &[u8], value: &[u8]) {
        self.start(key);
        self.body.push(0);
        put_string(&mut self.body, value);
    }

    pub(crate) fn push_child(&mut self, key: &Bytes, child: &Pointer) {
        self.start(key);
        child.encode(&mut self.body);
    }

    fn start(&mut self, key: &[u8]) {
        if self.first.is_none() {
            self.first = Some(Bytes::copy_from_slice(key));
        }
        self.count += 1;
        put_string(&mut self.body, key);
    }

    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The page's bytes, its checksum and its first key; `None` if it has no entries.
    pub(crate) fn finish(&mut self, level: u8) -> Option<(Vec<u8>, u32, Bytes)> {
        let first = self.first.take()?;
        let mut out = Vec::with_capacity(self.body.len() + 16);
        out.extend_from_slice(MAGIC);
        out.push(level);
        put_varint(&mut out, self.count);
        out.append(&mut self.body);
        self.count = 0;
        let crc = seal(&mut out);
        Some((out, crc, first))
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_page_is_searched() {
        let (bytes, crc) = leaf();
        let p = Page::decode(bytes.into(), crc).unwrap();
        assert_eq!((p.find(b"d"), p.find(b"e")), (Some(1), None));
        assert_eq!(p.stored(1), Ok(Stored::Inline(Bytes::from("ddd"))));
        assert_eq!(p.first_from(Bound::Excluded(b"d")), 2);
        assert_eq!(p.first_from(Bound::Included(b"c")), 1);
        assert_eq!(p.end_before(Bound::Excluded(b"b")), 0);
        assert_eq!([&b"a"[..], b"b", b"e", b"f", b"g"].map(|k| p.spans(k)), [false, true, true, true, false]);
        assert_eq!((p.branch_for(b"a"), p.branch_for(b"b"), p.branch_for(b"z")), (0, 0, 2));
    }

    #[test]
    fn a_page_is_searched_in_any_order() {
        let (bytes, crc) = leaf();
        let keys = [&b"b"[..], b"d", b"f"];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let p = Page::decode(bytes.clone().into(), crc).unwrap();
            for n in order.into_iter().chain(order) {
                assert_eq!((p.find(keys[n]), p.spans(keys[n])), (Some(n), true), "{order:?}");
                assert_eq!([&b"a"[..], b"c", b"g"].map(|k| p.find(k)), [None; 3]);
                assert_eq!([&b"a"[..], b"c", b"g"].map(|k| p.spans(k)), [false, true, false]);
            }
        }
    }

    #[test]
    fn keys_have_to_ascend() {
        let decoded = |keys: &[&[u8]]| {
            let mut d = Draft::default();
            keys.iter().for_each(|k| d.push_inline(k, b"value"));
            let (bytes, crc, _) = d.finish(0).unwrap();
            Page::decode(bytes.into(), crc)
        };
        let all = [
            &b""[..],
            b"\0",
            b"a",
            b"aaaaaaaa",
            b"aaaaaaaa\0",
            b"aaaaaaaab",
            b"aaaaaab",
            b"b",
            b"\xffaaaaaaaa",
        ];
        let page = decoded(&all).unwrap();
        all.iter().enumerate().for_each(|(n, k)| assert_eq!((page.key(n), page.find(k)), (*k, Some(n))));
        for (n, one) in all.iter().enumerate() {
            for other in &all[..=n] {
                let why = decoded(&[one, other]).unwrap_err();
                assert_eq!(why, "keys are not in order", "{one:?} {other:?}");
            }
        }
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
