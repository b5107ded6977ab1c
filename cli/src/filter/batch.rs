//! Batches of chunks in which the store searches for matches.

use std::cmp::Ordering;

use h5lake_container::{Dataset, PartMatches, StoredNumbers};

use super::area::Area;
use super::expression::Expression;
use super::in_store::{Tests, questions};
use crate::Failure;

/// The number of bytes in the first batch and the maximum. Batches begin small because a search may end after a few matches.
const BATCH_BYTES: (u64, u64) = (8 << 20, 64 << 20);
/// The maximum number of chunks in a batch.
const MAX_CHUNKS: usize = 4096;
/// The number of useless bytes that the store may return beyond the number of bytes that it saved.
const MAX_WASTED: u64 = 4 << 20;

/// A chunk with elements that are stored without filters, so that the store can compare them.
pub struct ChunkInStore {
    pub area: Area,
    pub stored: u64,
    pub numbers: StoredNumbers,
}

/// The matches that the store found in a chunk, or `None` if the chunk has to be read. The matches stay encoded, because there may be
/// millions of them.
pub type FoundInStore = Option<PartMatches>;

/// Consecutive chunks, and the tests that the store applies to their elements.
#[derive(Default)]
pub struct Batch {
    questions: Vec<Tests>,
    chunks: Vec<ChunkInStore>,
    bytes: u64,
    most: u64,
    saved: u64,
    wasted: u64,
}

impl Batch {
    /// Creates an empty batch for the chunks of a dataset. The batch is never used if the store cannot search, or if `may_ask` is false.
    pub fn new(dataset: &Dataset, expression: &Expression, may_ask: bool) -> Self {
        let of = dataset.number_type_in_store().filter(|_| may_ask);
        let questions = of.and_then(|of| questions(expression, of)).unwrap_or_default();
        Self { questions, most: BATCH_BYTES.0, ..Self::default() }
    }

    /// Returns whether the next chunk is worth a query to the store.
    pub fn is_worth_it(&self) -> bool {
        !self.questions.is_empty() && self.wasted <= self.saved.saturating_add(MAX_WASTED)
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Adds a chunk. Returns whether the batch is full.
    pub fn add(&mut self, chunk: ChunkInStore) -> bool {
        self.bytes = self.bytes.saturating_add(chunk.numbers.bytes());
        self.chunks.push(chunk);
        self.bytes >= self.most || self.chunks.len() >= MAX_CHUNKS
    }

    /// Sends the queries for all chunks to the store. Returns the chunks in their order, each with its matches, and the number of bytes
    /// that the store returned.
    pub fn ask(&mut self, dataset: &Dataset) -> Result<(Vec<(ChunkInStore, FoundInStore)>, u64), Failure> {
        let chunks = std::mem::take(&mut self.chunks);
        (self.bytes, self.most) = (0, (2 * self.most).min(BATCH_BYTES.1));
        let places: Vec<_> = chunks.iter().map(|chunk| &chunk.numbers).collect();
        let size = usize::try_from(dataset.datatype().size)?;
        let mut all: Vec<FoundInStore> = vec![Some(PartMatches::default()); chunks.len()];
        let (mut came, mut is_refused) = (0_u64, false);
        for tests in &self.questions {
            let found = dataset.matches_in_store(&places, tests)?;
            came = came.saturating_add(found.bytes).saturating_add(found.wasted);
            self.wasted = self.wasted.saturating_add(found.wasted);
            is_refused |= found.is_refused;
            for (known, more) in all.iter_mut().zip(found.chunks) {
                *known = known.take().zip(more).map(|(known, more)| joined(known, more, size));
            }
        }
        if is_refused {
            self.questions.clear();
        }
        let answered = chunks.iter().zip(&all).filter(|(_, found)| found.is_some());
        let spared: u64 = answered.map(|(chunk, _)| chunk.stored).sum();
        self.saved = self.saved.saturating_add(spared.saturating_sub(came));
        Ok((chunks.into_iter().zip(all).collect(), came))
    }
}

/// Merges the matches of two queries for one chunk by their indices, without duplicates. `size` is the size of an element in bytes.
fn joined(a: PartMatches, b: PartMatches, size: usize) -> PartMatches {
    if a.indices.is_empty() {
        return b;
    }
    if b.indices.is_empty() {
        return a;
    }
    let mut all = PartMatches {
        indices: Vec::with_capacity(a.indices.len() + b.indices.len()),
        values: Vec::with_capacity(a.values.len() + b.values.len()),
    };
    let (mut from_a, mut from_b) = (elements(&a, size).peekable(), elements(&b, size).peekable());
    loop {
        let order = match (from_a.peek(), from_b.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return all,
        };
        let next = if order.is_le() { from_a.next() } else { from_b.next() };
        if order.is_eq() {
            from_b.next();
        }
        if let Some((index, element)) = next {
            all.indices.push(index);
            all.values.extend_from_slice(element);
        }
    }
}

/// Returns the matching elements with their indices in the chunk. `size` is the size of an element in bytes.
pub fn elements(found: &PartMatches, size: usize) -> impl Iterator<Item = (u64, &[u8])> {
    found.indices.iter().copied().zip(found.values.chunks_exact(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(indices: &[u64]) -> PartMatches {
        let values = indices.iter().flat_map(|index| (*index as u16).to_le_bytes()).collect();
        PartMatches { indices: indices.to_vec(), values }
    }

    #[test]
    fn answers_are_joined_in_order_and_each_element_comes_once() {
        for (a, b, all) in [
            (&[1, 5, 9][..], &[2, 5, 6][..], &[1, 2, 5, 6, 9][..]),
            (&[1, 2], &[7, 8], &[1, 2, 7, 8]),
            (&[7, 8], &[1, 2], &[1, 2, 7, 8]),
            (&[3], &[], &[3]),
            (&[], &[], &[]),
            (&[4, 5], &[4, 5], &[4, 5]),
        ] {
            assert_eq!(joined(found(a), found(b), 2), found(all));
            assert_eq!(joined(found(b), found(a), 2), found(all));
        }
        let both = joined(found(&[300]), found(&[7]), 2);
        assert_eq!(elements(&both, 2).collect::<Vec<_>>(), [(7_u64, &[7_u8, 0][..]), (300, &[44, 1])]);
    }
}
