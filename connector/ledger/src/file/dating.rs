//! Determines how long freed space has been in quarantine, although clocks may have been wrong; see
//! [`timekeeping`](crate::timekeeping).

use crate::file::free_space::{FreeSpace, PendingFree};

impl FreeSpace {
    /// Determines how long each run has been in quarantine, although clocks may have been wrong. `newest` is the time of
    /// the newest version, `now` the present.
    ///
    /// Runs that were freed later have no earlier time. No run was freed in the future: a run with a future time gets the time of the run
    /// after it. If `most_idle` is given, at most that much of an interval without frees is counted, because it is unknown whether the
    /// container was idle or a clock was ahead.
    pub(crate) fn date(&mut self, newest: u64, now: u64, most_idle: Option<u64>) {
        let mut all: Vec<&mut PendingFree> = self.kept.iter_mut().chain(&mut self.quarantined).collect();
        all.sort_by_key(|r| r.sequence);
        let mut later = now;
        for r in all.iter_mut().rev() {
            // If the future time counted as the present, the quarantine would not end before that time, because each
            // opening would date this run and all later ones again.
            later = if r.time > now { later } else { r.time };
            r.since = later;
        }
        let mut last = 0;
        for r in &mut all {
            last = r.since.max(last);
            r.since = last;
        }
        let Some(most_idle) = most_idle else { return };
        let (mut next, mut age) = (now, 0);
        let mut newest = newest.min(now).max(last);
        for since in std::iter::once(&mut newest).chain(all.into_iter().rev().map(|r| &mut r.since)) {
            age += (next - *since).min(most_idle);
            next = *since;
            *since = now - age;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::superblock::DATA;

    /// Returns the dates of runs that were freed at these times, one after the other.
    fn dated(times: &[u64], newest: u64, now: u64, most_idle: Option<u64>) -> Vec<u64> {
        let mut f = FreeSpace::new(DATA);
        let begin = f.extend(64 * times.len() as u64).unwrap();
        for (n, time) in (0..).zip(times) {
            f.quarantine(PendingFree::new((begin + n * 64, 32), n, *time)).unwrap();
        }
        f.date(newest, now, most_idle);
        f.quarantined.iter().map(|r| r.since).collect()
    }

    #[test]
    fn a_time_in_the_future_counts_like_the_one_after_it() {
        assert_eq!(dated(&[10, 900, 30, 40], 40, 50, None), [10, 30, 30, 40]);
        assert_eq!(dated(&[10, 900, 901], 40, 50, None), [10, 50, 50]);
        assert_eq!(dated(&[10, 900, 5, 40], 40, 50, None), [10, 10, 10, 40], "one clock was behind");
        assert_eq!(dated(&[10, 40], 900, 50, Some(5)), [40, 45], "so is the newest version's");
    }
}
