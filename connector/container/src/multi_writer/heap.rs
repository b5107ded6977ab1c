//! Merges heap segments that both sides changed. Only the writer that created a segment appends to it; any writer
//! deletes blobs in it.

use super::ThreeWay;
use crate::chunk::block_store::{delete_stored, stored};
use crate::container::State;
use crate::{Container, Result, heap};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::{UsageRecord, decode};
use prost::Message;

pub(super) fn usage(value: &Option<Bytes>) -> Result<Option<UsageRecord>> {
    value.as_ref().map(|v| decode(v.clone(), || "usage of a heap segment".into())).transpose()
}

/// Returns the bytes appended and deleted since the base.
fn done(base: &UsageRecord, now: &UsageRecord) -> (u64, u64) {
    let appended = now.used.saturating_sub(base.used);
    (appended, (base.live + appended).saturating_sub(now.live))
}

impl Container {
    pub(super) fn merge_usage(&self, s: &mut State, c: ThreeWay) -> Result<()> {
        let [base, theirs, ours] = [usage(&c.base)?, usage(&c.theirs)?, usage(&c.ours)?];
        let base = base.unwrap_or_default();
        let (theirs, ours) = match (theirs, ours) {
            (None, None) => return self.settle_usage(s, &c.key, None),
            (None, Some(o)) => {
                // The other writer deleted the last of the old blobs. The blobs appended since the base are alive.
                let (appended, _) = done(&base, &o);
                let left = (appended > 0).then_some(UsageRecord { live: appended, ..o });
                return self.settle_usage(s, &c.key, left);
            }
            (Some(t), None) => {
                let (appended, _) = done(&base, &t);
                let left = (appended > 0).then_some(UsageRecord { live: appended, ..t });
                if left.is_some() {
                    self.take_back_segment(&c.key)?;
                }
                return self.settle_usage(s, &c.key, left);
            }
            (Some(t), Some(o)) => (t, o),
        };
        let ((a, x), (b, y)) = (done(&base, &theirs), done(&base, &ours));
        // Both sides may have deleted the same blobs, so only the larger number of deleted bytes is certain. This never
        // counts living bytes as dead.
        let gone = y.max(x + self.deleted_apart_of(s, &c.key, y)?);
        let live = (base.live + a + b).saturating_sub(gone);
        let both = UsageRecord { length: theirs.length, used: theirs.used.max(ours.used), live };
        self.settle_usage(s, &c.key, (live > 0).then_some(both))
    }

    fn deleted_apart_of(&self, s: &mut State, key: &[u8], all: u64) -> Result<u64> {
        match (keys::id(key), keys::segment_number(key)) {
            (Some(owner), Some(number)) => self.deleted_apart(s, owner, number, all),
            _ => Ok(0),
        }
    }

    /// Stages the merged usage of a segment; without one, deletes the segment.
    fn settle_usage(&self, s: &mut State, key: &[u8], left: Option<UsageRecord>) -> Result<()> {
        if let (Some(owner), Some(number)) = (keys::id(key), keys::segment_number(key)) {
            s.heap.forget(owner, number);
        }
        match left {
            Some(r) => self.ledger.put(key, r.encode_to_vec())?,
            None => {
                self.ledger.delete(key)?;
                let segment = segment_of(key);
                self.discard_change(s, &segment)?;
                if let Some(value) = self.ledger.committed(&segment)? {
                    delete_stored(&self.ledger, &segment, value)?;
                }
            }
        }
        self.ledger.merged(key);
        Ok(())
    }

    /// Returns the usage of a segment, by its key.
    pub(super) fn usage_of(&self, segment: &[u8]) -> Result<Option<UsageRecord>> {
        let mut key = segment.to_vec();
        key[0] = keys::USAGE;
        usage(&self.ledger.get(&key)?)
    }

    /// Retains a segment that this writer had deleted.
    fn take_back_segment(&self, usage: &[u8]) -> Result<()> {
        let segment = segment_of(usage);
        self.exchange(&segment, self.ledger.base(&segment)?, None)?;
        Ok(self.ledger.unstage(&segment)?)
    }

    /// Merges a segment. Only its creator appends to it, so if another writer has deleted it, only the appended bytes
    /// remain.
    pub(super) fn merge_segment(&self, s: &mut State, c: ThreeWay) -> Result<()> {
        let there = self.usage_of(&c.key)?;
        let (Some(u), Some(ours)) = (there, &c.ours) else {
            return self.discard_change(s, &c.key);
        };
        let shape = heap::shape(u.length)?;
        let mut blocks = self.blocks.lock();
        let spans = blocks.touched(&c.key);
        let whole = stored(&self.ledger, &c.key, &shape)?.load(&self.ledger, &shape)?;
        // All steps that can fail precede the first change.
        blocks.make_space_for(&self.ledger, &shape)?;
        self.exchange(&c.key, c.base.clone(), Some(ours.clone()))?;
        blocks.supersede(&c.key);
        self.ledger.unstage(&c.key)?;
        blocks.put_back(&self.ledger, &c.key, &shape, [&spans, &spans], whole)
    }
}

pub(super) fn segment_of(usage: &[u8]) -> Vec<u8> {
    let mut key = usage.to_vec();
    key[0] = keys::SEGMENT;
    key
}
