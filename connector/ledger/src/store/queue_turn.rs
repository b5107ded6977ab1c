//! The order in which writers with queued commits become leaders.

use std::time::Duration;

use object_stores::{Key, ObjectMeta};

use crate::core::records::MAX_PARTS;

/// The number of checks of the manifest between two listings of the queue.
const LOOKS_BEFORE_LISTING: u32 = 6;
/// After this number of listings with the same first commit, the writer of the next commit leads as well, and so on.
const LISTINGS_BEFORE_NEXT: usize = 3;
/// The shortest and the longest pause between two checks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(500));

/// The state of a waiting writer: it determines when to check the manifest, when to list the queue, and when to lead.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    looks: u32,
    first: Option<Key>,
    /// The number of later listings in which this commit was still the first one.
    listings: usize,
    /// The number of commits in the queue, and the number of those before this writer's commit.
    queued: usize,
    before: usize,
}

impl Turn {
    /// Returns whether to list the queue now: at first, if other writers committed although this commit should have been among theirs, and
    /// after several checks without a listing.
    pub(crate) fn wants_listing(&mut self, others_went_on: bool) -> bool {
        let passed = if others_went_on { MAX_PARTS } else { 0 };
        let was_passed = others_went_on && self.before < passed;
        self.before = self.before.saturating_sub(passed);
        let is_due = self.first.is_none() || was_passed || self.looks >= LOOKS_BEFORE_LISTING;
        self.looks = if is_due { 0 } else { self.looks + 1 };
        is_due
    }

    /// Returns whether the writer of the commit `mine` should lead: it is the first one, or the writers before it do not respond.
    pub(crate) fn is_to_lead(&mut self, queued: &[ObjectMeta], mine: &Key) -> bool {
        let first = queued.first().map(|meta| &meta.key);
        if self.first.as_ref() == first {
            self.listings += 1;
        } else {
            (self.first, self.listings) = (first.cloned(), 0);
        }
        self.queued = queued.len();
        self.before = queued.iter().take_while(|meta| meta.key < *mine).count();
        self.before <= self.listings / LISTINGS_BEFORE_NEXT
    }

    /// Returns the pause before the next check. In a long queue commits wait longer, and more writers make requests.
    pub(crate) fn pause(&self, round_trip: Duration) -> Duration {
        let shares = (self.queued / MAX_PARTS).max(1) as u32;
        (round_trip / 2 * shares).clamp(PAUSES.0, PAUSES.1)
    }
}
