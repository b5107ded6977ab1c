//! Times of versions and of quarantined space, in spite of wrong clocks.
//!
//! If the clock of a process is days or years ahead or behind, the process must neither lose versions that a retention time protects nor
//! make the times of later versions wrong. These rules ensure it:
//!
//! 1. The storage's clock decides. A process with a clock that differs from it by more than [`CLOCK_TOLERANCE_MICROS`] uses the storage's
//!    clock.
//! 2. Space that a retention time protects is freed when two witnesses agree that the time is over: the clock, and the
//!    sum of the time that the newest version had when this writer opened and the time that has passed since
//!    ([`Witness`]). A vacuum, which a user requested, trusts the clock alone. Both witnesses are wrong if the clock
//!    was wrong already when that version was written. Therefore at most half of the retention time is counted for a
//!    period without commits (`FreeSpace::date`), because a clock that is ahead cannot be distinguished from such a
//!    period.
//! 3. A writer does not continue from a version time that is far in the future; it uses the correct time again
//!    ([`version_time`]).
//! 4. A search for a version by its time never takes a version to be later than its successor ([`NotLater`]).

use std::time::Instant;

use crate::clock;

/// The difference up to which two clocks agree. File systems store times to two seconds.
pub(crate) const CLOCK_TOLERANCE_MICROS: u64 = 60_000_000;
/// An earlier time is not valid, because h5lake did not exist: 2020-01-01, in microseconds since 1970.
const EARLIEST: u64 = 1_577_836_800_000_000;

/// The clock that decides the times in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StorageClock {
    /// The difference between the storage's clock and this process's clock, in microseconds; 0 if they agree.
    ahead: i64,
}

impl StorageClock {
    /// Compares this process's clock with the time that the storage gave to an object that was written just now.
    pub(crate) fn compared_with(storage: u64) -> Self {
        let own = clock::now();
        if storage < EARLIEST || !differ(own, storage) {
            return Self::default();
        }
        let ahead = i64::try_from(i128::from(storage) - i128::from(own)).unwrap_or(0);
        tracing::warn!(seconds = ahead / 1_000_000, "this process's clock differs from the storage's");
        Self { ahead }
    }

    /// Returns the time in microseconds since 1970.
    pub(crate) fn now(self) -> u64 {
        clock::now().saturating_add_signed(self.ahead)
    }
}

/// Returns whether two times differ by more than the tolerance of clocks.
pub(crate) fn differ(one: u64, other: u64) -> bool {
    one.abs_diff(other) > CLOCK_TOLERANCE_MICROS
}

/// Returns the time of the storage's clock if it is known and differs from this process's clock by more than the
/// tolerance; otherwise the time of this process's clock.
pub(crate) fn decided(storage: Option<u64>) -> u64 {
    let own = clock::now();
    storage.filter(|storage| *storage >= EARLIEST && differ(own, *storage)).unwrap_or(own)
}

/// A lower bound of the present time that does not depend on the clock: the time of the newest version when a writer
/// opened, plus the time that has passed since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness {
    time: u64,
    since: Instant,
}

impl Witness {
    pub(crate) fn new(time: u64) -> Self {
        Self { time, since: Instant::now() }
    }

    /// Returns by how much the present time may be earlier than `now`, as far as the witness knows.
    pub(crate) fn doubt(&self, now: u64) -> u64 {
        now.saturating_sub(self.time.saturating_add(clock::micros(self.since.elapsed())))
    }

    /// Limits the doubt that the witness reports from now on to `most`.
    pub(crate) fn doubt_at_most(&mut self, most: u64, now: u64) {
        self.time = self.time.saturating_add(self.doubt(now).saturating_sub(most));
    }
}

/// Returns the latest time that both witnesses confirm, with the tolerance of clocks. The witnesses are the clock and
/// the time of an existing version.
pub(crate) fn at_most(now: u64, newest: u64) -> u64 {
    now.min(newest.saturating_add(CLOCK_TOLERANCE_MICROS))
}

/// Returns the time of the next version. `newest` is the time of the newest version, `created` is the time of the
/// container's creation.
pub(crate) fn version_time(now: u64, newest: u64, created: u64) -> u64 {
    // If the clock is behind the newest version, either the previous writer's clock was ahead or this clock is behind.
    // A clock that is behind the container's creation is known to be behind.
    let was_ahead = newest.saturating_sub(now) > CLOCK_TOLERANCE_MICROS && now >= created;
    if was_ahead { now } else { now.max(newest) }
}

/// Makes the times of versions monotone. The times are passed from the newest version to the oldest.
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

    /// Returns the adjusted time of the next older version.
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
