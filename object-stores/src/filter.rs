//! Filters that a store applies itself: it finds the numbers of an object that pass some comparisons
//! (docs/store-protocol.md, "Filters").

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

/// The type of an object's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredKind {
    /// Integers in two's complement.
    Signed,
    /// Integers without a sign.
    Unsigned,
    /// Floats of IEEE 754.
    Float,
}

/// The relation that a number must have to the operand. NaN is unequal to every number, and neither less nor greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterComparison {
    /// Less than.
    Less,
    /// Less than, or equal to.
    LessOrEqual,
    /// Equal to.
    Equal,
    /// Unequal to.
    NotEqual,
    /// Greater than, or equal to.
    GreaterOrEqual,
    /// Greater than.
    Greater,
}

/// The operand of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FilterOperand {
    /// An operand for integers.
    Integer(i128),
    /// An operand for floats; never NaN.
    Float(f64),
}

impl fmt::Display for FilterOperand {
    /// Writes digits that represent exactly this number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterOperand::Integer(n) => write!(f, "{n}"),
            FilterOperand::Float(n) => write!(f, "{n:?}"),
        }
    }
}

/// A filter for numbers that are stored in an object unencoded and contiguously.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The type of the numbers.
    pub kind: FilteredKind,
    /// The length of a number in bytes: 1, 2, 4 or 8; for floats 2, 4 or 8.
    pub size: usize,
    /// True if the first byte is the most significant one.
    pub is_big_endian: bool,
    /// The comparisons, all of which have to be true. An empty list is not a filter.
    pub tests: Vec<(FilterComparison, FilterOperand)>,
}

/// A request for one page of matches in a range of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterAsk {
    /// The filter.
    pub filter: Filter,
    /// The range of bytes that contains the numbers.
    pub range: Range<u64>,
    /// The index of the first number to compare, counted from the beginning of the range.
    pub skip: u64,
    /// The maximum number of matches.
    pub limit: u64,
}

/// A page of the numbers that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterMatches {
    /// The indices of the numbers, counted from the beginning of the range; ascending.
    pub indices: Vec<u64>,
    /// The bytes of the numbers as they are in the object, contiguous: [`Filter::size`] bytes for each index.
    pub values: Bytes,
    /// The index from which on there may be more matches, if any.
    pub next: Option<u64>,
}

impl FilterMatches {
    /// Returns the approximate number of bytes that were transferred.
    pub(crate) fn bytes(&self) -> u64 {
        (8 * self.indices.len() + self.values.len()) as u64
    }
}

/// Returns the number of elements in a range, if it contains only whole elements.
#[cfg(feature = "remote")]
pub(crate) fn numbers(filter: &Filter, range: &Range<u64>) -> Option<u64> {
    let (bytes, size) = (range.end.checked_sub(range.start)?, filter.size as u64);
    bytes.checked_div(size).filter(|n| *n > 0 && n * size == bytes)
}
