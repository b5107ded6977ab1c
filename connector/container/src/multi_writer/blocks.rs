//! Blocks that both changed: our elements go over theirs.

use super::deleted_blobs::Place;
use super::kept_blobs::{elements_in, has_deleted_by_others, only_theirs};
use super::prefetch::{Fetched, pieces};
use super::variable_length::blob_unit;
use super::{RemoteChange, Settle, ThreeWay};
use crate::chunk::block_store::{delete_stored, stored};
use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use crate::chunk::read_set::ReadOf;
use crate::container::State;
use crate::dataset::{Form, resize::outside};
use crate::record::{HeaderRecord, decode};
use crate::types::Layout;
use crate::{Container, Error, ErrorKind, ObjectId, Result, keys};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// What is needed to merge the blocks of one dataset.
pub(super) struct RemoteBlock {
    shape: Arc<BlockLayout>,
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
struct Overlaid {
    /// What both had written, and theirs stays of that.
    told: Vec<Range<usize>>,
    /// Blobs that are in theirs where ours does not stand.
    kept: Vec<Place>,
    /// Where the merged block is in memory and cannot be staged yet, the error.
    staged: Result<()>,
}

impl RemoteBlock {
    /// Bytes of each block.
    pub(super) fn length(&self) -> usize {
        self.shape.len
    }

    /// Whether an element stands for a blob that refers to nothing else.
    pub(super) fn has_plain_blobs(&self) -> bool {
        self.has_plain_blobs
    }

    /// How much of a chunk lies within the extent, per dimension; `None` for other layouts.
    fn inside(&self, coords: &[u64]) -> Option<Vec<u64>> {
        let Layout::Chunked { chunk } = &self.layout else { return None };
        let within = |((c, n), d): ((&u64, &u64), &u64)| d.saturating_sub(c.saturating_mul(*n)).min(*n);
        Some(coords.iter().zip(chunk).zip(&self.dims).map(within).collect())
    }

