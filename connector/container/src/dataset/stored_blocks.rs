//! Lookup of the elements of a dataset that are in stored blocks. All other elements are read as the fill value, however many
//! there are.

use super::Dataset;
use crate::chunk::grid::Grid;
use crate::selection::{Run, Selection};
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_ledger::{ENTRIES_PER_SCAN, is_last_page};
use h5lake_records::keys;
use h5lake_records::types::{Dataspace, Layout};

/// The elements of each stored block of a dataset, in the order of the blocks.
#[derive(Debug)]
pub struct StoredBlocks<'a> {
    dataset: &'a Dataset,
    space: Dataspace,
    page: std::vec::IntoIter<Bytes>,
    after: Option<Bytes>,
    is_over: bool,
}

impl StoredBlocks<'_> {
    /// Returns the next block that has elements within the extent.
    fn step(&mut self) -> Result<Option<Selection>> {
        loop {
            let Some(key) = self.page.next() else {
                if self.is_over {
                    return Ok(None);
                }
                self.turn()?;
                continue;
            };
            let coords = self.dataset.block_coords(&key)?;
            if let Some(part) = self.dataset.block_selection(&coords, &self.space)? {
                return Ok(Some(part));
            }
        }
    }

    fn turn(&mut self) -> Result<()> {
        let ledger = &self.dataset.container().ledger;
        let page = ledger.scan_prefix(&self.dataset.prefix(), self.after.as_deref(), ENTRIES_PER_SCAN)?;
        self.is_over = is_last_page(&page, ENTRIES_PER_SCAN);
        self.after = page.last().map(|(key, _)| key.clone());
        self.page = page.into_iter().map(|(key, _)| key).collect::<Vec<_>>().into_iter();
        Ok(())
    }
}

impl Iterator for StoredBlocks<'_> {
    type Item = Result<Selection>;

    fn next(&mut self) -> Option<Result<Selection>> {
        let step = self.step().transpose();
        // No block is returned after an error.
        if matches!(step, Some(Err(_))) {
            (self.page, self.is_over) = (Vec::new().into_iter(), true);
        }
        step
    }
}

/// A lookup that determines whether elements are in stored blocks. The result for the last block is cached.
#[derive(Debug)]
pub struct BlockLookup<'a> {
    dataset: &'a Dataset,
    dims: Vec<u64>,
    last: Option<(Vec<u64>, bool)>,
}

impl BlockLookup<'_> {
    /// Returns whether the element with this number, in C order, is in a stored block, and the minimum number of elements,
    /// from this element on, for which the answer is the same: those in the same row of the block.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn at(&mut self, number: u64) -> Result<(bool, u64)> {
        let (coords, length) = match &self.dataset.grid {
            Grid::Line(elements) => {
                let elements = (*elements).max(1);
                (vec![number / elements], elements - number % elements)
            }
            Grid::Boxes(chunk) => {
                let (mut left, mut coords) = (number, vec![0; chunk.len()]);
                let mut length = 1;
                for (d, (dim, side)) in self.dims.iter().zip(chunk).enumerate().rev() {
                    let (at, side) = (left % dim.max(&1), *side.max(&1));
                    if d + 1 == chunk.len() {
                        length = (side - at % side).min(dim - at);
                    }
                    (coords[d], left) = (at / side, left / dim.max(&1));
                }
                (coords, length)
            }
        };
        if let Some((last, is_stored)) = &self.last
            && *last == coords
        {
            return Ok((*is_stored, length));
        }
        let is_stored = self.dataset.exists(&coords)?;
        self.last = Some((coords, is_stored));
        Ok((is_stored, length))
    }

    /// Returns the elements of `runs` that are in no stored block.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn outside(&mut self, runs: &[Run]) -> Result<Vec<Run>> {
        let mut outside: Vec<Run> = Vec::new();
        for run in runs {
            let (mut number, end) = (run.offset, run.offset + run.count);
            while number < end {
                let (is_stored, length) = self.at(number)?;
                let count = length.min(end - number);
                match outside.last_mut() {
                    _ if is_stored => (),
                    Some(last) if last.offset + last.count == number => last.count += count,
                    _ => outside.push(Run { offset: number, count }),
                }
                number += count;
            }
        }
        Ok(outside)
    }
}

impl Dataset {
    /// Returns whether the dataset stores its elements in blocks, and only those elements that were written. Elements of other
    /// datasets are stored elsewhere, or all in the dataset's own header.
    pub fn is_in_blocks(&self) -> bool {
        matches!(self.layout, Layout::Chunked { .. } | Layout::Contiguous)
    }

    /// Returns the stored blocks, each as its elements within the extent. Staged elements are stored first.
    ///
    /// # Errors
    /// The errors of the ledger. Each item can be `Corrupt` for an entry that is no valid block.
    pub fn stored_blocks(&self) -> Result<StoredBlocks<'_>> {
        self.check_there()?;
        self.flush()?;
        let (space, page) = (self.space(), Vec::new().into_iter());
        Ok(StoredBlocks { dataset: self, space, page, after: None, is_over: !self.is_in_blocks() })
    }

    /// Returns a lookup of elements in the stored blocks.
    pub fn block_lookup(&self) -> BlockLookup<'_> {
        BlockLookup { dataset: self, dims: self.space.read().dims().to_vec(), last: None }
    }

    /// Returns the coordinates of a stored block, counted in blocks.
    fn block_coords(&self, key: &[u8]) -> Result<Vec<u64>> {
        match &self.grid {
            Grid::Boxes(_) => self.coords_of(key),
            Grid::Line(_) if keys::tail(key).len() == 8 => Ok(keys::coords(key)),
            Grid::Line(_) => Err(Error::corrupt("the key of a block names none of its dataset's")),
        }
    }
}
