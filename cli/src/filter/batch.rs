//! Chunks that wait for the store to look for matches in them.

use std::collections::BTreeMap;

use h5lake_container::{Dataset, StoredNumbers};

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

/// What a store found in a chunk: indices and elements; `None` for one that has to be read.
pub type FoundInStore = Option<Vec<(u64, Vec<u8>)>>;

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
        let mut all: Vec<Option<BTreeMap<u64, Vec<u8>>>> = vec![Some(BTreeMap::new()); chunks.len()];
        let (mut came, mut is_refused) = (0_u64, false);
        for tests in &self.questions {
            let found = dataset.matches_in_store(&places, tests)?;
            came = came.saturating_add(found.bytes).saturating_add(found.wasted);
            self.wasted = self.wasted.saturating_add(found.wasted);
            is_refused |= found.is_refused;
            for (known, more) in all.iter_mut().zip(found.chunks) {
                match (known.as_mut(), more) {
                    (Some(known), Some(more)) => {
                        let values = more.values.chunks_exact(size).map(<[u8]>::to_vec);
                        known.extend(more.indices.into_iter().zip(values));
                    }
                    _ => *known = None,
                }
            }
        }
        if is_refused {
            self.questions.clear();
        }
        let answered = chunks.iter().zip(&all).filter(|(_, found)| found.is_some());
        let spared: u64 = answered.map(|(chunk, _)| chunk.stored).sum();
        self.saved = self.saved.saturating_add(spared.saturating_sub(came));
        let in_order = |found: Option<BTreeMap<u64, Vec<u8>>>| found.map(|found| found.into_iter().collect());
        Ok((chunks.into_iter().zip(all.into_iter().map(in_order)).collect(), came))
    }
}
