//! Computes the extent of a virtual dataset with unlimited mappings from its sources.

use h5lake_container::{Dataspace, UNLIMITED};

use crate::error::{Error, Minor, Result};
use crate::handles::open_objects::DatasetHandle;
use crate::handles::virtual_layout::{Mapping, VirtualLayout};
use crate::hdf5::plist::virtual_sources::View;
use crate::hdf5::selection::Unlimited;
use crate::operations::virtual_dataset::layout;
use crate::operations::virtual_dataset::sources::{Search, check_rank};

/// The number of sources of one mapping after which the search fails.
const MOST_BLOCKS: u64 = 1 << 32;

/// Reads the extents of the sources, and sets the dimensions of a virtual dataset accordingly (`H5Dget_space` does
/// so).
///
/// # Errors
/// If the dimensions exceed the dataset's largest ones; errors of opening sources, but a missing source is none.
pub fn refresh(dataset: &DatasetHandle) -> Result<()> {
    let Some(layout) = layout::of(dataset)? else { return Ok(()) };
    let Dataspace::Simple { mut dims, .. } = dataset.dataset.space() else { return Ok(()) };
    let mut search = Search::new(dataset, &layout)?;
    let mut found: Vec<Option<u64>> = vec![None; dims.len()];
    for mapping in &layout.mappings {
        let Some(place) = &mapping.endless_place else { continue };
        let end = match (&mapping.endless_source, mapping.numbered()) {
            (Some(source), _) => end_of_endless(&layout, mapping, place, source, &mut search)?,
            (None, Some(blocks)) => end_of_numbered(&layout, mapping, blocks, &mut search)?,
            (None, None) => continue,
        };
        let Some(known) = found.get_mut(place.dimension) else { continue };
        *known = Some(match (*known, layout.view) {
            (None, _) => end,
            (Some(known), View::FirstMissing) => known.min(end),
            (Some(known), View::LastAvailable) => known.max(end),
        });
    }
    let least = layout.least_extent(dims.len());
    for ((size, found), least) in dims.iter_mut().zip(found).zip(least) {
        if let Some(found) = found {
            *size = found.max(least);
        }
    }
    Ok(dataset.dataset.follow_sources(&dims)?)
}

fn end_of_endless(
    layout: &VirtualLayout,
    mapping: &Mapping,
    place: &Unlimited,
    source: &Unlimited,
    search: &mut Search<'_>,
) -> Result<u64> {
    let Some(found) = search.find(&mapping.file.of_block(0), &mapping.dataset.of_block(0))? else {
        return Ok(0);
    };
    check_rank(mapping, &found)?;
    let size = found.extent()?.dims().get(source.dimension).copied().unwrap_or(0);
    Ok(place.end_of(source.slices_before(size), layout.view == View::FirstMissing))
}

/// Returns the end of a dataset with numbered sources: the first block without a source, or the last block that has a
/// source and comes before `gap` + 1 blocks without one.
fn end_of_numbered(
    layout: &VirtualLayout,
    mapping: &Mapping,
    blocks: &Unlimited,
    search: &mut Search<'_>,
) -> Result<u64> {
    let (mut number, mut behind) = (0, 0);
    while number <= layout.gap.saturating_add(behind) {
        if number == MOST_BLOCKS {
            return Err(Error::new(Minor::BadRange, "a virtual dataset has too many sources"));
        }
        if search.exists(&mapping.file.of_block(number), &mapping.dataset.of_block(number))? {
            behind = number + 1;
        }
        number += 1;
    }
    let d = blocks.dimension;
    let start = |number: u64| blocks.start[d].saturating_add(number.saturating_mul(blocks.stride[d]));
    Ok(match (behind, layout.view) {
        (0, _) => 0,
        (_, View::FirstMissing) => start(behind),
        (_, View::LastAvailable) => start(behind - 1).saturating_add(blocks.block[d]),
    })
}

/// Counts slices along the unlimited dimension: the selected positions of that dimension (H5Shyper.c,
/// `H5S_hyper_get_clip_extent_match`).
impl Unlimited {
    fn along(&self) -> (u64, u64, u64) {
        let d = self.dimension;
        (self.start[d], self.stride[d].max(1), self.block[d])
    }

    /// Returns whether the selection along the dimension is one piece.
    fn is_one_piece(&self) -> bool {
        let (_, stride, block) = self.along();
        block == UNLIMITED || block == stride
    }

