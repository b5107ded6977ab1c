//! Conversion of datatypes to those of Zarr version 2, in the form that zarr-python reads.

use serde_json::{Value, json};

use super::references::base64;
use crate::elements::value::{Item, plain};
use crate::elements::{Bits, ByteOrder, Member, Padding, Type};

/// The beginning of the tag of opaque types in which h5py stores numpy types.
const NUMPY_TAG: &str = "NUMPY:";

/// The size of numpy's times in bytes.
const TIME_BYTES: usize = 8;

/// The maximum size of compound elements that are shown. Each fill value has the same size.
const MAX_COMPOUND_BYTES: usize = 1 << 20;

/// The representation of elements in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elements {
    /// The bytes that the container stores.
    Stored,
    /// Blank-padded strings, which are converted to NUL padding, as h5py shows them.
    Blanks,
    /// Variable-length strings.
    Strings,
}

/// A Zarr datatype.
#[derive(Debug, Clone, PartialEq)]
pub struct ZarrType {
    pub dtype: Value,
    /// The dimensions of an element that is an array, which become dimensions of the array.
    pub dims: Vec<u64>,
    pub elements: Elements,
    /// The fill value that zarr-python reads as zero, if it does not read null as zero for this type.
    pub zero: Option<Value>,
}

impl ZarrType {
    fn plain(dtype: String) -> Self {
        Self { dtype: json!(dtype), dims: Vec::new(), elements: Elements::Stored, zero: None }
    }
}

fn order(order: ByteOrder, size: usize) -> Result<char, String> {
    match order {
        _ if size == 1 => Ok('|'),
        ByteOrder::Little => Ok('<'),
        ByteOrder::Big => Ok('>'),
        ByteOrder::Vax => Err("Zarr has no floats of a VAX".into()),
    }
}

fn integer(bits: &Bits, letter: char) -> Result<String, String> {
    if !bits.is_whole() || !matches!(bits.size, 1 | 2 | 4 | 8) {
        return Err("Zarr has no integers of so many bits".into());
    }
    Ok(format!("{}{letter}{}", order(bits.order, bits.size)?, bits.size))
}

/// Returns whether an enumeration is h5py's boolean type.
pub fn is_boolean(base: &Type, names: &[(std::sync::Arc<str>, Vec<u8>)]) -> bool {
    let is = |name: &str, value: u8| names.iter().any(|(n, v)| &**n == name && v[..] == [value]);
    base.size() == 1 && names.len() == 2 && is("FALSE", 0) && is("TRUE", 1)
}

/// Returns the complex type if the members are those of h5py's complex numbers.
fn complex(size: usize, members: &[Member]) -> Option<String> {
    let [re, im] = members else { return None };
    let Type::Float { size: part, order: o } = re.of else { return None };
    let is_complex = &*re.name == "r" && &*im.name == "i" && re.of == im.of;
    (is_complex && (re.offset, im.offset, size) == (0, part, 2 * part) && part > 2)
        .then(|| order(o, part).ok().map(|o| format!("{o}c{size}")))?
}

fn compound(size: usize, members: &[Member]) -> Result<ZarrType, String> {
    let mut fields = Vec::new();
    let mut at = 0;
    let gap = |fields: &mut Vec<Value>, bytes: usize| {
        if bytes > 0 {
            let name = (fields.len()..).map(|n| format!("_pad{n}"));
            let is_free = |name: &String| members.iter().all(|member| *member.name != **name);
            fields.extend(name.into_iter().find(is_free).map(|name| json!([name, format!("|V{bytes}")])));
        }
    };
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|member| member.offset);
    for member in sorted {
        gap(&mut fields, member.offset.checked_sub(at).ok_or("Zarr has no members that overlap")?);
        let of = zarr_type(&member.of)?;
        if !of.dtype.is_string() || !of.dims.is_empty() || of.elements != Elements::Stored {
            let text = "zarr-python has no members that are arrays, compounds or strings of this kind";
            return Err(format!("{text} ({})", member.name));
        }
        fields.push(json!([&*member.name, of.dtype]));
        at = member.offset + member.of.size();
    }
    gap(&mut fields, size.checked_sub(at).ok_or("its members leave it")?);
    if size > MAX_COMPOUND_BYTES {
        return Err(format!("its elements have more than {MAX_COMPOUND_BYTES} bytes"));
    }
    let zero = Some(json!(base64(&vec![0; size])));
    Ok(ZarrType { dtype: Value::Array(fields), dims: Vec::new(), elements: Elements::Stored, zero })
}

