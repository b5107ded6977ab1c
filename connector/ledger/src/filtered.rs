//! Comparisons of numbers that a store carries out itself: the requests and the results.

use std::ops::Range;

use crate::extent::Extent;

/// Numbers of a payload that the store is to compare.
#[derive(Debug)]
pub struct FilterPart<'a> {
    /// The payload.
    pub extent: &'a Extent,
    /// The range of the payload's bytes; it covers whole numbers.
    pub range: Range<u64>,
}

/// The numbers of a part that match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartMatches {
    /// The indices of the matching numbers from the start of the part, ascending and within the part.
    pub indices: Vec<u64>,
    /// The bytes of the matching numbers, one after the other.
    pub values: Vec<u8>,
}

/// The results of a store for several parts.
#[derive(Debug, Default)]
pub struct Filtered {
    /// The matches of each part; `None` if the part must be read.
    pub parts: Vec<Option<PartMatches>>,
    /// The bytes of matches that were received.
    pub bytes: u64,
    /// The bytes that were received and not used, because so many numbers match that reading is cheaper.
    pub wasted: u64,
    /// True if the store does not filter such numbers, and need not be asked again.
    pub is_refused: bool,
}
