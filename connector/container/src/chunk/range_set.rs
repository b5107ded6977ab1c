//! Sets of bytes, as ranges that may be many and are inserted in any order.

mod bitmap;

use std::collections::BTreeMap;
use std::mem::take;
use std::ops::Range;

use self::bitmap::Bitmap;

/// From this number of ranges on, a set may be a bitmap.
const MIN_RANGES_OF_BITMAP: usize = 16;
/// A bitmap with fewer ranges than one per this many bytes takes more memory than a map, because a map entry takes as
/// much as a bit for each of these bytes.
const MAX_BYTES_FOR_A_RANGE: usize = 256;

/// Disjoint ranges by their starts. Adjacent ranges are joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeSet(Form);

#[derive(Debug, Clone, Default)]
enum Form {
    #[default]
    Empty,
    /// One range, without allocated memory: most sets have one range.
    One(Range<usize>),
    /// The ends of ranges by their starts.
    Map(BTreeMap<usize, usize>),
    Bitmap(Box<Bitmap>),
}

impl PartialEq for RangeSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl FromIterator<Range<usize>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<usize>>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|r| set.insert(r));
        set
    }
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Returns the ranges in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let (one, map, bitmap) = match &self.0 {
            Form::Empty => (None, None, None),
            Form::One(one) => (Some(one.clone()), None, None),
            Form::Map(map) => (None, Some(map), None),
            Form::Bitmap(bitmap) => (None, None, Some(bitmap)),
        };
        let map = map.into_iter().flatten().map(|(&start, &end)| start..end);
        one.into_iter().chain(map).chain(bitmap.into_iter().flat_map(|bitmap| bitmap.ranges()))
    }

    /// Returns the number of ranges.
    pub(crate) fn count(&self) -> usize {
        match &self.0 {
            Form::Empty => 0,
            Form::One(_) => 1,
            Form::Map(map) => map.len(),
            Form::Bitmap(bitmap) => bitmap.count(),
        }
    }

    /// Returns whether any of these bytes is in the set.
    pub(crate) fn overlaps(&self, r: &Range<usize>) -> bool {
        !r.is_empty()
            && match &self.0 {
                Form::Empty => false,
                Form::One(one) => one.start < r.end && r.start < one.end,
                Form::Map(map) => map.range(..r.end).next_back().is_some_and(|(_, &end)| end > r.start),
                Form::Bitmap(bitmap) => bitmap.overlaps(r),
            }
    }

    /// Returns whether all of these bytes are in the set.
    pub(crate) fn covers(&self, r: &Range<usize>) -> bool {
        r.is_empty()
            || match &self.0 {
                Form::Empty => false,
                Form::One(one) => one.start <= r.start && r.end <= one.end,
                Form::Map(map) => map.range(..=r.start).next_back().is_some_and(|(_, &end)| end >= r.end),
                Form::Bitmap(bitmap) => bitmap.covers(r),
            }
    }

    /// Returns the bytes of a range that are not in the set, in order.
    pub(crate) fn gaps(&self, r: &Range<usize>) -> Vec<Range<usize>> {
        let (mut gaps, mut at) = (Vec::new(), r.start);
        for there in
            self.iter().skip_while(|there| there.end <= r.start).take_while(|there| there.start < r.end)
        {
            if there.start > at {
                gaps.push(at..there.start);
            }
            at = there.end;
        }
        if at < r.end {
            gaps.push(at..r.end);
        }
        gaps
    }

    /// Removes all bytes.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes the bytes from `end` on.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.remove(&(end..usize::MAX));
    }

    /// Adds the bytes of gaps of up to `length` bytes; returns whether there were any.
    pub(crate) fn fill_gaps_up_to(&mut self, length: usize) -> bool {
        let before = self.count();
        let mut joined: Vec<Range<usize>> = Vec::new();
        for r in self.iter() {
            match joined.last_mut() {
                Some(last) if r.start - last.end <= length => last.end = r.end,
                _ => joined.push(r),
            }
        }
        *self = joined.into_iter().collect();
        self.count() != before
    }

    /// Adds all bytes between the first and the last byte.
    pub(crate) fn fill_gaps(&mut self) {
        self.fill_gaps_up_to(usize::MAX);
    }

    pub(crate) fn insert(&mut self, r: Range<usize>) {
        if r.is_empty() {
            return;
        }
        match &mut self.0 {
            Form::Empty => self.0 = Form::One(r),
            Form::One(one) if one.start <= r.end && r.start <= one.end => {
                *one = one.start.min(r.start)..one.end.max(r.end);
            }
            Form::One(one) => self.0 = Form::Map([one.clone(), r].map(|r| (r.start, r.end)).into()),
            Form::Map(map) => {
                add(map, r);
                self.settle_form();
            }
            Form::Bitmap(bitmap) => {
                if r.end > bitmap.len() && r.end / (2 * MAX_BYTES_FOR_A_RANGE) > bitmap.count() {
                    self.0 = Form::Map(bitmap.ranges().map(|r| (r.start, r.end)).collect());
                    return self.insert(r);
                }
                bitmap.set(&r, true);
                self.settle_form();
            }
        }
    }

    pub(crate) fn remove(&mut self, r: &Range<usize>) {
        if r.is_empty() {
            return;
        }
        if let Form::One(one) = &self.0 {
            self.0 = Form::Map([(one.start, one.end)].into());
        }
        match &mut self.0 {
            Form::Map(map) => cut(map, r),
            Form::Bitmap(bitmap) => bitmap.set(r, false),
            Form::Empty | Form::One(_) => {}
        }
        self.settle_form();
    }

    /// Changes to the form that suits the present ranges.
    fn settle_form(&mut self) {
        match (self.count(), &self.0) {
            (0, _) => self.0 = Form::Empty,
            (1, _) => {
                let one = self.iter().next();
                self.0 = one.map_or(Form::Empty, Form::One);
            }
            (count, Form::Map(map)) if count.is_multiple_of(MIN_RANGES_OF_BITMAP) => {
                let end = map.last_key_value().map_or(0, |(_, &end)| end);
                if end / MAX_BYTES_FOR_A_RANGE < count {
                    self.0 = Form::Bitmap(Box::new(take(self).iter().collect()));
                }
            }
            _ => {}
        }
    }
}

