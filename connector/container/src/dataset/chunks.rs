//! Operations on single chunks: counting, finding, reading and writing them in their stored form.

use super::Dataset;
use crate::chunk::block_store::{change_stored, store_block, stored};
use crate::chunk::fragments::Fragments;
use crate::chunk::grid::coordinates;
use crate::{Error, Result};
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::buffers::try_copy;
use h5lake_ledger::locks::MutexGuard;
use h5lake_ledger::{ENTRIES_PER_SCAN, each_key, is_last_page};
use h5lake_records::keys;
use h5lake_records::memory::no_memory;
use h5lake_records::types::{AllocTime, ChunkInfo, Layout, SpaceStatus};
use std::collections::BTreeSet;

/// Cached positions of chunks: libhdf5 requests the number of chunks each time that it requests one of them.
#[derive(Debug, Default)]
pub(super) struct Positions {
    /// See [`Dataset::chunks_stamp`].
    stamp: (u64, u64),
    count: Option<u64>,
    /// Position and key of the last chunk that was found.
    last: Option<(u64, Vec<u8>)>,
}

impl Dataset {
    /// Returns whether anything was written.
    fn touched(&self) -> Result<bool> {
        self.check_there()?;
        let c = self.container();
        let prefix = self.prefix();
        if c.blocks.lock().dirty_between(&prefix, None, None).next().is_some() {
            return Ok(true);
        }
        Ok(!c.ledger.scan_prefix(&prefix, None, 1)?.is_empty())
    }

    /// Returns whether native HDF5 would have allocated the whole dataset, whatever was written.
    pub(super) fn all_allocated(&self) -> Result<bool> {
        Ok(match (&self.layout, self.fill.allocate) {
            // There is nothing to allocate.
            (Layout::Contiguous, _) if self.space.read().points()? == 0 => false,
            (Layout::Compact | Layout::Virtual { .. } | Layout::External { .. }, _)
            | (_, AllocTime::Early) => true,
            (Layout::Chunked { .. }, AllocTime::Incremental) => false,
            _ => self.touched()?,
        })
    }

