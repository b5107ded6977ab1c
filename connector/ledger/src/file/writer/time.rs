//! What a writer knows of the time; see [`timekeeping`](crate::timekeeping).

use super::FileWriter;
use crate::file::free_space::{FreeSpace, ReclaimRule};
use crate::timekeeping::{CLOCK_TOLERANCE_MICROS, StorageClock, Witness, version_time};

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
        self.date_again();
    }

    /// Says of what rests since when it does. That a container was left alone for long, no more than half of the retention time
    /// counts: the clock may be wrong, and may have been so already when the newest version was written.
    pub(super) fn date(&mut self, free_space: &mut FreeSpace) {
        // Where the newest version's time is a wrong clock's, that is not the present.
        let (now, retention) = (self.next_time(), self.reclaim.retention);
        let witness = self.timekeeper.witness.as_mut().filter(|_| retention > 1);
        let most_idle = retention.saturating_mul(1000 / 2).max(CLOCK_TOLERANCE_MICROS);
        free_space.date(self.head.time, now, witness.is_some().then_some(most_idle));
        if let Some(witness) = witness {
            // What was left out there is not doubted once more.
            witness.doubt_at_most(most_idle, now);
        }
    }

    /// The same, when something changed of what it follows from.
    pub(in crate::file) fn date_again(&mut self) {
        if let Some(mut free_space) = self.free_space.take() {
            self.date(&mut free_space);
            self.free_space = Some(free_space);
        }
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
