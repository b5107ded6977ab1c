//! What one of many writers has written of each block since its last commit, which a merge puts over what others wrote.

use crate::chunk::range_set::RangeSet;
use std::collections::BTreeMap;
use std::ops::Range;

type Spans = BTreeMap<Vec<u8>, RangeSet>;

/// Bytes of blocks, by their keys.
#[derive(Default)]
pub(super) struct WrittenSpans {
    since: Spans,
    /// What a commit holds of which nobody knows whether it was made.
    in_doubt: Spans,
}

impl WrittenSpans {
    pub(super) fn insert(&mut self, key: &[u8], ranges: impl IntoIterator<Item = Range<usize>>) {
        let spans = self.since.entry(key.to_vec()).or_default();
        ranges.into_iter().for_each(|r| spans.insert(r));
    }

    pub(super) fn of(&self, key: &[u8]) -> Option<&RangeSet> {
        self.since.get(key)
    }

    /// Says what of a block is to be thought of as written.
    pub(super) fn set(&mut self, key: &[u8], spans: RangeSet) {
        if spans.is_empty() {
            self.in_doubt.remove(key);
            self.since.remove(key);
        } else {
            self.since.insert(key.to_vec(), spans);
        }
    }

    /// Thinks of some bytes of a block as not written.
    pub(super) fn remove(&mut self, key: &[u8], ranges: &RangeSet) {
        for all in [&mut self.since, &mut self.in_doubt] {
            let Some(spans) = all.get_mut(key) else { continue };
            ranges.iter().for_each(|r| spans.remove(&r));
            if spans.is_empty() {
                all.remove(key);
            }
        }
    }

    pub(super) fn forget_under(&mut self, prefix: &[u8]) {
        for spans in [&mut self.since, &mut self.in_doubt] {
            spans.retain(|key, _| !key.starts_with(prefix));
        }
    }

    /// Sets aside what a commit in doubt holds.
    pub(super) fn set_aside(&mut self) {
        self.in_doubt = std::mem::take(&mut self.since);
    }

    /// Forgets what was set aside, if that was committed; else it counts again.
    pub(super) fn settle(&mut self, is_committed: bool) {
        for (key, spans) in std::mem::take(&mut self.in_doubt) {
            if !is_committed {
                self.insert(&key, spans.iter());
            }
        }
    }
}
