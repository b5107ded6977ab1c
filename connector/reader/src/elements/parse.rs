//! Decodes HDF5's encoding of a datatype (section IV.A.2.d of its file format specification) to a [`Type`].

use std::sync::Arc;

use h5lake_container::encoded::check_datatype;

use super::{Bits, ByteOrder, FloatFields, Member, Padding, ReferenceKind, Type};

/// A reader that consumes an encoding from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (part, rest) = self.0.split_at_checked(n).ok_or("a datatype is cut short")?;
        self.0 = rest;
        Ok(part)
    }

    /// Reads a little-endian integer of `n` bytes. `n` is at most 8.
    fn integer(&mut self, n: usize) -> Result<u64, String> {
        Ok(self.take(n.min(8))?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u32, String> {
        Ok(self.integer(2)? as u32)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(self.integer(4)? as u32)
    }

    /// Reads a name that ends with a NUL. Before version 3 the name is padded to a multiple of 8 bytes.
    fn name(&mut self, version: u8) -> Result<Arc<str>, String> {
        let n = self.0.iter().position(|byte| *byte == 0).ok_or("a name in a datatype has no end")?;
        let name = String::from_utf8_lossy(self.take(n)?).into();
        self.take(if version < 3 { 8 - n % 8 } else { 1 })?;
        Ok(name)
    }
}

/// The fields at the beginning of a datatype message.
struct Head {
    version: u8,
    flags: u32,
    size: usize,
}

impl Head {
    fn order(&self) -> ByteOrder {
        if self.flags & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big }
    }

    /// Returns the byte order of a float, which has a second bit for the VAX order.
    fn float_order(&self) -> ByteOrder {
        if self.flags & 0x41 == 0x41 { ByteOrder::Vax } else { self.order() }
    }

    fn bits(&self, reader: &mut Reader<'_>) -> Result<Bits, String> {
        Ok(Bits { order: self.order(), size: self.size, offset: reader.u16()?, precision: reader.u16()? })
    }
}

/// Decodes a type.
///
/// # Errors
///
/// Returns an error that describes the malformed part of the encoding.
pub fn parse(encoded: &[u8]) -> Result<Type, String> {
    // The check limits the nesting depth, and therefore the depth of the recursion in `message`.
    check_datatype(encoded).map_err(|why| format!("the datatype is damaged: {why}"))?;
    message(&mut Reader(encoded.get(2..).unwrap_or_default()))
}

fn message(reader: &mut Reader<'_>) -> Result<Type, String> {
    let (first, size) = (reader.u32()?, reader.u32()?);
    let head = Head { version: (first >> 4 & 15) as u8, flags: first >> 8, size: size as usize };
    Ok(match first & 15 {
        0 => Type::Integer { bits: head.bits(reader)?, signed: head.flags & 8 != 0 },
        1 => float(reader, &head)?,
        2 => {
            reader.take(2)?;
            Type::Time { size: head.size, order: head.order() }
        }
        3 => Type::Text { size: head.size, padding: padding(head.flags), utf8: head.flags >> 4 & 15 == 1 },
        4 => Type::Bitfield(head.bits(reader)?),
        5 => opaque(reader, &head)?,
        6 => compound(reader, &head)?,
        7 => Type::Reference(match head.flags & 15 {
            0 => ReferenceKind::Object,
            1 => ReferenceKind::Region,
            _ => ReferenceKind::New,
        }),
        8 => enumeration(reader, &head)?,
        9 => {
            let base = message(reader)?;
            match head.flags & 15 {
                1 => Type::VariableText { utf8: head.flags >> 8 & 15 == 1 },
                _ => Type::Sequence(Box::new(base)),
            }
        }
        10 => array(reader, &head)?,
        11 => Type::Complex(Box::new(message(reader)?)),
        class => return Err(format!("a datatype has the unknown class {class}")),
    })
}

fn padding(flags: u32) -> Padding {
    match flags & 15 {
        0 => Padding::Nul,
        1 => Padding::Nuls,
        _ => Padding::Blanks,
    }
}

/// Returns the fields of an IEEE 754 float: the position of the sign, the first bit and the number of bits of the exponent, the first bit
/// and the number of bits of the mantissa, and the bias.
fn ieee(size: usize) -> Option<[u64; 6]> {
    match size {
        2 => Some([15, 10, 5, 0, 10, 15]),
        4 => Some([31, 23, 8, 0, 23, 127]),
        8 => Some([63, 52, 11, 0, 52, 1023]),
        _ => None,
    }
}

