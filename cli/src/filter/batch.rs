//! Chunks that wait for the store to look for matches in them.

use std::cmp::Ordering;

use h5lake_container::{Dataset, PartMatches, StoredNumbers};

use super::area::Area;
use super::expression::Expression;
use super::in_store::{Tests, questions};
use crate::Failure;

/// Bytes of the first batch, and of the longest one: a search that ends soon asks for little.
const BATCH_BYTES: (u64, u64) = (8 << 20, 64 << 20);
/// Most chunks of a batch.
const MAX_CHUNKS: usize = 4096;
/// Bytes that may come in vain, beyond those that were saved.
const MAX_WASTED: u64 = 4 << 20;

/// A chunk whose elements lie in the store as they are.
pub struct ChunkInStore {
    pub area: Area,
    pub stored: u64,
    pub numbers: StoredNumbers,
}

/// What a store found in a chunk; `None` for one that has to be read. It is kept as it came: there may be millions of matches.
pub type FoundInStore = Option<PartMatches>;

/// Chunks that follow each other, and what is asked of them.
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
    /// For the chunks of a dataset; nothing is worth it where the store does not search, or `may_ask` is false.
    pub fn new(dataset: &Dataset, expression: &Expression, may_ask: bool) -> Self {
        let of = dataset.number_type_in_store().filter(|_| may_ask);
        let questions = of.and_then(|of| questions(expression, of)).unwrap_or_default();
        Self { questions, most: BATCH_BYTES.0, ..Self::default() }
    }

    /// Whether the store is to be asked about the next chunk.
    pub fn is_worth_it(&self) -> bool {
        !self.questions.is_empty() && self.wasted <= self.saved.saturating_add(MAX_WASTED)
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Takes a chunk in; whether it is time to ask.
    pub fn add(&mut self, chunk: ChunkInStore) -> bool {
        self.bytes = self.bytes.saturating_add(chunk.numbers.bytes());
        self.chunks.push(chunk);
        self.bytes >= self.most || self.chunks.len() >= MAX_CHUNKS
    }

    /// Asks the store about all chunks: what it found, in order, and how many bytes came for it.
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

/// What two questions found in a chunk, each element once and in order. Both have elements of so many bytes.
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

/// The elements that were found, each of so many bytes, with their indices in the chunk.
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
