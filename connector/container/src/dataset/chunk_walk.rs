//! A walk through the chunks of a dataset that have storage. Only few of them are in memory at a time.

use super::Dataset;
use super::chunks::cells;
use crate::Result;
use crate::chunk::fragments::Fragments;
use crate::chunk::grid::coordinates;
use bytes::Bytes;
use h5lake_ledger::{ENTRIES_PER_SCAN, is_last_page};
use h5lake_records::record::{self, BlockRecord};
use h5lake_records::types::ChunkInfo;
use std::collections::BTreeMap;

/// The chunks that have storage, in C order. A chunk that is removed during the walk is not returned after that.
#[derive(Debug)]
pub struct ChunkWalk<'a> {
    dataset: &'a Dataset,
    /// The number of the next chunk, for a dataset that is allocated as a whole.
    number: Option<u64>,
    after: Option<Bytes>,
    /// Keys of the next chunks, with their stored values unless a change is still in the cache.
    page: std::vec::IntoIter<(Bytes, Option<Bytes>)>,
    is_last_page: bool,
    /// Chunks along each dimension.
    size: Vec<u64>,
    /// The state of the container for which the page is valid.
    stamp: (u64, u64),
}

impl Dataset {
    /// Starts a walk through the chunks that have storage.
    ///
    /// # Errors
    /// `InvalidArgument` for a dataset that is not chunked.
    pub fn chunks(&self) -> Result<ChunkWalk<'_>> {
        let size = self.grid_size(self.chunk()?);
        Ok(ChunkWalk {
            dataset: self,
            number: self.all_allocated()?.then_some(0),
            after: None,
            page: Vec::new().into_iter(),
            is_last_page: false,
            size,
            stamp: self.chunks_stamp(),
        })
    }
}

impl ChunkWalk<'_> {
    /// Returns the next chunk.
    ///
    /// # Errors
    /// `Corrupt` for an invalid chunk; those of the ledger.
    pub fn next_chunk(&mut self) -> Result<Option<ChunkInfo>> {
        let dataset = self.dataset;
        if let Some(number) = &mut self.number {
            let size = dataset.grid_size(dataset.chunk()?);
            if *number >= cells(&size) {
                return Ok(None);
            }
            *number += 1;
            return dataset.info(&coordinates(&size, *number - 1)).map(Some);
        }
        loop {
            if self.stamp != dataset.chunks_stamp() {
                (self.page, self.is_last_page) = (Vec::new().into_iter(), false);
            }
            let Some((key, value)) = self.page.next() else {
                if self.is_last_page {
                    return Ok(None);
                }
                self.turn()?;
                continue;
            };
            let coords = dataset.coords_of(&key)?;
            self.after = Some(key);
            if coords.iter().zip(&self.size).all(|(at, size)| at < size) {
                let info = self.info(&coords, value)?;
                // Finding the size of a chunk may encode it, which changes the stored chunks.
                self.stamp = dataset.chunks_stamp();
                return Ok(Some(info));
            }
        }
    }

    fn info(&self, coords: &[u64], value: Option<Bytes>) -> Result<ChunkInfo> {
        let dataset = self.dataset;
        let offset = coords.iter().zip(dataset.chunk()?).map(|(at, size)| at * size).collect();
        if dataset.filters.is_empty() {
            return Ok(ChunkInfo { offset, filter_mask: 0, size: dataset.shape.len as u64 });
        }
        let Some(value) = value else { return dataset.info(coords) };
        let what = || format!("{}: a block", dataset.container().name());
        let r: BlockRecord = record::decode(value, what)?;
        let stored = Fragments::decode(r, dataset.shape.len)?;
        let Some(filter_mask) = stored.encoded else { return dataset.info(coords) };
        Ok(ChunkInfo { offset, filter_mask, size: stored.stored() })
    }

    /// Reads the next page.
    fn turn(&mut self) -> Result<()> {
        let (c, prefix) = (self.dataset.container(), self.dataset.prefix());
        self.stamp = self.dataset.chunks_stamp();
        self.size = self.dataset.grid_size(self.dataset.chunk()?);
        let after = self.after.as_deref();
        let stored = c.ledger.scan_prefix(&prefix, after, ENTRIES_PER_SCAN)?;
        self.is_last_page = is_last_page(&stored, ENTRIES_PER_SCAN);
        let last = stored.last().filter(|_| !self.is_last_page).map(|(key, _)| &key[..]);
        let dirty: Vec<Bytes> = {
            let blocks = c.blocks.lock();
            blocks.dirty_between(&prefix, after, last).map(|key| Bytes::copy_from_slice(key)).collect()
        };
        if dirty.is_empty() {
            let page: Vec<_> = stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
            self.page = page.into_iter();
            return Ok(());
        }
        let mut all: BTreeMap<Bytes, Option<Bytes>> =
            stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
        all.extend(dirty.into_iter().map(|key| (key, None)));
        self.page = all.into_iter().collect::<Vec<_>>().into_iter();
        Ok(())
    }
}
