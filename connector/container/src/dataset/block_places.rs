//! Reports where the blocks of a dataset are stored, for programs that read them without this crate.

use super::Dataset;
use crate::chunk::fragments::{Fragments, PieceBytes};
use crate::{Error, Layout, Result};
use bytes::Bytes;
use h5lake_ledger::ENTRIES_PER_SCAN;
use h5lake_ledger::{HeldSpace, PayloadPlace};
use h5lake_records::keys;
use h5lake_records::record::{self, BlockRecord};

/// A stored block: a chunk, or a segment of a contiguous dataset.
#[derive(Debug, Clone)]
pub struct BlockPlace {
    /// Its coordinates, in chunks; the number of a segment.
    pub coords: Vec<u64>,
    /// For a filtered block: bit n is set for each filter n that was skipped.
    pub filter_mask: Option<u32>,
    /// Its fragments, in order. Bytes between them were never written. A filtered block has one fragment.
    pub pieces: Vec<PiecePlace>,
}

/// A run of a block.
#[derive(Debug, Clone)]
pub struct PiecePlace {
    /// The first byte within the block.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// The bytes, if they are stored inline.
    pub inline: Option<Bytes>,
    /// Otherwise the location of the first byte.
    pub place: Option<PayloadPlace>,
}

impl Dataset {
    /// Returns the number of elements in a block, that is, in a chunk or a segment.
    pub fn block_elements(&self) -> u64 {
        self.shape.len as u64 / self.datatype.size.max(1)
    }

    /// Returns the value of an element that was never written, in file form; `None` for zeros.
    pub fn filling(&self) -> Option<Bytes> {
        self.shape.fill.clone()
    }

    /// Returns stored blocks in C order, as last committed: those after the coordinates `after`. Empty if there are no
    /// more. `held` is the space of a tag of the version that this handle sees
    /// ([`Ledger::held_space`](h5lake_ledger::Ledger::held_space)). No payload is read.
    ///
    /// # Errors
    /// `Corrupt` for a block that is invalid, was lost, or is not retained by the tag; those of the ledger.
    pub fn blocks_after(&self, held: &HeldSpace, after: Option<&[u64]>) -> Result<Vec<BlockPlace>> {
        let after = after.map(|coords| self.key(coords));
        let page = self.container().ledger.scan_prefix(&self.prefix(), after.as_deref(), ENTRIES_PER_SCAN)?;
        page.into_iter().map(|(key, value)| self.block_place(held, &key, value)).collect()
    }

    fn block_place(&self, held: &HeldSpace, key: &[u8], value: Bytes) -> Result<BlockPlace> {
        let c = self.container();
        let rank = if let Layout::Chunked { chunk } = &self.layout { chunk.len() } else { 1 };
        if keys::tail(key).len() != 8 * rank {
            return Err(Error::corrupt("the key of a block names none of its dataset's"));
        }
        let r: BlockRecord = record::decode(value, || format!("{}: a block", c.name()))?;
        let stored = Fragments::decode(r, self.shape.len)?;
        let place = |(offset, length, bytes): (u64, u64, PieceBytes<'_>)| {
            let (inline, place) = match bytes {
                PieceBytes::Inline(bytes) => (Some(bytes.clone()), None),
                PieceBytes::Extent(extent, skip) => {
                    let place = c.ledger.payload_place(extent, held)?;
                    (None, Some(PayloadPlace { offset: place.offset.saturating_add(skip), ..place }))
                }
                PieceBytes::Lost => return Err(Error::corrupt("a part was lost in a repair")),
            };
            Ok(PiecePlace { offset, length, inline, place })
        };
        let pieces = stored.pieces().map(place).collect::<Result<_>>()?;
        Ok(BlockPlace { coords: keys::coords(key), filter_mask: stored.encoded, pieces })
    }
}
