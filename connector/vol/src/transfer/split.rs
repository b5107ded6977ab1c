//! Large transfers in parts, so that converted or gathered elements take little memory.
#![forbid(unsafe_code)]

use h5lake_container::{Run, Selection};

/// The bytes that one part takes on either side.
pub const PART_BYTES: usize = 8 << 20;
/// The bytes of a part if no filters run.
pub const PLAIN_PART_BYTES: usize = 2 << 20;
/// The most bytes of a segment of a contiguous dataset.
pub const SEGMENT_BYTES: usize = 1 << 20;

/// Splits a selection into parts of at most `limit` elements, which follow each other in selection order. Returns each
/// part with its number of elements.
pub fn split(selection: &Selection, dims: &[u64], limit: u64) -> Vec<(Selection, u64)> {
    let mut parts = Vec::new();
    match selection {
        Selection::None => {}
        Selection::All => Slab::whole(dims).split(limit.max(1), 0, &mut parts),
        Selection::Hyperslab { start, stride, count, block } => {
            let slab = Slab {
                start: start.clone(),
                stride: stride.clone(),
                count: count.clone(),
                block: block.clone(),
            };
            slab.split(limit.max(1), 0, &mut parts);
        }
        Selection::Runs(runs) => split_runs(runs, limit.max(1), &mut parts),
    }
    parts
}

/// Returns whether a selection names some element more than once, as lists of points may.
pub fn has_repeats(selection: &Selection) -> bool {
    let Selection::Runs(runs) = selection else { return false };
    let mut sorted = runs.clone();
    sorted.sort_unstable_by_key(|run| run.offset);
    sorted.windows(2).any(|pair| pair[0].offset.saturating_add(pair[0].count) > pair[1].offset)
}

fn split_runs(runs: &[Run], limit: u64, parts: &mut Vec<(Selection, u64)>) {
    let (mut part, mut points) = (Vec::new(), 0);
    for run in runs {
        let (mut offset, mut left) = (run.offset, run.count);
        while left > 0 {
            let count = left.min(limit - points);
            part.push(Run { offset, count });
            points += count;
            offset += count;
            left -= count;
            if points == limit {
                parts.push((Selection::Runs(std::mem::take(&mut part)), points));
                points = 0;
            }
        }
    }
    if points > 0 {
        parts.push((Selection::Runs(part), points));
    }
}

/// A regular hyperslab.
#[derive(Clone)]
struct Slab {
    start: Vec<u64>,
    stride: Vec<u64>,
    count: Vec<u64>,
    block: Vec<u64>,
}

impl Slab {
    fn whole(dims: &[u64]) -> Self {
        let ones = vec![1; dims.len()];
        Self { start: vec![0; dims.len()], stride: ones.clone(), count: dims.to_vec(), block: ones }
    }

    fn points(&self) -> u64 {
        self.count
            .iter()
            .zip(&self.block)
            .fold(1, |points: u64, (c, b)| points.saturating_mul(c.saturating_mul(*b)))
    }

    /// Splits along dimension `d`, while all dimensions before it have a single index: only then do the parts follow
    /// each other in row-major order.
    fn split(self, limit: u64, d: usize, parts: &mut Vec<(Selection, u64)>) {
        let points = self.points();
        if points == 0 {
            return;
        }
        if points <= limit || d == self.count.len() {
            let Self { start, stride, count, block } = self;
            // An extent without dimensions is one element, not a hyperslab.
            let part = if start.is_empty() {
                Selection::All
            } else {
                Selection::Hyperslab { start, stride, count, block }
            };
            parts.push((part, points));
            return;
        }
        if self.count[d] == 1 && self.block[d] == 1 {
            return self.split(limit, d + 1, parts);
        }
        if self.count[d] == 1 {
            let mut rows = self;
            (rows.count[d], rows.block[d], rows.stride[d]) = (rows.block[d], 1, 1);
            return rows.split(limit, d, parts);
        }
        let each = (limit / (points / self.count[d])).max(1);
        let mut done = 0;
        while done < self.count[d] {
            let mut part = self.clone();
            part.start[d] += done * self.stride[d];
            part.count[d] = each.min(self.count[d] - done);
            done += part.count[d];
            part.split(limit, d, parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_found_wherever_they_lie() {
        let runs = |list: &[(u64, u64)]| {
            Selection::Runs(list.iter().map(|&(offset, count)| Run { offset, count }).collect())
        };
        assert!(has_repeats(&runs(&[(5, 1), (0, 2), (5, 1)])));
        assert!(has_repeats(&runs(&[(0, 4), (3, 1)])));
        assert!(!has_repeats(&runs(&[(4, 2), (0, 4), (6, 1)])));
        assert!(!has_repeats(&Selection::All));
    }

    /// Returns the linear positions of all elements, in selection order.
    fn positions(selection: &Selection, dims: &[u64]) -> Vec<u64> {
        match selection {
            Selection::None => Vec::new(),
            Selection::All => (0..dims.iter().product()).collect(),
            Selection::Runs(runs) => runs.iter().flat_map(|run| run.offset..run.offset + run.count).collect(),
            Selection::Hyperslab { start, stride, count, block } => {
                (0..dims.len()).fold(vec![0], |before: Vec<u64>, d| {
                    let along: Vec<u64> = (0..count[d])
                        .flat_map(|i| (0..block[d]).map(move |j| (i, j)))
                        .map(|(i, j)| start[d] + i * stride[d] + j)
                        .collect();
                    before.iter().flat_map(|p| along.iter().map(move |c| p * dims[d] + c)).collect()
                })
            }
        }
    }

    #[test]
    fn parts_are_small_and_keep_the_order() {
        let dims = [7, 12, 10];
        let slab = Selection::Hyperslab {
            start: vec![1, 0, 2],
            stride: vec![3, 5, 4],
            count: vec![2, 2, 2],
            block: vec![2, 3, 3],
        };
        let runs = Selection::Runs(vec![Run { offset: 5, count: 100 }, Run { offset: 0, count: 3 }]);
        for selection in [Selection::All, Selection::None, slab, runs] {
            let whole = positions(&selection, &dims);
            for limit in [1, 2, 3, 7, 11, 36, 100, 1000] {
                let parts = split(&selection, &dims, limit);
                assert!(parts.iter().all(|(_, points)| *points <= limit && *points > 0));
                let joined: Vec<u64> = parts
                    .iter()
                    .flat_map(|(part, points)| {
                        let found = positions(part, &dims);
                        assert_eq!(found.len() as u64, *points);
                        found
                    })
                    .collect();
                assert_eq!(joined, whole, "{selection:?} by {limit}");
            }
        }
    }

    #[test]
    fn a_scalar_is_one_part() {
        assert_eq!(split(&Selection::All, &[], 1), [(Selection::All, 1)]);
    }
}
