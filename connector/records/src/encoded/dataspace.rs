//! Dataspaces with selections as `H5Sencode2` encodes them: the dataspace message of the HDF5 file format specification
//! (IV.A.2.b) after a head of seven bytes, and a serialised selection (VIII.A).

use super::bytes::{Bytes, Checked};

/// The number of the dataspace message.
const MESSAGE: u8 = 1;
/// The version of the head.
const ENCODING: u8 = 0;
/// HDF5's bound on the rank.
pub(super) const MAX_RANK: u32 = 32;

pub(super) const NONE: u32 = 0;
const POINTS: u32 = 1;
pub(super) const HYPERSLAB: u32 = 2;
pub(super) const ALL: u32 = 3;

/// Checks the encoding of a dataspace with its selection, and returns its length. Bytes after it are ignored.
///
/// # Errors
/// The error in the encoding.
pub fn check_dataspace(encoded: &[u8]) -> Checked<usize> {
    let mut bytes = Bytes::new(encoded);
    dataspace(&mut bytes)?;
    Ok(encoded.len() - bytes.remaining().len())
}

/// A dataspace with a selection of a simple form, read from its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleSpace {
    /// Its dimensions.
    pub dims: Vec<u64>,
    /// The selected elements.
    pub selected: SimpleSelection,
}

/// A selection that a few numbers describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimpleSelection {
    /// All elements.
    All,
    /// One block: its first element, and its shape, which contains no 0.
    Block(Vec<u64>, Vec<u64>),
}

/// Reads the encoding of a dataspace with a selection of everything, or of one bounded block; `None` for any other
/// selection.
///
/// # Errors
/// As for [`check_dataspace`].
pub fn simple_space(encoded: &[u8]) -> Checked<Option<SimpleSpace>> {
    check_dataspace(encoded)?;
    let mut bytes = Bytes::new(encoded);
    bytes.take(2)?;
    let (length_bytes, length) = (bytes.u8()?, bytes.u32()?);
    let mut extent = Bytes::new(bytes.take_long(length.into())?);
    let version = extent.u8()?;
    let rank = extent.u8()?;
    extent.take(if version == 1 { 6 } else { 2 })?;
    let dims = (0..rank).map(|_| extent.integer(length_bytes.into())).collect::<Checked<Vec<_>>>()?;
    let selected = match (bytes.u32()?, bytes.u32()?) {
        (ALL, _) => Some(SimpleSelection::All),
        (HYPERSLAB, 1) => {
            bytes.take(8)?;
            one_block(&mut bytes, 0, 4)?
        }
        (HYPERSLAB, 2) => {
            let flags = bytes.u8()?;
            bytes.take(4)?;
            one_block(&mut bytes, flags, 8)?
        }
        (HYPERSLAB, _) => {
            let (flags, width) = (bytes.u8()?, bytes.u8()?);
            one_block(&mut bytes, flags, width)?
        }
        _ => None,
    };
    Ok(selected.map(|selected| SimpleSpace { dims, selected }))
}

/// Reads a hyperslab that is one bounded block: a list with one block, or adjacent blocks.
fn one_block(bytes: &mut Bytes<'_>, flags: u8, width: u8) -> Checked<Option<SimpleSelection>> {
    let (rank, width) = (bytes.u32()?, usize::from(width));
    if flags == 0 {
        if bytes.integer(width)? != 1 {
            return Ok(None);
        }
        let mut corner = || (0..rank).map(|_| bytes.integer(width)).collect::<Checked<Vec<_>>>();
        let (low, high) = (corner()?, corner()?);
        let shape = low.iter().zip(&high).map(|(low, high)| high - low + 1).collect();
        return Ok(Some(SimpleSelection::Block(low, shape)));
    }
    let (mut first, mut shape) = (Vec::new(), Vec::new());
    let endless = u64::MAX >> (64 - 8 * width);
    for _ in 0..rank {
        let mut number = || bytes.integer(width);
        let (start, stride, count, block) = (number()?, number()?, number()?, number()?);
        let is_one = count == 1 || stride == block;
        let size = count.checked_mul(block).filter(|size| *size > 0);
        match size.filter(|_| is_one && count != endless && block != endless) {
            Some(size) => shape.push(size),
            None => return Ok(None),
        }
        first.push(start);
    }
    Ok(Some(SimpleSelection::Block(first, shape)))
}

/// Checks the encoding of a dataspace with its selection at the front of `bytes`.
pub(super) fn dataspace(bytes: &mut Bytes<'_>) -> Checked<()> {
    if bytes.u8()? != MESSAGE {
        return Err("it is not that of a dataspace");
    }
    if bytes.u8()? != ENCODING {
        return Err("it has an unknown version");
    }
    let length_bytes = bytes.u8()?;
    if !matches!(length_bytes, 2 | 4 | 8) {
        return Err("its dimensions have an impossible size");
    }
    let length = bytes.u32()?;
    let rank = extent(&mut Bytes::new(bytes.take_long(length.into())?), length_bytes.into())?;
    selection(bytes, rank)
}

