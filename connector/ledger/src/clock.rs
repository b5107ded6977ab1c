//! Clocks and random numbers.

use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, ErrorKind, Result};

/// Returns the time in microseconds since 1970-01-01 UTC by this process's clock; 0 for a clock that is set before
/// that.
pub(crate) fn now() -> u64 {
    let now = since_1970(SystemTime::now());
    #[cfg(test)]
    let now = now.saturating_add_signed(wrong::BY.get());
    now
}

/// Returns a time in microseconds since 1970-01-01 UTC; 0 for an earlier time.
pub(crate) fn since_1970(time: SystemTime) -> u64 {
    micros(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Lets tests set a thread's clock.
#[cfg(test)]
pub(crate) mod wrong {
    use std::cell::Cell;

    thread_local! {
        /// Microseconds by which the clock is ahead.
        pub(crate) static BY: Cell<i64> = const { Cell::new(0) };
    }
}

/// A moment of this process from which elapsed time can be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: now() }
    }

    /// Returns the time since the moment, by the clock that shows more: the monotonic clock stops while a machine
    /// sleeps, and the wall clock may be set back.
    pub(crate) fn elapsed(&self) -> Duration {
        self.monotonic.elapsed().max(Duration::from_micros(now().saturating_sub(self.wall)))
    }
}

pub(crate) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn random<const N: usize>(target: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| {
        Error::new(target, ErrorKind::Io { errno: e.raw_os_error(), what: format!("random bytes: {e}") })
    })?;
    Ok(bytes)
}

/// Returns a random number below `bound`, for pauses that differ between processes; 0 if there is no source of random numbers.
pub(crate) fn random_below(bound: u64) -> u64 {
    getrandom::u64().unwrap_or(0) % bound.max(1)
}

/// Numbers that no other writer uses for its records: they begin at a random number and increase by one.
#[derive(Debug)]
pub(crate) struct Nonces(u64);

impl Nonces {
    pub(crate) fn new(target: &str) -> Result<Self> {
        random(target).map(|b| Self(u64::from_le_bytes(b)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}
