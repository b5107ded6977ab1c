//! Fragments: the parts of a block, each inline or in an extent, with fill between them.

use crate::record::{BlockRecord, PieceRecord};
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_ledger::Extent;
use std::ops::Range;

/// Where the bytes of a fragment are stored.
#[derive(Debug, Clone)]
pub enum FragmentSource {
    /// The record has the bytes.
    Inline(Bytes),
    /// A payload has the bytes.
    Extent {
        /// The extent as stored.
        encoded: Bytes,
        /// The extent.
        extent: Extent,
        /// Offset of the fragment in the extent.
        skip: u64,
    },
    /// The bytes are lost: a repair found them damaged.
    Lost,
}

/// A part of a block.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// First byte within the block.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
    /// Where its bytes are stored.
    pub source: FragmentSource,
}

impl Fragment {
    /// Creates a fragment of a whole extent of `len` bytes.
    pub fn of(offset: usize, len: usize, extent: Extent) -> Self {
        Self { offset, len, source: FragmentSource::Extent { encoded: extent.to_bytes(), extent, skip: 0 } }
    }

    /// Returns the first byte after the fragment.
    #[inline]
    pub fn end(&self) -> usize {
        self.offset + self.len
    }

    /// Returns whether a repair found the bytes damaged.
    #[inline]
    pub fn is_lost(&self) -> bool {
        matches!(self.source, FragmentSource::Lost)
    }

    /// Returns the extent with the bytes, if they are in one.
    pub fn extent(&self) -> Option<&Extent> {
        match &self.source {
            FragmentSource::Extent { extent, .. } => Some(extent),
            FragmentSource::Inline(_) | FragmentSource::Lost => None,
        }
    }

    /// Returns the part of the fragment in a range of the block that lies within the fragment.
    pub fn part(&self, r: Range<usize>) -> Self {
        let from = r.start - self.offset;
        let source = match &self.source {
            FragmentSource::Inline(b) => FragmentSource::Inline(b.slice(from..from + r.len())),
            FragmentSource::Extent { encoded, extent, skip } => FragmentSource::Extent {
                encoded: encoded.clone(),
                extent: extent.clone(),
                skip: skip + from as u64,
            },
            FragmentSource::Lost => FragmentSource::Lost,
        };
        Self { offset: r.start, len: r.len(), source }
    }

    /// Lets the fragment begin `bytes` bytes into its extent.
    pub fn skip(&mut self, bytes: u64) {
        if let FragmentSource::Extent { skip, .. } = &mut self.source {
            *skip = bytes;
        }
    }

    /// Returns the record of the fragment.
    pub fn record(&self) -> PieceRecord {
        let offset = self.offset as u64;
        match &self.source {
            FragmentSource::Inline(b) => PieceRecord { offset, inline: b.clone(), ..PieceRecord::default() },
            FragmentSource::Extent { encoded, skip, .. } => PieceRecord {
                offset,
                length: self.len as u64,
                extent: encoded.clone(),
                skip: *skip,
                ..PieceRecord::default()
            },
            FragmentSource::Lost => PieceRecord::lost(offset, self.len as u64),
        }
    }
}

impl PieceRecord {
    /// Returns the record that stands for lost bytes: it has a length, and its extent is empty.
    pub fn lost(offset: u64, length: u64) -> Self {
        Self { offset, length, extent: Extent::empty().to_bytes(), ..Self::default() }
    }

    fn fragment(self) -> Result<Fragment> {
        let source = if self.extent.is_empty() {
            FragmentSource::Inline(self.inline)
        } else {
            let extent = Extent::decode(&self.extent)?.0;
            if extent.is_empty() && self.length > 0 {
                FragmentSource::Lost
            } else if self.skip.checked_add(self.length).is_none_or(|e| e > extent.len()) {
                return Err(invalid("leave their extent"));
            } else {
                FragmentSource::Extent { encoded: self.extent, extent, skip: self.skip }
            }
        };
        let len = match &source {
            FragmentSource::Inline(b) => b.len(),
            _ => usize::try_from(self.length).map_err(|_| invalid("are too long"))?,
        };
        let offset = usize::try_from(self.offset).map_err(|_| invalid("leave the block"))?;
        Ok(Fragment { offset, len, source })
    }
}

impl BlockRecord {
    /// Returns the fragments, which ascend, do not overlap, and lie within their extents and within the `len` bytes of the
    /// block.
    ///
    /// # Errors
    /// `Corrupt` for any other fragments, or if an encoded block has not exactly one.
    pub fn fragments(self, len: usize) -> Result<Vec<Fragment>> {
        let mut list: Vec<Fragment> = Vec::with_capacity(self.pieces.len());
        for piece in self.pieces {
            let fragment = piece.fragment()?;
            let end = fragment.offset.checked_add(fragment.len).ok_or_else(|| invalid("leave the block"))?;
            if (!self.encoded && end > len) || list.last().is_some_and(|last| last.end() > fragment.offset) {
                return Err(invalid("overlap or leave the block"));
            }
            list.push(fragment);
        }
        if self.encoded && (list.len() != 1 || list[0].offset != 0) {
            return Err(invalid("are not one, as those of a filtered block have to be"));
        }
        Ok(list)
    }
}

fn invalid(what: &str) -> Error {
    Error::corrupt(format!("a block's pieces {what}"))
}
