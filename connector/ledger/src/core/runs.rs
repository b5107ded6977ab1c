//! Runs: the pages of a table that grows with the container.
//!
//! A table consists of a few runs, each of which is one page object. A change of a table retains the runs in which no item changed, and
//! puts the remaining items into new runs, which absorb smaller old runs. So a table of n items costs a logarithm of n page writes for each
//! item, and is read in a few requests. The core encodes runs; the caller stores them.

use super::frame;
use super::ids::ObjectId;
use crate::address::PageRef;
use crate::codec::{Decoded, Reader, put_varint};

/// The maximum number of runs of one table.
pub(crate) const MAX_RUNS: usize = 24;
/// The size from which on a run is not absorbed, unless there are too many runs.
const FULL_RUN: u64 = 1 << 20;
/// The maximum number of items in one run.
const MAX_RUN_ITEMS: usize = 1 << 24;

/// One page of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) page: PageRef,
    /// The sequence of the manifest that named the page first; 0 in a change that names the page now.
    pub(crate) placed: u64,
    /// The least and the greatest key of the items.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Run {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.page.encode(out);
        for n in [self.placed, self.first, self.last] {
            put_varint(out, n);
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let page = PageRef::read(r)?;
        let (placed, first, last) = (r.number()?, r.number()?, r.number()?);
        if ObjectId::of(&page.place).is_none() || first > last || placed == 0 {
            return Err("an impossible page of a table");
        }
        Ok(Self { page, placed, first, last })
    }
}

/// An item of a table in runs.
pub(crate) trait RunItem: Sized + Clone {
    /// The first bytes of a run.
    const MAGIC: &'static [u8; 4];
    /// The minimum encoded size of an item, in bytes.
    const LEAST_BYTES: usize;
    fn encode(&self, out: &mut Vec<u8>);
    /// Decodes an item of a run that the manifest `placed` named first.
    fn read(r: &mut Reader<'_>, placed: u64) -> Decoded<Self>;
    /// Returns the least and the greatest key that lead to the item.
    fn keys(&self) -> (u64, u64);
}

/// A table in memory: unchanged runs, and items that need new runs.
#[derive(Debug, Clone)]
pub(crate) struct Table<T> {
    runs: Vec<(Run, Vec<T>)>,
    changed: Vec<T>,
    /// Runs that no longer exist: their items are in `changed`, or were removed.
    replaced: Vec<Run>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { runs: Vec::new(), changed: Vec::new(), replaced: Vec::new() }
    }
}

/// The bytes of a run that the caller must put, with its checksum and keys.
#[derive(Debug, Clone)]
pub(crate) struct NewRun {
    pub(crate) bytes: Vec<u8>,
    pub(crate) crc: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl<T: RunItem> Table<T> {
    /// Adds a run that was read.
    pub(crate) fn load(&mut self, run: Run, bytes: &[u8]) -> Decoded<()> {
        let mut r = frame::open_as(bytes, T::MAGIC, run.page.crc)?;
        let items = frame::read_list(&mut r, (T::LEAST_BYTES, MAX_RUN_ITEMS), |r| T::read(r, run.placed))?;
        r.end()?;
        self.runs.push((run, items));
        Ok(())
    }

    /// Returns all items.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.runs.iter().flat_map(|(_, items)| items).chain(&self.changed)
    }

    pub(crate) fn push(&mut self, item: T) {
        self.changed.push(item);
    }

    /// Removes the items for which `stays` is false.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.changed.retain(&mut stays);
        for (run, mut items) in std::mem::take(&mut self.runs) {
            let count = items.len();
            items.retain(&mut stays);
            match items.len() == count {
                true => self.runs.push((run, items)),
                false => {
                    self.changed.extend(items);
                    self.replaced.push(run);
                }
            }
        }
    }

    /// Moves the items of small runs to those that need new runs, if there are any. Returns all runs that are replaced.
    pub(crate) fn absorb(&mut self) -> Vec<Run> {
        let mut bytes = 64 * self.changed.len() as u64;
        while let Some((run, _)) = self.runs.last().filter(|_| bytes > 0) {
            let length = run.page.place.length;
            let is_full = length >= FULL_RUN || length / 2 > bytes;
            if is_full && self.runs.len() + 2 < MAX_RUNS {
                break;
            }
            if let Some((run, items)) = self.runs.pop() {
                bytes += length;
                self.changed.splice(0..0, items);
                self.replaced.push(run);
            }
        }
        std::mem::take(&mut self.replaced)
    }

    /// Returns the runs that remain, and the bytes of the run with all other items. Call [`absorb`](Self::absorb)
    /// before.
    pub(crate) fn finish(self) -> (Vec<Run>, Option<NewRun>) {
        let kept = self.runs.iter().map(|(run, _)| *run).collect();
        let first = self.changed.iter().map(|item| item.keys().0).min();
        let last = self.changed.iter().map(|item| item.keys().1).max();
        let new = first.zip(last).map(|(first, last)| {
            let mut bytes = frame::begin(T::MAGIC);
            frame::put_list(&mut bytes, &self.changed, T::encode);
            let crc = frame::end(&mut bytes);
            NewRun { bytes, crc, first, last }
        });
        (kept, new)
    }
}

/// Returns the runs that may have an item with a key.
pub(crate) fn runs_with(runs: &[Run], key: u64) -> impl Iterator<Item = &Run> {
    runs.iter().filter(move |run| run.first <= key && key <= run.last)
}
