//! Searches that a store does itself: which numbers of an object pass some comparisons (docs/store-protocol.md, "Filters").

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

/// What the numbers of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredKind {
    /// Integers in two's complement.
    Signed,
    /// Integers without a sign.
    Unsigned,
    /// Floats of IEEE 754.
    Float,
}

/// How a number has to compare with another one. NaN is unequal to all, and neither less nor greater.
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

/// The number of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FilterOperand {
    /// For integers.
    Integer(i128),
    /// For floats; no NaN.
    Float(f64),
}

impl fmt::Display for FilterOperand {
    /// Digits that mean this very number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterOperand::Integer(n) => write!(f, "{n}"),
            FilterOperand::Float(n) => write!(f, "{n:?}"),
        }
    }
}

/// What is asked of numbers that lie in an object as they are, one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// What they are.
    pub kind: FilteredKind,
    /// Bytes of one: 1, 2, 4 or 8, of a float 2, 4 or 8.
    pub size: usize,
    /// The first byte counts most.
    pub is_big_endian: bool,
    /// All of these have to be true. None is no filter.
    pub tests: Vec<(FilterComparison, FilterOperand)>,
}

/// A search through a part of an object, of which one page of matches is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterAsk {
    /// What is asked of the numbers.
    pub filter: Filter,
    /// The bytes in which they lie.
    pub range: Range<u64>,
    /// The index of the first number that is looked at, counted from the range's begin.
    pub skip: u64,
    /// How many matches are wanted at most.
    pub limit: u64,
}

/// Some of the numbers that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterMatches {
    /// Where they are, counted in numbers from the range's begin; ascending.
    pub indices: Vec<u64>,
    /// Their bytes as they lie in the object, one behind the other: [`Filter::size`] for each index.
    pub values: Bytes,
    /// There may be more, from this index on.
    pub next: Option<u64>,
}

impl FilterMatches {
    /// Bytes that came for it, about.
    pub(crate) fn bytes(&self) -> u64 {
        (8 * self.indices.len() + self.values.len()) as u64
    }
}

/// The numbers of a range, if it is one of whole numbers.
#[cfg(feature = "remote")]
pub(crate) fn numbers(filter: &Filter, range: &Range<u64>) -> Option<u64> {
    let (bytes, size) = (range.end.checked_sub(range.start)?, filter.size as u64);
    bytes.checked_div(size).filter(|n| *n > 0 && n * size == bytes)
}
