//! The stored form of a block: fragments, each inline or in an extent, with fill between them.
//!
//! A small write adds a fragment and leaves the other fragments unchanged, so its cost is its own size. To keep the
//! number of fragments low, neighbours are merged like the runs of a log-structured store: when there are too many, the
//! window of eight fragments that spans the fewest bytes becomes one. Each byte is therefore rewritten about
//! log8(s / w) times, where s is the size of the block and w that of a write.

mod join;
mod writes;

use crate::chunk::layout::BlockLayout;
use crate::chunk::statistics::{Before, MIN_COUNTED_ENCODED_BYTES};
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_ledger::buffers::Scratch;
use h5lake_ledger::{Extent, Ledger, PayloadPart};
use h5lake_records::memory::{buffer, no_memory};
use h5lake_records::record::{BlockRecord, StatisticsRecord};
use h5lake_records::{Fragment, FragmentSource, distinct};
use std::ops::Range;

/// Maximum number of fragments. Further fragments are merged.
pub(crate) const MAX_FRAGMENTS: usize = 24;
/// Number of fragments that are merged into one.
const MERGED_FRAGMENTS: usize = 8;

/// Where the bytes of a fragment are stored.
pub(crate) enum PieceBytes<'a> {
    /// The record, inline.
    Inline(&'a Bytes),
    /// A payload, from this byte on.
    Extent(&'a Extent, u64),
    /// Nowhere: a repair found the bytes damaged.
    Lost,
}

/// The stored state of a block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fragments {
    list: Vec<Fragment>,
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

/// Returns the error of a read of lost bytes.
fn lost() -> Error {
    Error::corrupt(
        "this data was lost: it was damaged when 'h5lake repair' copied the container; write the whole block anew, or restore it \
         from a copy",
    )
}

/// Reads bytes of a fragment, from its byte `from` on.
fn read_fragment(ledger: &Ledger, fragment: &Fragment, from: usize, out: &mut [u8]) -> Result<()> {
    match &fragment.source {
        FragmentSource::Inline(b) => out.copy_from_slice(&b[from..from + out.len()]),
        FragmentSource::Extent { extent, skip, .. } => {
            ledger.read_payload(extent, skip + from as u64, out)?
        }
        FragmentSource::Lost => return Err(lost()),
    }
    Ok(())
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
        let (encoded, statistics) = (r.encoded.then_some(r.filter_mask), r.statistics.clone());
        Ok(Self { list: r.fragments(len)?, encoded, statistics, ..Self::default() })
    }

    /// Returns the state that statistics need from before a change.
    pub(crate) fn before(&self) -> Before {
        Before { is_empty: self.list.is_empty(), statistics: self.statistics.clone() }
    }

    pub(crate) fn record(&self, length: usize) -> BlockRecord {
        BlockRecord {
            pieces: self.list.iter().map(Fragment::record).collect(),
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
        let mut kept: Vec<Fragment> = Vec::new();
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
        let mut far: Vec<&mut Fragment> = all
            .flat_map(|pieces| pieces.list.iter_mut())
            .filter(|p| matches!(p.source, FragmentSource::Extent { .. }))
            .collect();
        let mut parts: Vec<_> = far
            .iter()
            .filter_map(|p| match &p.source {
                FragmentSource::Inline(_) | FragmentSource::Lost => None,
                FragmentSource::Extent { extent, skip, .. } => {
                    Some(PayloadPart { extent, range: *skip..skip + p.len as u64, into: None })
                }
            })
            .collect();
        for d in direct {
            d.pieces.aim(d.shape, d.from, d.out, &mut parts)?;
        }
        let got = ledger.read_payloads(parts)?;
        for (piece, bytes) in far.iter_mut().zip(got) {
            piece.source = FragmentSource::Inline(bytes);
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
                FragmentSource::Inline(b) => now.copy_from_slice(&b[from..from + now.len()]),
                FragmentSource::Extent { extent, skip, .. } => {
                    let from = skip + from as u64;
                    parts.push(PayloadPart { extent, range: from..from + now.len() as u64, into: Some(now) });
                }
                FragmentSource::Lost => return Err(lost()),
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
                FragmentSource::Inline(bytes) => PieceBytes::Inline(bytes),
                FragmentSource::Extent { extent, skip, .. } => PieceBytes::Extent(extent, *skip),
                FragmentSource::Lost => PieceBytes::Lost,
            };
            (p.offset as u64, p.len as u64, bytes)
        })
    }

    /// Returns whether a repair found bytes of the block damaged that were not overwritten since.
    pub(crate) fn has_lost(&self) -> bool {
        self.list.iter().any(Fragment::is_lost)
    }

    /// Returns the extent that holds the first `len` bytes of a block unencoded, and their range in the extent.
    pub(crate) fn in_one_extent(&self, len: usize) -> Option<(Extent, Range<u64>)> {
        match (self.encoded, self.list.as_slice()) {
            (
                None,
                [Fragment { offset: 0, len: all, source: FragmentSource::Extent { extent, skip, .. } }],
            ) if *all >= len && !extent.is_in_source() => Some((extent.clone(), *skip..skip + len as u64)),
            _ => None,
        }
    }

    /// Returns the number of stored bytes.
    pub(crate) fn stored(&self) -> u64 {
        self.list.iter().map(|p| p.len as u64).sum()
    }

    /// Returns the number of bytes in extents.
    pub(crate) fn far_bytes(&self) -> u64 {
        let far = self.list.iter().filter(|p| matches!(p.source, FragmentSource::Extent { .. }));
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
        self.list.first().map_or(Ok(()), |p| read_fragment(ledger, p, 0, out))
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
            read_fragment(ledger, p, at - p.offset, &mut out[at - offset..to - offset])?;
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
                FragmentSource::Inline(b) => {
                    take(&b[from..from + r.len()]);
                    Ok(())
                }
                FragmentSource::Extent { extent, skip, .. } => {
                    let from = skip + from as u64;
                    Ok(ledger.view_payload(extent, from..from + r.len() as u64, take)?)
                }
                FragmentSource::Lost => Err(lost()),
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

    fn insert(&mut self, p: Fragment) {
        self.cut(p.offset..p.end());
        let at = self.list.partition_point(|x| x.offset < p.offset);
        self.list.insert(at, p);
    }

    fn inline_bytes(&self) -> usize {
        let inline = self.list.iter().filter(|p| matches!(p.source, FragmentSource::Inline(_)));
        inline.map(|p| p.len).sum()
    }

    fn insert_written(&mut self, offset: usize, len: usize, extent: Extent) {
        self.made.push(extent.clone());
        self.insert(Fragment::of(offset, len, extent));
    }

    /// Returns the number of bytes in extents that belong to the container itself.
    fn own_bytes(&self) -> u64 {
        self.extents().iter().filter(|e| !e.is_in_source()).map(Extent::len).sum()
    }

    /// Returns the extent of each fragment that has one. An extent may occur several times.
    fn used(&self) -> impl Iterator<Item = &Extent> {
        self.list.iter().filter_map(Fragment::extent)
    }

    /// Returns the extents in use, without duplicates.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        distinct(self.used())
    }
}
