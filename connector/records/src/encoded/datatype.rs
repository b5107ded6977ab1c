//! Datatypes as `H5Tencode` encodes them: the datatype message of the HDF5 file format specification (IV.A.2.d), after
//! two bytes.

use super::bytes::{Bytes, Checked};

/// Types nested deeper than this are refused, because libhdf5 decodes them by recursion, on the stack of the program.
pub const MAX_NESTING: usize = 128;

/// The number of the datatype message.
const MESSAGE: u8 = 3;
/// The version of the two bytes before the message.
const ENCODING: u8 = 0;
/// Versions of the message that exist. HDF5 2.0 writes 5 for complex numbers.
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=5;
/// HDF5's bound on the rank of an array.
const MAX_RANK: u8 = 32;
/// Maximum bytes of a new-style reference in memory (`H5R_ref_t`).
const MAX_REFERENCE: u32 = 64;

/// Maximum bytes of a bit field: HDF5 converts them in a buffer of this size on the stack, without a check
/// (H5T__conv_b_b).
const MAX_BITFIELD: u32 = 256;

const INTEGER: u8 = 0;
const FLOAT: u8 = 1;
const TIME: u8 = 2;
const STRING: u8 = 3;
const BITFIELD: u8 = 4;
const OPAQUE: u8 = 5;
const COMPOUND: u8 = 6;
/// `H5T_REFERENCE`.
pub const REFERENCE: u8 = 7;
const ENUM: u8 = 8;
const VARIABLE_LENGTH: u8 = 9;
const ARRAY: u8 = 10;
const COMPLEX: u8 = 11;

/// The properties of a datatype, from its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedType {
    /// The class (`H5T_class_t`).
    pub class: u8,
    /// Bytes of an element.
    pub size: u32,
    /// True if elements hold pointers in memory: variable-length data, or references of the kind introduced in HDF5
    /// 1.12.
    pub has_pointers: bool,
}

/// Checks the encoding of a datatype.
///
/// # Errors
/// The error in the encoding.
pub fn check_datatype(encoded: &[u8]) -> Checked<EncodedType> {
    let mut bytes = Bytes::new(encoded);
    if bytes.u8()? != MESSAGE {
        return Err("it is not that of a datatype");
    }
    if bytes.u8()? != ENCODING {
        return Err("it has an unknown version");
    }
    datatype(&mut bytes, MAX_NESTING)
}

/// The head of a message.
struct TypeHeader {
    version: u8,
    class: u8,
    flags: u32,
    size: u32,
}

/// Checks one datatype, with at most `levels` nested levels.
fn datatype(bytes: &mut Bytes<'_>, levels: usize) -> Checked<EncodedType> {
    let below = levels.checked_sub(1).ok_or("its types are nested too deeply")?;
    let (first, size) = (bytes.u32()?, bytes.u32()?);
    let head =
        TypeHeader { version: (first >> 4 & 15) as u8, class: (first & 15) as u8, flags: first >> 8, size };
    if !VERSIONS.contains(&head.version) {
        return Err("a type has an unknown version");
    }
    if size == 0 {
        return Err("a type has no bytes");
    }
    let has_pointers = match head.class {
        BITFIELD if size > MAX_BITFIELD => return Err("a bit field has more bytes than HDF5 converts"),
        INTEGER | BITFIELD => bits(&head, bytes.u16()?, bytes.u16()?)?,
        FLOAT => float(bytes, &head)?,
        TIME => bits(&head, 0, bytes.u16()?)?,
        STRING => string(head.flags & 15, head.flags >> 4 & 15)?,
        OPAQUE => opaque(bytes, &head)?,
        COMPOUND => compound(bytes, &head, below)?,
        REFERENCE => reference(&head)?,
        ENUM => enumeration(bytes, &head, below)?,
        VARIABLE_LENGTH => variable_length(bytes, &head, below)?,
        ARRAY => array(bytes, &head, below)?,
        COMPLEX => complex(bytes, &head, below)?,
        _ => return Err("a type has an unknown class"),
    };
    Ok(EncodedType { class: head.class, size, has_pointers })
}

/// Checks that the bits of a number are within it.
fn bits(head: &TypeHeader, offset: u16, precision: u16) -> Checked<bool> {
    within(head, offset, precision)?;
    Ok(false)
}

fn within(head: &TypeHeader, first: u16, count: u16) -> Checked<()> {
    let end = u64::from(first) + u64::from(count);
    if count == 0 || end > u64::from(head.size) * 8 {
        return Err("bits of a number lie outside of it");
    }
    Ok(())
}

fn float(bytes: &mut Bytes<'_>, head: &TypeHeader) -> Checked<bool> {
    within(head, bytes.u16()?, bytes.u16()?)?;
    let (exponent, mantissa) = ((bytes.u8()?, bytes.u8()?), (bytes.u8()?, bytes.u8()?));
    within(head, exponent.0.into(), exponent.1.into())?;
    within(head, mantissa.0.into(), mantissa.1.into())?;
    within(head, (head.flags >> 8 & 0xff) as u16, 1)?;
    bytes.u32()?;
    Ok(false)
}

/// Checks the padding and the character set of a string.
fn string(padding: u32, set: u32) -> Checked<bool> {
    if padding > 2 || set > 1 {
        return Err("a string has an unknown padding or character set");
    }
    Ok(false)
}

