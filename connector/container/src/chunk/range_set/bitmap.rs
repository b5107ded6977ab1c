//! A bitmap with a bit for each byte: the form of a set with many ranges that are close together, as in a strided
//! selection.

use fixedbitset::{Block, FixedBitSet};
use std::ops::Range;

const BITS_OF_WORD: usize = Block::BITS as usize;

/// A bit for each byte from 0 on. Bytes after the last bit are not in the set.
#[derive(Debug, Clone, Default)]
pub(super) struct Bitmap {
    bits: FixedBitSet,
    /// Number of ranges.
    count: usize,
}

impl Bitmap {
    /// Returns the number of bytes that have a bit.
    pub(super) fn len(&self) -> usize {
        self.bits.len()
    }

    /// Returns the number of ranges.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds bytes to the set, or removes them.
    pub(super) fn set(&mut self, r: &Range<usize>, is_in: bool) {
        if is_in {
            self.bits.grow(r.end);
        }
        let r = self.within(r);
        if r.is_empty() {
            return;
        }
        // The number of ranges that begin at or right after these bytes may change.
        let changed = r.start..r.end + 1;
        let before = self.starts_in(&changed);
        self.bits.set_range(r, is_in);
        self.count = self.count + self.starts_in(&changed) - before;
    }

    /// Returns whether any of these bytes is in the set.
    pub(super) fn overlaps(&self, r: &Range<usize>) -> bool {
        let r = self.within(r);
        !r.is_empty() && self.bits.contains_any_in_range(r)
    }

    /// Returns whether all of these bytes are in the set.
    pub(super) fn covers(&self, r: &Range<usize>) -> bool {
        r.is_empty() || r.end <= self.len() && self.bits.contains_all_in_range(r.clone())
    }

    /// Returns the ranges in ascending order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, true)?;
            at = self.next(start, false).unwrap_or(self.len());
            Some(start..at)
        })
    }

    fn within(&self, r: &Range<usize>) -> Range<usize> {
        r.start..r.end.min(self.len())
    }

    fn word(&self, at: usize) -> usize {
        self.bits.as_slice().get(at).copied().unwrap_or(0)
    }

    /// Returns how many ranges begin at these bytes; `r` must not be empty.
    fn starts_in(&self, r: &Range<usize>) -> usize {
        let (first, last) = (r.start / BITS_OF_WORD, (r.end - 1) / BITS_OF_WORD);
        let of_word = |at: usize| {
            let word = self.word(at);
            let carry = at.checked_sub(1).map_or(0, |at| self.word(at) >> (BITS_OF_WORD - 1));
            let mut starts = word & !(word << 1 | carry);
            if at == first {
                starts &= usize::MAX << (r.start % BITS_OF_WORD);
            }
            if at == last {
                starts &= usize::MAX >> (BITS_OF_WORD - 1 - (r.end - 1) % BITS_OF_WORD);
            }
            starts.count_ones() as usize
        };
        (first..=last).map(of_word).sum()
    }

    /// Returns the first byte from `at` on that is in the set, or is not in the set.
    fn next(&self, at: usize, is_in: bool) -> Option<usize> {
        let words = self.bits.as_slice();
        let wanted = |at: usize| if is_in { words[at] } else { !words[at] };
        let first = at / BITS_OF_WORD;
        let mut word = words.get(first).map(|_| wanted(first) & (usize::MAX << (at % BITS_OF_WORD)))?;
        let mut index = first;
        while word == 0 {
            index += 1;
            words.get(index)?;
            word = wanted(index);
        }
        Some(index * BITS_OF_WORD + word.trailing_zeros() as usize)
    }
}

impl FromIterator<Range<usize>> for Bitmap {
    fn from_iter<I: IntoIterator<Item = Range<usize>>>(ranges: I) -> Self {
        let mut bitmap = Self::default();
        ranges.into_iter().for_each(|r| bitmap.set(&r, true));
        bitmap
    }
}
