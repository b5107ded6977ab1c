//! The verified ranges of a store in this process's memory.
//!
//! Such a store returns the very bytes that were put. So one verification of the checksums is enough until the bytes are replaced. Bytes
//! that this handle has put need none, because their checksums were computed from the same bytes. Other stores have no verified ranges,
//! because each of their answers may be damaged in transit.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use object_stores::Etag;

use crate::address::Location;

/// The maximum number of ranges. When it is reached, all ranges are discarded, and verified again when they are read.
const MAX_RANGES: usize = 1 << 16;

/// Ranges of objects with valid checksums.
#[derive(Debug, Default)]
pub(crate) struct VerifiedRanges {
    locations: HashMap<Location, VerifiedObject>,
    ranges: usize,
}

#[derive(Debug)]
struct VerifiedObject {
    /// The content to which the ranges belong.
    etag: Option<Etag>,
    /// The starts and the ends of the ranges, which do not touch each other.
    ranges: BTreeMap<u64, u64>,
}

impl VerifiedRanges {
    /// Returns whether the whole range was verified, for this content.
    pub(crate) fn has(&self, location: &Location, etag: Option<&Etag>, range: &Range<u64>) -> bool {
        let known =
            self.locations.get(location).filter(|known| etag.is_some() && known.etag.as_ref() == etag);
        let before = known.and_then(|known| known.ranges.range(..=range.start).next_back());
        before.is_some_and(|(_, end)| range.end <= *end)
    }

    /// Adds a range that was verified.
    pub(crate) fn add(&mut self, location: Location, etag: Option<Etag>, range: Range<u64>) {
        if range.is_empty() || etag.is_none() {
            return;
        }
        if self.ranges >= MAX_RANGES {
            *self = Self::default();
        }
        let known = self
            .locations
            .entry(location)
            .or_insert_with(|| VerifiedObject { etag: etag.clone(), ranges: BTreeMap::new() });
        if known.etag != etag {
            self.ranges -= known.ranges.len();
            *known = VerifiedObject { etag, ranges: BTreeMap::new() };
        }
        let before = known.ranges.len();
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&s, &e)) = known.ranges.range(..=end).next_back().filter(|(_, e)| **e >= start) {
            known.ranges.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        known.ranges.insert(start, end);
        self.ranges = self.ranges + known.ranges.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn etag(n: u8) -> Option<Etag> {
        Some(Etag::new(n.to_string()))
    }

    proptest! {
        #[test]
        fn verified_ranges_are_of_one_content(
            steps in prop::collection::vec((0u64..3, 0u8..2, 0u64..100, 0u64..20), 0..60),
        ) {
            let mut proven = VerifiedRanges::default();
            let mut model: HashMap<u64, (u8, Vec<bool>)> = HashMap::new();
            for (location, tag, from, len) in steps {
                if len > 0 {
                    proven.add(Location::Pack([location as u8; 16]), etag(tag), from..from + len);
                    let known = model.entry(location).or_insert_with(|| (tag, vec![false; 130]));
                    if known.0 != tag {
                        *known = (tag, vec![false; 130]);
                    }
                    known.1[from as usize..(from + len) as usize].fill(true);
                }
                let held: usize = proven.locations.values().map(|known| known.ranges.len()).sum();
                prop_assert_eq!(proven.ranges, held);
                for location in 0..3 {
                    for tag in 0..2 {
                        let known = model.get(&location).filter(|known| known.0 == tag);
                        for at in 0..120usize {
                            let all = |n: usize| known.is_some_and(|k| k.1[at..at + n].iter().all(|b| *b));
                            let range = at as u64..at as u64 + 5;
                            prop_assert_eq!(proven.has(&Location::Pack([location as u8; 16]), etag(tag).as_ref(), &range), all(5));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn verified_ranges_are_bounded() {
        let mut proven = VerifiedRanges::default();
        for n in 0..3 * MAX_RANGES as u64 {
            proven.add(Location::File, etag(1), 10 * n..10 * n + 5);
            assert!(proven.ranges <= MAX_RANGES);
        }
        assert!(!proven.has(&Location::File, None, &(0..1)));
    }
}
