//! Extents of datasets that are joined, and the position of each part in the whole.

use h5lake_container::{Dataspace, Layout};

use crate::error::{Error, Result};

/// `H5S_UNLIMITED`.
const UNLIMITED: u64 = u64::MAX;

/// The dimension along which datasets of several files are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// An existing dimension: its length is the sum of the parts' lengths.
    Existing(usize),
    /// A new dimension before the existing ones, with one element for each file. The other dimensions must be equal.
    New,
}

/// The position of a part in the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shift {
    pub along: Along,
    /// The number of elements before the part along that dimension.
    pub offset: u64,
}

impl Shift {
    /// Returns the position in the whole of an element of the part.
    pub fn start(self, start: &[u64]) -> Vec<u64> {
        match self.along {
            Along::New => [&[self.offset], start].concat(),
            Along::Existing(n) => {
                let mut moved = start.to_vec();
                if let Some(at) = moved.get_mut(n) {
                    *at = at.saturating_add(self.offset);
                }
                moved
            }
        }
    }

    /// Returns the dimensions in the whole of a block of the part.
    pub fn count(self, count: &[u64]) -> Vec<u64> {
        match self.along {
            Along::New => [&[1], count].concat(),
            Along::Existing(_) => count.to_vec(),
        }
    }

    /// Returns the number of elements before the part in a whole with contiguous parts; `extent` is that of the part.
    pub fn elements_before(self, extent: &[u64]) -> Option<u64> {
        let inner = match self.along {
            Along::New => extent,
            Along::Existing(n) => extent.get(n + 1..).unwrap_or_default(),
        };
        inner.iter().try_fold(self.offset, |product, size| product.checked_mul(*size))
    }
}

/// The parts of one dataset in the files.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub along: Along,
    /// The extent in the first file, and the maximum extent.
    pub extent: Vec<u64>,
    pub most: Vec<u64>,
    /// The length of each file's part along the dimension.
    pub lengths: Vec<u64>,
}

impl Parts {
    /// Returns the length of a part of that extent along the dimension.
    ///
    /// # Errors
    /// If its other dimensions differ from those of the first part.
    pub fn length_of(along: Along, first: &[u64], extent: &[u64]) -> Result<u64> {
        let Along::Existing(n) = along else {
            return if first == extent { Ok(1) } else { Err(other_extent(first, extent)) };
        };
        let (Some(length), true) = (extent.get(n), first.len() == extent.len()) else {
            return Err(other_extent(first, extent));
        };
        let mut wanted = first.to_vec();
        wanted[n] = *length;
        if wanted == extent { Ok(*length) } else { Err(other_extent(first, extent)) }
    }

    /// Returns the shift of a part: the number of elements along the dimension before the part.
    pub fn shift(&self, part: usize) -> Shift {
        let before = self.lengths.iter().take(part).fold(0_u64, |sum, length| sum.saturating_add(*length));
        Shift { along: self.along, offset: before }
    }

    /// Returns the extent of the whole. A chunked whole can grow along a new dimension.
    ///
    /// # Errors
    /// If it is longer than HDF5 allows.
    pub fn whole(&self, is_chunked: bool) -> Result<Dataspace> {
        let sum = self.lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length));
        let sum =
            sum.filter(|sum| *sum < UNLIMITED).ok_or_else(|| Error::argument("joined files are too long"))?;
        let (mut dims, mut max) = (self.extent.clone(), self.most.clone());
        match self.along {
            Along::New => {
                dims.insert(0, sum);
                max.insert(0, if is_chunked { UNLIMITED } else { sum });
            }
            Along::Existing(n) => {
                dims[n] = sum;
                max[n] = max[n].max(sum);
            }
        }
        if !is_chunked {
            max.clone_from(&dims);
        }
        Ok(Dataspace::Simple { dims, max })
    }

    /// Returns the reason why the parts' raw data cannot serve unchanged as raw data of a whole with that layout;
    /// `None` if it can.
    pub fn obstacle(&self, layout: &Layout) -> Option<&'static str> {
        let Along::Existing(n) = self.along else { return None };
        match layout {
            Layout::Chunked { chunk } => {
                let inner = self.lengths.split_last().map_or(&[][..], |(_, inner)| inner);
                let size = chunk.get(n).copied().unwrap_or(1).max(1);
                let is_aligned = inner.iter().all(|length| length.is_multiple_of(size));
                (!is_aligned).then_some("a file's part ends within a chunk")
            }
            _ => {
                let is_first = self.extent.iter().take(n).all(|size| *size == 1);
                (!is_first).then_some("contiguous data is joined along another dimension than the first")
            }
        }
    }
}

