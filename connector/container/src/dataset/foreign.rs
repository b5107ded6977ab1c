//! Blocks with bytes in a source, that is, in an adopted native file.

use super::Dataset;
use crate::chunk::block_store::stored;
use crate::chunk::fragments::Fragments;
use crate::{Container, Error, Layout, Result};
use h5lake_filters::Pipeline;
use h5lake_ledger::{Extent, Source, buffers};
use h5lake_records::ObjectId;
use h5lake_records::memory::buffer;
use h5lake_records::record::FilterRecord;
use h5lake_records::types::Filter;
use prost::Message;

impl Dataset {
    /// Stages a reference to an extent in a source as the stored form of a chunk, in place of its previous content.
    /// `coords` are the elements at which the chunk begins; the filters in `mask` were skipped. The dataset must have
    /// the filters with which the chunk was stored.
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

    /// Stages references to bytes of a source from `offset` on as bytes of a contiguous dataset, from byte `first` of
    /// its elements on. `extent` is called for each segment with its offset in the source and its length, and returns
    /// an extent in the source.
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
        self.check_there()?;
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
            c.ledger.prepare_to_free(&before)?;
            pieces.put_extent(usize::try_from(within).unwrap_or(usize::MAX), piece)?;
            c.ledger.put(&key, pieces.record(self.shape.len).encode_to_vec())?;
            pieces.unneeded(&before).try_for_each(|extent| c.ledger.free_payload(extent))?;
            at += step;
        }
        Ok(())
    }
}

impl Container {
    /// Stages other filter parameters for a dataset than those noted at its creation, because a native file says with
    /// which parameters its chunks were stored. The dataset must not be open, and must have no chunks yet.
    ///
    /// # Errors
    /// `WrongKind` for other objects; `InvalidArgument` if the filters differ in more than their parameters;
    /// `Unsupported`; `ReadOnly`.
    pub fn set_filter_parameters(&self, id: ObjectId, filters: &[Filter]) -> Result<()> {
        self.check_writable("unable to change filters")?;
        Pipeline::new(filters)?;
        self.change_header(&mut self.state(), id, |h| {
            let d = h.dataset.as_mut().ok_or_else(|| Error::wrong_kind("only a dataset has filters"))?;
            if !d.filters.iter().map(|f| f.id).eq(filters.iter().map(|f| f.id)) {
                return Err(Error::invalid("a dataset has other filters than its chunks"));
            }
            d.filters = filters.iter().map(FilterRecord::from).collect();
            Ok(())
        })
    }

    /// Stages the entry of a source, and returns its number.
    ///
    /// # Errors
    /// `ReadOnly`; those of the ledger.
    pub fn add_source(&self, source: &Source) -> Result<u32> {
        self.check_writable("unable to refer to a file")?;
        let last = self.ledger.sources()?.last().map(|(number, _)| *number);
        let number = last.map_or(Some(0), |last| last.checked_add(1));
        let number = number.ok_or_else(|| Error::range("a container has too many sources"))?;
        self.ledger.put_source(number, source)?;
        Ok(number)
    }

    /// Returns the sources of the container, by number.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn sources(&self) -> Result<Vec<(u32, Source)>> {
        Ok(self.ledger.sources()?)
    }

    /// Opens the sources of the container, so that a file which replaces one of them later is not read.
    ///
    /// # Errors
    /// `Io` (errno 116, ESTALE) if a source has changed since it was adopted; those of opening it.
    pub fn open_sources(&self) -> Result<()> {
        let sources = self.ledger.sources()?;
        Ok(sources.into_iter().try_for_each(|(number, _)| self.ledger.check_source(number))?)
    }

    /// Returns the name of a source in messages: its path, or its URL.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn source_name(&self, number: u32) -> Result<String> {
        Ok(self.ledger.source_name(number)?)
    }

    /// Returns bytes of a source as an extent with their checksums, for which they are read.
    ///
    /// # Errors
    /// `Corrupt` if they exceed the source; those of reading it.
    pub fn extent_in_source(
        &self,
        number: u32,
        offset: u64,
        length: u64,
        with_checksums: bool,
    ) -> Result<Extent> {
        let extent = Extent::in_source(number, offset, length)?;
        self.ledger.check_extent_in_source(&extent)?;
        if !with_checksums {
            return Ok(extent);
        }
        let mut bytes = buffer(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.ledger.read_payload(&extent, 0, &mut bytes)?;
        let extent = extent.with_checksums(&bytes);
        buffers::give(bytes);
        Ok(extent)
    }
}
