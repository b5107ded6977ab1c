//! Limits of keys and values.

use bytes::Bytes;

/// The maximum length of a key, in bytes.
pub const MAX_KEY: usize = 64 << 10;
/// The maximum length of a value, in bytes. Longer data belongs into a payload.
pub const MAX_VALUE: usize = 256 << 20;
/// A scan ends after the entry at which the values reach this number of bytes.
pub(crate) const MAX_SCAN_BYTES: usize = 64 << 20;

/// Returns whether a page of [`scan_prefix`](crate::Ledger::scan_prefix) for `limit` entries is the last one.
pub fn is_last_page(page: &[(Bytes, Bytes)], limit: usize) -> bool {
    page.len() < limit && page.iter().map(|(_, value)| value.len()).sum::<usize>() < MAX_SCAN_BYTES
}
