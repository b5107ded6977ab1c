//! Bounds of keys and values.

/// The longest key, in bytes.
pub const MAX_KEY: usize = 64 << 10;
/// The longest value, in bytes. Anything bigger belongs into a payload.
pub const MAX_VALUE: usize = 256 << 20;
/// A scan ends with the entry with which its values have so many bytes.
pub const MAX_SCAN_BYTES: usize = 64 << 20;
