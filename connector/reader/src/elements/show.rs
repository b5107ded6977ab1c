//! Text of types, with HDF5's terms for classes and the names of Rust and numpy for numbers.

use std::fmt;

use serde_json::{Value, json};

use super::{Bits, ByteOrder, Padding, ReferenceKind, Type};

fn order(order: ByteOrder, size: usize) -> &'static str {
    match order {
        ByteOrder::Vax => " VAX",
        _ if size == 1 => "",
        ByteOrder::Little => " LE",
        ByteOrder::Big => " BE",
    }
}

fn bits(f: &mut fmt::Formatter<'_>, name: &str, bits: &Bits) -> fmt::Result {
    write!(f, "{name}{}{}", 8 * bits.size, order(bits.order, bits.size))?;
    if bits.is_whole() { Ok(()) } else { write!(f, " ({} bits from {})", bits.precision, bits.offset) }
}

/// Escapes control characters in a name, because they could affect a terminal or split a line.
pub fn escaped(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { bits: b, signed } => bits(f, if *signed { "int" } else { "uint" }, b),
            Self::Float { size, order: o } => write!(f, "float{}{}", 8 * size, order(*o, *size)),
            Self::OtherFloat { size, order: o, .. } => {
                write!(f, "float{}{} (not IEEE 754)", 8 * size, order(*o, *size))
            }
            Self::Time { size, order: o } => write!(f, "time{}{}", 8 * size, order(*o, *size)),
            Self::Text { size, padding, utf8 } => {
                let set = if *utf8 { " UTF-8" } else { "" };
                let padding = match padding {
                    Padding::Nul => "",
                    Padding::Nuls => " NUL-padded",
                    Padding::Blanks => " blank-padded",
                };
                write!(f, "string[{size}]{padding}{set}")
            }
            Self::Bitfield(b) => bits(f, "bitfield", b),
            Self::Opaque { size, tag } if tag.is_empty() => write!(f, "opaque[{size}]"),
            Self::Opaque { size, tag } => write!(f, "opaque[{size}] \"{}\"", escaped(tag)),
            Self::Compound { members, .. } => {
                f.write_str("compound {")?;
                for (n, member) in members.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", escaped(&member.name), member.of)?;
                }
                f.write_str("}")
            }
            Self::Reference(ReferenceKind::Object) => f.write_str("object reference"),
            Self::Reference(ReferenceKind::Region) => f.write_str("region reference"),
            Self::Reference(ReferenceKind::New) => f.write_str("reference"),
            Self::Enum { base, names } => {
                write!(f, "enum {base} {{")?;
                for (n, (name, _)) in names.iter().enumerate() {
                    write!(f, "{}{}", if n == 0 { "" } else { ", " }, escaped(name))?;
                }
                f.write_str("}")
            }
            Self::Sequence(base) => write!(f, "vlen {base}"),
            Self::VariableText { utf8 } => f.write_str(if *utf8 { "string UTF-8" } else { "string" }),
            Self::Array { dims, base } => {
                let dims: Vec<_> = dims.iter().map(u64::to_string).collect();
                write!(f, "array[{}] {base}", dims.join(","))
            }
            Self::Complex(base) => write!(f, "complex {base}"),
        }
    }
}

impl Type {
    /// Returns the class in HDF5's terms.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Integer { .. } => "integer",
            Self::Float { .. } | Self::OtherFloat { .. } => "float",
            Self::Time { .. } => "time",
            Self::Text { .. } | Self::VariableText { .. } => "string",
            Self::Bitfield(_) => "bitfield",
            Self::Opaque { .. } => "opaque",
            Self::Compound { .. } => "compound",
            Self::Reference(_) => "reference",
            Self::Enum { .. } => "enum",
            Self::Sequence(_) => "vlen",
            Self::Array { .. } => "array",
            Self::Complex(_) => "complex",
        }
    }

    /// Returns the type as a JSON object. Its `size` is the size of an element in file form.
    pub fn json(&self) -> Value {
        let mut object = json!({ "text": self.to_string(), "class": self.class(), "size": self.size() });
        let more = match self {
            Self::Compound { members, .. } => {
                let member =
                    |m: &super::Member| json!({ "name": &*m.name, "offset": m.offset, "type": m.of.json() });
                Some(("members", members.iter().map(member).collect::<Value>()))
            }
            Self::Enum { base, names } => {
                let value = |bytes: &[u8]| super::value::plain(base, bytes).json();
                let pairs: serde_json::Map<_, _> =
                    names.iter().map(|(name, bytes)| (name.to_string(), value(bytes))).collect();
                object["base"] = base.json();
                Some(("values", Value::Object(pairs)))
            }
            Self::Array { dims, base } => {
                object["base"] = base.json();
                Some(("shape", json!(dims)))
            }
            Self::Sequence(base) | Self::Complex(base) => Some(("base", base.json())),
            _ => None,
        };
        if let Some((key, value)) = more {
            object[key] = value;
        }
        object
    }
}
