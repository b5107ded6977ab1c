//! The stored form of a block: fragments, each inline or in an extent, with fill between them.
//!
//! A small write adds a fragment and leaves the other fragments unchanged, so its cost is its own size. To keep the
//! number of fragments low, neighbours are merged like the runs of a log-structured store: when there are too many, the
//! window of eight fragments that spans the fewest bytes becomes one. Each byte is therefore rewritten about
//! log8(s / w) times, where s is the size of the block and w that of a write.

mod extent_set;
mod join;
mod writes;

pub(crate) use self::extent_set::{ExtentSet, distinct};
use crate::chunk::layout::BlockLayout;
use crate::chunk::statistics::{Before, MIN_COUNTED_ENCODED_BYTES};
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_ledger::buffers::Scratch;
use h5lake_ledger::{Extent, Ledger, PayloadPart};
use h5lake_records::memory::{buffer, no_memory};
use h5lake_records::record::{BlockRecord, PieceRecord, StatisticsRecord};
use std::ops::Range;

/// Maximum number of fragments. Further fragments are merged.
pub(crate) const MAX_FRAGMENTS: usize = 24;
/// Number of fragments that are merged into one.
const MERGED_FRAGMENTS: usize = 8;

#[derive(Debug, Clone)]
enum Source {
    Inline(Bytes),
    Extent {
        encoded: Bytes,
        extent: Extent,
        skip: u64,
    },
    /// Bytes that a repair found damaged.
    Lost,
}

/// Where the bytes of a fragment are stored.
pub(crate) enum PieceBytes<'a> {
    /// The record, inline.
    Inline(&'a Bytes),
    /// A payload, from this byte on.
    Extent(&'a Extent, u64),
    /// Nowhere: a repair found the bytes damaged.
    Lost,
}

#[derive(Debug, Clone)]
struct Piece {
    offset: usize,
    len: usize,
    source: Source,
}

/// The stored state of a block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fragments {
    list: Vec<Piece>,
    /// Present if the only fragment holds the output of the filter pipeline, as the mask of skipped filters.
    pub encoded: Option<u32>,
    /// True if it is not the first block, so that further writes are likely to follow a write to its beginning.
    pub is_later: bool,
    /// Statistics of the elements. Each change of the content clears them; the caller may then set new ones.
    pub statistics: Option<StatisticsRecord>,
    /// Extents that were written since this state was decoded, including grown ones.
    made: Vec<Extent>,
    grown: Vec<Extent>,
}

/// Returns the fragment that stands for lost bytes: it has a length, and its extent is empty.
pub(crate) fn lost_piece(offset: u64, length: u64) -> PieceRecord {
    PieceRecord { offset, length, extent: Extent::empty().to_bytes(), ..PieceRecord::default() }
}

/// Returns the error of a read of lost bytes.
fn lost() -> Error {
    Error::corrupt(
        "this data was lost: it was damaged when 'h5lake repair' copied the container; write the whole block anew, or restore it \
         from a copy",
    )
}

impl Piece {
    fn end(&self) -> usize {
        self.offset + self.len
    }

    fn read(&self, ledger: &Ledger, from: usize, out: &mut [u8]) -> Result<()> {
        match &self.source {
            Source::Inline(b) => out.copy_from_slice(&b[from..from + out.len()]),
            Source::Extent { extent, skip, .. } => ledger.read_payload(extent, skip + from as u64, out)?,
            Source::Lost => return Err(lost()),
        }
        Ok(())
    }

    fn is_lost(&self) -> bool {
        matches!(self.source, Source::Lost)
    }

    fn part(&self, r: Range<usize>) -> Self {
        let from = r.start - self.offset;
        let source = match &self.source {
            Source::Inline(b) => Source::Inline(b.slice(from..from + r.len())),
            Source::Extent { encoded, extent, skip } => {
                Source::Extent { encoded: encoded.clone(), extent: extent.clone(), skip: skip + from as u64 }
            }
            Source::Lost => Source::Lost,
        };
        Self { offset: r.start, len: r.len(), source }
    }

    /// Creates a fragment of a whole extent of `len` bytes.
    fn of(offset: usize, len: usize, extent: Extent) -> Self {
        Self { offset, len, source: Source::Extent { encoded: extent.to_bytes(), extent, skip: 0 } }
    }

