//! The layout that all blocks of one dataset, or all heap segments of one length, share.

use crate::Result;
use crate::chunk::statistics::CountedChunks;
use bytes::Bytes;
use h5lake_filters::Pipeline;
use h5lake_ledger::locks::RwLock;
use h5lake_records::keys;
use h5lake_records::memory::zeros;

/// Runs of at least this many bytes are transferred past the cache, directly from or to the caller's buffer.
pub(crate) const MIN_DIRECT_BYTES: usize = 64 << 10;

/// The layout of a block.
#[derive(Debug)]
pub(crate) struct BlockLayout {
    /// Bytes of a block.
    pub len: usize,
    /// One element of fill; `None` for zeros.
    pub fill: Option<Bytes>,
    /// The filter pipeline of chunks; an empty pipeline leaves blocks unencoded.
    pub filters: Pipeline,
    /// Maximum number of bytes of a block that are stored inline.
    pub inline: usize,
    /// Present if chunks that reach beyond the extent are stored without filters.
    pub edges: Option<Edges>,
    /// Present if statistics of chunks are stored.
    pub counted: Option<CountedChunks>,
}

/// Determines which chunks reach beyond the extent.
#[derive(Debug)]
pub(crate) struct Edges {
    /// The dimensions of a chunk.
    pub chunk: Vec<u64>,
    /// The present extent.
    pub dims: RwLock<Vec<u64>>,
}

/// Returns whether the chunk at `coords` (in chunks) reaches beyond `dims`.
pub(crate) fn is_partial(coords: &[u64], chunk: &[u64], dims: &[u64]) -> bool {
    let end = |c: &u64, n: &u64| c.saturating_add(1).saturating_mul(*n);
    coords.iter().zip(chunk).zip(dims).any(|((c, n), d)| end(c, n) > *d)
}

impl BlockLayout {
    /// Returns whether the block of this key is stored through the pipeline.
    pub(crate) fn is_filtered(&self, key: &[u8]) -> bool {
        let partial = |e: &Edges| is_partial(&keys::coords(key), &e.chunk, &e.dims.read());
        !self.filters.is_empty() && !self.edges.as_ref().is_some_and(partial)
    }

    /// Fills `out`, which begins `offset` bytes into the block.
    pub(crate) fn fill(&self, offset: usize, out: &mut [u8]) {
        match &self.fill {
            None => out.fill(0),
            Some(element) => repeat(element, offset % element.len(), out),
        }
    }

    /// Returns a block of fill.
    ///
    /// # Errors
    /// If the memory cannot be allocated.
    pub(crate) fn filled(&self) -> Result<Vec<u8>> {
        let mut block = zeros(self.len)?;
        if self.fill.is_some() {
            self.fill(0, &mut block);
        }
        Ok(block)
    }
}

/// Repeats `element` over `out`, beginning `from` bytes into the element. Each step doubles the filled part.
pub(crate) fn repeat(element: &[u8], from: usize, out: &mut [u8]) {
    let mut done = 0;
    for (o, b) in out.iter_mut().zip(element[from..].iter().chain(&element[..from])) {
        *o = *b;
        done += 1;
    }
    while done < out.len() {
        let n = done.min(out.len() - done);
        out.copy_within(..n, done);
        done += n;
    }
}
