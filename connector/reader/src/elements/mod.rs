//! Datatypes of elements, and the conversion of stored bytes to values and text.

mod parse;
pub mod show;
#[cfg(test)]
mod tests;
pub mod value;

use std::sync::Arc;

use h5lake_container::Datatype;

pub use parse::parse;

/// The order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The first byte is the least significant.
    Little,
    /// The first byte is the most significant.
    Big,
    /// The mixed byte order of VAX floats.
    Vax,
}

/// The location of the significant bits of a number in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// The order of the bytes.
    pub order: ByteOrder,
    /// The size of the number in bytes.
    pub size: usize,
    /// The number of unused bits below the least significant bit.
    pub offset: u32,
    /// The number of significant bits.
    pub precision: u32,
}

impl Bits {
    /// Returns whether all bits are significant.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && u64::from(self.precision) == 8 * self.size as u64
    }
}

/// A member of a compound.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// Its offset in an element in file form.
    pub offset: usize,
    /// Its offset in HDF5's memory form, as programs see it.
    pub encoded_offset: usize,
    /// Its type.
    pub of: Type,
}

/// The fields of a float, in bits: as `H5Tget_fields` returns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloatFields {
    /// The position of the sign.
    pub sign: u32,
    /// The position of the exponent.
    pub exponent: u32,
    /// The number of bits of the exponent.
    pub exponent_bits: u32,
    /// The position of the mantissa.
    pub mantissa: u32,
    /// The number of bits of the mantissa.
    pub mantissa_bits: u32,
    /// The bias of the exponent.
    pub bias: u32,
    /// True if the first bit of the mantissa is implied.
    pub is_implied: bool,
}

/// The kind of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A reference to an object, `hobj_ref_t`.
    Object,
    /// A reference to elements of a dataset, `hdset_reg_ref_t`.
    Region,
    /// A reference to an object, a region or an attribute, `H5R_ref_t`.
    New,
}

/// A datatype, decoded from the encoding of `H5Tencode` (docs/format.md, "Elements").
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// An integer.
    Integer {
        /// The significant bits.
        bits: Bits,
        /// True if the number is signed.
        signed: bool,
    },
    /// A float of IEEE 754 with 2, 4 or 8 bytes.
    Float {
        /// The size of an element in bytes.
        size: usize,
        /// The byte order.
        order: ByteOrder,
    },
    /// Any other float. Only its bytes are shown.
    OtherFloat {
        /// The size of an element in bytes.
        size: usize,
        /// The byte order.
        order: ByteOrder,
        /// The positions of sign, exponent and mantissa.
        fields: FloatFields,
    },
    /// A time.
    Time {
        /// The size of an element in bytes.
        size: usize,
        /// The byte order.
        order: ByteOrder,
    },
    /// A string of fixed length.
    Text {
        /// The size of an element in bytes.
        size: usize,
        /// The padding behind the text.
        padding: Padding,
        /// True if the character set is UTF-8.
        utf8: bool,
    },
    /// Bits without a meaning as a number.
    Bitfield(Bits),
    /// Bytes that HDF5 does not interpret.
    Opaque {
        /// The size of an element in bytes.
        size: usize,
        /// The tag that describes the bytes.
        tag: String,
    },
    /// Members, each with a name.
    Compound {
        /// The size of an element in bytes.
        size: usize,
        /// The size of an element in HDF5's memory form, as programs see it.
        encoded_size: usize,
        /// The members, in the order of the encoding.
        members: Vec<Member>,
    },
    /// A reference.
    Reference(ReferenceKind),
    /// An enumeration: an integer type with names for some of its values.
    Enum {
        /// The type of the elements or of the integer.
        base: Box<Type>,
        /// The names, each with the bytes of its value.
        names: Vec<(Arc<str>, Vec<u8>)>,
    },
    /// A sequence of variable length.
    Sequence(Box<Type>),
    /// A string of variable length.
    VariableText {
        /// True if the character set is UTF-8.
        utf8: bool,
    },
    /// An array of fixed dimensions.
    Array {
        /// The dimensions.
        dims: Vec<u64>,
        /// The type of the elements or of the integer.
        base: Box<Type>,
    },
    /// A complex number: two floats.
    Complex(Box<Type>),
}

/// The padding of a string of fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The string ends at the first NUL. The bytes behind the NUL are undefined.
    Nul,
    /// The string is padded with NULs to its full length.
    Nuls,
    /// The string is padded with blanks to its full length.
    Blanks,
}

/// The size of a variable-length element in file form: its length and the id of its blob.
const BLOB_ELEMENT: usize = 20;
/// The size of an `H5R_ref_t`, which HDF5 1.12 introduced, in file form.
const NEW_REFERENCE: usize = 22;

impl Type {
    /// Returns the size of an element in file form.
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

    /// Returns whether the bytes of an element contain its complete value. The bytes of variable-length data and of references have a
    /// meaning only in their container.
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
    /// Returns whether every bit of an element is part of its value: the type has no gaps between members, no unused bits, and no bytes
    /// behind a NUL.
    pub fn has_no_padding(&self) -> bool {
        match self {
            Self::Integer { bits, .. } | Self::Bitfield(bits) => bits.is_whole(),
            Self::Text { padding, .. } => *padding != Padding::Nul,
            Self::Compound { size, members, .. } => {
                let covered: usize = members.iter().map(|member| member.of.size()).sum();
                covered == *size && members.iter().all(|member| member.of.has_no_padding())
            }
            Self::Enum { base, .. } | Self::Array { base, .. } | Self::Complex(base) => base.has_no_padding(),
            Self::Reference(_) | Self::Sequence(_) | Self::VariableText { .. } => false,
            Self::Float { .. } | Self::OtherFloat { .. } | Self::Time { .. } | Self::Opaque { .. } => true,
        }
    }
}

/// Decodes the type of a dataset or an attribute.
///
/// # Errors
///
/// Returns an error if the encoding is malformed, or if the type does not have the size of the stored elements.
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