    /// Lets the fragment begin `bytes` bytes into its extent.
    fn skip(&mut self, bytes: u64) {
        if let Source::Extent { skip, .. } = &mut self.source {
            *skip = bytes;
        }
    }
}

/// A run of a block that is read directly into the caller's buffer.
pub(crate) struct Direct<'a> {
    pub pieces: &'a Fragments,
    pub shape: &'a BlockLayout,
    /// Offset of the run in the block.
    pub from: usize,
    pub out: &'a mut [u8],
}

impl Fragments {
    /// Decodes and checks a record; `len` is the length of the block.
    pub(crate) fn decode(r: BlockRecord, len: usize) -> Result<Self> {
        let bad = |what: &str| Error::corrupt(format!("a block's pieces {what}"));
        let mut list: Vec<Piece> = Vec::with_capacity(r.pieces.len());
        for p in r.pieces {
            let source = if p.extent.is_empty() {
                Source::Inline(p.inline)
            } else {
                let extent = Extent::decode(&p.extent)?.0;
                if extent.is_empty() && p.length > 0 {
                    Source::Lost
                } else if p.skip.checked_add(p.length).is_none_or(|e| e > extent.len()) {
                    return Err(bad("leave their extent"));
                } else {
                    Source::Extent { encoded: p.extent, extent, skip: p.skip }
                }
            };
            let length = match &source {
                Source::Inline(b) => b.len(),
                _ => usize::try_from(p.length).map_err(|_| bad("are too long"))?,
            };
            let offset = usize::try_from(p.offset).map_err(|_| bad("leave the block"))?;
            let end = offset.checked_add(length).ok_or_else(|| bad("leave the block"))?;
            if (!r.encoded && end > len) || list.last().is_some_and(|l| l.end() > offset) {
                return Err(bad("overlap or leave the block"));
            }
            list.push(Piece { offset, len: length, source });
        }
        if r.encoded && (list.len() != 1 || list[0].offset != 0) {
            return Err(bad("are not one, as those of a filtered block have to be"));
        }
        let encoded = r.encoded.then_some(r.filter_mask);
        Ok(Self { list, encoded, statistics: r.statistics, ..Self::default() })
    }

    /// Returns the state that statistics need from before a change.
    pub(crate) fn before(&self) -> Before {
        Before { is_empty: self.list.is_empty(), statistics: self.statistics.clone() }
    }

    pub(crate) fn record(&self, length: usize) -> BlockRecord {
        let pieces = self.list.iter().map(|p| match &p.source {
            Source::Inline(b) => {
                PieceRecord { offset: p.offset as u64, inline: b.clone(), ..PieceRecord::default() }
            }
            Source::Extent { encoded, skip, .. } => PieceRecord {
                offset: p.offset as u64,
                length: p.len as u64,
                extent: encoded.clone(),
                skip: *skip,
                ..PieceRecord::default()
            },
            Source::Lost => lost_piece(p.offset as u64, p.len as u64),
        });
        BlockRecord {
            pieces: pieces.collect(),
            encoded: self.encoded.is_some(),
            filter_mask: self.encoded.unwrap_or(0),
            length: length as u64,
            statistics: self
                .statistics
                .clone()
                .filter(|_| self.encoded.is_none() || self.stored() >= MIN_COUNTED_ENCODED_BYTES),
        }
    }

    /// Removes the fragments that these ranges of the block do not need; all other bytes then read as fill. A filtered
    /// block is needed as a whole.
    pub(crate) fn keep(&mut self, ranges: impl Iterator<Item = Range<usize>>) {
        if self.encoded.is_some() {
            return;
        }
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_unstable_by_key(|r| r.start);
        let mut kept: Vec<Piece> = Vec::new();
        let mut at = 0;
        for r in ranges {
            let r = r.start.max(at)..r.end;
            at = at.max(r.end);
            let first = self.list.partition_point(|p| p.end() <= r.start);
            for p in self.list[first..].iter().take_while(|p| p.offset < r.end) {
                kept.push(p.part(p.offset.max(r.start)..p.end().min(r.end)));
            }
        }
        self.list = kept;
    }

