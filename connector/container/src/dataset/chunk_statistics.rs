//! Statistics of chunks, which are available without reading the chunks.

use super::Dataset;
use super::stored_numbers::StoredNumbers;
use crate::chunk::fragments::Fragments;
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_ledger::{ENTRIES_PER_SCAN, is_last_page};
use h5lake_records::keys;
use h5lake_records::number::{Number, NumberType};
use h5lake_records::record::{self, BlockRecord, StatisticsRecord};
use std::ops::ControlFlow;

/// The range of a chunk's elements within the extent.
#[derive(Debug, Clone, Copy)]
pub struct ChunkStatistics {
    /// A lower bound of the elements; `None` if all are NaN. There may be no element that is equal to it.
    pub minimum: Option<Number>,
    /// An upper bound of the elements, likewise.
    pub maximum: Option<Number>,
    /// Number of elements that are not NaN; `None` if unknown.
    pub count: Option<u64>,
    /// True if some elements may be NaN.
    pub may_have_nan: bool,
}

/// A chunk that was written.
#[derive(Debug, Clone)]
pub struct WrittenChunk {
    /// Coordinates of its first element in the dataset.
    pub offset: Vec<u64>,
    /// Number of its elements within the extent along each dimension; never 0.
    pub shape: Vec<u64>,
    /// Stored bytes, after filters.
    pub stored: u64,
    /// The statistics of these elements; `None` if the chunk has to be read.
    pub statistics: Option<ChunkStatistics>,
    /// The location of the unencoded elements, if they are contiguous from the chunk's first to the last within the
    /// extent, and if the store can compare them.
    pub numbers: Option<StoredNumbers>,
}

impl Dataset {
    /// Returns the type of the elements, if they are numbers for which statistics can be stored. There need not be
    /// statistics.
    #[must_use]
    pub fn number_type(&self) -> Option<NumberType> {
        NumberType::of(&self.datatype.encoded).filter(|n| n.size as u64 == self.datatype.size)
    }

    /// Calls `look` for each written chunk with elements within the extent, in C order, until it breaks. The entries
    /// are read, but not the elements, except those stored in an entry. All other chunks have the fill value.
    ///
    /// # Errors
    /// `InvalidArgument` for a dataset that is not chunked; `Corrupt` for damage; errors of reading the file or the
    /// store; those of `look`.
    pub fn each_written_chunk(
        &self,
        mut look: impl FnMut(WrittenChunk) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let chunk = self.chunk()?;
        let dims = self.space.read().dims().to_vec();
        self.flush()?;
        let (prefix, mut after) = (self.prefix(), None);
        loop {
            let page = self.container().ledger.scan_prefix(&prefix, after.as_deref(), ENTRIES_PER_SCAN)?;
            let is_last = is_last_page(&page, ENTRIES_PER_SCAN);
            after = page.last().map(|(key, _)| key.clone());
            for (key, value) in page {
                let found = self.written_chunk(&key, value, chunk, &dims)?;
                if found.map_or(Ok(ControlFlow::Continue(())), &mut look)?.is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Decodes the entry of a chunk; `None` if the chunk is outside of the extent.
    fn written_chunk(
        &self,
        key: &[u8],
        value: Bytes,
        chunk: &[u64],
        dims: &[u64],
    ) -> Result<Option<WrittenChunk>> {
        let coords = self.coords_of(key)?;
        let inside = |((at, n), dim): ((&u64, &u64), &u64)| dim.saturating_sub(at * n).min(*n);
        let shape: Vec<u64> = coords.iter().zip(chunk).zip(dims).map(inside).collect();
        if shape.contains(&0) {
            return Ok(None);
        }
        let what = || format!("the block {key:02x?}");
        let mut block: BlockRecord = record::decode(value, what)?;
        let known = block.statistics.take();
        let pieces = Fragments::decode(block, self.shape.len).map_err(|e| e.context(what()))?;
        let stored = pieces.stored();
        // Counts up to the last element within the extent.
        let wanted = || chunk.iter().zip(&shape).fold(0_u64, |n, (side, within)| n * side + within - 1) + 1;
        let numbers = self
            .number_type_in_store()
            .and_then(|of| pieces.in_one_extent(usize::try_from(wanted()).ok()?.checked_mul(of.size)?));
        let offset = coords.iter().zip(chunk).map(|(at, n)| at * n).collect();
        let statistics = known.and_then(|known| self.statistics_within(&known, &shape));
        let numbers = numbers.map(|(extent, range)| StoredNumbers { extent, range });
        Ok(Some(WrittenChunk { offset, shape, stored, statistics, numbers }))
    }

    /// Returns the statistics of a chunk's elements within the extent, according to its record.
    fn statistics_within(&self, known: &StatisticsRecord, shape: &[u64]) -> Option<ChunkStatistics> {
        let known = self.shape.counted.as_ref()?.described(known)?;
        if shape.iter().zip(&known.within).any(|(now, then)| now > then) {
            return None;
        }
        let (minimum, maximum) = (known.range.least, known.range.greatest);
        let elements: u64 = known.within.iter().product();
        let is_float = |n: Option<Number>| n.is_none_or(|n| matches!(n, Number::Float(_)));
        let may_have_nan = is_float(minimum) && !(known.is_counted && known.range.count == elements);
        let count = (known.is_counted && known.within == shape).then_some(known.range.count);
        Some(ChunkStatistics { minimum, maximum, count, may_have_nan })
    }

    /// Returns the value of elements that were never written, in file form.
    ///
    /// # Errors
    /// `OutOfRange` for an element that does not fit memory.
    pub fn fill_element(&self) -> Result<Vec<u8>> {
        let size = usize::try_from(self.datatype.size)
            .map_err(|_| Error::range("an element does not fit memory"))?;
        let mut element = vec![0; size];
        self.shape.fill(0, &mut element);
        Ok(element)
    }

    /// Returns the stored bytes of a dataset of any layout, that is, of its blocks.
    ///
    /// # Errors
    /// `Corrupt` for damage; errors of reading the file or the store.
    pub fn stored_bytes(&self) -> Result<u64> {
        self.flush()?;
        let mut bytes = 0_u64;
        self.container().each(&keys::of(keys::BLOCK, self.object.id().0), |key, value| {
            let block: BlockRecord = record::decode(value, || format!("the block {key:02x?}"))?;
            bytes = bytes.saturating_add(Fragments::decode(block, self.shape.len)?.stored());
            Ok(())
        })?;
        Ok(bytes)
    }
}
