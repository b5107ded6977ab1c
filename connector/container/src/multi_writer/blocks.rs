//! Merges blocks that both sides changed: the elements of this writer are copied over those of the other writer.

use super::deleted_blobs::Place;
use super::kept_blobs::{elements_in, has_remotely_deleted_blob, only_theirs};
use super::prefetch::Fetched;
use super::variable_length::blob_unit;
use super::{Settle, ThreeWay};
use crate::chunk::block_store::{decoded, delete_stored};
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use crate::chunk::read_set::ReadOf;
use crate::container::State;
use crate::dataset::{DatasetForm, resize::outside};
use crate::{Container, Error, ErrorKind, ObjectId, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::types::Layout;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// State for merging the blocks of one dataset.
pub(super) struct RemoteBlock {
    pub(super) shape: Arc<BlockLayout>,
    /// Bytes of an element.
    pub(super) unit: usize,
    layout: Layout,
    dims: Vec<u64>,
    /// True if each element holds a blob that refers to nothing else.
    has_plain_blobs: bool,
    /// True if elements refer to blobs in the heap.
    pub(super) has_heap: bool,
    /// Blocks of the dataset that are already loaded.
    fetched: Fetched,
}

/// Result of copying a block of this writer over the block of another writer.
pub(super) struct Overlaid {
    /// Ranges that both sides had written and in which the value of the other writer stays.
    conflicting: Vec<Range<usize>>,
    /// Blobs of the other writer in elements that this batch changed but that keep their remote value.
    kept: Vec<Place>,
    /// The error if the merged block is in memory but cannot be staged yet.
    staged: Result<()>,
}

impl RemoteBlock {
    /// Returns the same state for another extent.
    pub(super) fn with_dims(self, dims: Vec<u64>) -> Self {
        Self { dims, ..self }
    }

    /// Returns whether each element holds a blob that refers to nothing else.
    pub(super) fn has_plain_blobs(&self) -> bool {
        self.has_plain_blobs
    }

    /// Returns how much of a chunk lies within the extent, per dimension; `None` for other layouts.
    pub(super) fn inside(&self, coords: &[u64]) -> Option<Vec<u64>> {
        let Layout::Chunked { chunk } = &self.layout else { return None };
        let within = |((c, n), d): ((&u64, &u64), &u64)| d.saturating_sub(c.saturating_mul(*n)).min(*n);
        Some(coords.iter().zip(chunk).zip(&self.dims).map(within).collect())
    }

    /// Returns the bytes of a chunk that lie outside of the extent.
    pub(super) fn outside(&self, coords: &[u64]) -> Vec<Range<usize>> {
        match (&self.layout, self.inside(coords)) {
            (Layout::Chunked { chunk }, Some(inside)) if inside.len() == chunk.len() => {
                outside(chunk, &inside, self.unit).into_iter().map(|r| r.block..r.block + r.len).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns whether a block is stored with filters although it is now a partial chunk that must not be filtered.
    pub(super) fn is_filtered_in_vain(&self, key: &[u8], value: &Bytes) -> Result<bool> {
        let is_plain = self.shape.edges.is_some() && !self.shape.is_filtered(key);
        Ok(is_plain && decoded(Some(value.clone()), key, &self.shape)?.encoded.is_some())
    }
}

/// Splits `spans`, in whole elements, into ranges that may replace the other writer's bytes and ranges that both sides
/// changed. Equal bytes written by both sides count as one change, unless this writer has read the previous value.
fn sort_out(
    spans: &RangeSet,
    read: &ReadOf,
    unit: usize,
    [base, theirs, ours]: [&[u8]; 3],
) -> (RangeSet, Vec<Range<usize>>) {
    let (mut free, mut contested) = (RangeSet::default(), RangeSet::default());
    for r in spans.iter() {
        if base[r.clone()] == theirs[r.clone()] {
            free.insert(r);
            continue;
        }
        let mut at = r.start / unit * unit;
        while at < r.end {
            let e = at..(at + unit).min(ours.len());
            let agree = theirs[e.clone()] == ours[e.clone()] && !read.overlaps(&e);
            let both = base[e.clone()] != theirs[e.clone()] && !agree;
            if both {
                contested.insert(e)
            } else {
                free.insert(e)
            }
            at += unit;
        }
    }
    (free, contested.iter().collect())
}

impl Container {
    pub(super) fn known(&self, s: &mut State, id: u64) -> Result<RemoteBlock> {
        let h = self.header(s, ObjectId(id))?;
        let form = DatasetForm::of(&h, || format!("{}: dataset {id:#x}", self.name()))?;
        let open = s.datasets.get(&id).and_then(Weak::upgrade);
        // An open dataset has the lent codecs.
        let shape = open.map_or_else(|| Arc::new(form.shape), |d| d.shape_shared());
        shape.set_dims(form.space.dims());
        let unit = form.datatype.size as usize;
        let has_plain_blobs = blob_unit(&(&form.datatype).into()).is_some();
        let (layout, dims) = (form.layout, form.space.dims().to_vec());
        let has_heap = form.datatype.has_heap;
        let fetched = s.remote.fetched.clone();
        Ok(RemoteBlock { shape, unit, layout, dims, has_plain_blobs, has_heap, fetched })
    }

    /// Notes the elements of a block that differ from another state of it as written.
    pub(crate) fn note_elements(
        &self,
        s: &mut State,
        key: &Bytes,
        before: Option<Bytes>,
        ours: Bytes,
    ) -> Result<()> {
        let id = keys::id(key).unwrap_or_default();
        let known = self.known(s, id)?;
        self.with_foreign(s, id, &known, || {
            let both =
                [self.load_block(&known, key, &before)?, self.load_block(&known, key, &Some(ours.clone()))?];
            self.blocks.lock().set_touched(key, differing(&both, known.unit.max(1)));
            Ok(())
        })
    }

    pub(super) fn merge_block(&self, s: &mut State, c: ThreeWay) -> Result<()> {
        let id = keys::id(&c.key).unwrap_or_default();
        let known = self.known(s, id)?;
        let Some(ours) = c.ours.clone() else {
            // This batch truncated the block. Elements that another writer wrote there meanwhile are truncated too, but
            // a branch has not seen them, so they are checked for a conflict.
            if s.remote.branch.is_some() {
                self.check_cut_off(s, &c.key, c.base.clone())?;
            }
            self.ledger.prepare_to_free(c.theirs.as_slice())?;
            self.exchange(&c.key, c.base.clone(), None)?;
            self.ledger.unstage(&c.key)?;
            if let Some(theirs) = c.theirs {
                delete_stored(&self.ledger, &c.key, theirs)?;
            }
            return Ok(());
        };
        let mut spans = self.written_of(s, &known, &c)?;
        if known.has_plain_blobs && self.leave_out_same(s, id, &known, &c, &mut spans)? && spans.is_empty() {
            return self.discard_block(s, &known, &c.key);
        }
        let done = self.with_foreign(s, id, &known, || self.overlay_block(&known, &c, &ours, &spans))?;
        self.note_overlaid(s, &known, &c.key, done)
    }

    pub(super) fn note_overlaid(
        &self,
        s: &mut State,
        known: &RemoteBlock,
        key: &Bytes,
        done: Overlaid,
    ) -> Result<()> {
        let id = keys::id(key).unwrap_or_default();
        self.note_kept(s, id, done.kept);
        if !done.conflicting.is_empty() {
            let what = format!(", {},", elements(known, key, &done.conflicting));
            self.conflict(s, key, id, what, Settle::Write);
        }
        done.staged
    }

    /// Returns the ranges of a block that this batch has written. For a branch that is being merged only its states are
    /// known, so the ranges are found by comparing them: which chunks the main line changes in the meantime is known
    /// only at the merge.
    pub(super) fn written_of(&self, s: &mut State, known: &RemoteBlock, c: &ThreeWay) -> Result<RangeSet> {
        let spans = self.blocks.lock().touched(&c.key);
        if !spans.is_empty() || s.remote.branch.is_none() {
            return Ok(spans);
        }
        self.with_foreign(s, keys::id(&c.key).unwrap_or_default(), known, || {
            let both = [self.load_block(known, &c.key, &c.base)?, self.load_block(known, &c.key, &c.ours)?];
            Ok(differing(&both, known.unit.max(1)))
        })
    }

    /// Copies the bytes that this writer wrote in `spans` over the block of the other writer.
    pub(super) fn overlay_block(
        &self,
        known: &RemoteBlock,
        c: &ThreeWay,
        ours: &Bytes,
        spans: &RangeSet,
    ) -> Result<Overlaid> {
        let shape = &known.shape;
        let load = |value: &Option<Bytes>| self.load_block(known, &c.key, value);
        let mut blocks = self.blocks.lock();
        // All steps that can fail precede the first change.
        blocks.make_space_for(&self.ledger, shape)?;
        let (whole, mut theirs) = (load(&Some(ours.clone()))?, load(&c.theirs)?);
        let (base, unit, id) = (load(&c.base)?, known.unit.max(1), keys::id(&c.key).unwrap_or_default());
        let (mut free, mut conflicting) =
            sort_out(spans, &self.reads.block(&c.key), unit, [&base, &theirs, &whole]);
        if self.last_wins() {
            conflicting = self.overrule(known, id, conflicting, &mut free, [&base, &theirs, &whole]);
        }
        let kept = match known.has_heap {
            true => only_theirs(id, unit, [&base, &theirs, &whole], &free),
            false => Vec::new(),
        };
        free.iter().for_each(|r| theirs[r.clone()].copy_from_slice(&whole[r]));
        let merged = theirs;
        if shape.filters.is_foreign() && !free.is_empty() {
            // Encoding can fail as well, so the filters run here once.
            shape.filters.encode(&merged)?;
        }
        self.exchange(&c.key, c.base.clone(), Some(ours.clone()))?;
        blocks.supersede(&c.key);
        self.ledger.unstage(&c.key)?;
        blocks.set_touched(&c.key, free.clone());
        let mut all = RangeSet::default();
        all.insert(0..shape.len);
        let staged = blocks.put_back(&self.ledger, &c.key, shape, [&free, &all], merged);
        Ok(Overlaid { conflicting, kept, staged })
    }

    /// Lets the elements of this writer win where both sides wrote, except elements with blobs that another writer deleted, because they
    /// would refer to nothing. Returns these exceptions.
    fn overrule(
        &self,
        known: &RemoteBlock,
        id: u64,
        contested: Vec<Range<usize>>,
        free: &mut RangeSet,
        all: [&[u8]; 3],
    ) -> Vec<Range<usize>> {
        let mut left = RangeSet::default();
        for r in contested {
            for e in elements_in(r, known.unit) {
                match known.has_heap && has_remotely_deleted_blob(id, all.map(|block| &block[e.clone()])) {
                    true => left.insert(e),
                    false => free.insert(e),
                }
            }
        }
        left.iter().collect()
    }

    pub(super) fn load_block(
        &self,
        known: &RemoteBlock,
        key: &[u8],
        value: &Option<Bytes>,
    ) -> Result<Vec<u8>> {
        let Some(value) = value else { return known.shape.filled() };
        match known.fetched.get(value) {
            Some(fetched) => fetched.load(&self.ledger, &known.shape),
            None => decoded(Some(value.clone()), key, &known.shape)?.load(&self.ledger, &known.shape),
        }
    }

    /// Runs `body` with a codec, which is borrowed from a lender if the filters of the dataset need one and no open
    /// handle has lent one.
    pub(super) fn with_foreign<T>(
        &self,
        s: &mut State,
        id: u64,
        known: &RemoteBlock,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !known.shape.filters.is_foreign() || known.shape.filters.codecs().has_one_here() {
            return body();
        }
        let lenders: Vec<_> = self.lenders.lock().iter().filter_map(Weak::upgrade).collect();
        let h = self.header(s, ObjectId(id))?;
        let dataset = match self.shared() {
            Some(c) => Some(c.load_dataset(crate::OpenObject::hold(&c, ObjectId(id), h.kind()), &h)?),
            None => None,
        };
        let codec = dataset.and_then(|d| lenders.into_iter().rev().find_map(|lender| lender.codec_for(&d)));
        let Some(codec) = codec else {
            let text = format!(
                "{}: a chunk of dataset {id:#x} was changed by two writers, and its filters run only in HDF5; \
                 flush while the dataset is open",
                self.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        let codecs = known.shape.filters.codecs();
        codecs.add(codec.clone());
        let done = body();
        codecs.remove(&codec);
        done
    }
}

/// Returns the elements of `unit` bytes in which two states of a block differ.
pub(super) fn differing([before, now]: &[Vec<u8>; 2], unit: usize) -> RangeSet {
    let mut spans = RangeSet::default();
    for at in (0..now.len()).step_by(unit) {
        let element = at..(at + unit).min(now.len());
        if before.get(element.clone()) != now.get(element.clone()) {
            spans.insert(element);
        }
    }
    spans
}

/// Describes the elements in ranges of a block: elements of a chunk by the corners of the box that holds them.
pub(super) fn elements(known: &RemoteBlock, key: &[u8], ranges: &[Range<usize>]) -> String {
    let unit = known.unit.max(1);
    let coords = keys::coords(key);
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return "elements".into() };
    let (first, last) = (first.start / unit, (last.end - 1) / unit);
    let count: usize = ranges.iter().map(|r| r.len() / unit).sum();
    match &known.layout {
        Layout::Chunked { chunk } => {
            let at = |mut n: u64| {
                let mut index = vec![0; chunk.len()];
                for d in (0..chunk.len()).rev() {
                    index[d] = coords
                        .get(d)
                        .copied()
                        .unwrap_or(0)
                        .saturating_mul(chunk[d])
                        .saturating_add(n % chunk[d]);
                    n /= chunk[d];
                }
                index
            };
            format!("{count} of the elements {:?} to {:?}", at(first as u64), at(last as u64))
        }
        _ => {
            let before = coords.first().copied().unwrap_or(0).saturating_mul((known.shape.len / unit) as u64);
            let [first, last] = [first, last].map(|at| before.saturating_add(at as u64));
            format!("{count} of the elements {first} to {last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each element is this writer's if it was written here and the other writer did not change it; otherwise it is
        /// the other writer's.
        #[test]
        fn elements_stay_whole(
            (base, theirs, ours) in (prop::collection::vec(0u8..3, 24), prop::collection::vec(0u8..3, 24), prop::collection::vec(0u8..3, 24)),
            wrote in prop::collection::vec(any::<bool>(), 6),
            has_read in prop::collection::vec(any::<bool>(), 6),
        ) {
            const UNIT: usize = 4;
            let mut spans = RangeSet::default();
            let mut mine = base.clone();
            let mut seen = RangeSet::default();
            for (n, _) in has_read.iter().enumerate().filter(|(_, r)| **r) {
                seen.insert(n * UNIT + 1..n * UNIT + 2);
            }
            for (n, _) in wrote.iter().enumerate().filter(|(_, w)| **w) {
                spans.insert(n * UNIT..(n + 1) * UNIT);
                mine[n * UNIT..(n + 1) * UNIT].copy_from_slice(&ours[n * UNIT..(n + 1) * UNIT]);
            }
            let read = ReadOf::Parts(seen);
            let (free, contested) = sort_out(&spans, &read, UNIT, [&base, &theirs, &mine]);
            let mut merged = theirs.clone();
            free.iter().for_each(|r| merged[r.clone()].copy_from_slice(&mine[r]));
            for (n, &w) in wrote.iter().enumerate() {
                let e = n * UNIT..(n + 1) * UNIT;
                let changed = base[e.clone()] != theirs[e.clone()];
                let is_contested = contested.iter().any(|r| r.start <= e.start && e.end <= r.end);
                let differs = mine[e.clone()] != theirs[e.clone()];
                prop_assert_eq!(is_contested, w && changed && (differs || has_read[n]));
                let wanted = if w && !is_contested { &mine } else { &theirs };
                prop_assert_eq!(&merged[e.clone()], &wanted[e]);
            }
        }
    }
}
