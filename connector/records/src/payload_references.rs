//! The references of entries to payloads. Copies, compaction and similar work go through all entries of a container by
//! them: they decode an entry, exchange some references, and encode it again.

use crate::record::{self, AttributeRecord, BlockRecord, PieceRecord, decode_extents};
use crate::{Error, Result, distinct, keys};
use bytes::Bytes;
use h5lake_ledger::{Extent, PayloadPart};
use prost::Message;

/// A reference of an entry to a part of a payload.
#[derive(Debug, Clone)]
pub struct PayloadReference {
    /// Index of the fragment of a block, or of the extent of an attribute.
    pub index: usize,
    /// Offset of the fragment in the block; 0 for an attribute.
    pub offset: u64,
    /// The payload; never empty.
    pub extent: Extent,
    /// Offset of the part in the payload.
    pub skip: u64,
    /// Bytes of the part.
    pub length: u64,
}

impl PayloadReference {
    /// Returns whether an encoded extent and an offset refer to the same part.
    pub fn is(&self, encoded: &[u8], skip: u64) -> bool {
        self.skip == skip && self.extent.to_bytes() == encoded
    }

    /// Returns a request to read the part.
    pub fn read(&self) -> PayloadPart<'_> {
        PayloadPart { extent: &self.extent, range: self.skip..self.skip + self.length, into: None }
    }
}

/// The value of an entry: of a kind that refers to payloads, or of any other.
#[derive(Debug)]
pub enum EntryValue {
    /// A block of a dataset, or a segment of a heap.
    Block(BlockRecord),
    /// An attribute.
    Attribute(Box<AttributeRecord>),
    /// An entry without references.
    Other(Bytes),
}

impl EntryValue {
    /// Decodes the value of the entry with this key.
    ///
    /// # Errors
    /// `Corrupt` for an invalid value; see [`BlockRecord::fragments`].
    pub fn decode(key: &[u8], value: &Bytes) -> Result<Self> {
        let what = || format!("the entry {key:02x?}");
        Ok(match key.first() {
            Some(&(keys::BLOCK | keys::SEGMENT)) => {
                let block: BlockRecord = record::decode(value.clone(), what)?;
                block.clone().fragments(usize::MAX)?;
                Self::Block(block)
            }
            Some(&keys::ATTRIBUTE) => Self::Attribute(Box::new(record::decode(value.clone(), what)?)),
            _ => Self::Other(value.clone()),
        })
    }

    /// Returns the references to payloads and to data in sources, in their order. Empty payloads, which stand for bytes
    /// that a repair found damaged, are left out.
    ///
    /// # Errors
    /// `Corrupt` for an invalid extent.
    pub fn references(&self) -> Result<Vec<PayloadReference>> {
        let mut all = Vec::new();
        let mut add = |index, encoded: &Bytes, part: Option<(u64, u64, u64)>| -> Result<()> {
            let extent = Extent::decode(encoded)?.0;
            if extent.is_empty() {
                return Ok(());
            }
            let (offset, skip, length) = part.unwrap_or((0, 0, extent.len()));
            if skip.checked_add(length).is_none_or(|end| end > extent.len()) {
                return Err(Error::corrupt("a piece of a block leaves its payload"));
            }
            all.push(PayloadReference { index, offset, extent, skip, length });
            Ok(())
        };
        match self {
            Self::Block(block) => {
                let pieces = block.pieces.iter().enumerate().filter(|(_, piece)| !piece.extent.is_empty());
                for (n, piece) in pieces {
                    add(n, &piece.extent, Some((piece.offset, piece.skip, piece.length)))?;
                }
            }
            Self::Attribute(attribute) => {
                for (n, encoded) in attribute.extents.iter().enumerate() {
                    add(n, encoded, None)?;
                }
            }
            Self::Other(_) => (),
        }
        Ok(all)
    }

    /// Replaces the payload of the reference with this index.
    pub fn set(&mut self, index: usize, extent: Bytes, skip: u64) {
        match self {
            Self::Block(block) => {
                if let Some(piece) = block.pieces.get_mut(index) {
                    (piece.extent, piece.skip) = (extent, skip);
                }
            }
            Self::Attribute(attribute) => {
                if let Some(encoded) = attribute.extents.get_mut(index) {
                    *encoded = extent;
                }
            }
            Self::Other(_) => (),
        }
    }

    /// Stores the bytes of the fragment with this index in the record.
    pub fn set_inline(&mut self, index: usize, bytes: Bytes) {
        if let Self::Block(block) = self
            && let Some(piece) = block.pieces.get_mut(index)
        {
            *piece = PieceRecord { offset: piece.offset, inline: bytes, ..PieceRecord::default() };
        }
    }

    /// Returns the length of the block, if the entry is one.
    pub fn block_length(&self) -> Option<u64> {
        match self {
            Self::Block(block) => Some(block.length),
            _ => None,
        }
    }

    /// Returns the encoded value.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Block(block) => block.encode_to_vec().into(),
            Self::Attribute(attribute) => attribute.encode_to_vec().into(),
            Self::Other(value) => value.clone(),
        }
    }
}

/// Returns the extents that the value of an entry refers to: those of a block without duplicates, and those of lost bytes
/// left out.
///
/// # Errors
/// `Corrupt` for an invalid value.
pub fn extents_of(key: &[u8], value: Bytes) -> Result<Vec<Extent>> {
    let what = || format!("the entry {key:02x?}");
    match key.first() {
        Some(&(keys::BLOCK | keys::SEGMENT)) => extents_of_block(record::decode(value, what)?),
        Some(&keys::ATTRIBUTE) => {
            let r: AttributeRecord = record::decode(value, what)?;
            decode_extents(&r.extents)
        }
        _ => Ok(Vec::new()),
    }
}

fn extents_of_block(block: BlockRecord) -> Result<Vec<Extent>> {
    let fragments = block.fragments(usize::MAX)?;
    Ok(distinct(fragments.iter().filter_map(|fragment| fragment.extent())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// A block of one MiB can have this many fragments, and a check reads the extents of each.
    #[test]
    fn the_extents_of_a_block_with_very_many_fragments_are_found_quickly() {
        let all: Vec<Extent> = (0..200_000).map(|n| Extent::in_source(1, n, 1).unwrap()).collect();
        let piece = |(n, extent): (u64, &Extent)| PieceRecord {
            offset: n,
            length: 1,
            extent: extent.to_bytes(),
            ..PieceRecord::default()
        };
        let block = BlockRecord { pieces: (0..).zip(&all).map(piece).collect(), ..BlockRecord::default() };
        let begun = Instant::now();
        assert!(extents_of_block(block).unwrap() == all);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
