//! Sets of byte ranges that may be many and come in any order.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges by their starts. Ranges that touch are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans(BTreeMap<usize, usize>);

impl Spans {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    pub(crate) fn insert(&mut self, r: Range<usize>) {
        if r.is_empty() {
            return;
        }
        let (mut start, mut end) = (r.start, r.end);
        if let Some((&s, &e)) = self.0.range(..=start).next_back()
            && e >= start
        {
            (start, end) = (s, end.max(e));
        }
        while let Some((&s, &e)) = self.0.range(start..=end).next() {
            self.0.remove(&s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    pub(crate) fn remove(&mut self, r: &Range<usize>) {
        if r.is_empty() {
            return;
        }
        if let Some((&s, &e)) = self.0.range(..r.start).next_back()
            && e > r.start
        {
            self.0.insert(s, r.start);
            if e > r.end {
                self.0.insert(r.end, e);
            }
        }
        while let Some((&s, &e)) = self.0.range(r.start..r.end).next() {
            self.0.remove(&s);
            if e > r.end {
                self.0.insert(r.end, e);
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
            let (mut set, mut model) = (Spans::default(), [false; 256]);
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
            }
        }
    }
}
