//! Point selections of a virtual dataset: computes the element of a source for each point.
//!
//! `H5Sselect_project_intersection` sorts the points of its third argument, and ends the process if a point is
//! repeated (`H5S_hyper_add_span_element`). So no point selection is passed to it.

use h5lake_container::Run;

use crate::error::Result;
use crate::hdf5::id::Id;
use crate::hdf5::library::Library;
use crate::hdf5::selection::Unlimited;

/// The points of a transfer, in the order of the transfer.
pub struct Points {
    dims: Vec<u64>,
    offsets: Vec<u64>,
}

/// The points of a transfer that a source has, and those that it lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Coordinates in the source, one point after the other.
    pub coordinates: Vec<u64>,
    /// Positions of these points in the transfer.
    pub runs: Vec<Run>,
    /// Positions of the points that are outside of the source's extent.
    pub missing: Vec<Run>,
}

impl Points {
    /// Returns the points that `space` selects; `None` if it selects elements in another way.
    ///
    /// # Errors
    /// If the library cannot list the points.
    pub fn of(library: Library, space: &Id, dims: &[u64]) -> Result<Option<Self>> {
        if !library.selects_points(space) {
            return Ok(None);
        }
        let runs = library.runs_of(space.get())?;
        let offsets = runs.iter().flat_map(|run| run.offset..run.offset + run.count).collect();
        Ok(Some(Self { dims: dims.to_vec(), offsets }))
    }

    /// Returns whether `place` has any of the points.
    pub fn touch(&self, place: &Elements) -> bool {
        self.offsets.iter().any(|offset| place.ordinal(&coordinates_of(*offset, &self.dims)).is_some())
    }

    /// Returns the elements of `taken`, in a source with the dimensions `source`, that are shown at the points in
    /// `place`.
    pub fn in_source(&self, place: &Elements, taken: &Elements, source: &[u64]) -> Found {
        let mut found = Found::default();
        for (position, offset) in self.offsets.iter().enumerate() {
            let Some(ordinal) = place.ordinal(&coordinates_of(*offset, &self.dims)) else { continue };
            let at = taken.coordinates(ordinal);
            if at.iter().zip(source).all(|(at, size)| at < size) {
                found.coordinates.extend(at);
                push(&mut found.runs, position as u64);
            } else {
                push(&mut found.missing, position as u64);
            }
        }
        found
    }
}

fn push(runs: &mut Vec<Run>, position: u64) {
    match runs.last_mut() {
        Some(last) if last.offset + last.count == position => last.count += 1,
        _ => runs.push(Run { offset: position, count: 1 }),
    }
}

fn coordinates_of(mut offset: u64, dims: &[u64]) -> Vec<u64> {
    let mut at = vec![0; dims.len()];
    for (at, size) in at.iter_mut().zip(dims).rev() {
        let size = (*size).max(1);
        (*at, offset) = (offset % size, offset / size);
    }
    at
}

fn offset_of(at: &[u64], dims: &[u64]) -> u64 {
    at.iter().zip(dims).fold(0, |offset, (at, size)| offset.wrapping_mul(*size).wrapping_add(*at))
}

/// The elements of a selection, each with its ordinal in C order.
pub enum Elements {
    /// A regular hyperslab, or all of an extent.
    Regular(Unlimited),
    /// Any other selection: its runs in the linearised extent of these dimensions, and the ordinal at which each run
    /// begins.
    Listed {
        /// Dimensions of the extent.
        dims: Vec<u64>,
        /// The runs, in ascending order.
        runs: Vec<Run>,
        /// Ordinals of the first elements of the runs.
        first: Vec<u64>,
    },
}

impl Elements {
    /// Returns the elements that `space` selects.
    ///
    /// # Errors
    /// If the library cannot list the elements.
    pub fn of(library: Library, space: &Id) -> Result<Self> {
        let dims = library.dims_of(space.get())?.to_vec();
        if library.selects_all(space) {
            return Ok(Self::all(&dims));
        }
        let points = library.selected_points(space.get())?;
        if let Some(slab) = library.hyperslab_of(space)?.filter(|slab| points_of(slab) == Some(points)) {
            return Ok(Self::Regular(slab));
        }
        Ok(Self::listed(dims, library.runs_of(space.get())?))
    }

    fn all(dims: &[u64]) -> Self {
        let ones = vec![1; dims.len()];
        let start = vec![0; dims.len()];
        Self::Regular(Unlimited {
            dimension: 0,
            start,
            stride: ones.clone(),
            count: dims.to_vec(),
            block: ones,
        })
    }

    fn listed(dims: Vec<u64>, runs: Vec<Run>) -> Self {
        let mut before = 0;
        let mut first = Vec::with_capacity(runs.len());
        for run in &runs {
            first.push(before);
            before += run.count;
        }
        Self::Listed { dims, runs, first }
    }