fn float(reader: &mut Reader<'_>, head: &Head) -> Result<Type, String> {
    let bits = head.bits(reader)?;
    let mut fields = [u64::from(head.flags >> 8 & 0xff), 0, 0, 0, 0, 0];
    for field in &mut fields[1..5] {
        *field = u64::from(reader.u8()?);
    }
    fields[5] = u64::from(reader.u32()?);
    let (size, order) = (head.size, head.float_order());
    // The value 2 means that the first bit of the mantissa is implied.
    let is_plain = bits.is_whole() && head.flags >> 4 & 3 == 2 && order != ByteOrder::Vax;
    Ok(match ieee(size) {
        Some(known) if is_plain && known == fields => Type::Float { size, order },
        _ => Type::OtherFloat { size, order, fields: float_fields(&fields, head) },
    })
}

fn float_fields(fields: &[u64; 6], head: &Head) -> FloatFields {
    let [sign, exponent, exponent_bits, mantissa, mantissa_bits, bias] = fields.map(|field| field as u32);
    let is_implied = head.flags >> 4 & 3 == 2;
    FloatFields { sign, exponent, exponent_bits, mantissa, mantissa_bits, bias, is_implied }
}

fn opaque(reader: &mut Reader<'_>, head: &Head) -> Result<Type, String> {
    let tag = reader.take((head.flags & 0xff) as usize)?;
    let end = tag.iter().position(|byte| *byte == 0).unwrap_or(tag.len());
    Ok(Type::Opaque { size: head.size, tag: String::from_utf8_lossy(&tag[..end]).into_owned() })
}

fn compound(reader: &mut Reader<'_>, head: &Head) -> Result<Type, String> {
    let width = if head.version < 3 { 4 } else { head.size.max(1).ilog2() as usize / 8 + 1 };
    let (mut members, mut encoded_sizes) = (Vec::new(), Vec::new());
    for _ in 0..head.flags & 0xffff {
        let name = reader.name(head.version)?;
        let offset = reader.integer(width)? as usize;
        let dims = if head.version == 1 { old_dims(reader)? } else { Vec::new() };
        let (of, encoded) = sized_message(reader)?;
        let count: u64 = dims.iter().product();
        let of = if dims.is_empty() { of } else { Type::Array { dims, base: Box::new(of) } };
        encoded_sizes.push((count as usize).saturating_mul(encoded));
        members.push(Member { name, offset, encoded_offset: offset, of });
    }
    // The sizes of some types differ between memory form and file form. Therefore the offset of each member moves by the sum of the
    // differences of the members before it.
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|n| members[*n].offset);
    let (mut grown, mut size) = (0_i64, head.size as i64);
    for n in order {
        let moved = members[n].offset as i64 + grown;
        members[n].offset = usize::try_from(moved).map_err(|_| "a member leaves its compound")?;
        let change = members[n].of.size() as i64 - encoded_sizes[n] as i64;
        (grown, size) = (grown + change, size + change);
    }
    let size = usize::try_from(size).map_err(|_| "a compound has no bytes")?;
    Ok(Type::Compound { size, encoded_size: head.size, members })
}

/// Decodes a type. Returns the type, and the size of its elements in memory form.
fn sized_message(reader: &mut Reader<'_>) -> Result<(Type, usize), String> {
    let size = Reader(reader.0.get(4..).unwrap_or_default()).u32()?;
    Ok((message(reader)?, size as usize))
}

/// Reads the dimensions that a compound member may have in version 1.
fn old_dims(reader: &mut Reader<'_>) -> Result<Vec<u64>, String> {
    let rank = usize::from(reader.u8()?);
    reader.take(3 + 4 + 4)?;
    let mut dims = (0..4).map(|_| reader.integer(4)).collect::<Result<Vec<_>, _>>()?;
    dims.truncate(rank);
    Ok(dims)
}

fn enumeration(reader: &mut Reader<'_>, head: &Head) -> Result<Type, String> {
    let base = message(reader)?;
    let count = head.flags & 0xffff;
    let names = (0..count).map(|_| reader.name(head.version)).collect::<Result<Vec<_>, _>>()?;
    let mut pairs = Vec::with_capacity(names.len());
    for name in names {
        pairs.push((name, reader.take(base.size())?.to_vec()));
    }
    Ok(Type::Enum { base: Box::new(base), names: pairs })
}

fn array(reader: &mut Reader<'_>, head: &Head) -> Result<Type, String> {
    let rank = usize::from(reader.u8()?);
    reader.take(if head.version < 3 { 3 } else { 0 })?;
    let dims = (0..rank).map(|_| reader.integer(4)).collect::<Result<Vec<_>, _>>()?;
    reader.take(if head.version < 3 { 4 * rank } else { 0 })?;
    Ok(Type::Array { dims, base: Box::new(message(reader)?) })
}
