//! The names of a group's links in the order of an index, stored compactly: a member is found by its position.

use crate::{Error, Result};
use h5lake_records::types::{Index, Order};
use std::collections::VecDeque;

/// Minimum bytes of names of removed links for which the names are packed anew, if they are also half of all names.
const MIN_WASTE: usize = 64 << 10;

/// A link: its creation order, and its name among all names.
#[derive(Debug, Clone, Copy)]
struct Entry {
    order: i64,
    start: u32,
    length: u32,
}

/// The names in the order of an index.
#[derive(Debug)]
pub(crate) struct LinkPositions {
    index: Index,
    entries: VecDeque<Entry>,
    names: Vec<u8>,
    /// Bytes of `names` that belong to removed links.
    waste: usize,
}

impl LinkPositions {
    pub(crate) fn new(index: Index) -> Self {
        Self { index, entries: VecDeque::new(), names: Vec::new(), waste: 0 }
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize;
        &self.names[start..start + entry.length as usize]
    }

    fn entry(&mut self, name: &[u8], order: Option<i64>) -> Result<Entry> {
        let start = u32::try_from(self.names.len());
        let (Ok(start), Ok(length)) = (start, u32::try_from(name.len())) else {
            return Err(Error::range("the names of a group's links have more than 4 GiB"));
        };
        self.names.extend_from_slice(name);
        Ok(Entry { order: order.unwrap_or_default(), start, length })
    }

    /// Adds a link in any order; [`Self::sort`] must follow.
    pub(crate) fn add(&mut self, name: &[u8], order: Option<i64>) -> Result<()> {
        let entry = self.entry(name, order)?;
        self.entries.push_back(entry);
        Ok(())
    }

    /// Sorts all links into the order of the index.
    pub(crate) fn sort(&mut self) {
        let mut entries: Vec<_> = std::mem::take(&mut self.entries).into();
        match self.index {
            Index::CreationOrder => entries.sort_by_key(|entry| entry.order),
            // They are sorted already, except for names too long for a key.
            Index::Name => entries.sort_by(|a, b| self.name(a).cmp(self.name(b))),
        }
        self.entries = entries.into();
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the name of the link at position `n` along an order.
    ///
    /// # Errors
    /// `OutOfRange`.
    pub(crate) fn at(&self, order: Order, n: u64) -> Result<&[u8]> {
        let count = self.entries.len();
        let n = usize::try_from(n).ok().filter(|&n| n < count);
        let n = n.ok_or_else(|| Error::range(format!("index out of bounds, there are {count} entries")))?;
        let n = if order == Order::Decreasing { count - 1 - n } else { n };
        Ok(self.entries.get(n).map_or(&[][..], |entry| self.name(entry)))
    }

    /// Adds a link that was created.
    pub(crate) fn link_made(&mut self, name: &[u8], order: Option<i64>) -> Result<()> {
        let entry = self.entry(name, order)?;
        let at = self.position(name, entry.order).unwrap_or_else(|at| at);
        self.entries.insert(at, entry);
        Ok(())
    }

    /// Removes a link that was removed.
    pub(crate) fn link_removed(&mut self, name: &[u8], order: Option<i64>) {
        if let Ok(at) = self.position(name, order.unwrap_or_default()) {
            self.entries.remove(at);
            self.waste += name.len();
            if self.waste > MIN_WASTE && self.waste > self.names.len() / 2 {
                self.pack();
            }
        }
    }

    fn position(&self, name: &[u8], order: i64) -> std::result::Result<usize, usize> {
        match self.index {
            Index::CreationOrder => self.entries.binary_search_by_key(&order, |entry| entry.order),
            Index::Name => self.entries.binary_search_by(|entry| self.name(entry).cmp(name)),
        }
    }

    fn pack(&mut self) {
        let mut names = Vec::with_capacity(self.names.len() - self.waste);
        for n in 0..self.entries.len() {
            let start = names.len() as u32;
            names.extend_from_slice(self.name(&self.entries[n]));
            self.entries[n].start = start;
        }
        (self.names, self.waste) = (names, 0);
    }

    /// Returns the memory in bytes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.names.capacity()
    }
}
