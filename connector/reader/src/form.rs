//! The value form of elements: the form in which callers receive them.
//!
//! Numbers, opaque values and gaps of a compound have the same bytes as in file form (docs/format.md, "Elements"). Four
//! kinds of elements differ:
//!
//! - A number with unused bits fills all its bytes: its offset is 0, and a signed number is sign-extended.
//! - A string of fixed length is padded with NULs.
//! - A variable-length string or sequence is a *span* of 16 bytes, which names bytes of the pool of the same call.
//! - A reference is a span of JSON text, because its stored bytes have a meaning in its container only.
//!
//! A compound keeps the order of its members and the gaps between them. Members move by the growth of the members
//! before them.

use crate::elements::{Bits, ByteOrder, Padding, ReferenceKind, Type};

/// The bytes of a span: the offset of its bytes in the pool, and its length, each a `u64` in the byte order of the
/// machine. The length of a string or a reference is in bytes, that of a sequence in elements.
pub const SPAN: usize = 16;

/// The offset of the span of a null string, a null reference, or a sequence without elements.
pub const NULL_SPAN: u64 = u64::MAX;

/// A datatype with what is needed to convert its elements from file form to value form.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Both forms are these bytes.
    Plain(usize),
    /// A number with unused bits.
    Number {
        /// The significant bits.
        bits: Bits,
        /// True if the number is signed.
        signed: bool,
    },
    /// A string of fixed length.
    Text {
        /// The size in bytes.
        size: usize,
        /// The stored padding.
        padding: Padding,
    },
    /// A span of variable-length text.
    VariableText,
    /// A span of elements.
    Sequence(Box<Form>),
    /// A span of JSON.
    Reference(ReferenceKind),
    /// Members, each with its offsets in file form and in value form.
    Compound {
        /// The size in file form.
        file_size: usize,
        /// The size in value form.
        size: usize,
        /// The members: offset in file form, offset in value form, and form.
        members: Vec<(usize, usize, Form)>,
    },
    /// Elements, one after another.
    Array {
        /// The number of elements.
        count: usize,
        /// The form of an element.
        base: Box<Form>,
    },
}

impl Form {
    /// Returns the form of a type.
    ///
    /// # Errors
    /// If an element has an impossible size.
    pub fn of(of: &Type) -> Result<Self, String> {
        Ok(match of {
            Type::Integer { bits, signed } => number(bits, *signed),
            Type::Bitfield(bits) => number(bits, false),
            Type::Text { size, padding: Padding::Nuls, .. } => Self::Plain(*size),
            Type::Text { size, padding, .. } => Self::Text { size: *size, padding: *padding },
            Type::VariableText { .. } => Self::VariableText,
            Type::Sequence(base) => Self::Sequence(Box::new(Self::of(base)?)),
            Type::Reference(kind) => Self::Reference(*kind),
            Type::Enum { base, .. } => Self::of(base)?,
            Type::Array { dims, base } => array(dims, Self::of(base)?)?,
            Type::Compound { .. } => compound(of)?,
            _ => Self::Plain(of.size()),
        })
    }

    /// Returns the size of an element in file form.
    pub fn file_size(&self) -> usize {
        match self {
            Self::Plain(size) | Self::Text { size, .. } => *size,
            Self::Number { bits, .. } => bits.size,
            Self::VariableText => Type::VariableText { utf8: false }.size(),
            Self::Sequence(_) => Type::VariableText { utf8: false }.size(),
            Self::Reference(kind) => Type::Reference(*kind).size(),
            Self::Compound { file_size, .. } => *file_size,
            Self::Array { count, base } => count.saturating_mul(base.file_size()),
        }
    }

    /// Returns the size of an element in value form.
    pub fn size(&self) -> usize {
        match self {
            Self::VariableText | Self::Sequence(_) | Self::Reference(_) => SPAN,
            Self::Compound { size, .. } => *size,
            Self::Array { count, base } => count.saturating_mul(base.size()),
            _ => self.file_size(),
        }
    }

    /// Returns whether elements have the same bytes in both forms.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Returns whether elements contain spans.
    pub fn has_spans(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Number { .. } | Self::Text { .. } => false,
            Self::VariableText | Self::Sequence(_) | Self::Reference(_) => true,
            Self::Compound { members, .. } => members.iter().any(|(.., member)| member.has_spans()),
            Self::Array { base, .. } => base.has_spans(),
        }
    }
}

