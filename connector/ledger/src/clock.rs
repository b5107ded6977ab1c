//! Time and chance.

use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};

/// Microseconds since 1970-01-01 UTC; 0 for a clock set before that.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    micros(since)
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