fn opaque(bytes: &mut Bytes<'_>, head: &TypeHeader) -> Checked<bool> {
    let tag = head.flags & 0xff;
    if !tag.is_multiple_of(8) {
        return Err("a tag has an impossible length");
    }
    bytes.take(tag as usize)?;
    Ok(false)
}

/// Reads the name of a member, with its padding to a multiple of 8 in old versions.
fn name<'a>(bytes: &mut Bytes<'a>, version: u8) -> Checked<&'a [u8]> {
    let name = bytes.name()?;
    if version < 3 {
        bytes.take(7 - name.len() % 8)?;
    }
    Ok(name)
}

fn compound(bytes: &mut Bytes<'_>, head: &TypeHeader, levels: usize) -> Checked<bool> {
    let count = head.flags & 0xffff;
    if count == 0 {
        return Err("a compound has no members");
    }
    let offset_bytes = if head.version < 3 { 4 } else { head.size.ilog2() as usize / 8 + 1 };
    // No memory is allocated by the count: each member takes bytes of the encoding.
    let (mut names, mut places, mut has_pointers) = (Vec::new(), Vec::new(), false);
    for _ in 0..count {
        names.push(name(bytes, head.version)?);
        let offset = bytes.integer(offset_bytes)?;
        let elements = if head.version == 1 { old_array(bytes)? } else { 1 };
        let member = datatype(bytes, levels)?;
        let size = elements.checked_mul(member.size.into());
        let end = size.and_then(|size| size.checked_add(offset)).filter(|end| *end <= u64::from(head.size));
        places.push((offset, end.ok_or("a member leaves its compound")?));
        has_pointers |= member.has_pointers;
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two members of a compound have one name");
    }
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("members of a compound overlap");
    }
    Ok(has_pointers)
}

/// Checks the dimensions that a member of the first version may have; returns the number of elements.
fn old_array(bytes: &mut Bytes<'_>) -> Checked<u64> {
    let rank = bytes.u8()?;
    if rank > 4 {
        return Err("a member has too many dimensions");
    }
    bytes.take(3 + 4 + 4)?;
    let mut elements = 1;
    for n in 0..4 {
        let dim = bytes.u32()?;
        if n < rank {
            elements = product(elements, dim)?;
        }
    }
    Ok(elements)
}

fn product(elements: u64, dim: u32) -> Checked<u64> {
    let product = elements.checked_mul(dim.into()).filter(|n| (1..=u64::from(u32::MAX)).contains(n));
    product.ok_or("an array has an impossible number of elements")
}

fn reference(head: &TypeHeader) -> Checked<bool> {
    let (kind, version) = (head.flags & 15, head.flags >> 4 & 15);
    let fits = match kind {
        0 => head.size == 8,
        // The size in memory, or in a container.
        1 => matches!(head.size, 12 | 16 | 20),
        2..=4 => version == 1 && head.size <= MAX_REFERENCE,
        _ => return Err("a reference is of an unknown kind"),
    };
    if !fits {
        return Err("a reference has another size than references of its kind");
    }
    Ok(kind > 1)
}

fn enumeration(bytes: &mut Bytes<'_>, head: &TypeHeader, levels: usize) -> Checked<bool> {
    let count = head.flags & 0xffff;
    let base = datatype(bytes, levels)?;
    if base.class != INTEGER || base.size != head.size {
        return Err("an enumeration's values are no integers of its size");
    }
    for _ in 0..count {
        if name(bytes, head.version)?.is_empty() {
            return Err("a member of an enumeration has no name");
        }
    }
    bytes.take_long(u64::from(count) * u64::from(base.size))?;
    Ok(false)
}

fn variable_length(bytes: &mut Bytes<'_>, head: &TypeHeader, levels: usize) -> Checked<bool> {
    let base = datatype(bytes, levels)?;
    // A sequence has 16 bytes in memory and a string 8; in files both have the length and the address of the data.
    let fits = match head.flags & 15 {
        0 => matches!(head.size, 16 | 20),
        1 => {
            string(head.flags >> 4 & 15, head.flags >> 8 & 15)?;
            base.size == 1 && matches!(head.size, 8 | 16 | 20)
        }
        _ => return Err("variable-length data are of an unknown kind"),
    };
    if !fits {
        return Err("variable-length data have another size than such data have");
    }
    Ok(true)
}

fn array(bytes: &mut Bytes<'_>, head: &TypeHeader, levels: usize) -> Checked<bool> {
    let rank = bytes.u8()?;
    if rank == 0 || rank > MAX_RANK {
        return Err("an array has an impossible rank");
    }
    if head.version < 3 {
        bytes.take(3)?;
    }
    let mut elements = 1;
    for _ in 0..rank {
        elements = product(elements, bytes.u32()?)?;
    }
    if head.version < 3 {
        bytes.take(4 * usize::from(rank))?;
    }
    let base = datatype(bytes, levels)?;
    if elements.checked_mul(base.size.into()) != Some(u64::from(head.size)) {
        return Err("an array has another size than its elements together");
    }
    Ok(base.has_pointers)
}

/// Checks a complex number: two numbers of one type.
fn complex(bytes: &mut Bytes<'_>, head: &TypeHeader, levels: usize) -> Checked<bool> {
    let base = datatype(bytes, levels)?;
    let is_pair = head.flags & 1 == 1 && base.class == FLOAT;
    if head.version < 5 || !is_pair || u64::from(base.size) * 2 != u64::from(head.size) {
        return Err("a complex number is not two numbers of half its size");
    }
    Ok(false)
}
