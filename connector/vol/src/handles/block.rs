//! Selections that are one block: arithmetic that avoids calls into libhdf5.
#![forbid(unsafe_code)]

use h5lake_container::{Run, Selection, UNLIMITED};

use crate::hdf5::selection::Unlimited;

/// One block of elements: a hyperslab with a single block, or with blocks that are adjacent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    start: Vec<u64>,
    shape: Vec<u64>,
}

impl Block {
    /// Returns the block of all elements of an extent.
    pub fn all(dims: &[u64]) -> Self {
        Self { start: vec![0; dims.len()], shape: dims.to_vec() }
    }

    /// Makes a block with this first element and this shape; its ends must fit into 64 bits.
    pub fn new(start: Vec<u64>, shape: Vec<u64>) -> Self {
        Self { start, shape }
    }

    /// Returns the first and the last coordinates; the block must not be empty.
    pub fn bounds(&self) -> (Vec<u64>, Vec<u64>) {
        let last = |(first, size): (&u64, &u64)| first.saturating_add(*size).saturating_sub(1);
        (self.start.clone(), self.start.iter().zip(&self.shape).map(last).collect())
    }

    /// Converts a hyperslab that is one limited block, and not empty.
    pub fn of_hyperslab(slab: &Unlimited) -> Option<Self> {
        let mut shape = Vec::with_capacity(slab.start.len());
        for (d, first) in slab.start.iter().enumerate() {
            let (count, block) = (slab.count[d], slab.block[d]);
            let size = count.checked_mul(block).filter(|size| *size > 0 && *size < UNLIMITED)?;
            first.checked_add(size)?;
            if count > 1 && slab.stride[d] != block {
                return None;
            }
            shape.push(size);
        }
        Some(Self { start: slab.start.clone(), shape })
    }

    /// Returns the block's size in each dimension.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Returns whether the block is within an extent.
    pub fn is_within(&self, dims: &[u64]) -> bool {
        let ends = self.start.iter().zip(&self.shape).map(|(first, size)| first.saturating_add(*size));
        self.start.len() == dims.len() && ends.zip(dims).all(|(end, size)| end <= *size)
    }

    /// Returns the elements that both blocks have.
    pub fn common(&self, other: &Self) -> Option<Self> {
        let (mut start, mut shape) = (Vec::new(), Vec::new());
        for d in 0..self.start.len() {
            let first = self.start[d].max(*other.start.get(d)?);
            let end = (self.start[d] + self.shape[d]).min(other.start[d] + other.shape[d]);
            start.push(first);
            shape.push(end.checked_sub(first).filter(|size| *size > 0)?);
        }
        Some(Self { start, shape })
    }

    /// Returns the positions of the elements of `part`, which is in this block, among this block's elements in C
    /// order.
    pub fn runs_of(&self, part: &Self) -> Vec<Run> {
        // Dimensions in which `part` spans the block make longer runs.
        let whole = self.shape.iter().zip(&part.shape).rev().take_while(|(all, own)| all == own).count();
        let split = self.shape.len() - whole;
        let inner: u64 = self.shape[split..].iter().product();
        let Some(last) = split.checked_sub(1) else { return vec![Run { offset: 0, count: inner }] };
        let count = part.shape[last] * inner;
        let mut at: Vec<u64> = part.start.iter().zip(&self.start).map(|(own, all)| own - all).collect();
        let first = at.clone();
        let rows = part.shape[..last].iter().product::<u64>();
        let mut runs = Vec::with_capacity(usize::try_from(rows).unwrap_or(0));
        for _ in 0..rows {
            let position = at[..split].iter().zip(&self.shape).fold(0, |n, (at, size)| n * size + at);
            runs.push(Run { offset: position * inner, count });
            for d in (0..last).rev() {
                at[d] += 1;
                if at[d] < first[d] + part.shape[d] {
                    break;
                }
                at[d] = first[d];
            }
        }
        runs
    }

    /// Returns the block as the container's selection.
    pub fn selection(&self) -> Selection {
        let ones = vec![1; self.start.len()];
        Selection::Hyperslab {
            start: self.start.clone(),
            stride: ones.clone(),
            count: ones,
            block: self.shape.clone(),
        }
    }

    /// Returns the block as libhdf5's hyperslab.
    pub fn hyperslab(&self) -> Unlimited {
        let ones = vec![1; self.start.len()];
        Unlimited {
            dimension: 0,
            start: self.start.clone(),
            stride: ones.clone(),
            count: ones,
            block: self.shape.clone(),
        }
    }
}

/// Two blocks with elements that correspond in C order, dimension by dimension: their shapes differ only in dimensions
/// of size 1.
#[derive(Debug, Clone)]
pub struct BlockPair {
    /// The elements of the virtual dataset.
    pub place: Block,
    /// The elements of the source that are shown there.
    pub source: Block,
}

