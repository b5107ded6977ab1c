//! Since when freed room has rested, although clocks were wrong; see [`timekeeping`](crate::timekeeping).

use crate::file::free_space::{FreeSpace, PendingFree};

impl FreeSpace {
    /// Says since when each run has rested, although clocks were wrong. `newest` is the time of the newest version, `now` the present.
    ///
    /// What went out of use later did so at no earlier time, and nothing did later than now. Of a time in which nothing went out of
    /// use no more than `most_idle` counts, if that is given: nobody can tell whether a container was left alone, or a clock went
    /// ahead.
    pub(crate) fn date(&mut self, newest: u64, now: u64, most_idle: Option<u64>) {
        let now = now.max(newest);
        let mut all: Vec<&mut PendingFree> = self.kept.iter_mut().chain(&mut self.resting).collect();
        all.sort_by_key(|r| r.sequence);
        let mut last = 0;
        for r in &mut all {
            last = r.time.max(last).min(now);
            r.since = last;
        }
        let Some(most_idle) = most_idle else { return };
        let (mut next, mut rested) = (now, 0);
        for since in std::iter::once(&mut newest.max(last)).chain(all.into_iter().rev().map(|r| &mut r.since))
        {
            rested += (next - *since).min(most_idle);
            next = *since;
            *since = now - rested;
        }
    }
}
