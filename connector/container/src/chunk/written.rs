//! The bytes that a shared writer has written to each block since its last commit. A merge copies them over the bytes
//! of other writers.

use crate::chunk::range_set::RangeSet;
use std::collections::BTreeMap;
use std::ops::Range;

type Spans = BTreeMap<Vec<u8>, RangeSet>;

/// Bytes of blocks, by key.
#[derive(Default)]
pub(super) struct WrittenSpans {
    since: Spans,
    /// Bytes written for a commit with an unknown outcome.
    outcome_unknown: Spans,
}

impl WrittenSpans {
    pub(super) fn insert(&mut self, key: &[u8], ranges: impl IntoIterator<Item = Range<usize>>) {
        let spans = self.since.entry(key.to_vec()).or_default();
        ranges.into_iter().for_each(|r| spans.insert(r));
    }

    pub(super) fn of(&self, key: &[u8]) -> Option<&RangeSet> {
        self.since.get(key)
    }

    /// Sets the bytes of a block that count as written.
    pub(super) fn set(&mut self, key: &[u8], spans: RangeSet) {
        if spans.is_empty() {
            self.outcome_unknown.remove(key);
            self.since.remove(key);
        } else {
            self.since.insert(key.to_vec(), spans);
        }
    }

    /// Removes bytes of a block from those that count as written.
    pub(super) fn remove(&mut self, key: &[u8], ranges: &RangeSet) {
        for all in [&mut self.since, &mut self.outcome_unknown] {
            let Some(spans) = all.get_mut(key) else { continue };
            ranges.iter().for_each(|r| spans.remove(&r));
            if spans.is_empty() {
                all.remove(key);
            }
        }
    }

    pub(super) fn forget_under(&mut self, prefix: &[u8]) {
        for spans in [&mut self.since, &mut self.outcome_unknown] {
            spans.retain(|key, _| !key.starts_with(prefix));
        }
    }

    /// Sets aside the bytes written for a commit with an unknown outcome.
    pub(super) fn set_aside(&mut self) {
        self.outcome_unknown = std::mem::take(&mut self.since);
    }

    /// Forgets the bytes that were set aside if the commit was made; otherwise they count as written again.
    pub(super) fn settle(&mut self, is_committed: bool) {
        for (key, spans) in std::mem::take(&mut self.outcome_unknown) {
            if !is_committed {
                self.insert(&key, spans.iter());
            }
        }
    }
}
