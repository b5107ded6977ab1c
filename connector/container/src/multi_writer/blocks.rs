//! Blocks that both changed: our elements go over theirs.

use super::deleted_blobs::Place;
use super::kept_blobs::{elements_in, has_deleted_by_others, only_theirs};
use super::prefetch::Fetched;
use super::variable_length::blob_unit;
use super::{Settle, ThreeWay};
use crate::chunk::block_store::{decoded, delete_stored};
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use crate::chunk::read_set::ReadOf;
use crate::container::State;
use crate::dataset::{Form, resize::outside};
use crate::types::Layout;
use crate::{Container, Error, ErrorKind, ObjectId, Result, keys};
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// What is needed to merge the blocks of one dataset.
pub(super) struct RemoteBlock {
    pub(super) shape: Arc<BlockLayout>,
    /// Bytes of an element.
    pub(super) unit: usize,
    layout: Layout,
    dims: Vec<u64>,
    /// Whether an element stands for a blob that refers to nothing else.
    has_plain_blobs: bool,
    /// Whether elements have blobs.
    pub(super) has_heap: bool,
    /// What is in memory of its blocks.
    fetched: Fetched,
}

/// What became of a block of ours that was put over theirs.
pub(super) struct Overlaid {
    /// What both had written, and theirs stays of that.
    told: Vec<Range<usize>>,
    /// Blobs that are in theirs where ours does not stand.
    kept: Vec<Place>,
    /// Where the merged block is in memory and cannot be staged yet, the error.
    staged: Result<()>,
}

impl RemoteBlock {
    /// The same in another extent.
    pub(super) fn with_dims(self, dims: Vec<u64>) -> Self {
        Self { dims, ..self }
    }

    /// Whether an element stands for a blob that refers to nothing else.
    pub(super) fn has_plain_blobs(&self) -> bool {
        self.has_plain_blobs
    }

    /// How much of a chunk lies within the extent, per dimension; `None` for other layouts.
    pub(super) fn inside(&self, coords: &[u64]) -> Option<Vec<u64>> {
        let Layout::Chunked { chunk } = &self.layout else { return None };
        let within = |((c, n), d): ((&u64, &u64), &u64)| d.saturating_sub(c.saturating_mul(*n)).min(*n);
        Some(coords.iter().zip(chunk).zip(&self.dims).map(within).collect())
    }

    /// The bytes of a chunk that lie outside of the extent.
    pub(super) fn outside(&self, coords: &[u64]) -> Vec<Range<usize>> {
        match (&self.layout, self.inside(coords)) {
            (Layout::Chunked { chunk }, Some(inside)) if inside.len() == chunk.len() => {
                outside(chunk, &inside, self.unit).into_iter().map(|r| r.block..r.block + r.len).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a block went through filters through which, as a partial chunk, it must not go.
    pub(super) fn is_filtered_in_vain(&self, key: &[u8], value: &Bytes) -> Result<bool> {
        let is_plain = self.shape.edges.is_some() && !self.shape.is_filtered(key);
        Ok(is_plain && decoded(Some(value.clone()), key, &self.shape)?.encoded.is_some())
    }
}

/// The ranges of `spans` that we may put over theirs, in whole elements, and those that both changed. The same bytes by both
/// are one change, unless we have read what was there before.
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
        let form = Form::of(&h, || format!("{}: dataset {id:#x}", self.name()))?;
        let open = s.datasets.get(&id).and_then(Weak::upgrade);
        // An open dataset has the codecs that were lent.
        let shape = open.map_or_else(|| Arc::new(form.shape), |d| d.shape_shared());
        shape.set_dims(form.space.dims());
        let unit = form.datatype.size as usize;
        let has_plain_blobs = blob_unit(&(&form.datatype).into()).is_some();
        let (layout, dims) = (form.layout, form.space.dims().to_vec());
        let has_heap = form.datatype.has_heap;
        let fetched = s.others.fetched.clone();
        Ok(RemoteBlock { shape, unit, layout, dims, has_plain_blobs, has_heap, fetched })
    }

    /// Notes as written which elements of a block differ from another state of it.
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
            // We cut it off. What they wrote there meanwhile is cut off too; a branch has not seen it.
            if s.others.branch.is_some() {
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
            return self.give_up_block(s, &known, &c.key);
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
        if !done.told.is_empty() {
            let what = format!(", {},", elements(known, key, &done.told));
            self.conflict(s, key, id, what, Settle::Write);
        }
        done.staged
    }

    /// What this batch has written of a block. Of a branch that is merged only states are known, and which chunks the main line changes
    /// meanwhile shows when it has.
    pub(super) fn written_of(&self, s: &mut State, known: &RemoteBlock, c: &ThreeWay) -> Result<RangeSet> {
        let spans = self.blocks.lock().touched(&c.key);
        if !spans.is_empty() || s.others.branch.is_none() {
            return Ok(spans);
        }
        self.with_foreign(s, keys::id(&c.key).unwrap_or_default(), known, || {
            let both = [self.load_block(known, &c.key, &c.base)?, self.load_block(known, &c.key, &c.ours)?];
            Ok(differing(&both, known.unit.max(1)))
        })
    }

    /// Puts what we wrote in `spans` over theirs.
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
        // What can fail comes before anything is changed.
        blocks.make_room_for(&self.ledger, shape)?;
        let (whole, mut theirs) = (load(&Some(ours.clone()))?, load(&c.theirs)?);
        let (base, unit, id) = (load(&c.base)?, known.unit.max(1), keys::id(&c.key).unwrap_or_default());
        let (mut free, mut told) = sort_out(spans, &self.reads.block(&c.key), unit, [&base, &theirs, &whole]);
        if self.last_wins() {
            told = self.overrule(known, id, told, &mut free, [&base, &theirs, &whole]);
        }
        let kept = match known.has_heap {
            true => only_theirs(id, unit, [&base, &theirs, &whole], &free),
            false => Vec::new(),
        };
        free.iter().for_each(|r| theirs[r.clone()].copy_from_slice(&whole[r]));
        let merged = theirs;
        if shape.filters.is_foreign() && !free.is_empty() {
            // So does what the filters make of it.
            shape.filters.encode(&merged)?;
        }
        self.exchange(&c.key, c.base.clone(), Some(ours.clone()))?;
        blocks.supersede(&c.key);
        self.ledger.unstage(&c.key)?;
        blocks.set_touched(&c.key, free.clone());
        let mut all = RangeSet::default();
        all.insert(0..shape.len);
        let staged = blocks.put_back(&self.ledger, &c.key, shape, [&free, &all], merged);
        Ok(Overlaid { told, kept, staged })
    }

    /// Lets ours count of what both wrote, but for elements with blobs that others deleted: those would lead nowhere. Answers
    /// these.
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
                match known.has_heap && has_deleted_by_others(id, all.map(|block| &block[e.clone()])) {
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

    /// Runs `body` with a codec, borrowed where the dataset needs one and nobody has it open.
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

/// The elements of `unit` bytes in which two states of a block differ.
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

/// Names the elements in some bytes of a block: those of a chunk by the corners of the box that holds them.
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
        /// Element by element: ours where we wrote and they did not change anything, theirs elsewhere.
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
                let told = contested.iter().any(|r| r.start <= e.start && e.end <= r.end);
                let differs = mine[e.clone()] != theirs[e.clone()];
                prop_assert_eq!(told, w && changed && (differs || has_read[n]));
                let wanted = if w && !told { &mine } else { &theirs };
                prop_assert_eq!(&merged[e.clone()], &wanted[e]);
            }
        }
    }
}