impl BlockPair {
    /// Makes a pair, if both blocks have elements and their dimensions correspond.
    pub fn new(place: Block, source: Block) -> Option<Self> {
        if place.shape.contains(&0) || source.shape.contains(&0) {
            return None;
        }
        let long = |block: &Block| block.shape.iter().copied().filter(|size| *size > 1).collect::<Vec<_>>();
        (long(&place) == long(&source)).then_some(Self { place, source })
    }

    /// Returns the elements of the source that are shown in `part`, which is in the place.
    pub fn in_source(&self, part: &Block) -> Block {
        let mut found = self.source.clone();
        let long = |d: &usize| self.place.shape[*d] > 1;
        let ours = (0..self.place.shape.len()).filter(long);
        let theirs = (0..found.shape.len()).filter(|d| self.source.shape[*d] > 1).collect::<Vec<_>>();
        for (from, to) in ours.zip(theirs) {
            found.start[to] += part.start[from] - self.place.start[from];
            found.shape[to] = part.shape[from];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the elements of a block of an extent in C order.
    fn elements(block: &Block, dims: &[u64]) -> Vec<u64> {
        let total: u64 = dims.iter().product();
        let inside = |n: &u64| {
            let mut remainder = *n;
            (0..dims.len()).rev().all(|d| {
                let at = remainder % dims[d];
                remainder /= dims[d];
                (block.start[d]..block.start[d] + block.shape[d]).contains(&at)
            })
        };
        (0..total).filter(inside).collect()
    }

    fn block_in(dims: Vec<u64>) -> impl Strategy<Value = Block> {
        let each = dims.into_iter().map(|size| (0..size).prop_flat_map(move |at| (Just(at), 1..=size - at)));
        each.collect::<Vec<_>>().prop_map(|list| {
            let (start, shape) = list.into_iter().unzip();
            Block { start, shape }
        })
    }

    fn extent_and_blocks() -> impl Strategy<Value = (Vec<u64>, Block, Block)> {
        let dims = prop::collection::vec(1u64..6, 1..4);
        dims.prop_flat_map(|dims| (Just(dims.clone()), block_in(dims.clone()), block_in(dims)))
    }

    proptest! {
        #[test]
        fn a_common_part_is_found_and_placed((dims, wanted, place) in extent_and_blocks()) {
            let (all, shown) = (elements(&wanted, &dims), elements(&place, &dims));
            let both: Vec<u64> = all.iter().copied().filter(|n| shown.contains(n)).collect();
            let Some(common) = wanted.common(&place) else {
                prop_assert!(both.is_empty());
                return Ok(());
            };
            prop_assert_eq!(elements(&common, &dims), both.clone());
            let runs = wanted.runs_of(&common);
            let placed: Vec<u64> = runs.iter().flat_map(|r| r.offset..r.offset + r.count).collect();
            let expected: Vec<u64> = both.iter().map(|n| all.iter().position(|m| m == n).unwrap() as u64).collect();
            prop_assert_eq!(placed, expected);
        }

        #[test]
        fn sources_correspond_in_c_order((dims, wanted, place) in extent_and_blocks(), lead in 0usize..3) {
            // The source has the shape of the place, with additional dimensions of one element.
            let mut shape: Vec<u64> = place.shape.iter().copied().filter(|n| *n > 1).collect();
            shape.splice(shape.len().min(lead)..shape.len().min(lead), [1, 1]);
            let source_dims: Vec<u64> = shape.iter().map(|n| n + 3).collect();
            let source = Block { start: vec![2; shape.len()], shape };
            let pair = BlockPair::new(place.clone(), source.clone()).unwrap();
            if let Some(common) = wanted.common(&place) {
                let position = |n: &u64| elements(&place, &dims).iter().position(|m| m == n).unwrap();
                let all = elements(&source, &source_dims);
                let expected: Vec<u64> = elements(&common, &dims).iter().map(|n| all[position(n)]).collect();
                prop_assert_eq!(elements(&pair.in_source(&common), &source_dims), expected);
            }
        }
    }

    #[test]
    fn blocks_that_lie_apart_or_have_no_end_are_none() {
        let slab_at = |start, stride, count, block| {
            Block::of_hyperslab(&Unlimited {
                dimension: 0,
                start: vec![start],
                stride: vec![stride],
                count: vec![count],
                block: vec![block],
            })
        };
        let slab = |stride, count, block| slab_at(3, stride, count, block);
        assert_eq!(slab(4, 5, 4), Some(Block { start: vec![3], shape: vec![20] }));
        assert_eq!(slab(9, 1, 4), Some(Block { start: vec![3], shape: vec![4] }));
        for none in [slab(5, 2, 4), slab(1, u64::MAX, 1), slab(1, 0, 1), slab_at(0, 1, UNLIMITED, 1)] {
            assert_eq!(none, None);
        }
        assert!(Block::all(&[3, 4]).is_within(&[3, 4]) && !Block::all(&[3, 5]).is_within(&[3, 4]));
        assert!(!Block::all(&[3]).is_within(&[3, 4]));
        assert!(BlockPair::new(Block::all(&[1]), Block::all(&[0])).is_none());
        assert!(BlockPair::new(Block::all(&[2, 3]), Block::all(&[3, 2])).is_none());
    }
}
