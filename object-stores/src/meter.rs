//! Counts calls and their costs, from any number of threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts the calls of one kind: their number, their time, their bytes in either direction. Its size is fixed.
#[derive(Debug, Default)]
pub struct Meter {
    calls: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    /// The total time in nanoseconds.
    total: AtomicU64,
    longest: AtomicU64,
}

/// The counts of a [`Meter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Calls, successful or not.
    pub calls: u64,
    /// Calls that failed. A false condition and a missing object count as failures.
    pub errors: u64,
    /// Bytes of content in successful calls.
    pub bytes: u64,
    /// The total time of all calls. Each of several parallel calls counts.
    pub total: Duration,
    /// The time of the longest call.
    pub longest: Duration,
}

impl Meter {
    /// Counts a call that took `time`. Its bytes count if it succeeded.
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

    /// Returns the counts so far.
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
    /// Returns the mean time of a call; zero if there was none.
    pub fn mean(&self) -> Duration {
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        self.total.checked_div(calls).unwrap_or_default()
    }
}

thread_local! {
    /// The number of requests that were sent again for calls of this thread. It has no destructor, because exit
    /// handlers use it.
    static RETRIES: Cell<u64> = const { Cell::new(0) };
}

/// Returns the number of requests that were sent again so far for calls of this thread.
pub(crate) fn retries() -> u64 {
    RETRIES.get()
}

/// Adds to the number that [`retries`] returns.
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
