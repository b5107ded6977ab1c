//! Times of versions, and of room that rests, although clocks are wrong.
//!
//! One process whose clock is days or years ahead must not lose the versions that a retention time protects, nor make the
//! times of later versions wrong. One that is behind must not either. These rules see to that:
//!
//! 1. The storage's clock decides. A process whose own clock differs from it by more than [`CLOCK_TOLERANCE_MICROS`] goes by the storage's.
//! 2. Room that a retention time protects is given back when two witnesses agree that the time is over: the clock, and the time
//!    that the newest version had when this writer opened, plus what has passed since ([`Witness`]). A vacuum, which
//!    somebody asked for, believes the clock. Both witnesses are wrong where the clock was wrong already when that version was
//!    written. So of a time in which nothing happened no more than half of the retention time counts
//!    (`FreeSpace::date`): a clock that went ahead looks like that.
//! 3. A writer does not repeat a time far in the future, but goes on with the right one ([`version_time`]).
//! 4. Whoever looks for a version by its time takes no version to be later than one that came after it ([`NotLater`]).

use std::time::Instant;

use crate::clock;

/// Clocks that differ by less agree. File systems keep times to two seconds.
pub(crate) const CLOCK_TOLERANCE_MICROS: u64 = 60_000_000;
/// No file system's clock has been here since h5lake exists: 2020-01-01, in microseconds since 1970.
const EARLIEST: u64 = 1_577_836_800_000_000;

/// The clock that decides about the times in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StorageClock {
    /// What the storage's clock shows more than this process's, in microseconds; 0 where they agree.
    ahead: i64,
}

impl StorageClock {
    /// Compares with the time that the storage gave to something that was written just now.
    pub(crate) fn compared_with(storage: u64) -> Self {
        let own = clock::now();
        if storage < EARLIEST || !differ(own, storage) {
            return Self::default();
        }
        let ahead = i64::try_from(i128::from(storage) - i128::from(own)).unwrap_or(0);
        tracing::warn!(seconds = ahead / 1_000_000, "this process's clock differs from the storage's");
        Self { ahead }
    }

    /// Microseconds since 1970.
    pub(crate) fn now(self) -> u64 {
        clock::now().saturating_add_signed(self.ahead)
    }
}

/// Whether times differ by more than clocks that agree.
pub(crate) fn differ(one: u64, other: u64) -> bool {
    one.abs_diff(other) > CLOCK_TOLERANCE_MICROS
}

/// The time by the storage's clock, where it is known and differs much from this process's; else by this one.
pub(crate) fn decided(storage: Option<u64>) -> u64 {
    let own = clock::now();
    storage.filter(|storage| *storage >= EARLIEST && differ(own, *storage)).unwrap_or(own)
}

/// What says, beside the clock, how late it is at least: the time of the newest version when a writer opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness {
    time: u64,
    since: Instant,
}

impl Witness {
    pub(crate) fn new(time: u64) -> Self {
        Self { time, since: Instant::now() }
    }

    /// How much earlier than `now` it may be, for all that the witness knows.
    pub(crate) fn doubt(&self, now: u64) -> u64 {
        now.saturating_sub(self.time.saturating_add(clock::micros(self.since.elapsed())))
    }

    /// From now on it doubts no more than that.
    pub(crate) fn doubt_at_most(&mut self, most: u64, now: u64) {
        self.time = self.time.saturating_add(self.doubt(now).saturating_sub(most));
    }
}

/// How late it is for all that two witnesses say, with what clocks may differ by: the clock, and a version that was there before.
pub(crate) fn at_most(now: u64, newest: u64) -> u64 {
    now.min(newest.saturating_add(CLOCK_TOLERANCE_MICROS))
}

/// The time of the next version. `newest` is the time of the newest version, `created` that of the container.
pub(crate) fn version_time(now: u64, newest: u64, created: u64) -> u64 {
    // Either the clock of the writer before was ahead, or this one is behind. A clock that stood behind the container's
    // creation is behind.
    let was_ahead = newest.saturating_sub(now) > CLOCK_TOLERANCE_MICROS && now >= created;
    if was_ahead { now } else { now.max(newest) }
}

/// Makes times of versions monotone that are given from the newest version to the oldest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotLater(u64);

impl Default for NotLater {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

impl NotLater {
    pub(crate) fn than(time: u64) -> Self {
        Self(time)
    }

    /// The time that the next older version counts with.
    pub(crate) fn next(&mut self, time: u64) -> u64 {
        self.0 = self.0.min(time);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000;

    #[test]
    fn the_storages_clock_decides_where_they_differ_much() {
        let now = clock::now();
        for (storage, differs) in
            [(now - 10_000_000, false), (now - 2 * DAY, true), (now + 3650 * DAY, true), (0, false)]
        {
            let seen = StorageClock::compared_with(storage).now();
            let expected = if differs { storage } else { now };
            assert!(seen.abs_diff(expected) < 5_000_000, "{storage}: {seen}");
        }
    }

    #[test]
    fn a_wrong_time_is_not_repeated() {
        let (created, now) = (1_000 * DAY, 1_100 * DAY);
        assert_eq!(version_time(now, now - 5, created), now);
        assert_eq!(version_time(now, now + 5, created), now + 5, "clocks differ a little");
        assert_eq!(version_time(now, now + 2 * DAY, created), now, "the one before was ahead");
        assert_eq!(version_time(created - DAY, now, created), now, "this one is behind");
    }

    #[test]
    fn older_versions_are_not_later() {
        let mut times = NotLater::default();
        let seen = [9, 8, 500, 7].map(|t| times.next(t));
        assert_eq!(seen, [9, 8, 8, 7]);
    }

    #[test]
    fn two_witnesses_have_to_agree() {
        let now = clock::now();
        assert_eq!(Witness::new(now + DAY).doubt(now), 0);
        let doubt = Witness::new(now - DAY).doubt(now);
        assert!((DAY - 5_000_000..=DAY).contains(&doubt), "{doubt}");
    }
}
