//! Truncates blocks of datasets that one side shrank: deletes elements outside of the new extent, and reports a
//! conflict to the writer that wrote them.

use super::blocks::{RemoteBlock, differing, elements};
use super::kept_blobs::elements_in;
use super::{RemoteChange, Settle, ThreeWay};
use crate::chunk::block_store::{delete_stored, stored};
use crate::chunk::range_set::RangeSet;
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::{HeaderRecord, decode};
use std::collections::BTreeSet;
use std::ops::Range;

impl Container {
    /// Notes a conflict if other writers changed elements of a block that this batch truncated, even if the dataset
    /// grew again later.
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
            let main = RemoteChange::of_main_line();
            self.whole_conflict(s, id, what, Some(&main), Settle::Overrule);
        }
        Ok(())
    }

    /// Notes a conflict for remote elements that lie in the truncated part of a dataset that this batch shrank. Their
    /// writers have already committed, so they can no longer be notified.
    pub(super) fn check_cuts(&self, s: &mut State) -> Result<()> {
        if self.last_wins() || s.ids.are_shared() {
            return Ok(());
        }
        for (id, least) in s.remote.batch.resized.clone() {
            let Some(least) = least else { continue };
            let theirs = s.remote.blocks_of(id);
            // Changes of an object that another writer deleted were discarded before.
            if theirs.is_empty() || self.ledger.get(&keys::of(keys::HEADER, id))?.is_none() {
                continue;
            }
            let known = self.known(s, id)?.with_dims(least);
            for key in theirs {
                let cut = self.with_foreign(s, id, &known, || self.cut_of_theirs(&known, &key))?;
                if !cut.is_empty() {
                    let what = format!(", {}, which this batch cuts off,", elements(&known, &key, &cut));
                    let by = s.remote.changed.by(id).cloned();
                    self.whole_conflict(s, id, what, by.as_ref(), Settle::Overrule);
                }
            }
        }
        Ok(())
    }

    /// Returns the bytes of a block that other writers changed outside of the extent.
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

    /// Deletes elements outside of the new extent of each dataset that one side shrank while the other wrote to it.
    pub(super) fn cut_blocks(&self, s: &mut State) -> Result<()> {
        while let Some((&id, dims)) = s.remote.refused.first_key_value() {
            let dims = dims.clone();
            self.uncut(s, id, dims)?;
            s.remote.refused.remove(&id);
        }
        let mut ids: BTreeSet<u64> = s.remote.blocks.iter().filter_map(|k| keys::id(k)).collect();
        ids.extend(
            s.remote.theirs.keys().filter(|k| k.first() == Some(&keys::HEADER)).filter_map(|k| keys::id(k)),
        );
        for id in ids {
            let key = keys::of(keys::HEADER, id);
            let base = s.remote.theirs.get(key.as_slice()).and_then(|t| t.before.clone());
            let base = base.map_or_else(|| self.ledger.committed(&key), |b| Ok(Some(b)))?;
            let (Some(base), Some(now)) = (base, self.ledger.get(&key)?) else { continue };
            if shrank(&base, &now)? {
                self.cut_ours(s, id)?;
                self.cut_theirs(s, id)?;
            }
        }
        Ok(())
    }

    /// Undoes the truncation for dimensions that the merge did not accept.
    fn uncut(&self, s: &mut State, id: u64, dims: Vec<u64>) -> Result<()> {
        let known = self.known(s, id)?.with_dims(dims);
        for (key, value) in self.ledger.staged(&keys::of(keys::BLOCK, id)) {
            let Some(ours) = value else {
                self.discard_block(s, &known, &key)?;
                continue;
            };
            let (base, theirs) = (self.ledger.base(&key)?, self.ledger.committed(&key)?);
            let c = ThreeWay { key: key.clone(), base, theirs, ours: Some(ours.clone()) };
            let mut spans = self.written_of(s, &known, &c)?;
            let before = spans.clone();
            known.outside(&keys::coords(&key)).iter().for_each(|r| spans.remove(r));
            if spans.is_empty() {
                self.discard_block(s, &known, &key)?;
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
            // A chunk that became partial is encoded anew if partial chunks have no filters.
            if spans == before && !known.is_filtered_in_vain(&key, &ours)? {
                continue;
            }
            let truncated = match self.cut_by_us(s, id)? {
                true => Vec::new(),
                false => self.written_outside(s, known, &c, &before, &out),
            };
            let done = if spans.is_empty() {
                self.discard_block(s, known, &key)
            } else {
                let done =
                    self.with_foreign(s, id, known, || self.overlay_block(known, &c, &ours, &spans))?;
                self.note_overlaid(s, known, &key, done)
            };
            if !truncated.is_empty() {
                let what = format!(", {}, which lie outside since it", elements(known, &key, &truncated));
                self.conflict(s, &keys::of(keys::HEADER, id), id, what, Settle::Write);
            }
            done?;
        }
        Ok(())
    }

    /// Returns the bytes outside of the extent that this batch has written to a block with other values than fill
    /// values; if the block cannot be read, all bytes that it has written there.
    fn written_outside(
        &self,
        s: &mut State,
        known: &RemoteBlock,
        c: &ThreeWay,
        written: &RangeSet,
        out: &[Range<usize>],
    ) -> Vec<Range<usize>> {
        let truncated =
            written.iter().flat_map(|w| out.iter().map(move |o| o.start.max(w.start)..o.end.min(w.end)));
        let truncated: Vec<_> = truncated.filter(|r| !r.is_empty()).collect();
        let both = self.with_foreign(s, keys::id(&c.key).unwrap_or_default(), known, || {
            Ok([self.load_block(known, &c.key, &c.ours)?, self.load_block(known, &c.key, &None)?])
        });
        match both {
            Ok([ours, fill]) => without_fill(truncated.into_iter(), known.unit, [&ours, &fill]),
            Err(_) => truncated,
        }
    }

    /// Returns whether this writer shrank the dataset to its present dimensions.
    fn cut_by_us(&self, s: &State, id: u64) -> Result<bool> {
        if s.ids.are_shared() && s.remote.batch.has_cut_of(id) {
            // The first process has committed the truncation that all processes made.
            return Ok(true);
        }
        let key = keys::of(keys::HEADER, id);
        let (Some(now), Some(theirs)) = (self.ledger.get(&key)?, self.ledger.committed(&key)?) else {
            return Ok(false);
        };
        shrank(&theirs, &now)
    }

    fn cut_theirs(&self, s: &mut State, id: u64) -> Result<()> {
        let theirs = s.remote.blocks_of(id);
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
}

/// Returns the elements in the ranges of a block that differ from the fill value. Truncating an element with the fill
/// value loses nothing, because the element has the same value if the dataset grows again.
fn without_fill(
    ranges: impl Iterator<Item = Range<usize>>,
    unit: usize,
    [block, fill]: [&[u8]; 2],
) -> Vec<Range<usize>> {
    let all = ranges.flat_map(|r| elements_in(r, unit));
    all.filter(|e| block.get(e.clone()) != fill.get(e.clone())).collect()
}

/// Returns whether any dimension became smaller.
fn shrank(before: &Bytes, now: &Bytes) -> Result<bool> {
    let dims = |v: &Bytes| -> Result<Vec<u64>> {
        let h: HeaderRecord = decode(v.clone(), || "a header".into())?;
        Ok(h.dataset.and_then(|d| d.space).map(|s| s.dims).unwrap_or_default())
    };
    let (before, now) = (dims(before)?, dims(now)?);
    Ok(before.iter().zip(&now).any(|(b, n)| n < b))
}