/// Returns the Zarr datatype, or the reason why it does not exist.
pub fn zarr_type(of: &Type) -> Result<ZarrType, String> {
    let dtype = match of {
        Type::Integer { bits, signed } => integer(bits, if *signed { 'i' } else { 'u' })?,
        Type::Bitfield(bits) => integer(bits, 'u')?,
        Type::Float { size, order: o } => format!("{}f{size}", order(*o, *size)?),
        Type::Text { size, padding: Padding::Blanks, .. } => {
            return Ok(ZarrType { elements: Elements::Blanks, ..ZarrType::plain(format!("|S{size}")) });
        }
        Type::Text { size, .. } => format!("|S{size}"),
        Type::Opaque { tag, size } if tag.starts_with(NUMPY_TAG) => {
            let dtype = &tag[NUMPY_TAG.len()..];
            let is_time = dtype.trim_start_matches(['<', '>', '|', '=']).starts_with(['M', 'm']);
            if !is_time || *size != TIME_BYTES {
                return Err(format!("Zarr has no type for the opaque type {tag}"));
            }
            return Ok(ZarrType { zero: Some(json!(0)), ..ZarrType::plain(dtype.to_owned()) });
        }
        Type::Opaque { size, .. } => format!("|V{size}"),
        Type::Enum { base, names } if is_boolean(base, names) => "|b1".into(),
        Type::Enum { base, .. } => return zarr_type(base),
        Type::Compound { size, members, .. } => match complex(*size, members) {
            Some(dtype) => dtype,
            None => return compound(*size, members),
        },
        Type::Complex(base) => match **base {
            Type::Float { size, order: o } if size > 2 => format!("{}c{}", order(o, size)?, 2 * size),
            _ => return Err("Zarr has no complex numbers of such parts".into()),
        },
        Type::VariableText { .. } => {
            return Ok(ZarrType { elements: Elements::Strings, ..ZarrType::plain("|O".into()) });
        }
        Type::Array { dims, base } => {
            let inner = zarr_type(base)?;
            if inner.elements == Elements::Strings {
                return Err("arrays of strings of variable length are not shown".into());
            }
            return Ok(ZarrType { dims: [&dims[..], &inner.dims[..]].concat(), ..inner });
        }
        Type::Sequence(_) => return Err("zarr-python has no sequences of variable length".into()),
        Type::Reference(_) => return Err("Zarr has no references".into()),
        Type::Time { .. } | Type::OtherFloat { .. } => return Err(format!("Zarr has no type for {of}")),
    };
    Ok(ZarrType::plain(dtype))
}

