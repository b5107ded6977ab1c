//! The numbers that a concurrent writer has reserved (see `multi_writer/numbers.rs`).

use bytes::Bytes;

/// The counter from which this writer has taken numbers.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) key: Bytes,
    /// All numbers that this writer has taken are below this one.
    pub(crate) end: u64,
    /// Reserved numbers that were not taken yet: the first one, and their count.
    pub(crate) ahead: Option<(u64, u64)>,
    /// The count of numbers that the next commit reserves if none are left.
    pub(crate) next: u64,
}

impl Counter {
    /// Returns the key of the counter in the map.
    pub(crate) fn key(&self) -> Bytes {
        self.key.clone()
    }
}
