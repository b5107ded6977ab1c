//! Reads and writes of blocks in the ledger.

use crate::chunk::admission::Admission;
use crate::chunk::copy_runs::gather;
use crate::chunk::fragments::Fragments;
use crate::chunk::grid::CopyRun;
use crate::chunk::layout::{BlockLayout, MIN_DIRECT_BYTES};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use h5lake_ledger::{Ledger, buffers};
use h5lake_records::extents_of;
use h5lake_records::keys;
use h5lake_records::memory::buffer;
use h5lake_records::record::{self, BlockRecord};
use prost::Message;
use std::sync::Arc;

/// Short runs with at most this many bytes between them are read together, because a call costs more than these bytes.
const MAX_GAP_BYTES: usize = 64 << 10;
/// Maximum number of bytes read together, so that they are still in the processor's cache when they are copied.
const MAX_WINDOW_BYTES: usize = 256 << 10;
/// Bytes that share one checksum. Windows begin at multiples, so that no byte is read twice.
pub(crate) const CHECKSUM_UNIT_BYTES: usize = 16 << 10;

impl Fragments {
    /// Returns the whole block, decoded.
    pub(crate) fn load(&self, ledger: &Ledger, shape: &BlockLayout) -> Result<Vec<u8>> {
        if ledger.is_remote() && self.extents().len() > 1 {
            let mut here = self.clone();
            Fragments::fetch(ledger, std::iter::once(&mut here), Vec::new())?;
            return here.load(ledger, shape);
        }
        if let Some(mask) = self.encoded {
            return shape.filters.decode(self.encoded_bytes(ledger)?, mask, shape.len);
        }
        let mut block = buffer(shape.len)?;
        self.read(ledger, shape, 0, &mut block)?;
        Ok(block)
    }

    /// Reads the whole block, decoded, into `out`, which has the block's length.
    pub(crate) fn load_into(&self, ledger: &Ledger, shape: &BlockLayout, out: &mut [u8]) -> Result<()> {
        match self.encoded {
            Some(mask) => shape.filters.decode_into(self.encoded_bytes(ledger)?, mask, out),
            None => self.read(ledger, shape, 0, out),
        }
    }
}

/// Returns the stored state of a block; without fragments if nothing is stored.
pub(crate) fn stored(ledger: &Ledger, key: &[u8], shape: &BlockLayout) -> Result<Fragments> {
    decoded(ledger.get(key)?, key, shape)
}

/// Decodes and checks the state of a block from its record; without fragments if there is no record.
pub(crate) fn decoded(value: Option<Bytes>, key: &[u8], shape: &BlockLayout) -> Result<Fragments> {
    let mut pieces = match value {
        None => Fragments::default(),
        Some(value) => {
            let r: BlockRecord = record::decode(value, || format!("the {}", shown(key)))?;
            Fragments::decode(r, shape.len).map_err(|e| e.context(format!("the {}", shown(key))))?
        }
    };
    pieces.is_later = keys::is_later(key);
    Ok(pieces)
}

/// Returns the stored states of several blocks, reduced to the wanted runs of each block, or complete where no runs are
/// given.
pub(crate) fn several(
    ledger: &Ledger,
    wanted: &[(&[u8], Option<&[CopyRun]>)],
    shape: &BlockLayout,
) -> Result<Vec<Fragments>> {
    let keys: Vec<&[u8]> = wanted.iter().map(|(key, _)| *key).collect();
    let mut all = Vec::with_capacity(wanted.len());
    for ((key, runs), value) in wanted.iter().zip(ledger.get_many(&keys)?) {
        let mut pieces = decoded(value, key, shape)?;
        if let Some(runs) = runs {
            pieces.keep(runs.iter().map(|r| r.block..r.block + r.len));
        }
        all.push(pieces);
    }
    Ok(all)
}

/// Changes the stored state of a block, and frees the extents that it no longer needs. After an error, frees the
/// extents that were written for the change.
pub(crate) fn change_stored(
    ledger: &Ledger,
    key: &[u8],
    shape: &BlockLayout,
    change: impl FnOnce(&mut Fragments) -> Result<()>,
) -> Result<()> {
    let mut p = stored(ledger, key, shape)?;
    let before = p.extents();
    ledger.prepare_to_free(&before)?;
    let changed = change(&mut p).and_then(|()| Ok(ledger.put(key, p.record(shape.len).encode_to_vec())?));
    if let Err(e) = changed {
        for extent in p.given_up(&before) {
            let _first_error_is_returned = ledger.free_payload(extent);
        }
        return Err(e);
    }
    p.unneeded(&before).try_for_each(|extent| Ok(ledger.free_payload(extent)?))
}