/// Adds a range of bytes.
fn add(map: &mut BTreeMap<usize, usize>, r: Range<usize>) {
    let (mut start, mut end) = (r.start, r.end);
    // Most ranges come in ascending order.
    if let Some(mut last) = map.last_entry().filter(|last| *last.key() <= start) {
        if start <= *last.get() {
            *last.get_mut() = end.max(*last.get());
        } else {
            map.insert(start, end);
        }
        return;
    }
    if let Some((&s, &e)) = map.range(..=start).next_back()
        && e >= start
    {
        (start, end) = (s, end.max(e));
    }
    while let Some((&s, &e)) = map.range(start..=end).next() {
        map.remove(&s);
        end = end.max(e);
    }
    map.insert(start, end);
}

/// Removes a range of bytes.
fn cut(map: &mut BTreeMap<usize, usize>, r: &Range<usize>) {
    if let Some((&s, &e)) = map.range(..r.start).next_back()
        && e > r.start
    {
        map.insert(s, r.start);
        if e > r.end {
            map.insert(r.end, e);
        }
    }
    while let Some((&s, &e)) = map.range(r.start..r.end).next() {
        map.remove(&s);
        if e > r.end {
            map.insert(r.end, e);
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
                let missing = r.clone().filter(|at| !model[*at]).collect::<Vec<_>>();
                prop_assert_eq!(set.gaps(&r).into_iter().flatten().collect::<Vec<_>>(), missing);
                prop_assert_eq!(set.covers(&r), !model[r].contains(&false));
            }
        }

        #[test]
        fn is_a_set_of_bytes_in_each_form(
            ops in prop::collection::vec((any::<bool>(), 0usize..3000, 1usize..5, 2usize..40, 0usize..200), 1..8),
            far in prop::collection::vec((0usize..65_000, 0usize..500), 0..3),
        ) {
            let (mut set, mut model) = (RangeSet::default(), vec![false; 1 << 16]);
            let strided = ops.into_iter().flat_map(|(add, at, n, step, count)| {
                (0..count).map(move |i| (add, at + i * step, n))
            });
            for (add, at, n) in strided.chain(far.into_iter().map(|(at, n)| (true, at, n))) {
                if add { set.insert(at..at + n) } else { set.remove(&(at..at + n)) }
                model[at..at + n].fill(add);
                let r = at.saturating_sub(3)..at + n + 3;
                prop_assert_eq!(set.overlaps(&r), model[r.clone()].contains(&true));
                prop_assert_eq!(set.covers(&r), !model[r].contains(&false));
            }
            let mut seen = vec![false; 1 << 16];
            set.iter().for_each(|r| seen[r].fill(true));
            prop_assert!(seen == model);
            prop_assert_eq!(set.count(), set.iter().count());
            let starts = (0..model.len()).filter(|&at| model[at] && (at == 0 || !model[at - 1]));
            prop_assert!(set.iter().map(|r| r.start).eq(starts));
        }

        #[test]
        fn gaps_are_filled_and_ends_are_truncated(
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

    #[test]
    fn a_strided_selection_takes_a_bit_for_each_byte_and_a_far_range_does_not() {
        let mut set: RangeSet = (0..10_000).map(|n| 8 * n..8 * n + 4).collect();
        assert!(matches!(&set.0, Form::Bitmap(bitmap) if bitmap.len() <= 80_000) && set.count() == 10_000);
        set.insert(1 << 40..(1 << 40) + 1);
        assert!(matches!(&set.0, Form::Map(_)) && set.count() == 10_001);
        let mut column: RangeSet = (0..10_000).map(|n| 8 * n..8 * n + 4).collect();
        (0..10_000).for_each(|n| column.insert(8 * n + 4..8 * n + 8));
        assert!(matches!(&column.0, Form::One(one) if *one == (0..80_000)));
        let far: RangeSet = (0..10_000).map(|n| 800 * n..800 * n + 4).collect();
        assert!(matches!(&far.0, Form::Map(_)), "a bitmap would take more");
    }
}
