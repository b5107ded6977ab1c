//! Pages: the nodes of the base, a B-tree that is copied on write.

use std::ops::{Bound, Range};
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

#[derive(Debug, Clone)]
struct Slot {
    key: Range<u32>,
    kind: u8,
    value: Range<u32>,
}

/// A decoded page. Keys and values are slices of its bytes.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Bytes,
    pub(crate) level: u8,
    slots: Vec<Slot>,
    /// The entry behind the one that was found last: what is looked up one after the other often lies so.
    next: AtomicUsize,
}

#[inline(always)]
fn range(r: &mut Reader<'_>) -> Decoded<Range<u32>> {
    let n = r.length()?;
    let at = r.position();
    r.take(n)?;
    // Positions fit, as longer pages were refused.
    Ok(at as u32..(at + n) as u32)
}

impl Page {
    pub(crate) fn decode(bytes: Bytes, crc: u32) -> Decoded<Self> {
        if bytes.len() as u64 > LONGEST {
            return Err("longer than any page");
        }
        let body = unseal_as(&bytes, crc)?;
        let mut r = Reader::new(body);
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
        let mut slots: Vec<Slot> = Vec::with_capacity(count as usize);
        let mut before = None;
        for _ in 0..count {
            let key = range(&mut r)?;
            let this = &body[key.start as usize..key.end as usize];
            if before.replace(this).is_some_and(|before| before >= this) {
                return Err("keys are not in order");
            }
            slots.push(if level == 0 {
                let kind = r.u8()?;
                if kind > 1 {
                    return Err("unknown kind of value");
                }
                Slot { key, kind, value: range(&mut r)? }
            } else {
                let at = r.position() as u32;
                Pointer::skip(&mut r)?;
                Slot { key, kind: 0, value: at..r.position() as u32 }
            });
        }
        r.end()?;
        Ok(Self { bytes, level, slots, next: AtomicUsize::new(0) })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Memory that the page takes.
    pub(crate) fn weight(&self) -> u64 {
        (self.bytes.len() + self.slots.len() * size_of::<Slot>()) as u64
    }

    fn cut(&self, x: &Range<u32>) -> &[u8] {
        &self.bytes[x.start as usize..x.end as usize]
    }

    pub(crate) fn key(&self, n: usize) -> &[u8] {
        self.cut(&self.slots[n].key)
    }

    pub(crate) fn key_bytes(&self, n: usize) -> Bytes {
        let k = &self.slots[n].key;
        self.bytes.slice(k.start as usize..k.end as usize)
    }

    pub(crate) fn stored(&self, n: usize) -> Decoded<Stored> {
        let s = &self.slots[n];
        if s.kind == 0 {
            return Ok(Stored::Inline(self.bytes.slice(s.value.start as usize..s.value.end as usize)));
        }
        Extent::read(&mut Reader::new(self.cut(&s.value))).map(Stored::Spilled)
    }

    pub(crate) fn child(&self, n: usize) -> Decoded<Pointer> {
        Pointer::read(&mut Reader::new(self.cut(&self.slots[n].value)))
    }

    /// Whether a key is not before the first one here, and not behind the last.
    pub(crate) fn spans(&self, key: &[u8]) -> bool {
        let (first, last) = (self.slots.first(), self.slots.last());
        self.is_next(key).is_some()
            || first.is_some_and(|s| self.cut(&s.key) <= key) && last.is_some_and(|s| key <= self.cut(&s.key))
    }

    /// The entry with this key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        let found =
            self.is_next(key).or_else(|| self.slots.binary_search_by(|s| self.cut(&s.key).cmp(key)).ok())?;
        self.next.store(found + 1, Ordering::Relaxed);
        Some(found)
    }

    /// The entry behind the one that was found last, if it has this key.
    fn is_next(&self, key: &[u8]) -> Option<usize> {
        let next = self.next.load(Ordering::Relaxed);
        self.slots.get(next).filter(|s| self.cut(&s.key) == key).map(|_| next)
    }

    /// The child below which a key is, if it is anywhere.
    pub(crate) fn branch_for(&self, key: &[u8]) -> usize {
        self.slots.partition_point(|s| self.cut(&s.key) <= key).saturating_sub(1)
    }

    /// The first entry that is not before a lower bound.
    pub(crate) fn first_from(&self, lower: Bound<&[u8]>) -> usize {
        match lower {
            Bound::Unbounded => 0,
            Bound::Included(k) => self.slots.partition_point(|s| self.cut(&s.key) < k),
            Bound::Excluded(k) => self.slots.partition_point(|s| self.cut(&s.key) <= k),
        }
    }

    /// One more than the last entry that is not behind an upper bound.
    pub(crate) fn end_before(&self, upper: Bound<&[u8]>) -> usize {
        match upper {
            Bound::Unbounded => self.slots.len(),
            Bound::Included(k) => self.slots.partition_point(|s| self.cut(&s.key) <= k),
            Bound::Excluded(k) => self.slots.partition_point(|s| self.cut(&s.key) < k),
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
