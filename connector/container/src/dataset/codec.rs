//! Codecs that are lent to a dataset, for foreign filters.

use super::Dataset;
use crate::{Container, Error, Result, Selection};
use h5lake_filters::ChunkCodec;
use h5lake_filters::unlocked::without_locks;
use std::sync::{Arc, Weak};

/// Lends codecs for datasets that are not open, such as those within a copied group.
pub trait CodecProvider: Send + Sync {
    /// Returns a codec for a dataset that needs one. It is released before the operation that needed it returns.
    fn codec_for(self: Arc<Self>, dataset: &Dataset) -> Option<Arc<dyn ChunkCodec>>;
}

impl Container {
    /// Adds a lender of codecs, for as long as it lives.
    pub fn add_codec_lender(&self, lender: Weak<dyn CodecProvider>) {
        let mut all = self.lenders.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(lender);
    }
}

impl Dataset {
    /// Returns whether some filters need a lent codec.
    pub fn needs_codec(&self) -> bool {
        self.shape.filters.is_foreign()
    }

    /// Makes optional filters skip all chunks that are written from now on, until the dataset is no longer in memory:
    /// bit n for filter n. Applies only to a pipeline without foreign filters, and not to mandatory filters.
    pub fn leave_out_filters(&self, mask: u32) {
        self.shape.filters.leave_out(mask);
    }

    /// Lends a codec until [`Self::detach_codec`]. Several may be lent, by several handles.
    pub fn attach_codec(&self, codec: Arc<dyn ChunkCodec>) {
        self.shape.filters.codecs().add(codec);
    }

    /// Ends the loan of a codec. Changed chunks are encoded and staged in the ledger before the last codec is removed.
    ///
    /// # Errors
    /// Those of the codec and of the ledger. Chunks that could not be encoded are then lost, like in native HDF5 when a
    /// dataset is closed; the codec is removed nevertheless.
    pub fn detach_codec(&self, codec: &Arc<dyn ChunkCodec>) -> Result<()> {
        let codecs = self.shape.filters.codecs();
        let c = self.container();
        let mut flushed = Ok(());
        // A forked child has its parent's changes in memory and must not write them.
        if codecs.is_last(codec) && c.is_ours() {
            flushed = self.flush();
            if let Err(e) = &flushed {
                let id = self.object.id().0;
                tracing::error!("{}: chunks of dataset {id:#x} were lost: {e}", c.name());
                c.blocks.lock().discard_dirty(&self.prefix());
            }
        }
        codecs.remove(codec);
        flushed
    }

    /// Reads like [`Self::read`], block by block, and holds no lock while filters run.
    pub(super) fn read_with_codec(&self, selection: &Selection, out: &mut [u8]) -> Result<()> {
        let (dims, size) = self.checked(selection, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        self.note_read(&dims, selection, size)?;
        let c = self.container();
        if !c.near() {
            return self.read_parallel(&dims, selection, size, out, 1);
        }
        self.grid.parts(&dims, selection, size, &mut |p| {
            without_locks(|| c.read_block(&self.key(p.coords), &self.shape, p.runs, out))
        })
    }

    /// Writes like [`Self::write`], block by block, and holds no lock while filters run.
    pub(super) fn write_with_codec(&self, selection: &Selection, data: &[u8]) -> Result<()> {
        let c = self.container();
        c.check_writable("unable to write data")?;
        let (dims, size) = self.checked(selection, data.len())?;
        if data.is_empty() {
            return Ok(());
        }
        self.grid.parts(&dims, selection, size, &mut |p| {
            without_locks(|| {
                let space = self.space.read();
                if space.dims().iter().zip(&dims).any(|(now, then)| now < then) {
                    return Err(Error::range("another thread made the dataset smaller meanwhile"));
                }
                let key = self.key(p.coords);
                c.blocks.lock().write(&c.ledger, &key, &self.shape, p.runs, data, p.coverage)
            })
        })
    }

    /// Returns the present dimensions and the size of an element, for a selection that fits a buffer of `len` bytes.
    fn checked(&self, selection: &Selection, len: usize) -> Result<(Vec<u64>, usize)> {
        let space = self.space.read();
        let size = self.check(&space, selection, len)?;
        Ok((space.dims().to_vec(), size))
    }

    /// Runs `body` with a codec, which is borrowed from a lender if the dataset needs one and no open handle has lent
    /// one.
    pub(crate) fn with_codec<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.needs_codec() || self.shape.filters.codecs().has_one_here() {
            return body();
        }
        let lenders: Vec<_> = self.container().lenders.lock().iter().filter_map(Weak::upgrade).collect();
        let Some(codec) = lenders.into_iter().rev().find_map(|lender| lender.codec_for(self)) else {
            return body();
        };
        self.attach_codec(codec.clone());
        let result = body();
        self.detach_codec(&codec)?;
        result
    }
}
