//! The list of all entries of a page, for binary search.

use std::ops::Bound;

use bytes::Bytes;

use super::{Page, Stored};
use crate::address::PageRef;
use crate::codec::Decoded;

/// All entries of a page. Each of them can be decoded, and they are in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageEntries<'a> {
    pub(super) page: &'a Page,
    pub(super) starts: &'a [u32],
}

impl<'a> PageEntries<'a> {
    /// Returns the number of entries, at least one.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Returns the key of the entry that begins at an offset.
    fn key_at(&self, start: u32) -> &'a [u8] {
        // All entries can be decoded, so the default is never used.
        self.page.key(start).unwrap_or_default()
    }

    pub(crate) fn key(&self, n: usize) -> &'a [u8] {
        self.key_at(self.starts[n])
    }

    pub(crate) fn key_bytes(&self, n: usize) -> Bytes {
        self.page.bytes.slice_ref(self.key(n))
    }

    /// Returns the value of a leaf's entry.
    pub(crate) fn stored(&self, n: usize) -> Decoded<Stored> {
        self.page.stored(self.starts[n])
    }

    /// Returns the child of a branch's entry.
    pub(crate) fn child(&self, n: usize) -> Decoded<PageRef> {
        self.page.child(self.starts[n])
    }

    /// Returns the start offset of the entry with this key.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        let found = self.starts.binary_search_by(|s| self.key_at(*s).cmp(key));
        found.ok().map(|n| self.starts[n])
    }

    /// Returns the number of the child below which a key is, if the key exists.
    pub(crate) fn branch_for(&self, key: &[u8]) -> usize {
        self.starts.partition_point(|s| self.key_at(*s) <= key).saturating_sub(1)
    }

    /// Returns the number of the first entry that is not before a lower bound.
    pub(crate) fn first_from(&self, lower: Bound<&[u8]>) -> usize {
        match lower {
            Bound::Unbounded => 0,
            Bound::Included(k) => self.starts.partition_point(|s| self.key_at(*s) < k),
            Bound::Excluded(k) => self.starts.partition_point(|s| self.key_at(*s) <= k),
        }
    }

    /// Returns the number after that of the last entry that is not after an upper bound.
    pub(crate) fn end_before(&self, upper: Bound<&[u8]>) -> usize {
        match upper {
            Bound::Unbounded => self.starts.len(),
            Bound::Included(k) => self.starts.partition_point(|s| self.key_at(*s) <= k),
            Bound::Excluded(k) => self.starts.partition_point(|s| self.key_at(*s) < k),
        }
    }
}
