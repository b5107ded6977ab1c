//! A clock that is never set.

use std::time::Duration;

/// Returns the time since a moment that stays the same in a process and in its forked children. Unlike the time of
/// [`Instant`](std::time::Instant), it continues while a machine with Linux sleeps.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Duration {
    // The call fails only for a clock that the kernel does not have, and each kernel that Rust supports has this one.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Returns the time since a moment that stays the same in a process and in its forked children.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}
