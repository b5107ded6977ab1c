//! References of the kind introduced in HDF5 1.12 (`H5R_ref_t`), as libhdf5 stores them: a kind and flags in the
//! element, and all other data in a blob (`H5R__encode`).

use super::bytes::{Bytes, Checked};
use super::dataspace::{MAX_RANK, selection};

/// `H5R_OBJECT2`
const OBJECT: u8 = 2;
/// `H5R_DATASET_REGION2`
const REGION: u8 = 3;
/// `H5R_ATTR`
const ATTRIBUTE: u8 = 4;
/// `H5R_IS_EXTERNAL`: the reference names its file.
const EXTERNAL: u8 = 1;
/// Bytes of an `H5O_token_t`.
const TOKEN_BYTES: usize = 16;

/// The target of a stored reference, as far as its encoding describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedReference<'a> {
    /// The object's token in its file.
    pub token: &'a [u8],
    /// True if the object is in another file.
    pub is_external: bool,
    /// The rank of the selection, for a region.
    pub rank: Option<u32>,
}

/// Returns whether all of a reference is in its element: its token follows the kind and the flags, and it has no blob.
pub fn is_whole_reference(kind: u8, flags: u8) -> bool {
    kind == OBJECT && flags & EXTERNAL == 0
}

/// Checks the bytes after a reference's kind and flags.
///
/// # Errors
/// The error in the encoding.
pub fn check_reference(kind: u8, flags: u8, encoded: &[u8]) -> Checked<EncodedReference<'_>> {
    let mut bytes = Bytes::new(encoded);
    let length = usize::from(bytes.u8()?);
    if length > TOKEN_BYTES {
        return Err("an object's token has an impossible size");
    }
    let token = bytes.take(length)?;
    let is_external = flags & EXTERNAL != 0;
    if is_external {
        string(&mut bytes)?;
    }
    let rank = match kind {
        OBJECT => None,
        REGION => Some(region(&mut bytes)?),
        ATTRIBUTE => {
            string(&mut bytes)?;
            None
        }
        _ => return Err("it is of an unknown kind"),
    };
    Ok(EncodedReference { token, is_external, rank })
}

/// Checks a string after its length.
fn string(bytes: &mut Bytes<'_>) -> Checked<()> {
    let length = bytes.u16()?;
    bytes.take(length.into()).map(drop)
}

/// Checks a selection after its length and its rank; returns the rank.
fn region(bytes: &mut Bytes<'_>) -> Checked<u32> {
    let (length, rank) = (bytes.u32()?, bytes.u32()?);
    if rank > MAX_RANK {
        return Err("a selection has an impossible rank");
    }
    selection(&mut Bytes::new(bytes.take_long(length.into())?), rank)?;
    Ok(rank)
}
