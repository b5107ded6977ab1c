//! Counting what calls cost, from any number of threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts calls of one kind: how many, how long they took, how many bytes went in or out. It has a fixed size.
#[derive(Debug, Default)]
pub struct Meter {
    calls: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds.
    total: AtomicU64,
    longest: AtomicU64,
}

/// What a [`Meter`] shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Calls, whether they succeeded or not.
    pub calls: u64,
    /// Calls that failed. A refused condition and a missing object count.
    pub errors: u64,
    /// Bytes of content in calls that succeeded.
    pub bytes: u64,
    /// The time of all calls together. Calls side by side count each.
    pub total: Duration,
    /// The time of the longest call.
    pub longest: Duration,
}

impl Meter {
    /// Counts a call that took so long. Its bytes count if it succeeded.
    pub fn note(&self, bytes: u64, is_ok: bool, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        if is_ok {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.total.fetch_add(nanoseconds, Ordering::Relaxed);
        self.longest.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    /// What was counted until now.
    pub fn read(&self) -> Reading {
        Reading {
            calls: self.calls.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            total: Duration::from_nanos(self.total.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
        }
    }
}

impl Reading {
    /// The mean time of a call; zero without one.
    pub fn mean(&self) -> Duration {
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        self.total.checked_div(calls).unwrap_or_default()
    }
}

thread_local! {
    /// Requests that were sent again for calls of this thread. It has no destructor: exit handlers use it.
    static RETRIES: Cell<u64> = const { Cell::new(0) };
}

/// Requests that were sent again until now for calls of this thread.
pub(crate) fn retries() -> u64 {
    RETRIES.get()
}

/// Adds to [`retries`].
#[cfg(feature = "remote")]
pub(crate) fn add_retries(count: u64) {
    RETRIES.set(RETRIES.get() + count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_means_and_maxima_are_shown() {
        let meter = Meter::default();
        assert_eq!((meter.read(), meter.read().mean()), (Reading::default(), Duration::ZERO));
        meter.note(10, true, Duration::from_millis(3));
        meter.note(99, false, Duration::from_millis(1));
        let shown = meter.read();
        assert_eq!((shown.calls, shown.errors, shown.bytes), (2, 1, 10));
        assert_eq!((shown.total, shown.longest), (Duration::from_millis(4), Duration::from_millis(3)));
        assert_eq!(shown.mean(), Duration::from_millis(2));
    }
}
