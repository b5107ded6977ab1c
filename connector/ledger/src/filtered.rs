//! Numbers that a store compares where they are: what it is asked, and what it answers.

use std::ops::Range;

use crate::extent::Extent;

/// Numbers of a payload that the store is to compare.
#[derive(Debug)]
pub struct FilterPart<'a> {
    /// The payload.
    pub extent: &'a Extent,
    /// Bytes of it: whole numbers.
    pub range: Range<u64>,
}

/// The numbers of a part that match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartMatches {
    /// Which they are, counted from the part's begin; ascending, and within the part.
    pub indices: Vec<u64>,
    /// Their bytes, one behind the other.
    pub values: Vec<u8>,
}

/// What a store said of some parts.
#[derive(Debug, Default)]
pub struct Filtered {
    /// For each part what matches; `None` where it has to be read.
    pub parts: Vec<Option<PartMatches>>,
    /// Bytes of matches that came for it.
    pub bytes: u64,
    /// Bytes that came in vain: so much matches that reading is cheaper.
    pub wasted: u64,
    /// The store does not filter such numbers, and need not be asked again.
    pub is_refused: bool,
}