    /// The bytes of a chunk that lie outside of the extent.
    fn outside(&self, coords: &[u64]) -> Vec<Range<usize>> {
        match (&self.layout, self.inside(coords)) {
            (Layout::Chunked { chunk }, Some(inside)) if inside.len() == chunk.len() => {
                outside(chunk, &inside, self.unit).into_iter().map(|r| r.block..r.block + r.len).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a block went through filters through which, as a partial chunk, it must not go.
    fn is_filtered_in_vain(&self, key: &[u8], value: &Bytes) -> Result<bool> {
        let is_plain = self.shape.edges.is_some() && !self.shape.is_filtered(key);
        Ok(is_plain && pieces(key, value, self.shape.len)?.encoded.is_some())
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

    /// Notes a conflict if others changed elements of a block that this batch cut off, perhaps to grow again.
    pub(crate) fn check_cut_off(&self, s: &mut State, key: &Bytes, before: Option<Bytes>) -> Result<()> {
        if self.last_wins() {
            return Ok(());
        }
        let id = keys::id(key).unwrap_or_default();
        let (known, theirs) = (self.known(s, id)?, self.ledger.committed(key)?);
        let changed = self.with_foreign(s, id, &known, || {
            let both = [self.load_block(&known, key, &before)?, self.load_block(&known, key, &theirs)?];
            let fill = self.load_block(&known, key, &None)?;
            let changed = differing(&both, known.unit.max(1));
            Ok(without_fill(changed.iter(), known.unit, [&both[1], &fill]))
        })?;
        if !changed.is_empty() {
            let what = format!(", {}, which this batch cuts off,", elements(&known, key, &changed));
            let main = RemoteChange { before: None, version: 0, host: String::new(), pid: 0 };
            self.whole_conflict(s, id, what, Some(&main), Settle::Overrule);
        }
        Ok(())
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

    fn note_overlaid(&self, s: &mut State, known: &RemoteBlock, key: &Bytes, done: Overlaid) -> Result<()> {
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
    fn written_of(&self, s: &mut State, known: &RemoteBlock, c: &ThreeWay) -> Result<RangeSet> {
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
    fn overlay_block(
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

    /// What this batch cut off must not have been written by others, who cannot be asked.
    pub(super) fn check_cuts(&self, s: &mut State) -> Result<()> {
        if self.last_wins() || s.ids.are_shared() {
            return Ok(());
        }
        for (id, least) in s.others.batch.resized.clone() {
            let Some(least) = least else { continue };
            let theirs = s.others.blocks_of(id);
            // Changes of an object that others deleted were given up.
            if theirs.is_empty() || self.ledger.get(&keys::of(keys::HEADER, id))?.is_none() {
                continue;
            }
            let known = RemoteBlock { dims: least, ..self.known(s, id)? };
            for key in theirs {
                let cut = self.with_foreign(s, id, &known, || self.cut_of_theirs(&known, &key))?;
                if !cut.is_empty() {
                    let what = format!(", {}, which this batch cuts off,", elements(&known, &key, &cut));
                    let by = s.others.changed.by(id).cloned();
                    self.whole_conflict(s, id, what, by.as_ref(), Settle::Overrule);
                }
            }
        }
        Ok(())
    }

    /// The bytes of a block that others changed and that lie outside of the extent.
    fn cut_of_theirs(&self, known: &RemoteBlock, key: &Bytes) -> Result<Vec<Range<usize>>> {
        let out = known.outside(&keys::coords(key));
        if out.is_empty() {
            return Ok(out);
        }
        let merged = self.ledger.unmerged_under(key).into_iter().find(|(k, _)| k == key);
        let base = self.load_block(known, key, &merged.and_then(|(_, base)| base))?;
        let theirs = self.load_block(known, key, &self.ledger.committed(key)?)?;
        let fill = self.load_block(known, key, &None)?;
        let mut cut = without_fill(out.into_iter(), known.unit, [&theirs, &fill]);
        cut.retain(|e| base[e.clone()] != theirs[e.clone()]);
        Ok(cut)
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
            None => pieces(key, value, known.shape.len)?.load(&self.ledger, &known.shape),
        }
    }

    /// Where one shrank a dataset, what the other wrote outside of its new extent goes.
    pub(super) fn cut_blocks(&self, s: &mut State) -> Result<()> {
        while let Some((&id, dims)) = s.others.refused.first_key_value() {
            let dims = dims.clone();
            self.uncut(s, id, dims)?;
            s.others.refused.remove(&id);
        }
        let mut ids: BTreeSet<u64> = s.others.blocks.iter().filter_map(|k| keys::id(k)).collect();
        ids.extend(
            s.others.theirs.keys().filter(|k| k.first() == Some(&keys::HEADER)).filter_map(|k| keys::id(k)),
        );
        for id in ids {
            let key = keys::of(keys::HEADER, id);
            let base = s.others.theirs.get(key.as_slice()).and_then(|t| t.before.clone());
            let base = base.map_or_else(|| self.ledger.committed(&key), |b| Ok(Some(b)))?;
            let (Some(base), Some(now)) = (base, self.ledger.get(&key)?) else { continue };
            if shrank(&base, &now)? {
                self.cut_ours(s, id)?;
                self.cut_theirs(s, id)?;
            }
        }
        Ok(())
    }

    /// Takes back what was cut off for dimensions that are not to be.
    fn uncut(&self, s: &mut State, id: u64, dims: Vec<u64>) -> Result<()> {
        let known = RemoteBlock { dims, ..self.known(s, id)? };
        for (key, value) in self.ledger.staged(&keys::of(keys::BLOCK, id)) {
            let Some(ours) = value else {
                self.give_up_block(s, &known, &key)?;
                continue;
            };
            let (base, theirs) = (self.ledger.base(&key)?, self.ledger.committed(&key)?);
            let c = ThreeWay { key: key.clone(), base, theirs, ours: Some(ours.clone()) };
            let mut spans = self.written_of(s, &known, &c)?;
            let before = spans.clone();
            known.outside(&keys::coords(&key)).iter().for_each(|r| spans.remove(r));
            if spans.is_empty() {
                self.give_up_block(s, &known, &key)?;
            } else if spans != before || known.is_filtered_in_vain(&key, &ours)? {
                let done = self.overlay_block(&known, &c, &ours, &spans)?;
                self.note_overlaid(s, &known, &key, done)?;
            }
        }
        Ok(())
    }

    fn cut_ours(&self, s: &mut State, id: u64) -> Result<()> {
        let mut known = None;
        for (key, value) in self.ledger.staged(&keys::of(keys::BLOCK, id)) {
            let Some(ours) = value else { continue };
            let known = match &mut known {
                Some(k) => k,
                none => none.insert(self.known(s, id)?),
            };
            let known = &*known;
            let out = known.outside(&keys::coords(&key));
            if out.is_empty() {
                continue;
            }
            let (base, theirs) = (self.ledger.base(&key)?, self.ledger.committed(&key)?);
            let c = ThreeWay { key: key.clone(), base, theirs, ours: Some(ours.clone()) };
            let before = self.written_of(s, known, &c)?;
            let mut spans = before.clone();
            out.iter().for_each(|r| spans.remove(r));
            // A chunk that became a partial one is stored anew where such chunks have no filters.
            if spans == before && !known.is_filtered_in_vain(&key, &ours)? {
                continue;
            }
            let lost = match self.cut_by_us(s, id)? {
                true => Vec::new(),
                false => self.lost_outside(s, known, &c, &before, &out),
            };
            let done = if spans.is_empty() {
                self.give_up_block(s, known, &key)
            } else {
                let done =
                    self.with_foreign(s, id, known, || self.overlay_block(known, &c, &ours, &spans))?;
                self.note_overlaid(s, known, &key, done)
            };
            if !lost.is_empty() {
                let what = format!(", {}, which lie outside since it", elements(known, &key, &lost));
                self.conflict(s, &keys::of(keys::HEADER, id), id, what, Settle::Write);
            }
            done?;
        }
        Ok(())
    }

    /// What this batch has written of a block outside of the extent, but for fill values; all of it where it cannot be read.
    fn lost_outside(
        &self,
        s: &mut State,
        known: &RemoteBlock,
        c: &ThreeWay,
        written: &RangeSet,
        out: &[Range<usize>],
    ) -> Vec<Range<usize>> {
        let lost =
            written.iter().flat_map(|w| out.iter().map(move |o| o.start.max(w.start)..o.end.min(w.end)));
        let lost: Vec<_> = lost.filter(|r| !r.is_empty()).collect();
        let both = self.with_foreign(s, keys::id(&c.key).unwrap_or_default(), known, || {
            Ok([self.load_block(known, &c.key, &c.ours)?, self.load_block(known, &c.key, &None)?])
        });
        match both {
            Ok([ours, fill]) => without_fill(lost.into_iter(), known.unit, [&ours, &fill]),
            Err(_) => lost,
        }
    }

    /// Whether the present dimensions are ours.
    fn cut_by_us(&self, s: &State, id: u64) -> Result<bool> {
        if s.ids.are_shared() && s.others.batch.has_cut_of(id) {
            // The first process has committed what all of them cut off.
            return Ok(true);
        }
        let key = keys::of(keys::HEADER, id);
        let (Some(now), Some(theirs)) = (self.ledger.get(&key)?, self.ledger.committed(&key)?) else {
            return Ok(false);
        };
        shrank(&theirs, &now)
    }

    fn cut_theirs(&self, s: &mut State, id: u64) -> Result<()> {
        let theirs = s.others.blocks_of(id);
        if theirs.is_empty() {
            return Ok(());
        }
        let known = self.known(s, id)?;
        for key in theirs {
            let out = known.outside(&keys::coords(&key));
            let Some(value) = self.ledger.get(&key)?.filter(|_| !out.is_empty()) else { continue };
            if known.inside(&keys::coords(&key)).is_some_and(|i| i.contains(&0)) {
                self.blocks.lock().supersede(&key);
                delete_stored(&self.ledger, &key, value)?;
                continue;
            }
            let mut block = stored(&self.ledger, &key, &known.shape)?.load(&self.ledger, &known.shape)?;
            let mut spans = RangeSet::default();
            for r in out {
                known.shape.fill(r.start, &mut block[r.clone()]);
                spans.insert(r);
            }
            self.blocks.lock().overlay(&self.ledger, &key, &known.shape, &spans, &block)?;
        }
        Ok(())
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
fn differing([before, now]: &[Vec<u8>; 2], unit: usize) -> RangeSet {
    let mut spans = RangeSet::default();
    for at in (0..now.len()).step_by(unit) {
        let element = at..(at + unit).min(now.len());
        if before.get(element.clone()) != now.get(element.clone()) {
            spans.insert(element);
        }
    }
    spans
}

/// The elements in ranges of a block that have another value than the fill value. Who cuts off others loses nothing: if the dataset
/// grows again, they are as before.
fn without_fill(
    ranges: impl Iterator<Item = Range<usize>>,
    unit: usize,
    [block, fill]: [&[u8]; 2],
) -> Vec<Range<usize>> {
    let all = ranges.flat_map(|r| elements_in(r, unit));
    all.filter(|e| block.get(e.clone()) != fill.get(e.clone())).collect()
}

/// Whether dimensions went down.
fn shrank(before: &Bytes, now: &Bytes) -> Result<bool> {
    let dims = |v: &Bytes| -> Result<Vec<u64>> {
        let h: HeaderRecord = decode(v.clone(), || "a header".into())?;
        Ok(h.dataset.and_then(|d| d.space).map(|s| s.dims).unwrap_or_default())
    };
    let (before, now) = (dims(before)?, dims(now)?);
    Ok(before.iter().zip(&now).any(|(b, n)| n < b))
}

/// Names the elements in some bytes of a block: those of a chunk by the corners of the box that holds them.
fn elements(known: &RemoteBlock, key: &[u8], ranges: &[Range<usize>]) -> String {
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