/// Converts a fill value in file form to the form that zarr-python reads. Returns `None` for an array of different values.
pub fn fill_value(of: &Type, bytes: &[u8]) -> Option<Value> {
    let float = |n: f64| match n {
        n if n.is_nan() => json!("NaN"),
        n if n.is_infinite() => json!(if n > 0.0 { "Infinity" } else { "-Infinity" }),
        n => json!(n),
    };
    // Converts the real and the imaginary part.
    let parts = |of: &Type| {
        let (real, imaginary) = bytes.split_at_checked(of.size())?;
        Some(json!([fill_value(of, real)?, fill_value(of, imaginary)?]))
    };
    Some(match of {
        Type::Enum { base, names } if is_boolean(base, names) => json!(bytes.iter().any(|byte| *byte != 0)),
        Type::Enum { base, .. } => return fill_value(base, bytes),
        Type::Array { base, .. } => {
            let mut all = bytes.chunks_exact(base.size().max(1));
            let first = all.next()?;
            return if all.all(|other| other == first) { fill_value(base, first) } else { None };
        }
        Type::Compound { size, members, .. } if complex(*size, members).is_some() => {
            return parts(&members.first()?.of);
        }
        Type::Complex(base) => return parts(base),
        // The byte order is that of the tag, as for the elements.
        Type::Opaque { tag, size: TIME_BYTES } if tag.starts_with(NUMPY_TAG) => {
            let is_big = tag[NUMPY_TAG.len()..].starts_with('>');
            let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
            let bits = Bits { order, size: TIME_BYTES, offset: 0, precision: 64 };
            return fill_value(&Type::Integer { bits, signed: true }, bytes);
        }
        // The string is padded with NULs, as in the chunks.
        Type::Text { padding: Padding::Blanks, .. } => {
            let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            let mut shown = bytes.to_vec();
            shown[end..].fill(0);
            json!(base64(&shown))
        }
        _ => match plain(of, bytes) {
            Item::Integer(n) => i64::try_from(n).map(|n| json!(n)).or(u64::try_from(n).map(|n| json!(n))),
            Item::Bits(n) => u64::try_from(n).map(|n| json!(n)),
            Item::Single(n) => Ok(float(f64::from(n))),
            Item::Double(n) => Ok(float(n)),
            _ => Ok(json!(base64(bytes))),
        }
        .unwrap_or_else(|_| json!(base64(bytes))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: Bits = Bits { order: ByteOrder::Little, size: 4, offset: 0, precision: 32 };

    fn member(name: &str, offset: usize, of: Type) -> Member {
        Member { name: name.into(), offset, encoded_offset: offset, of }
    }

    #[test]
    fn types_have_the_names_of_numpy() {
        let int = Type::Integer { bits: BITS, signed: true };
        let double = Type::Float { size: 8, order: ByteOrder::Big };
        let dtype = |of: &Type| zarr_type(of).unwrap().dtype;
        assert_eq!((dtype(&int), dtype(&double)), (json!("<i4"), json!(">f8")));
        let members = vec![member("r", 0, double.clone()), member("i", 8, double.clone())];
        assert_eq!(dtype(&Type::Compound { size: 16, encoded_size: 16, members }), json!(">c16"));
        let members = vec![member("b", 8, double.clone()), member("a", 0, int.clone())];
        let padded = dtype(&Type::Compound { size: 20, encoded_size: 20, members });
        assert_eq!(padded, json!([["a", "<i4"], ["_pad1", "|V4"], ["b", ">f8"], ["_pad3", "|V4"]]));
        let array = zarr_type(&Type::Array { dims: vec![2, 3], base: Box::new(int.clone()) }).unwrap();
        assert_eq!((array.dtype, array.dims), (json!("<i4"), vec![2, 3]));
        let odd = Type::Integer { bits: Bits { precision: 20, ..BITS }, signed: true };
        assert!(zarr_type(&odd).is_err() && zarr_type(&Type::Sequence(Box::new(int.clone()))).is_err());
        assert_eq!(fill_value(&int, &[255; 4]), Some(json!(-1)));
        assert_eq!(fill_value(&double, &f64::NAN.to_be_bytes()), Some(json!("NaN")));
    }

    #[test]
    fn fill_values_are_those_of_zarr() {
        let double = Type::Float { size: 8, order: ByteOrder::Big };
        let bytes = [f64::NEG_INFINITY.to_be_bytes(), 2.5f64.to_be_bytes()].concat();
        let members = vec![member("r", 0, double.clone()), member("i", 8, double.clone())];
        for complex in
            [Type::Compound { size: 16, encoded_size: 16, members }, Type::Complex(Box::new(double))]
        {
            assert_eq!(fill_value(&complex, &bytes), Some(json!(["-Infinity", 2.5])));
        }
        for (order, bytes) in [('<', 5i64.to_le_bytes()), ('>', 5i64.to_be_bytes())] {
            let time = Type::Opaque { size: 8, tag: format!("NUMPY:{order}M8[ns]") };
            assert_eq!(fill_value(&time, &bytes), Some(json!(5)));
        }
        let short = Type::Opaque { size: 4, tag: "NUMPY:<M8[ns]".into() };
        assert!(zarr_type(&short).is_err(), "no time of numpy's");
        let int = Type::Integer { bits: BITS, signed: true };
        let array = Type::Array { dims: vec![2], base: Box::new(int) };
        let array = Type::Array { dims: vec![2], base: Box::new(array) };
        assert_eq!(fill_value(&array, &[255; 16]), Some(json!(-1)));
        assert_eq!(fill_value(&array, &[[255; 8], [0; 8]].concat()), None);
        let blanks = Type::Text { size: 3, padding: Padding::Blanks, utf8: false };
        assert_eq!(fill_value(&blanks, b"a  "), Some(json!(base64(b"a\0\0"))));
    }
}
