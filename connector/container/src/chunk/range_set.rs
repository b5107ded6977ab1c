//! Sets of bytes, as ranges that may be many and come in any order.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges by their starts. Ranges that touch are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeSet {
    /// The only range, which takes no memory of its own: most sets have no other.
    one: Option<(usize, usize)>,
    /// All ranges, if there is not just one.
    many: BTreeMap<usize, usize>,
}

impl PartialEq for RangeSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let many = self.many.iter().map(|(&start, &end)| start..end);
        self.one.iter().map(|&(start, end)| start..end).chain(many)
    }

    /// How many ranges there are.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.one.is_some()) + self.many.len()
    }

    /// The last range that begins before `end`.
    fn before(&self, end: usize) -> Option<(usize, usize)> {
        match self.one {
            Some(one) => Some(one).filter(|(start, _)| *start < end),
            None => self.many.range(..end).next_back().map(|(&start, &end)| (start, end)),
        }
    }

    /// Whether one of these bytes is in the set.
    pub(crate) fn overlaps(&self, r: &Range<usize>) -> bool {
        !r.is_empty() && self.before(r.end).is_some_and(|(_, end)| end > r.start)
    }

    /// Whether all of these bytes are in the set.
    pub(crate) fn covers(&self, r: &Range<usize>) -> bool {
        r.is_empty() || self.before(r.start + 1).is_some_and(|(_, end)| end >= r.end)
    }

    /// Removes all bytes.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes the bytes at and behind `end`.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.remove(&(end..usize::MAX));
    }

    /// Adds the bytes of gaps of up to so many; whether there were any.
    pub(crate) fn fill_gaps_up_to(&mut self, length: usize) -> bool {
        let before = self.count();
        let mut joined: Vec<(usize, usize)> = Vec::with_capacity(before);
        for r in self.iter() {
            match joined.last_mut() {
                Some((_, end)) if r.start - *end <= length => *end = r.end,
                _ => joined.push((r.start, r.end)),
            }
        }
        *self = match joined[..] {
            [one] => Self { one: Some(one), many: BTreeMap::new() },
            _ => Self { one: None, many: joined.into_iter().collect() },
        };
        self.count() != before
    }

    /// Adds all bytes between the first and the last.
    pub(crate) fn fill_gaps(&mut self) {
        if let (Some((&start, _)), Some((_, &end))) =
            (self.many.first_key_value(), self.many.last_key_value())
        {
            *self = Self { one: Some((start, end)), many: BTreeMap::new() };
        }
    }

    pub(crate) fn insert(&mut self, r: Range<usize>) {
        if r.is_empty() {
            return;
        }
        let (mut start, mut end) = (r.start, r.end);
        match self.one.take() {
            None if self.many.is_empty() => {
                self.one = Some((start, end));
                return;
            }
            Some((s, e)) if s <= end && start <= e => {
                self.one = Some((s.min(start), e.max(end)));
                return;
            }
            one => self.many.extend(one),
        }
        let set = &mut self.many;
        // Most ranges come in order.
        if let Some(mut last) = set.last_entry().filter(|last| *last.key() <= start) {
            if start <= *last.get() {
                *last.get_mut() = end.max(*last.get());
            } else {
                set.insert(start, end);
            }
            return;
        }
        if let Some((&s, &e)) = set.range(..=start).next_back()
            && e >= start
        {
            (start, end) = (s, end.max(e));
        }
        while let Some((&s, &e)) = set.range(start..=end).next() {
            set.remove(&s);
            end = end.max(e);
        }
        set.insert(start, end);
    }

    pub(crate) fn remove(&mut self, r: &Range<usize>) {
        if r.is_empty() {
            return;
        }
        self.many.extend(self.one.take());
        let set = &mut self.many;
        if let Some((&s, &e)) = set.range(..r.start).next_back()
            && e > r.start
        {
            set.insert(s, r.start);
            if e > r.end {
                set.insert(r.end, e);
            }
        }
        while let Some((&s, &e)) = set.range(r.start..r.end).next() {
            set.remove(&s);
            if e > r.end {
                set.insert(r.end, e);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_set_of_bytes(ops in prop::collection::vec((any::<bool>(), 0usize..200, 0usize..40), 0..60)) {
            let (mut set, mut model) = (RangeSet::default(), [false; 256]);
            for (add, at, n) in ops {
                if add { set.insert(at..at + n) } else { set.remove(&(at..at + n)) }
                model[at..at + n].fill(add);
                let mut seen = [false; 256];
                let mut last = None;
                for r in set.iter() {
                    prop_assert!(!r.is_empty() && last.is_none_or(|e| e < r.start));
                    last = Some(r.end);
                    seen[r].fill(true);
                }
                prop_assert_eq!(seen, model);
                prop_assert_eq!(set.count(), set.iter().count());
                let r = at..at + n;
                prop_assert_eq!(set.overlaps(&r), model[r.clone()].contains(&true));
                prop_assert_eq!(set.covers(&r), !model[r].contains(&false));
            }
        }

        #[test]
        fn gaps_are_filled_and_ends_cut(
            parts in prop::collection::vec((0usize..200, 0usize..9), 0..30), gap in 0usize..12, cut in 0usize..230,
        ) {
            let (mut set, mut model) = (RangeSet::default(), [false; 256]);
            for (at, n) in parts {
                set.insert(at..at + n);
                model[at..at + n].fill(true);
            }
            let gaps: Vec<_> = set.iter().zip(set.iter().skip(1)).map(|(a, b)| a.end..b.start).collect();
            let filled = gaps.into_iter().filter(|r| r.len() <= gap).map(|r| model[r].fill(true)).count();
            prop_assert_eq!(set.fill_gaps_up_to(gap), filled > 0);
            let bytes = |set: &RangeSet| set.iter().flatten().collect::<Vec<_>>();
            let expected = |end: usize| (0..end).filter(|at| model[*at]).collect::<Vec<_>>();
            prop_assert_eq!(bytes(&set), expected(256));
            set.truncate(cut);
            prop_assert_eq!(bytes(&set), expected(cut));
            set.clear();
            prop_assert!(set.is_empty());
        }
    }
}
