//! A clock that nobody sets.

use std::time::Duration;

/// The time since a moment that stays the same in a process and in its forked children. Unlike that of [`Instant`](std::time::Instant),
/// it goes on while a machine with Linux sleeps.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The time since a moment that stays the same in a process and in its forked children.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}
