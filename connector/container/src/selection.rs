//! Selections of elements of a dataset.

use crate::{Error, Result};
use h5lake_records::types::product;

/// A run of consecutive elements in C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of the first element in the present extent, C order.
    pub offset: u64,
    /// Number of elements.
    pub count: u64,
}

/// Elements of a dataset, in an order: C order for all except `Runs`, which is in the given order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every element.
    All,
    /// No element.
    None,
    /// Blocks at regular distances (`H5Sselect_hyperslab`); each as long as the dataset's rank.
    Hyperslab {
        /// First element of the first block.
        start: Vec<u64>,
        /// Distance from block to block.
        stride: Vec<u64>,
        /// Number of blocks.
        count: Vec<u64>,
        /// Size of a block.
        block: Vec<u64>,
    },
    /// Runs of elements in any order, for points and irregular selections.
    Runs(Vec<Run>),
}

impl Selection {
    /// Returns the number of selected elements in a dataset of dimensions `dims`.
    ///
    /// # Errors
    /// `OutOfRange` if the number does not fit 64 bits.
    pub fn points(&self, dims: &[u64]) -> Result<u64> {
        match self {
            Self::All => product(dims),
            Self::None => Ok(0),
            Self::Hyperslab { count, block, .. } => {
                product(count)?.checked_mul(product(block)?).ok_or_else(too_many)
            }
            Self::Runs(runs) => {
                runs.iter().try_fold(0u64, |n, r| n.checked_add(r.count)).ok_or_else(too_many)
            }
        }
    }

    /// Returns the elements as runs of an extent of dimensions `dims`, in the order of the selection; adjacent runs are
    /// joined.
    ///
    /// # Errors
    /// `OutOfRange` if the selection exceeds the extent.
    pub fn runs(&self, dims: &[u64]) -> Result<Vec<Run>> {
        let total = product(dims)?;
        let mut out: Vec<Run> = Vec::new();
        let mut push = |offset: u64, count: u64| {
            if offset.checked_add(count).is_none_or(|end| end > total) {
                return Err(Error::range("a selection leaves the extent"));
            }
            match out.last_mut() {
                Some(last) if last.offset + last.count == offset => last.count += count,
                _ if count > 0 => out.push(Run { offset, count }),
                _ => {}
            }
            Ok(())
        };
        match self {
            Self::All => push(0, total)?,
            Self::None => {}
            Self::Runs(runs) => runs.iter().try_for_each(|r| push(r.offset, r.count))?,
            Self::Hyperslab { start, stride, count, block } => {
                let rank = dims.len();
                if rank == 0 || [start, stride, count, block].iter().any(|list| list.len() != rank) {
                    return Err(Error::invalid("a selection has another rank than the dataset"));
                }
                let slab = Slab { dims, start, stride, count, block };
                slab.rows(0, 0, &mut push)?;
            }
        }
        Ok(out)
    }
}

/// Regular blocks in an extent.
struct Slab<'a> {
    dims: &'a [u64],
    start: &'a [u64],
    stride: &'a [u64],
    count: &'a [u64],
    block: &'a [u64],
}

impl Slab<'_> {
    /// Visits the runs from dimension `d` on; `base` is the position given by the previous dimensions.
    fn rows(&self, d: usize, base: u64, visit: &mut impl FnMut(u64, u64) -> Result<()>) -> Result<()> {
        let outside = || Error::range("a selection leaves the extent");
        for n in 0..self.count[d] {
            let first = n.checked_mul(self.stride[d]).and_then(|skip| skip.checked_add(self.start[d]));
            let first = first.ok_or_else(outside)?;
            if first.checked_add(self.block[d]).is_none_or(|end| end > self.dims[d]) {
                return Err(outside());
            }
            if d + 1 == self.dims.len() {
                visit(base + first, self.block[d])?;
                continue;
            }
            let below = product(&self.dims[d + 1..])?;
            for position in first..first + self.block[d] {
                self.rows(d + 1, base + position * below, visit)?;
            }
        }
        Ok(())
    }
}

fn too_many() -> Error {
    Error::range("a selection has more elements than fit 64 bits")
}