/// Stores a whole block inline in its record, in place of its stored state.
pub(crate) fn replace_inline(ledger: &Ledger, key: &[u8], shape: &BlockLayout, block: &[u8]) -> Result<()> {
    let new = record::inline_block(block, shape.statistics(key, block));
    let Some(before) = ledger.replace(key, new)? else { return Ok(()) };
    let prepared = extents_of(key, before.clone()).and_then(|extents| {
        ledger.prepare_to_free(&extents)?;
        Ok(extents)
    });
    match prepared {
        Ok(extents) => extents.iter().try_for_each(|extent| Ok(ledger.free_payload(extent)?)),
        Err(e) => {
            ledger.put(key, before)?;
            Err(e)
        }
    }
}

/// Stores a whole block, through the filter pipeline if there is one.
pub(crate) fn store_block(ledger: &Ledger, key: &[u8], shape: &BlockLayout, block: Vec<u8>) -> Result<()> {
    let statistics = shape.statistics(key, &block);
    if !shape.is_filtered(key) {
        return change_stored(ledger, key, shape, |p| {
            if p.encoded.is_some() {
                *p = Fragments::default();
            }
            p.put(ledger, shape, 0, &block)?;
            p.statistics = statistics;
            Ok(())
        });
    }
    let (mask, encoded) = shape.filters.encode(&block)?;
    change_stored(ledger, key, shape, |p| {
        p.put_encoded(ledger, shape, mask, &encoded)?;
        p.statistics = statistics;
        Ok(())
    })
}

/// Writes parts of a block, each given as its offset in the block and its bytes. With `alone` all other bytes become
/// fill.
pub(crate) fn put_parts(
    ledger: &Ledger,
    key: &[u8],
    shape: &BlockLayout,
    parts: &[(usize, &[u8])],
    alone: bool,
) -> Result<()> {
    change_stored(ledger, key, shape, |p| {
        if alone {
            p.cut(0..shape.len);
        }
        let statistics = shape.statistics_of_parts(key, p.before(), parts);
        parts.iter().try_for_each(|(at, bytes)| p.put(ledger, shape, *at, bytes))?;
        p.statistics = statistics;
        Ok(())
    })
}

/// Reads runs of a stored block, directly into the caller's buffer where they are contiguous.
pub(crate) fn read_stored(
    ledger: &Ledger,
    key: &[u8],
    shape: &BlockLayout,
    runs: &[CopyRun],
    out: &mut [u8],
) -> Result<()> {
    let mut p = stored(ledger, key, shape)?;
    if ledger.is_remote() {
        p.keep(runs.iter().map(|r| r.block..r.block + r.len));
        Fragments::fetch(ledger, std::iter::once(&mut p), Vec::new())?;
    }
    read_pieces(&p, ledger, shape, runs, out)
}

/// Reads runs of a block from its fragments.
pub(crate) fn read_pieces(
    p: &Fragments,
    ledger: &Ledger,
    shape: &BlockLayout,
    runs: &[CopyRun],
    out: &mut [u8],
) -> Result<()> {
    if p.encoded.is_some() {
        let block = p.load(ledger, shape)?;
        gather(runs, &block, 0, out);
        buffers::give(block);
        return Ok(());
    }
    if runs.len() > 4 && runs[0].len < MIN_DIRECT_BYTES / 4 {
        if runs.is_sorted_by_key(|r| r.block) {
            return read_scattered(p, ledger, shape, runs, out);
        }
        let mut sorted = runs.to_vec();
        sorted.sort_unstable_by_key(|r| r.block);
        return read_scattered(p, ledger, shape, &sorted, out);
    }
    runs.iter().try_for_each(|r| p.read(ledger, shape, r.block, &mut out[r.buffer..r.buffer + r.len]))
}

