//! Reads dataspaces with selections of any form.

use super::bytes::{Bytes, Checked};
use super::dataspace::{ALL, HYPERSLAB, NONE, check_dataspace};
use crate::types::UNLIMITED;

/// A selection in a dataspace, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredSelection {
    /// No element.
    None,
    /// All elements.
    All,
    /// Points in their order: the coordinates of the first one, of the second one, and so on.
    Points(Vec<u64>),
    /// Blocks in any order, each with its first and its last element.
    Blocks(Vec<[Vec<u64>; 2]>),
    /// Blocks at equal distances. A count or a block of an unlimited selection is [`UNLIMITED`].
    Regular {
        /// The first elements.
        start: Vec<u64>,
        /// The distances from block to block.
        stride: Vec<u64>,
        /// The numbers of blocks.
        count: Vec<u64>,
        /// The sizes of a block.
        block: Vec<u64>,
    },
}

/// Reads the encoding of a dataspace with its selection. Returns the dimensions and the selection.
///
/// # Errors
/// As for [`check_dataspace`].
pub fn stored_selection(encoded: &[u8]) -> Checked<(Vec<u64>, StoredSelection)> {
    check_dataspace(encoded)?;
    let mut bytes = Bytes::new(encoded);
    bytes.take(2)?;
    let (length_bytes, length) = (bytes.u8()?, bytes.u32()?);
    let mut extent = Bytes::new(bytes.take_long(length.into())?);
    let (version, rank) = (extent.u8()?, extent.u8()?);
    extent.take(if version == 1 { 6 } else { 2 })?;
    let dims = (0..rank).map(|_| extent.integer(length_bytes.into())).collect::<Checked<Vec<_>>>()?;
    let (kind, version) = (bytes.u32()?, bytes.u32()?);
    let (flags, width) = match (kind, version) {
        (ALL, _) => return Ok((dims, StoredSelection::All)),
        (NONE, _) => return Ok((dims, StoredSelection::None)),
        (HYPERSLAB, 3) => (bytes.u8()?, bytes.u8()?),
        (HYPERSLAB, 2) => (bytes.u8()?, bytes.take(4).map(|_| 8)?),
        (HYPERSLAB, _) => (0, bytes.take(8).map(|_| 4)?),
        (_, 2) => (0, bytes.u8()?),
        _ => (0, bytes.take(8).map(|_| 4)?),
    };
    let (rank, width) = (bytes.u32()?, usize::from(width));
    let selection = match (kind, flags) {
        (HYPERSLAB, 0) => blocks(&mut bytes, rank, width)?,
        (HYPERSLAB, _) => regular(&mut bytes, rank, width)?,
        _ => points(&mut bytes, rank, width)?,
    };
    Ok((dims, selection))
}

fn points(bytes: &mut Bytes<'_>, rank: u32, width: usize) -> Checked<StoredSelection> {
    let mut found = Vec::new();
    for _ in 0..bytes.integer(width)? {
        for _ in 0..rank {
            found.push(bytes.integer(width)?);
        }
    }
    Ok(StoredSelection::Points(found))
}

fn blocks(bytes: &mut Bytes<'_>, rank: u32, width: usize) -> Checked<StoredSelection> {
    let mut found = Vec::new();
    for _ in 0..bytes.integer(width)? {
        let mut corner = || (0..rank).map(|_| bytes.integer(width)).collect::<Checked<Vec<_>>>();
        found.push([corner()?, corner()?]);
    }
    Ok(StoredSelection::Blocks(found))
}

fn regular(bytes: &mut Bytes<'_>, rank: u32, width: usize) -> Checked<StoredSelection> {
    let endless = u64::MAX >> (64 - 8 * width);
    let bound = |number: u64| if number == endless { UNLIMITED } else { number };
    let [mut start, mut stride, mut count, mut block] = [const { Vec::new() }; 4];
    for _ in 0..rank {
        start.push(bytes.integer(width)?);
        stride.push(bytes.integer(width)?);
        count.push(bound(bytes.integer(width)?));
        block.push(bound(bytes.integer(width)?));
    }
    Ok(StoredSelection::Regular { start, stride, count, block })
}
