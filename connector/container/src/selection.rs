//! Which elements of a dataset are meant.

use crate::types::product;
use crate::{Error, Result};

/// A run of elements that follow one another in C order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of the first element in the present extent, C order.
    pub offset: u64,
    /// Number of elements.
    pub count: u64,
}

/// Elements of a dataset, in an order: C order for all but `Runs`, which is in the order given.
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
    /// Number of elements selected in a dataset of dimensions `dims`.
    ///
    /// # Errors
    /// `OutOfRange` when the number does not fit 64 bits.
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
}

fn too_many() -> Error {
    Error::range("a selection has more elements than fit 64 bits")
}