    /// Returns the bytes of the data, as native HDF5 counts them (`H5Dget_storage_size`): chunks in their stored form,
    /// other layouts as a whole once they are allocated.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn storage_size(&self) -> Result<u64> {
        self.check_there()?;
        if matches!(self.layout, Layout::Virtual { .. }) {
            return Ok(0);
        }
        if !matches!(self.layout, Layout::Chunked { .. }) {
            let bytes = self.space.read().points()?.saturating_mul(self.datatype.size);
            return Ok(if self.all_allocated()? { bytes } else { 0 });
        }
        if self.filters.is_empty() {
            return Ok(self.chunk_count()?.saturating_mul(self.shape.len as u64));
        }
        self.flush()?;
        let (mut total, mut chunks) = (0u64, self.chunks()?);
        while let Some(chunk) = chunks.next_chunk()? {
            total = total.saturating_add(chunk.size);
        }
        Ok(total)
    }

    /// Returns the allocation status of the data's space, like native HDF5.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn space_status(&self) -> Result<SpaceStatus> {
        let Layout::Chunked { chunk } = &self.layout else {
            return Ok(if self.all_allocated()? {
                SpaceStatus::Allocated
            } else {
                SpaceStatus::NotAllocated
            });
        };
        let total = cells(&self.grid_size(chunk));
        Ok(match self.chunk_count()? {
            0 => SpaceStatus::NotAllocated,
            n if n == total => SpaceStatus::Allocated,
            _ => SpaceStatus::Part,
        })
    }

    /// Returns the number of chunks along each dimension.
    pub(super) fn grid_size(&self, chunk: &[u64]) -> Vec<u64> {
        self.space.read().dims().iter().zip(chunk).map(|(d, c)| d.div_ceil(*c)).collect()
    }

    pub(super) fn chunk(&self) -> Result<&[u64]> {
        self.check_there()?;
        match &self.layout {
            Layout::Chunked { chunk } => Ok(chunk),
            _ => Err(Error::invalid("not a chunked dataset")),
        }
    }

    /// Returns the written chunks, by their coordinates in chunks, in order.
    pub(super) fn written(&self) -> Result<BTreeSet<Vec<u64>>> {
        self.check_there()?;
        let c = self.container();
        let prefix = self.prefix();
        let dirty = c.blocks.lock().dirty_keys(&prefix);
        let mut all: BTreeSet<Vec<u64>> = dirty.iter().map(|k| self.coords_of(k)).collect::<Result<_>>()?;
        each_key::<Error>(&c.ledger, &prefix, None, |key| {
            all.insert(self.coords_of(key)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Returns the coordinates in a chunk's key, in chunks. The chunk must begin within the maximum dimensions, so that
    /// the coordinates of its first element do not overflow.
    pub(super) fn coords_of(&self, key: &[u8]) -> Result<Vec<u64>> {
        let chunk = self.chunk()?;
        let coords = keys::coords(key);
        let begins = coords.iter().zip(chunk).map(|(at, size)| at.checked_mul(*size));
        let is_there = keys::tail(key).len() == 8 * chunk.len()
            && begins.zip(&self.limits).all(|(begin, limit)| begin.is_some_and(|begin| begin < *limit));
        if is_there {
            Ok(coords)
        } else {
            Err(Error::corrupt("the key of a chunk names none of its dataset's"))
        }
    }

    /// Returns the keys of the next written chunks after the key `after`, in order: at least `most` if there are as
    /// many.
    fn written_after(&self, after: Option<&[u8]>, most: usize) -> Result<BTreeSet<Vec<u8>>> {
        let c = self.container();
        let prefix = self.prefix();
        let stored = c.ledger.scan_prefix(&prefix, after, most)?;
        let last = stored.last().filter(|_| !is_last_page(&stored, most)).map(|(key, _)| &key[..]);
        let mut all: BTreeSet<_> = c.blocks.lock().dirty_between(&prefix, after, last).cloned().collect();
        all.extend(stored.iter().map(|(key, _)| key.to_vec()));
        Ok(all)
    }

    /// Returns the blocks' epoch and the ledger's version: while both are unchanged, so are the chunks.
    pub(super) fn chunks_stamp(&self) -> (u64, u64) {
        let c = self.container();
        (c.blocks.lock().epoch(), c.ledger.version())
    }

    /// Returns the cached positions, after dropping them if they are outdated.
    fn positions(&self) -> MutexGuard<'_, Positions> {
        let stamp = self.chunks_stamp();
        let mut known = self.positions.lock();
        if known.stamp != stamp {
            *known = Positions { stamp, ..Positions::default() };
        }
        known
    }

    /// Returns the coordinates of the written chunk at position `n`. Consecutive positions are found by continuing from
    /// the last one.
    fn written_at(&self, n: u64) -> Result<Option<Vec<u64>>> {
        let mut known = self.positions();
        let (mut left, mut after) = match &known.last {
            Some((last, key)) if *last == n => return self.coords_of(key).map(Some),
            Some((last, key)) if *last < n => (n - last - 1, Some(key.clone())),
            _ => (n, None),
        };
        loop {
            let most = usize::try_from(left)
                .map_or(ENTRIES_PER_SCAN, |left| left.saturating_add(1).min(ENTRIES_PER_SCAN));
            let page = self.written_after(after.as_deref(), most)?;
            if left < page.len() as u64 {
                known.last = page.into_iter().nth(left as usize).map(|key| (n, key));
                return known.last.as_ref().map(|(_, key)| self.coords_of(key)).transpose();
            }
            left -= page.len() as u64;
            after = page.into_iter().next_back();
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    /// Returns the number of written chunks.
    fn written_count(&self) -> Result<u64> {
        let mut known = self.positions();
        if let Some(count) = known.count {
            return Ok(count);
        }
        let (c, prefix) = (self.container(), self.prefix());
        let mut new: BTreeSet<_> = c.blocks.lock().dirty_keys(&prefix).into_iter().collect();
        let mut stored = 0;
        each_key::<Error>(&c.ledger, &prefix, None, |key| {
            new.remove(key);
            stored += 1;
            Ok(())
        })?;
        Ok(*known.count.insert(stored + new.len() as u64))
    }

    /// Returns the number of chunks that have storage.
    ///
    /// # Errors
    /// `InvalidArgument` for a dataset that is not chunked.
    pub fn chunk_count(&self) -> Result<u64> {
        let chunk = self.chunk()?;
        if self.all_allocated()? {
            return Ok(cells(&self.grid_size(chunk)));
        }
        self.written_count()
    }

    /// Returns whether any chunk has storage.
    ///
    /// # Errors
    /// `InvalidArgument` for a dataset that is not chunked.
    pub fn has_chunks(&self) -> Result<bool> {
        let chunk = self.chunk()?;
        Ok(if self.all_allocated()? { cells(&self.grid_size(chunk)) > 0 } else { self.touched()? })
    }

    /// Returns the chunk at position `n` among those that have storage, in C order.
    ///
    /// # Errors
    /// `OutOfRange`; `InvalidArgument` for a dataset that is not chunked.
    pub fn chunk_at(&self, n: u64) -> Result<ChunkInfo> {
        let chunk = self.chunk()?;
        let found = if self.all_allocated()? {
            let size = self.grid_size(chunk);
            (n < cells(&size)).then(|| coordinates(&size, n))
        } else {
            self.written_at(n)?
        };
        match found {
            Some(coords) => self.info(&coords),
            None => Err(Error::range(format!("chunk index is out of range: {n} of {}", self.chunk_count()?))),
        }
    }

    /// Returns the chunk that holds the element at `coords`, if it has storage. Outside of the extent there are no
    /// chunks, except for the outer parts of chunks at its edges (native HDF5 does not check the extent either).
    ///
    /// # Errors
    /// `OutOfRange` for another number of coordinates; `InvalidArgument` for a dataset that is not chunked.
    pub fn chunk_at_coords(&self, coords: &[u64]) -> Result<Option<ChunkInfo>> {
        let chunk = self.chunk()?;
        let size = self.grid_size(chunk);
        if coords.len() != size.len() {
            return Err(Error::range(format!("offset {coords:?} has another rank than the dataset")));
        }
        let scaled: Vec<u64> = coords.iter().zip(chunk).map(|(c, n)| c / n).collect();
        let inside = scaled.iter().zip(&size).all(|(s, n)| s < n);
        if inside && (self.all_allocated()? || self.exists(&scaled)?) {
            return self.info(&scaled).map(Some);
        }
        Ok(None)
    }

    pub(super) fn exists(&self, scaled: &[u64]) -> Result<bool> {
        let c = self.container();
        let key = self.key(scaled);
        Ok(c.blocks.lock().is_dirty(&key) || c.ledger.get(&key)?.is_some())
    }

    pub(super) fn scaled(&self, coords: &[u64]) -> Result<Vec<u64>> {
        let chunk = self.chunk()?;
        let space = self.space.read();
        let dims = space.dims();
        if coords.len() != dims.len() || coords.iter().zip(dims).any(|(c, d)| c >= d) {
            return Err(Error::range(format!("offset {coords:?} exceeds dimensions of dataset {dims:?}")));
        }
        Ok(coords.iter().zip(chunk).map(|(c, n)| c / n).collect())
    }

    /// Returns the stored state of a block, with all bytes written to it.
    pub(super) fn stored_now(&self, key: &[u8]) -> Result<Fragments> {
        let c = self.container();
        without_locks(|| {
            let mut blocks = c.blocks.lock();
            blocks.flush(&c.ledger, key)?;
            stored(&c.ledger, key, &self.shape)
        })
    }

    pub(super) fn info(&self, scaled: &[u64]) -> Result<ChunkInfo> {
        let c = self.container();
        let key = self.key(scaled);
        let chunk = self.chunk()?;
        let (mut filter_mask, mut size) = (0, self.shape.len as u64);
        if !self.filters.is_empty() {
            let p = self.stored_now(&key)?;
            // A chunk without storage of its own has the size that reading it will find.
            if let Some(mask) = p.encoded {
                (filter_mask, size) = (mask, p.stored());
            } else if self.shape.is_filtered(&key) {
                (filter_mask, size) = match self.encoded_fill.get() {
                    Some(known) => *known,
                    None => {
                        let (mask, data) = self.shape.filters.encode(&p.load(&c.ledger, &self.shape)?)?;
                        *self.encoded_fill.get_or_init(|| (mask, data.len() as u64))
                    }
                };
            }
        }
        let offset = scaled.iter().zip(chunk).map(|(s, n)| s * n).collect();
        Ok(ChunkInfo { offset, filter_mask, size })
    }

    /// Stores a chunk that the caller has encoded, without the filters of `mask`.
    ///
    /// # Errors
    /// `InvalidArgument` for unfiltered data of another length than a chunk, or an offset that is not that of a chunk;
    /// `OutOfRange`, `ReadOnly`.
    pub fn write_chunk(&self, coords: &[u64], mask: u32, data: &[u8]) -> Result<()> {
        let c = self.container();
        c.check_writable("unable to write raw data to chunk")?;
        let scaled = self.scaled(coords)?;
        if scaled.iter().zip(self.chunk()?).zip(coords).any(|((s, n), at)| s * n != *at) {
            return Err(Error::invalid(format!("offset {coords:?} doesn't fall on chunks's boundary")));
        }
        let key = self.key(&scaled);
        let mut blocks = c.blocks.lock();
        if !self.shape.is_filtered(&key) {
            if data.len() != self.shape.len {
                let text =
                    format!("an unfiltered chunk of {} bytes is written with {}", self.shape.len, data.len());
                return Err(Error::invalid(text));
            }
            blocks.touch(&key, std::iter::once(0..self.shape.len));
            let copy = try_copy(data).ok_or_else(|| no_memory(data.len()))?;
            store_block(&c.ledger, &key, &self.shape, copy)?;
        } else {
            blocks.touch(&key, std::iter::once(0..self.shape.len));
            change_stored(&c.ledger, &key, &self.shape, |p| {
                p.put_encoded(&c.ledger, &self.shape, mask, data)
            })?;
        }
        blocks.supersede(&key);
        Ok(())
    }
}

/// Returns the number of chunks of a grid.
pub(super) fn cells(size: &[u64]) -> u64 {
    size.iter().fold(1, |n, &d| n.saturating_mul(d))
}
