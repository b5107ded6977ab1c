//! What a writer knows of the time; see [`timekeeping`](crate::timekeeping).

use super::FileWriter;
use crate::file::free_space::ReclaimRule;
use crate::timekeeping::{StorageClock, Witness, version_time};

/// What a writer knows of the time.
#[derive(Debug)]
pub(super) struct Timekeeper {
    clock: StorageClock,
    /// When the container was made.
    created: u64,
    /// `None` where the clock is believed alone.
    witness: Option<Witness>,
}

impl Timekeeper {
    pub(super) fn new(newest: u64) -> Self {
        Self { clock: StorageClock::default(), created: 0, witness: Some(Witness::new(newest)) }
    }
}

impl FileWriter {
    /// Goes by the storage's clock from now on.
    pub(crate) fn keep_time(&mut self, clock: StorageClock, created: u64) {
        (self.timekeeper.clock, self.timekeeper.created) = (clock, created);
    }

    pub(crate) fn trust_clock(&mut self) {
        self.timekeeper.witness = None;
    }

    /// Microseconds since 1970, by the storage's clock.
    pub(in crate::file) fn now(&self) -> u64 {
        self.timekeeper.clock.now()
    }

    /// The time of the next version.
    pub(super) fn next_time(&self) -> u64 {
        version_time(self.now(), self.head.time, self.timekeeper.created)
    }

    /// The rule, with the doubt about the time where somebody asked for a retention time.
    pub(super) fn doubting(&self, rule: ReclaimRule, now: u64) -> ReclaimRule {
        let is_asked_for = self.reclaim.retention > 1;
        let witness = self.timekeeper.witness.filter(|_| is_asked_for);
        ReclaimRule { least: rule.least.saturating_add(witness.map_or(0, |w| w.doubt(now))), ..rule }
    }
}