/// Checks the extent; returns its rank.
fn extent(bytes: &mut Bytes<'_>, length_bytes: usize) -> Checked<u32> {
    let (version, rank, flags, kind) = (bytes.u8()?, bytes.u8()?, bytes.u8()?, bytes.u8()?);
    let is_simple = match version {
        1 => {
            bytes.take(4)?;
            rank > 0
        }
        2 if kind > 2 => return Err("a dataspace is of an unknown class"),
        2 => kind == 1,
        _ => return Err("a dataspace has an unknown version"),
    };
    if u32::from(rank) > MAX_RANK || is_simple != (rank > 0) {
        return Err("a dataspace has an impossible rank");
    }
    let dims: Vec<u64> = (0..rank).map(|_| bytes.integer(length_bytes)).collect::<Checked<_>>()?;
    if dims.iter().filter(|d| **d > 0).try_fold(1_u64, |n, d| n.checked_mul(*d)).is_none() {
        return Err("a dataspace has more elements than can be counted");
    }
    if flags & 1 != 0 {
        for dim in dims {
            if dim > bytes.integer(length_bytes)? {
                return Err("a dimension is beyond its bound");
            }
        }
    }
    Ok(rank.into())
}

/// Checks a serialised selection of `rank` dimensions.
pub(super) fn selection(bytes: &mut Bytes<'_>, rank: u32) -> Checked<()> {
    let (kind, version) = (bytes.u32()?, bytes.u32()?);
    match (kind, version) {
        (NONE | ALL, 1) => bytes.take(8).map(drop),
        (POINTS, 1) => {
            bytes.take(8)?;
            points(bytes, 4, rank)
        }
        (POINTS, 2) => {
            let width = bytes.u8()?;
            points(bytes, width, rank)
        }
        (HYPERSLAB, 1) => {
            bytes.take(8)?;
            blocks(bytes, 4, rank)
        }
        (HYPERSLAB, 2) => {
            let flags = bytes.u8()?;
            bytes.take(4)?;
            hyperslab(bytes, flags, 8, rank)
        }
        (HYPERSLAB, 3) => {
            let (flags, width) = (bytes.u8()?, bytes.u8()?);
            hyperslab(bytes, flags, width, rank)
        }
        (NONE..=ALL, _) => Err("a selection has an unknown version"),
        _ => Err("a selection is of an unknown kind"),
    }
}

/// Checks the size of numbers, and the rank, which must be that of the extent; returns the bytes of each number.
fn numbers(bytes: &mut Bytes<'_>, width: u8, rank: u32) -> Checked<usize> {
    if !matches!(width, 2 | 4 | 8) {
        return Err("a selection's numbers have an impossible size");
    }
    if bytes.u32()? != rank || rank == 0 {
        return Err("a selection has another rank than its dataspace");
    }
    Ok(width.into())
}

fn points(bytes: &mut Bytes<'_>, width: u8, rank: u32) -> Checked<()> {
    let width = numbers(bytes, width, rank)?;
    let count = bytes.integer(width)?;
    let length = count.checked_mul(u64::from(rank) * width as u64);
    bytes.take_long(length.ok_or("a selection has more points than can be counted")?).map(drop)
}

fn hyperslab(bytes: &mut Bytes<'_>, flags: u8, width: u8, rank: u32) -> Checked<()> {
    match flags {
        0 => blocks(bytes, width, rank),
        1 => regular(bytes, width, rank),
        _ => Err("a selection has an unknown flag"),
    }
}

/// Checks a list of blocks with their first and last elements.
fn blocks(bytes: &mut Bytes<'_>, width: u8, rank: u32) -> Checked<()> {
    let width = numbers(bytes, width, rank)?;
    for _ in 0..bytes.integer(width)? {
        let mut corner = || (0..rank).map(|_| bytes.integer(width)).collect::<Checked<Vec<_>>>();
        let (first, last) = (corner()?, corner()?);
        if first.iter().zip(&last).any(|(first, last)| first > last || *last == u64::MAX) {
            return Err("a block of a selection ends before it begins");
        }
    }
    Ok(())
}

/// Checks blocks at equal distances.
fn regular(bytes: &mut Bytes<'_>, width: u8, rank: u32) -> Checked<()> {
    let width = numbers(bytes, width, rank)?;
    let endless = u64::MAX >> (64 - 8 * width);
    let (mut points, mut endless_dims) = (1_u64, 0);
    for _ in 0..rank {
        let mut number = || bytes.integer(width);
        let (start, stride, count, block) = (number()?, number()?, number()?, number()?);
        if stride == 0 || (count > 1 && block > stride && block != endless) {
            return Err("blocks of a selection overlap");
        }
        if count == endless || block == endless {
            endless_dims += 1;
            if count == block || start.checked_add(stride).is_none() || (block == endless && count != 1) {
                return Err("a selection is endless in two ways");
            }
            continue;
        }
        let end = stride.checked_mul(count.saturating_sub(1)).and_then(|n| n.checked_add(start));
        if end.and_then(|n| n.checked_add(block)).is_none_or(|end| end == u64::MAX) {
            return Err("a selection ends beyond all dimensions");
        }
        let selected = count.checked_mul(block).and_then(|n| points.checked_mul(n.max(1)));
        points = selected.ok_or("a selection has more elements than can be counted")?;
    }
    if endless_dims > 1 { Err("a selection is endless in two dimensions") } else { Ok(()) }
}