    /// Returns the number of slices before `size`.
    pub fn slices_before(&self, size: u64) -> u64 {
        let (start, stride, block) = self.along();
        let Some(length) = size.checked_sub(start) else { return 0 };
        if self.is_one_piece() {
            return length;
        }
        let (whole, remainder) = (length / stride, length % stride);
        whole.saturating_mul(block).saturating_add(remainder.min(block))
    }

    /// Returns the size that contains `slices` slices; `with_gap` includes the unselected positions behind the last
    /// block.
    pub fn end_of(&self, slices: u64, with_gap: bool) -> u64 {
        let (start, stride, block) = self.along();
        if slices == 0 {
            return if with_gap { start } else { 0 };
        }
        if self.is_one_piece() || block == 0 {
            return start.saturating_add(slices);
        }
        let (whole, remainder) = (slices / block, slices % block);
        let behind_whole = start.saturating_add(whole.saturating_mul(stride));
        match (remainder, with_gap) {
            (0, true) => behind_whole,
            (0, false) => behind_whole - stride + block,
            _ => behind_whole.saturating_add(remainder),
        }
    }

    /// Returns the number of blocks that are at least partly before `size`, and whether the last one is truncated.
    pub fn blocks_before(&self, size: u64) -> (u64, bool) {
        let (start, stride, block) = self.along();
        let Some(length) = size.checked_sub(start).filter(|length| *length > 0) else { return (0, false) };
        let count = length.div_ceil(stride);
        (count, (count - 1).saturating_mul(stride).saturating_add(block) > length)
    }

    /// Returns the number of blocks that are entirely before `position`.
    pub fn whole_blocks_before(&self, position: u64) -> u64 {
        let (count, cut) = self.blocks_before(position);
        if cut { count - 1 } else { count }
    }

    /// Returns one block, with all blocks of the other dimensions.
    pub fn block(&self, number: u64) -> Self {
        let mut one = self.clone();
        let d = self.dimension;
        one.start[d] = one.start[d].saturating_add(number.saturating_mul(one.stride[d]));
        one.count[d] = 1;
        one
    }

    /// Returns the selection truncated at `size`: a hyperslab with a last block that may reach beyond, or `None` if
    /// nothing remains.
    pub fn before(&self, size: u64) -> Option<Self> {
        let (start, _, _) = self.along();
        let length = size.checked_sub(start).filter(|length| *length > 0)?;
        let (mut cut, d) = (self.clone(), self.dimension);
        if self.is_one_piece() {
            (cut.count[d], cut.block[d], cut.stride[d]) = (1, length, length);
        } else {
            cut.count[d] = self.blocks_before(size).0;
        }
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn along(start: u64, stride: u64, count: u64, block: u64) -> Unlimited {
        let list = |n| vec![n];
        Unlimited {
            dimension: 0,
            start: list(start),
            stride: list(stride),
            count: list(count),
            block: list(block),
        }
    }

    #[test]
    fn slices_are_counted_up_to_a_size() {
        let blocks = along(2, 5, UNLIMITED, 3);
        let counted: Vec<_> = (0..=12).map(|size| blocks.slices_before(size)).collect();
        assert_eq!(counted, [0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6]);
        assert_eq!(along(2, 1, 1, UNLIMITED).slices_before(10), 8);
    }

    #[test]
    fn a_size_holds_as_many_slices_as_asked_for() {
        let blocks = along(2, 5, UNLIMITED, 3);
        for slices in 1..20 {
            assert_eq!(blocks.slices_before(blocks.end_of(slices, false)), slices);
            assert_eq!(blocks.slices_before(blocks.end_of(slices, false) - 1), slices - 1);
            assert_eq!(blocks.slices_before(blocks.end_of(slices, true)), slices);
            assert_eq!(blocks.slices_before(blocks.end_of(slices, true) + 1), slices + 1);
        }
        assert_eq!((blocks.end_of(0, true), blocks.end_of(0, false)), (2, 0));
    }

    #[test]
    fn blocks_are_cut_where_the_extent_ends() {
        let blocks = along(1, 4, UNLIMITED, 2);
        let counted: Vec<_> = (0..=8).map(|size| blocks.blocks_before(size)).collect();
        let wanted =
            [(0, false), (0, false), (1, true), (1, false), (1, false), (1, false), (2, true), (2, false)];
        assert_eq!(counted[..8], wanted);
        assert_eq!(blocks.whole_blocks_before(6), 1);
        assert_eq!(blocks.block(3).start, [13]);
    }
}
