//! Rectangular areas of elements, and the grid of a dataset's chunks.

use crate::slice::Axis;

/// A rectangular area of elements.
#[derive(Debug, Clone)]
pub struct Area {
    pub offset: Vec<u64>,
    pub shape: Vec<u64>,
}

impl Area {
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n: u64, side| n.saturating_mul(*side))
    }

    pub fn axes(&self) -> Vec<Axis> {
        let axis =
            |(start, count): (&u64, &u64)| Axis { start: *start, count: *count, step: 1, is_index: false };
        self.offset.iter().zip(&self.shape).map(axis).collect()
    }

    /// Extends the area by an area that follows along the first dimension and has the same other dimensions, unless the result has more
    /// than `most` elements. Returns whether the area was extended.
    pub fn grow(&mut self, next: &Self, most: u64) -> bool {
        let follows =
            self.offset.first().zip(self.shape.first()).map(|(at, n)| at + n) == next.offset.first().copied();
        let is_wide = self.offset[1..] == next.offset[1..] && self.shape[1..] == next.shape[1..];
        let joins = follows && is_wide && self.elements().saturating_add(next.elements()) <= most;
        if joins {
            self.shape[0] += next.shape[0];
        }
        joins
    }
}

/// Moves `at` to the next element of an area in C order. Returns `None` behind the last element.
pub fn advance(at: &mut [u64], area: &Area) -> Option<()> {
    for d in (0..at.len()).rev() {
        at[d] += 1;
        if at[d] < area.offset[d] + area.shape[d] {
            return Some(());
        }
        at[d] = area.offset[d];
    }
    None
}

/// An iterator over the chunks of an extent in C order. It includes chunks that were never written.
pub struct Grid {
    chunk: Vec<u64>,
    dims: Vec<u64>,
    /// The coordinates of the next chunk, or `None` behind the last one.
    next: Option<Vec<u64>>,
}

impl Grid {
    pub fn new(chunk: &[u64], dims: &[u64]) -> Self {
        let next = (!dims.contains(&0)).then(|| vec![0; dims.len()]);
        Self { chunk: chunk.to_vec(), dims: dims.to_vec(), next }
    }

    pub fn dims(&self) -> &[u64] {
        &self.dims
    }

    pub fn is_next(&self, offset: &[u64]) -> bool {
        self.next.as_deref() == Some(offset)
    }

    /// Returns the elements of the next chunk that lie within the extent.
    pub fn area(&self) -> Option<Area> {
        let offset = self.next.clone()?;
        let inside = |((at, n), dim): ((&u64, &u64), &u64)| (dim - at).min(*n);
        let shape = offset.iter().zip(&self.chunk).zip(&self.dims).map(inside).collect();
        Some(Area { offset, shape })
    }

    /// Skips the next chunk.
    pub fn skip(&mut self) {
        let Some(at) = &mut self.next else { return };
        for d in (0..at.len()).rev() {
            let following = at[d].saturating_add(self.chunk[d]);
            if following < self.dims[d] {
                at[d] = following;
                return;
            }
            at[d] = 0;
        }
        self.next = None;
    }
}
