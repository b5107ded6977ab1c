//! A clock that nobody sets.

use std::time::Duration;

/// The time since a moment that stays the same in a process and in its forked children. Unlike that of [`Instant`](std::time::Instant),
/// it goes on while a machine with Linux sleeps.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Duration {
    // It fails for no clock that the kernel has, and each kernel that Rust supports has this one.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The time since a moment that stays the same in a process and in its forked children.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}
