//! Bounds of keys and values.

use bytes::Bytes;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 64 << 10;
/// The longest value, in bytes. Anything bigger belongs into a payload.
pub const MAX_VALUE: usize = 256 << 20;
/// A scan ends with the entry with which its values have so many bytes.
pub(crate) const MAX_SCAN_BYTES: usize = 64 << 20;

/// Whether nothing is behind a page of [`scan_prefix`](crate::Ledger::scan_prefix) for `limit` entries.
pub fn is_last_page(page: &[(Bytes, Bytes)], limit: usize) -> bool {
    page.len() < limit && page.iter().map(|(_, value)| value.len()).sum::<usize>() < MAX_SCAN_BYTES
}
