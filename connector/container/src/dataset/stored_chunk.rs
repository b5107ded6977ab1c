//! Access to chunks in their stored form: without the filters, and directly into the caller's buffer.

use super::Dataset;
use crate::chunk::fragments::Fragments;
use crate::chunk::grid::CopyRun;
use crate::{Error, Result};
use h5lake_records::memory::buffer;

/// A chunk in its stored form. Its bytes are read on request.
#[derive(Debug)]
pub struct StoredChunk<'a> {
    dataset: &'a Dataset,
    mask: u32,
    bytes: Stored,
}

#[derive(Debug)]
enum Stored {
    /// The output of the pipeline.
    Encoded(Fragments),
    /// Elements of a dataset without filters, or of a partial chunk that is not filtered.
    Plain(Fragments),
    /// A chunk without storage of its own, which is encoded at once.
    Fill(Vec<u8>),
}

impl StoredChunk<'_> {
    /// Returns the mask of skipped filters, a bit for each filter of the pipeline.
    #[must_use]
    pub const fn filter_mask(&self) -> u32 {
        self.mask
    }

    /// Returns the bytes of the chunk in its stored form.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a stored chunk is not a collection")]
    pub fn len(&self) -> usize {
        match &self.bytes {
            Stored::Encoded(p) => p.encoded_len(),
            Stored::Plain(_) => self.dataset.shape.len,
            Stored::Fill(bytes) => bytes.len(),
        }
    }

    /// Reads the chunk.
    ///
    /// # Errors
    /// `InvalidArgument` for another length than [`Self::len`]; `Corrupt` for damage; errors of reading the file or the
    /// store.
    pub fn read_into(&self, out: &mut [u8]) -> Result<()> {
        if out.len() != self.len() {
            let text = format!("a stored chunk of {} bytes is read into {}", self.len(), out.len());
            return Err(Error::invalid(text));
        }
        let ledger = &self.dataset.container().ledger;
        match &self.bytes {
            Stored::Encoded(p) => p.read_encoded(ledger, out),
            Stored::Plain(p) => p.read(ledger, &self.dataset.shape, 0, out),
            Stored::Fill(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
        }
    }
}

impl Dataset {
    /// Returns the chunk that holds the element at `coords`, in its stored form. A chunk without storage of its own, in
    /// a dataset that counts as allocated, is encoded now.
    ///
    /// # Errors
    /// `OutOfRange`; `NotFound` for a chunk without storage.
    pub fn stored_chunk(&self, coords: &[u64]) -> Result<StoredChunk<'_>> {
        let c = self.container();
        let scaled = self.scaled(coords)?;
        if !self.exists(&scaled)? && !self.all_allocated()? {
            return Err(Error::not_found(format!(
                "chunk address isn't defined: nothing is stored at {coords:?}"
            )));
        }
        let key = self.key(&scaled);
        c.reads.of_block(&key, &[CopyRun { block: 0, buffer: 0, len: self.shape.len }]);
        let p = self.stored_now(&key)?;
        let (mask, bytes) = match p.encoded {
            Some(mask) => (mask, Stored::Encoded(p)),
            None if !self.shape.is_filtered(&key) => (0, Stored::Plain(p)),
            None => {
                let (mask, data) = self.shape.filters.encode(&p.load(&c.ledger, &self.shape)?)?;
                (mask, Stored::Fill(data))
            }
        };
        Ok(StoredChunk { dataset: self, mask, bytes })
    }

    /// Returns a chunk in its stored form, with the mask of skipped filters, in new memory: see [`Self::stored_chunk`].
    ///
    /// # Errors
    /// As for [`Self::stored_chunk`] and [`StoredChunk::read_into`].
    pub fn read_chunk(&self, coords: &[u64]) -> Result<(u32, Vec<u8>)> {
        let chunk = self.stored_chunk(coords)?;
        let mut bytes = buffer(chunk.len())?;
        chunk.read_into(&mut bytes)?;
        Ok((chunk.mask, bytes))
    }
}