fn number(bits: &Bits, signed: bool) -> Form {
    let can_convert = !bits.is_whole() && bits.size <= 16 && bits.order != ByteOrder::Vax;
    if can_convert && bits.precision > 0 {
        Form::Number { bits: *bits, signed }
    } else {
        Form::Plain(bits.size)
    }
}

fn array(dims: &[u64], base: Form) -> Result<Form, String> {
    let count = dims.iter().try_fold(1_u64, |n, dim| n.checked_mul(*dim));
    let count = count.and_then(|n| usize::try_from(n).ok());
    let largest = base.size().max(base.file_size());
    let count = count.filter(|n| n.checked_mul(largest).is_some()).ok_or("an array is too large")?;
    Ok(match base {
        Form::Plain(size) => Form::Plain(count * size),
        base => Form::Array { count, base: Box::new(base) },
    })
}

fn compound(of: &Type) -> Result<Form, String> {
    let Type::Compound { size: file_size, members, .. } = of else { return Err("not a compound".into()) };
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|n| members[*n].offset);
    let outside = || "a member lies outside of its compound".to_owned();
    let (mut grown, mut end, mut made) = (0_i64, 0_usize, Vec::with_capacity(members.len()));
    for n in order {
        let member = &members[n];
        let form = Form::of(&member.of)?;
        if member.offset < end || member.offset.checked_add(form.file_size()).is_none_or(|e| e > *file_size) {
            return Err(outside());
        }
        end = member.offset + form.file_size();
        let offset = usize::try_from(member.offset as i64 + grown).map_err(|_| outside())?;
        grown += form.size() as i64 - form.file_size() as i64;
        made.push((n, (member.offset, offset, form)));
    }
    let size = usize::try_from(*file_size as i64 + grown).map_err(|_| outside())?;
    made.sort_by_key(|(n, _)| *n);
    let members: Vec<_> = made.into_iter().map(|(_, member)| member).collect();
    if members.iter().all(|(.., member)| member.is_plain()) {
        return Ok(Form::Plain(*file_size));
    }
    Ok(Form::Compound { file_size: *file_size, size, members })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::elements::Member;

    fn integer(size: usize) -> Type {
        let bits = Bits { order: ByteOrder::Little, size, offset: 0, precision: 8 * size as u32 };
        Type::Integer { bits, signed: true }
    }

    fn member(offset: usize, of: Type) -> Member {
        Member { name: Arc::from("m"), offset, encoded_offset: offset, of }
    }

    fn record(size: usize, members: Vec<Member>) -> Type {
        Type::Compound { size, encoded_size: size, members }
    }

    #[test]
    fn members_move_by_the_growth_of_those_before_them() {
        let text = Type::VariableText { utf8: true };
        let of = record(40, vec![member(0, integer(4)), member(8, text), member(32, integer(8))]);
        let Form::Compound { file_size, size, members } = Form::of(&of).unwrap() else { panic!() };
        assert_eq!((file_size, size), (40, 36));
        let offsets: Vec<_> = members.iter().map(|(file, value, _)| (*file, *value)).collect();
        assert_eq!(offsets, [(0, 0), (8, 8), (32, 28)]);
    }

    #[test]
    fn types_without_variable_length_data_are_plain() {
        let of = record(16, vec![member(0, integer(4)), member(8, integer(8))]);
        assert_eq!(Form::of(&of).unwrap(), Form::Plain(16));
        let of = Type::Array { dims: vec![3, 2], base: Box::new(of) };
        assert_eq!(Form::of(&of).unwrap(), Form::Plain(96));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let of = Type::Array { dims: vec![u64::MAX, 2], base: Box::new(integer(1)) };
        assert!(Form::of(&of).is_err());
        for offset in [5, usize::MAX - 1] {
            assert!(Form::of(&record(8, vec![member(offset, integer(4))])).is_err(), "{offset}");
        }
        let overlapping = record(8, vec![member(0, integer(4)), member(2, integer(4))]);
        assert!(Form::of(&overlapping).is_err());
    }
}
