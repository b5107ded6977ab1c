//! All entries of a page, searched by halves.

use std::ops::Bound;

use bytes::Bytes;

use super::{Page, Stored};
use crate::address::PageRef;
use crate::codec::Decoded;

/// All entries of a page, each of which can be read, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageEntries<'a> {
    pub(super) page: &'a Page,
    pub(super) starts: &'a [u32],
}

impl<'a> PageEntries<'a> {
    /// How many there are: one at least.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The key of the entry that begins there.
    fn key_at(&self, start: u32) -> &'a [u8] {
        // All entries can be read.
        self.page.key(start).unwrap_or_default()
    }

    pub(crate) fn key(&self, n: usize) -> &'a [u8] {
        self.key_at(self.starts[n])
    }

    pub(crate) fn key_bytes(&self, n: usize) -> Bytes {
        self.page.bytes.slice_ref(self.key(n))
    }

    /// The value of a leaf's entry.
    pub(crate) fn stored(&self, n: usize) -> Decoded<Stored> {
        self.page.stored(self.starts[n])
    }

    /// The child of a branch's entry.
    pub(crate) fn child(&self, n: usize) -> Decoded<PageRef> {
        self.page.child(self.starts[n])
    }

    /// Where the entry with this key begins.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        let found = self.starts.binary_search_by(|s| self.key_at(*s).cmp(key));
        found.ok().map(|n| self.starts[n])
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
