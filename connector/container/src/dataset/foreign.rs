//! Blocks whose bytes lie in a source: a native file that was adopted.

use super::Dataset;
use crate::chunk::block_store::stored;
use crate::chunk::fragments::Fragments;
use crate::{Error, Layout, Result};
use h5lake_ledger::Extent;
use prost::Message;

impl Dataset {
    /// Stages that a chunk's stored bytes are those of an extent in a source, in place of what was there. `coords` are the elements at
    /// which it begins; of filters, those in `mask` were skipped. The dataset has the filters with which the chunk was stored.
    ///
    /// # Errors
    /// `InvalidArgument` for a dataset that is not chunked, an offset that is not that of a chunk, and unfiltered data of another
    /// length than a chunk; `OutOfRange`, `ReadOnly`.
    pub fn refer_to_chunk(&self, coords: &[u64], mask: u32, extent: &Extent) -> Result<()> {
        let c = self.container();
        c.check_writable("unable to refer to a chunk")?;
        let Layout::Chunked { chunk } = &self.layout else {
            return Err(Error::invalid("a dataset without chunks refers to one"));
        };
        let scaled = self.scaled(coords)?;
        if scaled.iter().zip(chunk).zip(coords).any(|((s, n), at)| s * n != *at) {
            return Err(Error::invalid(format!("offset {coords:?} is not that of a chunk")));
        }
        let key = self.key(&scaled);
        let is_filtered = self.shape.is_filtered(&key);
        if !is_filtered && extent.len() != self.shape.len as u64 {
            let text = format!("an unfiltered chunk of {} bytes refers to {}", self.shape.len, extent.len());
            return Err(Error::invalid(text));
        }
        let mut pieces = Fragments::default();
        pieces.put_extent(0, extent.clone())?;
        pieces.encoded = is_filtered.then_some(mask);
        let mut blocks = c.blocks.lock();
        blocks.supersede(&key);
        Ok(c.ledger.put(&key, pieces.record(self.shape.len).encode_to_vec())?)
    }

    /// Stages that bytes of a contiguous dataset, from byte `first` of its elements on, are those of a source from `offset` on. The
    /// extents of each segment are handed to `extent`, with their place in the source and their length.
    ///
    /// # Errors
    /// `InvalidArgument` for another layout; `OutOfRange` beyond the elements; `ReadOnly`; those of `extent`.
    pub fn refer_to_bytes(
        &self,
        first: u64,
        length: u64,
        offset: u64,
        extent: &mut dyn FnMut(u64, u64) -> Result<Extent>,
    ) -> Result<()> {
        let c = self.container();
        c.check_writable("unable to refer to data")?;
        if self.layout != Layout::Contiguous {
            return Err(Error::invalid("a dataset that is not contiguous refers to bytes"));
        }
        let bytes = self.points()?.checked_mul(self.datatype.size);
        let end = first.checked_add(length).filter(|end| bytes.is_some_and(|bytes| *end <= bytes));
        let end = end.ok_or_else(|| Error::range("a dataset refers to more bytes than it has"))?;
        let segment = self.shape.len as u64;
        let mut at = first;
        while at < end {
            let within = at % segment;
            let step = (segment - within).min(end - at);
            let piece = extent(offset + (at - first), step)?;
            let key = self.key(&[at / segment]);
            let mut blocks = c.blocks.lock();
            blocks.flush(&c.ledger, &key)?;
            let mut pieces = stored(&c.ledger, &key, &self.shape)?;
            let before = pieces.extents();
            pieces.put_extent(usize::try_from(within).unwrap_or(usize::MAX), piece)?;
            c.ledger.put(&key, pieces.record(self.shape.len).encode_to_vec())?;
            pieces.unneeded(&before).try_for_each(|extent| c.ledger.free_payload(extent))?;
            at += step;
        }
        Ok(())
    }
}
