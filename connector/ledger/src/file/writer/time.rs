//! The time of a writer; see [`timekeeping`](crate::timekeeping).

use super::FileWriter;
use crate::file::free_space::{FreeSpace, ReclaimRule};
use crate::timekeeping::{CLOCK_TOLERANCE_MICROS, StorageClock, Witness, version_time};

/// The clock of a writer, and the evidence against it.
#[derive(Debug)]
pub(super) struct Timekeeper {
    clock: StorageClock,
    /// The time of the container's creation.
    created: u64,
    /// `None` if the clock is trusted without a witness.
    witness: Option<Witness>,
}

impl Timekeeper {
    pub(super) fn new(newest: u64) -> Self {
        Self { clock: StorageClock::default(), created: 0, witness: Some(Witness::new(newest)) }
    }
}

impl FileWriter {
    /// Uses the storage's clock from now on.
    pub(crate) fn keep_time(&mut self, clock: StorageClock, created: u64) {
        (self.timekeeper.clock, self.timekeeper.created) = (clock, created);
    }

    pub(crate) fn trust_clock(&mut self) {
        self.timekeeper.witness = None;
        self.date_again();
    }

    /// Dates the runs in quarantine. If the container was not changed for long, at most half of the retention time counts
    /// as idle time, because the clock may be wrong, and may have been wrong already when the newest version was written.
    pub(super) fn date(&mut self, free_space: &mut FreeSpace) {
        // If the newest version's time came from a wrong clock, it is not the present time.
        let (now, retention) = (self.next_time(), self.reclaim.retention);
        let witness = self.timekeeper.witness.as_mut().filter(|_| retention > 1);
        let most_idle = retention.saturating_mul(1000 / 2).max(CLOCK_TOLERANCE_MICROS);
        free_space.date(self.head.time, now, witness.is_some().then_some(most_idle));
        if let Some(witness) = witness {
            // Idle time that was not counted there is not deducted a second time.
            witness.doubt_at_most(most_idle, now);
        }
    }

    /// Dates the runs again after a change of the values on which the dates depend.
    pub(in crate::file) fn date_again(&mut self) {
        if let Some(mut free_space) = self.free_space.take() {
            self.date(&mut free_space);
            self.free_space = Some(free_space);
        }
    }

    /// Returns the time in microseconds since 1970, by the storage's clock.
    pub(in crate::file) fn now(&self) -> u64 {
        self.timekeeper.clock.now()
    }

    /// Returns the time of the next version.
    pub(super) fn next_time(&self) -> u64 {
        version_time(self.now(), self.head.time, self.timekeeper.created)
    }

    /// Returns the rule with the doubt about the clock added, if a retention time is set.
    pub(super) fn doubting(&self, rule: ReclaimRule, now: u64) -> ReclaimRule {
        let is_asked_for = self.reclaim.retention > 1;
        let witness = self.timekeeper.witness.filter(|_| is_asked_for);
        ReclaimRule { least: rule.least.saturating_add(witness.map_or(0, |w| w.doubt(now))), ..rule }
    }
}