fn other_extent(first: &[u64], extent: &[u64]) -> Error {
    Error::argument(format!("it is {extent:?}, which cannot be joined to {first:?} of the first file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(along: Along, extent: &[u64], most: &[u64], lengths: &[u64]) -> Parts {
        Parts { along, extent: extent.to_vec(), most: most.to_vec(), lengths: lengths.to_vec() }
    }

    #[test]
    fn parts_lie_behind_each_other() {
        let of = parts(Along::Existing(1), &[4, 6, 5], &[4, 6, 5], &[6, 0, 3]);
        assert_eq!(of.whole(true).unwrap(), Dataspace::Simple { dims: vec![4, 9, 5], max: vec![4, 9, 5] });
        assert_eq!(of.shift(2).start(&[1, 2, 3]), [1, 8, 3]);
        assert_eq!(of.shift(2).count(&[1, 2, 3]), [1, 2, 3]);
        let of = parts(Along::New, &[4], &[UNLIMITED], &[1, 1]);
        assert_eq!(of.whole(true).unwrap(), Dataspace::Simple { dims: vec![2, 4], max: vec![UNLIMITED; 2] });
        assert_eq!(of.whole(false).unwrap(), Dataspace::Simple { dims: vec![2, 4], max: vec![2, 4] });
        assert_eq!((of.shift(1).start(&[3]), of.shift(1).count(&[4])), (vec![1, 3], vec![1, 4]));
        assert_eq!(of.shift(1).elements_before(&[4]), Some(4));
        assert_eq!(parts(Along::New, &[], &[], &[1, 1, 1]).shift(2).elements_before(&[]), Some(2));
        assert!(parts(Along::Existing(0), &[1], &[1], &[u64::MAX, 2]).whole(true).is_err());
    }

    #[test]
    fn raw_data_is_joined_where_it_fits() {
        let chunked = Layout::Chunked { chunk: vec![2, 3] };
        let of = |n, lengths: &[u64]| parts(Along::Existing(n), &[4, 6], &[4, 6], lengths);
        assert!(of(1, &[6, 3, 1]).obstacle(&chunked).is_none());
        assert!(of(1, &[6, 4, 3]).obstacle(&chunked).is_some());
        assert!(of(0, &[4, 5]).obstacle(&Layout::Contiguous).is_none());
        assert!(of(1, &[6, 6]).obstacle(&Layout::Contiguous).is_some());
        assert!(parts(Along::New, &[4, 6], &[4, 6], &[1, 1]).obstacle(&Layout::Contiguous).is_none());
    }

    #[test]
    fn other_dimensions_are_alike() {
        assert_eq!(Parts::length_of(Along::Existing(0), &[4, 6], &[9, 6]).unwrap(), 9);
        assert!(Parts::length_of(Along::Existing(0), &[4, 6], &[4, 7]).is_err());
        assert!(Parts::length_of(Along::Existing(0), &[4, 6], &[4]).is_err());
        assert_eq!(Parts::length_of(Along::New, &[4, 6], &[4, 6]).unwrap(), 1);
        assert!(Parts::length_of(Along::New, &[4, 6], &[5, 6]).is_err());
    }
}