    /// Returns the ordinal of the element at these coordinates; `None` if the element is not selected.
    fn ordinal(&self, at: &[u64]) -> Option<u64> {
        match self {
            Self::Regular(slab) => at.iter().enumerate().try_fold(0, |ordinal, (d, at)| {
                let from_start = at.checked_sub(slab.start[d])?;
                // For a single block, libhdf5 returns an arbitrary stride.
                let stride = slab.stride[d].max(slab.block[d]).max(1);
                let (block, inside) = (from_start / stride, from_start % stride);
                let is_selected = block < slab.count[d] && inside < slab.block[d];
                is_selected.then(|| ordinal * slab.count[d] * slab.block[d] + block * slab.block[d] + inside)
            }),
            Self::Listed { dims, runs, first } => {
                let offset = offset_of(at, dims);
                let n = runs.partition_point(|run| run.offset <= offset).checked_sub(1)?;
                let inside = offset - runs[n].offset;
                (inside < runs[n].count).then(|| first[n] + inside)
            }
        }
    }

    /// Returns the coordinates of the element with this ordinal. The element must be selected.
    fn coordinates(&self, ordinal: u64) -> Vec<u64> {
        match self {
            Self::Regular(slab) => {
                let sizes: Vec<u64> =
                    slab.count.iter().zip(&slab.block).map(|(count, block)| count * block).collect();
                let mut at = coordinates_of(ordinal, &sizes);
                for (d, at) in at.iter_mut().enumerate() {
                    let block = slab.block[d].max(1);
                    *at = slab.start[d] + *at / block * slab.stride[d] + *at % block;
                }
                at
            }
            Self::Listed { dims, runs, first } => {
                let n = first.partition_point(|first| *first <= ordinal).saturating_sub(1);
                let offset = runs.get(n).map_or(0, |run| run.offset + (ordinal - first[n]));
                coordinates_of(offset, dims)
            }
        }
    }
}

fn points_of(slab: &Unlimited) -> Option<u64> {
    let mut sizes = slab.count.iter().zip(&slab.block).flat_map(|(count, block)| [*count, *block]);
    sizes.try_fold(1, u64::checked_mul)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slab_in(dims: Vec<u64>) -> impl Strategy<Value = Unlimited> {
        let one = |size: u64| {
            (0..size, 1..4u64, 1..4u64, 1..4u64).prop_map(move |(start, block, gap, count)| {
                let block = block.min(size - start);
                let stride = block + gap - 1;
                let count = count.min((size - start - block) / stride + 1);
                (start, if count == 1 { gap } else { stride }, count, block)
            })
        };
        dims.into_iter().map(one).collect::<Vec<_>>().prop_map(|each| {
            let list = |of: fn(&(u64, u64, u64, u64)) -> u64| each.iter().map(of).collect::<Vec<_>>();
            Unlimited {
                dimension: 0,
                start: list(|e| e.0),
                stride: list(|e| e.1),
                count: list(|e| e.2),
                block: list(|e| e.3),
            }
        })
    }

    fn extent_and_slab() -> impl Strategy<Value = (Vec<u64>, Unlimited)> {
        prop::collection::vec(1u64..9, 1..4).prop_flat_map(|dims| (Just(dims.clone()), slab_in(dims)))
    }

    proptest! {
        #[test]
        fn regular_and_listed_elements_have_the_same_ordinals((dims, slab) in extent_and_slab()) {
            let regular = Elements::Regular(slab.clone());
            let total: u64 = dims.iter().product();
            let selected: Vec<u64> =
                (0..total).filter(|n| regular.ordinal(&coordinates_of(*n, &dims)).is_some()).collect();
            prop_assert_eq!(points_of(&slab), Some(selected.len() as u64));
            let runs = selected.iter().map(|offset| Run { offset: *offset, count: 1 }).collect();
            let listed = Elements::listed(dims.clone(), runs);
            for (ordinal, offset) in selected.iter().enumerate() {
                let at = coordinates_of(*offset, &dims);
                prop_assert_eq!(offset_of(&at, &dims), *offset);
                for elements in [&regular, &listed] {
                    prop_assert_eq!(elements.ordinal(&at), Some(ordinal as u64));
                    prop_assert_eq!(elements.coordinates(ordinal as u64), at.clone());
                }
            }
            for offset in (0..total).filter(|n| !selected.contains(n)) {
                prop_assert_eq!(listed.ordinal(&coordinates_of(offset, &dims)), None);
            }
        }
    }

    #[test]
    fn points_keep_their_order_and_repetitions() {
        let points = Points { dims: vec![4, 4], offsets: vec![10, 5, 5, 0, 15, 6] };
        let place = Elements::Regular(Unlimited {
            dimension: 0,
            start: vec![1, 1],
            stride: vec![1, 1],
            count: vec![3, 3],
            block: vec![1, 1],
        });
        let found = points.in_source(&place, &Elements::all(&[9]), &[8]);
        let run = |offset, count| Run { offset, count };
        assert_eq!(found.coordinates, [4, 0, 0, 1]);
        assert_eq!((found.runs, found.missing), (vec![run(0, 3), run(5, 1)], vec![run(4, 1)]));
        assert!(points.touch(&place) && !points.touch(&Elements::listed(vec![4, 4], vec![run(1, 2)])));
    }
}