    /// Brings the extents of several blocks into memory, in as few round trips as the ledger allows, and reads the runs
    /// `direct` directly into their buffers.
    pub(crate) fn fetch<'a>(
        ledger: &Ledger,
        all: impl Iterator<Item = &'a mut Fragments>,
        direct: Vec<Direct<'_>>,
    ) -> Result<()> {
        let mut far: Vec<&mut Piece> = all
            .flat_map(|pieces| pieces.list.iter_mut())
            .filter(|p| matches!(p.source, Source::Extent { .. }))
            .collect();
        let mut parts: Vec<_> = far
            .iter()
            .filter_map(|p| match &p.source {
                Source::Inline(_) | Source::Lost => None,
                Source::Extent { extent, skip, .. } => {
                    Some(PayloadPart { extent, range: *skip..skip + p.len as u64, into: None })
                }
            })
            .collect();
        for d in direct {
            d.pieces.aim(d.shape, d.from, d.out, &mut parts)?;
        }
        let got = ledger.read_payloads(parts)?;
        for (piece, bytes) in far.iter_mut().zip(got) {
            piece.source = Source::Inline(bytes);
        }
        Ok(())
    }

    /// Fills `out` with the bytes from `offset` on, as [`Self::read`] does, except bytes in extents: their destinations
    /// are added to `parts`.
    fn aim<'a>(
        &'a self,
        shape: &BlockLayout,
        offset: usize,
        out: &'a mut [u8],
        parts: &mut Vec<PayloadPart<'a>>,
    ) -> Result<()> {
        let (end, mut at, mut rest) = (offset + out.len(), offset, out);
        let first = self.list.partition_point(|p| p.end() <= offset);
        for p in self.list[first..].iter().take_while(|p| p.offset < end) {
            if p.offset > at {
                let (gap, later) = std::mem::take(&mut rest).split_at_mut(p.offset - at);
                shape.fill(at, gap);
                (at, rest) = (p.offset, later);
            }
            let to = p.end().min(end);
            let (now, later) = std::mem::take(&mut rest).split_at_mut(to - at);
            let from = at - p.offset;
            match &p.source {
                Source::Inline(b) => now.copy_from_slice(&b[from..from + now.len()]),
                Source::Extent { extent, skip, .. } => {
                    let from = skip + from as u64;
                    parts.push(PayloadPart { extent, range: from..from + now.len() as u64, into: Some(now) });
                }
                Source::Lost => return Err(lost()),
            }
            (at, rest) = (to, later);
        }
        shape.fill(at, rest);
        Ok(())
    }

    /// Returns each fragment: its offset in the block, its length, and where its bytes are stored.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, u64, PieceBytes<'_>)> {
        self.list.iter().map(|p| {
            let bytes = match &p.source {
                Source::Inline(bytes) => PieceBytes::Inline(bytes),
                Source::Extent { extent, skip, .. } => PieceBytes::Extent(extent, *skip),
                Source::Lost => PieceBytes::Lost,
            };
            (p.offset as u64, p.len as u64, bytes)
        })
    }

    /// Returns whether a repair found bytes of the block damaged that were not overwritten since.
    pub(crate) fn has_lost(&self) -> bool {
        self.list.iter().any(Piece::is_lost)
    }

    /// Returns the extent that holds the first `len` bytes of a block unencoded, and their range in the extent.
    pub(crate) fn in_one_extent(&self, len: usize) -> Option<(Extent, Range<u64>)> {
        match (self.encoded, self.list.as_slice()) {
            (None, [Piece { offset: 0, len: all, source: Source::Extent { extent, skip, .. } }])
                if *all >= len && !extent.is_in_source() =>
            {
                Some((extent.clone(), *skip..skip + len as u64))
            }
            _ => None,
        }
    }

    /// Returns the number of stored bytes.
    pub(crate) fn stored(&self) -> u64 {
        self.list.iter().map(|p| p.len as u64).sum()
    }

    /// Returns the number of bytes in extents.
    pub(crate) fn far_bytes(&self) -> u64 {
        let far = self.list.iter().filter(|p| matches!(p.source, Source::Extent { .. }));
        far.map(|p| p.len as u64).sum()
    }

    /// Returns the output of the filter pipeline, if the block is encoded.
    pub(crate) fn encoded_bytes(&self, ledger: &Ledger) -> Result<Vec<u8>> {
        let mut out = buffer(self.encoded_len())?;
        self.read_encoded(ledger, &mut out)?;
        Ok(out)
    }

    /// Returns the length of the filter pipeline's output, if the block is encoded.
    pub(crate) fn encoded_len(&self) -> usize {
        self.list.first().map_or(0, |p| p.len)
    }

    /// Reads the filter pipeline's output into [`Self::encoded_len`] bytes.
    pub(crate) fn read_encoded(&self, ledger: &Ledger, out: &mut [u8]) -> Result<()> {
        self.list.first().map_or(Ok(()), |p| p.read(ledger, 0, out))
    }

    /// Reads from `offset` on. Bytes in no fragment have the fill value.
    pub(crate) fn read(
        &self,
        ledger: &Ledger,
        shape: &BlockLayout,
        offset: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let end = offset + out.len();
        let mut at = offset;
        let first = self.list.partition_point(|p| p.end() <= offset);
        for p in self.list[first..].iter().take_while(|p| p.offset < end) {
            if p.offset > at {
                shape.fill(at, &mut out[at - offset..p.offset - offset]);
                at = p.offset;
            }
            let to = p.end().min(end);
            p.read(ledger, at - p.offset, &mut out[at - offset..to - offset])?;
            at = to;
        }
        shape.fill(at, &mut out[at - offset..]);
        Ok(())
    }

    /// Passes the bytes of a range to `take`, without a copy if one fragment holds all of them.
    pub(crate) fn view(
        &self,
        ledger: &Ledger,
        shape: &BlockLayout,
        r: Range<usize>,
        take: impl FnOnce(&[u8]),
    ) -> Result<()> {
        let first = self.list.partition_point(|p| p.end() <= r.start);
        if let Some(p) = self.list.get(first).filter(|p| p.offset <= r.start && r.end <= p.end()) {
            let from = r.start - p.offset;
            return match &p.source {
                Source::Inline(b) => {
                    take(&b[from..from + r.len()]);
                    Ok(())
                }
                Source::Extent { extent, skip, .. } => {
                    let from = skip + from as u64;
                    Ok(ledger.view_payload(extent, from..from + r.len() as u64, take)?)
                }
                Source::Lost => Err(lost()),
            };
        }
        let mut bytes = Scratch::try_new(r.len()).ok_or_else(|| no_memory(r.len()))?;
        self.read(ledger, shape, r.start, &mut bytes)?;
        take(&bytes);
        Ok(())
    }

    /// Removes a range, which then reads as fill.
    pub(crate) fn cut(&mut self, r: Range<usize>) {
        self.statistics = None;
        let first = self.list.partition_point(|p| p.end() <= r.start);
        if self.list.get(first).is_none_or(|p| p.offset >= r.end) {
            return;
        }
        let mut kept = Vec::with_capacity(self.list.len() + 1);
        for p in self.list.drain(..) {
            if p.end() <= r.start || p.offset >= r.end {
                kept.push(p);
                continue;
            }
            if p.offset < r.start {
                kept.push(p.part(p.offset..r.start));
            }
            if p.end() > r.end {
                kept.push(p.part(r.end..p.end()));
            }
        }
        self.list = kept;
    }

    fn insert(&mut self, p: Piece) {
        self.cut(p.offset..p.end());
        let at = self.list.partition_point(|x| x.offset < p.offset);
        self.list.insert(at, p);
    }

    fn inline_bytes(&self) -> usize {
        let inline = self.list.iter().filter(|p| matches!(p.source, Source::Inline(_)));
        inline.map(|p| p.len).sum()
    }

    fn insert_written(&mut self, offset: usize, len: usize, extent: Extent) {
        self.made.push(extent.clone());
        self.insert(Piece::of(offset, len, extent));
    }

    /// Returns the number of bytes in extents that belong to the container itself.
    fn own_bytes(&self) -> u64 {
        self.extents().iter().filter(|e| !e.is_in_source()).map(Extent::len).sum()
    }

    /// Returns the extent of each fragment that has one. An extent may occur several times.
    fn used(&self) -> impl Iterator<Item = &Extent> {
        self.list.iter().filter_map(|p| match &p.source {
            Source::Extent { extent, .. } => Some(extent),
            Source::Inline(_) | Source::Lost => None,
        })
    }

    /// Returns the extents in use, without duplicates.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        distinct(self.used())
    }
}
