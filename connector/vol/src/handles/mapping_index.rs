//! Finds the mappings of a virtual dataset that a transfer may touch, without checking all mappings.
#![forbid(unsafe_code)]

/// The number of entries below one node.
const WIDTH: usize = 16;

/// The first and last coordinates of a box of elements.
pub type Bounds = (Vec<u64>, Vec<u64>);

/// A tree of boxes over mappings in their order. Consecutive mappings are mostly adjacent.
#[derive(Debug, Default)]
pub struct MappingIndex {
    mappings: usize,
    /// For each level, lowest first: the box of each node, or `None` if the node has a mapping without bounds.
    levels: Vec<Vec<Option<Bounds>>>,
}

impl MappingIndex {
    /// Builds the tree over mappings with these bounds.
    pub fn of<'a>(bounds: impl ExactSizeIterator<Item = Option<&'a Bounds>>) -> Self {
        let mut index = Self { mappings: bounds.len(), levels: Vec::new() };
        let mut all: Vec<Option<Bounds>> = bounds.map(Option::<&Bounds>::cloned).collect();
        while all.len() > WIDTH {
            all = all.chunks(WIDTH).map(joined).collect();
            index.levels.push(all.clone());
        }
        index
    }

    /// Returns the positions, in ascending order, of mappings near a box. Mappings far from the box are left out,
    /// except some neighbours of near ones.
    pub fn near(&self, wanted: &Bounds) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.levels.last().map_or(self.mappings, Vec::len)).collect();
        for (below, level) in self.levels.iter().enumerate().rev() {
            let size = below.checked_sub(1).map_or(self.mappings, |below| self.levels[below].len());
            let is_near = |node: &usize| level[*node].as_ref().is_none_or(|bounds| overlap(bounds, wanted));
            let entries = |node: usize| node * WIDTH..((node + 1) * WIDTH).min(size);
            found = found.into_iter().filter(is_near).flat_map(entries).collect();
        }
        found
    }
}

/// Returns whether two boxes have common elements.
pub fn overlap(first: &Bounds, second: &Bounds) -> bool {
    let before = |low: &[u64], high: &[u64]| low.iter().zip(high).all(|(low, high)| low <= high);
    before(&first.0, &second.1) && before(&second.0, &first.1)
}

/// Returns the box around all boxes; `None` if one of them has no bounds, or another rank.
fn joined(all: &[Option<Bounds>]) -> Option<Bounds> {
    let (first, rest) = all.split_first()?;
    let mut joined = first.clone()?;
    for one in rest {
        let one = one.as_ref().filter(|one| one.0.len() == joined.0.len())?;
        joined.0.iter_mut().zip(&one.0).for_each(|(low, other)| *low = (*low).min(*other));
        joined.1.iter_mut().zip(&one.1).for_each(|(high, other)| *high = (*high).max(*other));
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds() -> impl Strategy<Value = Bounds> {
        prop::collection::vec((0..200u64, 0..20u64), 2)
            .prop_map(|sides| sides.iter().map(|(low, size)| (*low, low + size)).unzip())
    }

    proptest! {
        #[test]
        fn every_mapping_near_a_box_is_found(
            all in prop::collection::vec(prop::option::weighted(0.9, bounds()), 0..600),
            wanted in bounds()
        ) {
            let index = MappingIndex::of(all.iter().map(Option::as_ref));
            let found = index.near(&wanted);
            prop_assert!(found.is_sorted());
            let near = |bounds: &Option<Bounds>| bounds.as_ref().is_none_or(|bounds| overlap(bounds, &wanted));
            for (n, _) in all.iter().enumerate().filter(|(_, bounds)| near(bounds)) {
                prop_assert!(found.contains(&n), "{}", n);
            }
        }
    }

    #[test]
    fn few_of_many_mappings_side_by_side_are_looked_at() {
        for count in [100, 10_000, 1_000_000] {
            let all: Vec<Bounds> = (0..count).map(|n| (vec![n * 10, 0], vec![n * 10 + 9, 99])).collect();
            let index = MappingIndex::of(all.iter().map(Some));
            let found = index.near(&(vec![555, 5], vec![556, 6]));
            assert!(found.contains(&55) && found.len() <= 2 * WIDTH, "{count} {}", found.len());
        }
    }
}
