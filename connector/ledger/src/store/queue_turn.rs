//! Whose turn it is among the writers that queued their commits.

use std::time::Duration;

use object_stores::{Key, ObjectMeta};

use crate::core::records::MAX_PARTS;

/// So often a writer asks for news that do not come, before it looks at the queue again.
const LOOKS_BEFORE_LISTING: u32 = 6;
/// So often it finds the same commit first in the queue before the one behind that leads, and so on.
const LISTINGS_BEFORE_NEXT: usize = 3;
/// The shortest and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(500));

/// When to look at the log and at the queue, and when to lead.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    looks: u32,
    first: Option<Key>,
    /// How often that was found first.
    listings: usize,
    /// Commits in the queue, and those of them that come before one's own.
    queued: usize,
    before: usize,
}

impl Turn {
    /// Whether it is time to list the queue: at first, when others went on without this one, and when nobody does.
    pub(crate) fn wants_listing(&mut self, others_went_on: bool) -> bool {
        let passed = if others_went_on { MAX_PARTS } else { 0 };
        let was_passed = others_went_on && self.before < passed;
        self.before = self.before.saturating_sub(passed);
        let is_due = self.first.is_none() || was_passed || self.looks >= LOOKS_BEFORE_LISTING;
        self.looks = if is_due { 0 } else { self.looks + 1 };
        is_due
    }

    /// Whether `mine` is to lead: the first does, and the next where those before it do not come forward.
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

    /// How long to wait before the next look. The longer the queue, the longer its commits wait, and the more are there to ask.
    pub(crate) fn pause(&self, round_trip: Duration) -> Duration {
        let shares = (self.queued / MAX_PARTS).max(1) as u32;
        (round_trip / 2 * shares).clamp(PAUSES.0, PAUSES.1)
    }
}
