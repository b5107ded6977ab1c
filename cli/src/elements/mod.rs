//! Elements: their types, what their bytes mean, and how both are shown.

mod parse;
pub mod show;
#[cfg(test)]
mod tests;
pub mod value;

use std::rc::Rc;

use h5lake_container::Datatype;

pub use parse::parse;

/// The order of a number's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The first byte counts least.
    Little,
    /// The first byte counts most.
    Big,
    /// The order of a VAX, for floats.
    Vax,
}

/// Where the bits of a number stand in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// The order of the bytes.
    pub order: ByteOrder,
    /// Bytes of the number.
    pub size: usize,
    /// The first bit that counts.
    pub offset: u32,
    /// How many bits count.
    pub precision: u32,
}

impl Bits {
    /// Whether all bits count.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && u64::from(self.precision) == 8 * self.size as u64
    }
}

/// Members of a compound: the name, where it begins in an element in file form, and its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub name: Rc<str>,
    pub offset: usize,
    pub of: Type,
}

/// What a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceKind {
    /// `hobj_ref_t`: an object.
    Object,
    /// `hdset_reg_ref_t`: elements of a dataset.
    Region,
    /// `H5R_ref_t`: an object, a region or an attribute.
    New,
}

/// A datatype, as `H5Tencode` gave it (docs/format.md, "Elements").
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Integer {
        bits: Bits,
        signed: bool,
    },
    /// A float of IEEE 754 with 2, 4 or 8 bytes.
    Float {
        size: usize,
        order: ByteOrder,
    },
    /// Any other float; its bytes are shown.
    OtherFloat {
        size: usize,
        order: ByteOrder,
    },
    Time {
        size: usize,
        order: ByteOrder,
    },
    /// A string of fixed length; `padded` with NULs or blanks to its end, or else ended by a NUL.
    Text {
        size: usize,
        padding: Padding,
        utf8: bool,
    },
    Bitfield(Bits),
    Opaque {
        size: usize,
        tag: String,
    },
    Compound {
        size: usize,
        members: Vec<Member>,
    },
    Reference(ReferenceKind),
    /// Names of values of an integer.
    Enum {
        base: Box<Type>,
        names: Vec<(Rc<str>, Vec<u8>)>,
    },
    /// A sequence of variable length.
    Sequence(Box<Type>),
    /// A string of variable length.
    VariableText {
        utf8: bool,
    },
    Array {
        dims: Vec<u64>,
        base: Box<Type>,
    },
    Complex(Box<Type>),
}

/// How a fixed string is filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Ended by a NUL.
    Nul,
    /// Filled up with NULs.
    Nuls,
    /// Filled up with blanks.
    Blanks,
}

/// Bytes of variable-length data and of its blob's id, in file form.
const BLOB_ELEMENT: usize = 20;
/// Bytes of a reference of the kind that HDF5 1.12 brought, in file form.
const NEW_REFERENCE: usize = 22;

impl Type {
    /// Bytes of an element in file form.
    pub fn size(&self) -> usize {
        match self {
            Self::Integer { bits, .. } | Self::Bitfield(bits) => bits.size,
            Self::Float { size, .. }
            | Self::OtherFloat { size, .. }
            | Self::Time { size, .. }
            | Self::Text { size, .. }
            | Self::Opaque { size, .. }
            | Self::Compound { size, .. } => *size,
            Self::Reference(ReferenceKind::Object) => 8,
            Self::Reference(ReferenceKind::Region) => 12,
            Self::Reference(ReferenceKind::New) => NEW_REFERENCE,
            Self::Enum { base, .. } => base.size(),
            Self::Sequence(_) | Self::VariableText { .. } => BLOB_ELEMENT,
            Self::Array { dims, base } => {
                let count = dims.iter().fold(1_u64, |n, d| n.saturating_mul(*d));
                usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(base.size())
            }
            Self::Complex(base) => 2 * base.size(),
        }
    }

    /// Whether an element is all in its bytes: no variable-length data and no references, whose bytes mean something in their
    /// container alone.
    pub fn is_self_contained(&self) -> bool {
        match self {
            Self::Reference(_) | Self::Sequence(_) | Self::VariableText { .. } => false,
            Self::Compound { members, .. } => members.iter().all(|member| member.of.is_self_contained()),
            Self::Array { base, .. } => base.is_self_contained(),
            _ => true,
        }
    }
}

impl Type {
    /// Whether every bit of an element counts: no gaps between members, no unused bits, and nothing behind a NUL.
    pub fn has_only_what_counts(&self) -> bool {
        match self {
            Self::Integer { bits, .. } | Self::Bitfield(bits) => bits.is_whole(),
            Self::Text { padding, .. } => *padding != Padding::Nul,
            Self::Compound { size, members } => {
                let covered: usize = members.iter().map(|member| member.of.size()).sum();
                covered == *size && members.iter().all(|member| member.of.has_only_what_counts())
            }
            Self::Enum { base, .. } | Self::Array { base, .. } | Self::Complex(base) => {
                base.has_only_what_counts()
            }
            Self::Reference(_) | Self::Sequence(_) | Self::VariableText { .. } => false,
            Self::Float { .. } | Self::OtherFloat { .. } | Self::Time { .. } | Self::Opaque { .. } => true,
        }
    }
}

/// The type of a dataset or an attribute.
///
/// # Errors
/// What is wrong with its encoding, or that its size is not that of the elements.
pub fn type_of(datatype: &Datatype) -> Result<Type, String> {
    let made = parse(&datatype.encoded)?;
    match made.size() as u64 == datatype.size {
        true => Ok(made),
        false => Err(format!(
            "the datatype has elements of {} bytes, and {} are stored",
            made.size(),
            datatype.size
        )),
    }
}
