//! Sets of byte ranges.

use std::ops::Range;

/// Ranges in order, neither touching nor overlapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.iter().cloned()
    }

    pub(crate) fn insert(&mut self, r: Range<usize>) {
        if r.is_empty() {
            return;
        }
        // Writes mostly go on where the last one ended.
        if let Some(last) = self.0.last_mut()
            && last.start <= r.start
        {
            if r.start <= last.end {
                last.end = last.end.max(r.end);
            } else {
                self.0.push(r);
            }
            return;
        }
        let from = self.0.partition_point(|x| x.end < r.start);
        let to = self.0.partition_point(|x| x.start <= r.end);
        if from == to {
            self.0.insert(from, r);
            return;
        }
        let start = self.0[from].start.min(r.start);
        let end = self.0[to - 1].end.max(r.end);
        self.0.splice(from..to, std::iter::once(start..end));
    }

    /// Whether all of `r` is in the set.
    pub(crate) fn covers(&self, r: &Range<usize>) -> bool {
        let at = self.0.partition_point(|x| x.end < r.end);
        r.is_empty() || self.0.get(at).is_some_and(|x| x.start <= r.start && r.end <= x.end)
    }

    /// Forgets what lies at or behind `end`.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.0.retain_mut(|x| {
            x.end = x.end.min(end);
            x.start < x.end
        });
    }

    /// Joins ranges over gaps of up to `gap` bytes; says whether any gap was joined over.
    pub(crate) fn join(&mut self, gap: usize) -> bool {
        let before = self.0.len();
        let mut out: Vec<Range<usize>> = Vec::with_capacity(before);
        for r in self.0.drain(..) {
            match out.last_mut() {
                Some(last) if r.start - last.end <= gap => last.end = r.end,
                _ => out.push(r),
            }
        }
        self.0 = out;
        self.0.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn total(set: &Ranges) -> usize {
        set.0.iter().map(Range::len).sum()
    }

    proptest! {
        #[test]
        fn is_a_set_of_bytes(parts in prop::collection::vec((0usize..200, 0usize..30), 0..40), cut in 0usize..230) {
            let (mut set, mut model) = (Ranges::default(), [false; 256]);
            for (at, n) in parts {
                set.insert(at..at + n);
                model[at..at + n].fill(true);
                for w in set.0.windows(2) {
                    prop_assert!(w[0].end < w[1].start);
                }
            }
            prop_assert_eq!(total(&set), model.iter().filter(|&&b| b).count());
            for r in set.iter() {
                prop_assert!(model[r.clone()].iter().all(|&b| b));
                prop_assert!(set.covers(&r));
                prop_assert!(!set.covers(&(r.start..r.end + 1)));
            }
            set.truncate(cut);
            prop_assert_eq!(total(&set), model[..cut].iter().filter(|&&b| b).count());
        }
    }
}