/// Reads short runs in ascending order. Runs near each other are read together.
fn read_scattered(
    p: &Fragments,
    ledger: &Ledger,
    shape: &BlockLayout,
    runs: &[CopyRun],
    out: &mut [u8],
) -> Result<()> {
    let mut rest = runs;
    while let Some(first) = rest.first() {
        let (from, mut to) = (first.block, first.block + first.len);
        let most = from / CHECKSUM_UNIT_BYTES * CHECKSUM_UNIT_BYTES + MAX_WINDOW_BYTES;
        let near = |r: &&CopyRun| {
            let joins = r.block <= to + MAX_GAP_BYTES && r.block + r.len <= most;
            to = to.max(r.block + r.len);
            joins
        };
        let count = 1 + rest[1..].iter().take_while(near).count();
        let (group, later) = rest.split_at(count);
        rest = later;
        if let [r] = group {
            p.read(ledger, shape, r.block, &mut out[r.buffer..r.buffer + r.len])?;
            continue;
        }
        let to = group.iter().map(|r| r.block + r.len).max().unwrap_or(from);
        p.view(ledger, shape, from..to, |bytes| gather(group, bytes, from, out))?;
    }
    Ok(())
}

/// Describes a block for an error message: its coordinates and its object.
fn shown(key: &[u8]) -> String {
    match (key.first(), keys::id(key)) {
        (Some(&keys::BLOCK), Some(id)) => format!("block {:?} of object {id:#x}", keys::coords(key)),
        (Some(&keys::SEGMENT), Some(id)) => format!("variable-length data of object {id:#x}"),
        _ => format!("block {key:02x?}"),
    }
}

/// Deletes a stored block.
pub(crate) fn delete_stored(ledger: &Ledger, key: &[u8], value: Bytes) -> Result<()> {
    let r: BlockRecord = record::decode(value, || format!("the block {key:02x?}"))?;
    let extents = Fragments::decode(r, usize::MAX)?.extents();
    ledger.prepare_to_free(&extents)?;
    ledger.delete(key)?;
    extents.iter().try_for_each(|extent| Ok(ledger.free_payload(extent)?))
}

impl crate::Container {
    /// Deletes all blocks under a prefix, stored and in memory.
    pub(crate) fn drop_blocks(&self, prefix: &[u8]) -> Result<()> {
        let mut blocks = self.blocks.lock();
        blocks.discard(prefix);
        self.each(prefix, |key, value| delete_stored(&self.ledger, &key, value))
    }

    /// Reads runs of a block.
    pub(crate) fn read_block(
        &self,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        out: &mut [u8],
    ) -> Result<()> {
        let mut blocks = self.blocks.lock();
        let answer = blocks.read(&self.ledger, key, shape, runs, out);
        let is_as_stored = answer.is_err() && !blocks.is_dirty(key);
        drop(blocks);
        match answer {
            Ok(Admission::Done) => Ok(()),
            Ok(Admission::Stored | Admission::Keep(_)) => self.read_past(key, shape, runs, out),
            // The cache reads the whole block. The requested runs may be in the container although other parts are in a
            // native file that changed.
            Err(e) if is_as_stored && e.kind() == ErrorKind::Io && self.has_sources() => {
                self.read_past(key, shape, runs, out)
            }
            Err(e) => Err(self.unread(key, e)),
        }
    }

    fn has_sources(&self) -> bool {
        self.ledger.has_sources().unwrap_or(false)
    }

    /// Reads runs of a block as stored, past the cache.
    pub(crate) fn read_past(
        &self,
        key: &[u8],
        shape: &Arc<BlockLayout>,
        runs: &[CopyRun],
        out: &mut [u8],
    ) -> Result<()> {
        let Err(e) = read_stored(&self.ledger, key, shape, runs, out) else { return Ok(()) };
        if e.kind() != ErrorKind::Corrupt {
            return Err(self.unread(key, e));
        }
        // Another thread may have freed and reused the extents of the block meanwhile. Under the lock none can write.
        let mut blocks = self.blocks.lock();
        let again = blocks.read(&self.ledger, key, shape, runs, out).and_then(|answer| match answer {
            Admission::Done => Ok(()),
            Admission::Stored | Admission::Keep(_) => read_stored(&self.ledger, key, shape, runs, out),
        });
        again.map_err(|e| self.unread(key, e))
    }

    /// Adds the block and the container's name to an error of a read.
    fn unread(&self, key: &[u8], e: Error) -> Error {
        e.within(self.name(), format_args!("unable to read {}", shown(key)))
    }
}
