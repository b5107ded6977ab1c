//! Chunks of numbers that the store itself can compare (design record 061).

use super::Dataset;
use crate::{Error, Result};
use h5lake_ledger::{Extent, FilterPart, PartMatches};
use h5lake_records::number::{Number, NumberKind, NumberType};
use object_stores::{Filter, FilterComparison, FilterOperand, FilteredKind};
use std::ops::Range;

/// The location of a chunk's unencoded numbers, which are in one extent.
#[derive(Debug, Clone)]
pub struct StoredNumbers {
    pub(crate) extent: Extent,
    pub(crate) range: Range<u64>,
}

impl StoredNumbers {
    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The matches that a store found in chunks.
#[derive(Debug, Default)]
pub struct StoreMatches {
    /// For each chunk the matching elements: their indices in the chunk, in C order, and their bytes in file form.
    /// `None` for a chunk that has to be read. Elements outside of the extent may be included.
    pub chunks: Vec<Option<PartMatches>>,
    /// Bytes of matches received from the store.
    pub bytes: u64,
    /// Bytes received in vain.
    pub wasted: u64,
    /// True if the store does not compare such numbers, and need not be asked again.
    pub is_refused: bool,
}

impl Dataset {
    /// Returns the type of the elements, if the store that holds them can compare such numbers.
    #[must_use]
    pub fn number_type_in_store(&self) -> Option<NumberType> {
        self.number_type().filter(|_| self.container().ledger.filters())
    }

    /// Lets the store search chunks for the elements that satisfy all tests. The elements that it omits are not
    /// verified; the elements that it returns are checked against the tests.
    ///
    /// # Errors
    /// `InvalidArgument` for elements that are not numbers, or no tests; `Corrupt` for a response that does not satisfy
    /// the tests; errors of the request.
    pub fn matches_in_store(
        &self,
        chunks: &[&StoredNumbers],
        tests: &[(FilterComparison, FilterOperand)],
    ) -> Result<StoreMatches> {
        let of = self.number_type().filter(|_| !tests.is_empty());
        let of = of.ok_or_else(|| Error::invalid("a store compares numbers, with numbers"))?;
        let kind = match of.kind {
            NumberKind::Signed => FilteredKind::Signed,
            NumberKind::Unsigned => FilteredKind::Unsigned,
            NumberKind::Float => FilteredKind::Float,
        };
        let filter = Filter { kind, size: of.size, is_big_endian: of.is_big_endian, tests: tests.to_vec() };
        let part = |chunk: &&StoredNumbers| (chunk.extent.clone(), chunk.range.clone());
        let places: Vec<_> = chunks.iter().map(part).collect();
        let parts: Vec<_> =
            places.iter().map(|(extent, range)| FilterPart { extent, range: range.clone() }).collect();
        let found = self.container().ledger.filter_payloads(&parts, &filter)?;
        for part in found.parts.iter().flatten() {
            let mut values = part.values.chunks_exact(of.size);
            if values.any(|bytes| !tests.iter().all(|test| passes(of, bytes, test))) {
                return Err(Error::corrupt(
                    "the store found an element that does not match what it was asked for",
                ));
            }
        }
        Ok(StoreMatches {
            chunks: found.parts,
            bytes: found.bytes,
            wasted: found.wasted,
            is_refused: found.is_refused,
        })
    }
}

fn passes(of: NumberType, bytes: &[u8], (how, operand): &(FilterComparison, FilterOperand)) -> bool {
    let than = match operand {
        FilterOperand::Integer(n) => Number::Integer(*n),
        FilterOperand::Float(f) => Number::Float(*f),
    };
    let found = of.number(bytes).and_then(|number| number.compare(than));
    match how {
        FilterComparison::Less => found.is_some_and(|o| o.is_lt()),
        FilterComparison::LessOrEqual => found.is_some_and(|o| o.is_le()),
        FilterComparison::Equal => found.is_some_and(|o| o.is_eq()),
        FilterComparison::NotEqual => found.is_none_or(|o| o.is_ne()),
        FilterComparison::GreaterOrEqual => found.is_some_and(|o| o.is_ge()),
        FilterComparison::Greater => found.is_some_and(|o| o.is_gt()),
    }
}
