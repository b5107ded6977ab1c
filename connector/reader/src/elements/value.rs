//! Decodes the stored bytes of an element to its value.

use std::sync::Arc;

use h5lake_container::encoded::{check_reference, is_whole_reference};
use h5lake_container::{Container, InlineHeap, ObjectId};
use serde_json::{Value, json};

use super::{Bits, ByteOrder, Padding, ReferenceKind, Type};
use crate::Failure;
use crate::walk::Paths;

/// The maximum memory for one element. The bound is needed because variable-length data may name the same blob many times, at any depth.
const MAX_BYTES_OF_AN_ELEMENT: u64 = 1 << 29;

/// The target of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The kind: `object`, `region` or `attribute`.
    pub kind: &'static str,
    /// The id of the object.
    pub object: u64,
    /// A path to the object, if one is known.
    pub path: Option<Arc<str>>,
    /// The name of the file that contains the object, if it is another file.
    pub file: Option<String>,
    /// The name of the attribute.
    pub attribute: Option<String>,
    /// The selection of a region, as HDF5 serializes it.
    pub selection: Option<Vec<u8>>,
}

/// The decoded value of an element.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An integer.
    Integer(i128),
    /// An integer that is shown in hexadecimal.
    Bits(u128),
    /// A float of up to 4 bytes.
    Single(f32),
    /// A float of 8 bytes.
    Double(f64),
    /// A complex number: the real and the imaginary part.
    Complex(Box<[Item; 2]>),
    /// The bytes of a string.
    Text(Vec<u8>),
    /// The name of a value of an enumeration.
    Name(Arc<str>),
    /// Bytes that the tool does not interpret.
    Bytes(Vec<u8>),
    /// The members of a compound.
    Compound(Vec<(Arc<str>, Item)>),
    /// The elements of an array or a sequence.
    List(Vec<Item>),
    /// A reference.
    Reference(Box<Reference>),
    /// A null string, or a null reference.
    Null,
}

/// The error that an element takes more than this number of bytes with its variable-length data. The element may be intact.
#[derive(Debug)]
pub struct TooLarge(u64);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an element takes more than {} bytes with its variable-length data", self.0)
    }
}

impl std::error::Error for TooLarge {}

/// A decoder for elements, with access to blobs and to the paths of objects.
pub struct Decoder<'a> {
    container: &'a Container,
    heap: InlineHeap,
    paths: &'a mut Paths,
    /// The maximum memory for an element, in bytes.
    bound: u64,
    /// The memory that the present element may still take, in bytes.
    budget: u64,
}

/// Decodes an element of a type without variable-length data and references.
pub fn plain(of: &Type, bytes: &[u8]) -> Item {
    match of {
        Type::Integer { bits, signed } => integer(bytes, bits, *signed),
        Type::Bitfield(bits) => match number(bytes, bits) {
            Some(number) => Item::Bits(number),
            None => Item::Bytes(bytes.to_vec()),
        },
        Type::Time { size, order } => {
            let bits = Bits { order: *order, size: *size, offset: 0, precision: 8 * *size as u32 };
            integer(bytes, &bits, true)
        }
        Type::Float { size, order } => float(bytes, *size, *order),
        Type::Text { padding, .. } => Item::Text(text(bytes, *padding).to_vec()),
        Type::Enum { base, names } => match names.iter().find(|(_, value)| is_value(base, value, bytes)) {
            Some((name, _)) => Item::Name(name.clone()),
            None => plain(base, bytes),
        },
        Type::Complex(base) => {
            let (real, imaginary) = bytes.split_at(base.size().min(bytes.len()));
            Item::Complex(Box::new([plain(base, real), plain(base, imaginary)]))
        }
        _ => Item::Bytes(bytes.to_vec()),
    }
}

/// Returns whether the bytes represent the value, regardless of unused bits.
fn is_value(of: &Type, value: &[u8], bytes: &[u8]) -> bool {
    value == bytes || !of.has_no_padding() && plain(of, value) == plain(of, bytes)
}

/// Returns the significant bits of a number, or `None` if it has more than 16 bytes or is in VAX order.
fn number(bytes: &[u8], bits: &Bits) -> Option<u128> {
    if bytes.len() > 16 || bits.order == ByteOrder::Vax {
        return None;
    }
    let add = |sum: u128, byte: &u8| sum << 8 | u128::from(*byte);
    let all = match bits.order {
        ByteOrder::Big => bytes.iter().fold(0, add),
        _ => bytes.iter().rev().fold(0, add),
    };
    let mask = if bits.precision >= 128 { u128::MAX } else { (1 << bits.precision) - 1 };
    Some(all.checked_shr(bits.offset)? & mask)
}

fn integer(bytes: &[u8], bits: &Bits, signed: bool) -> Item {
    let Some(found) = number(bytes, bits) else { return Item::Bytes(bytes.to_vec()) };
    if signed && (1..=128).contains(&bits.precision) {
        let unused = 128 - bits.precision;
        return Item::Integer(((found << unused) as i128) >> unused);
    }
    match i128::try_from(found) {
        Ok(found) => Item::Integer(found),
        Err(_) => Item::Bits(found),
    }
}

fn float(bytes: &[u8], size: usize, order: ByteOrder) -> Item {
    let bits = Bits { order, size, offset: 0, precision: 8 * size as u32 };
    match (size, number(bytes, &bits)) {
        (2, Some(found)) => Item::Single(half(found as u16)),
        (4, Some(found)) => Item::Single(f32::from_bits(found as u32)),
        (8, Some(found)) => Item::Double(f64::from_bits(found as u64)),
        _ => Item::Bytes(bytes.to_vec()),
    }
}

/// Converts a float of two bytes to a float of four bytes, which is exact.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    match (exponent, bits & 1023) {
        (31, 0) => sign * f32::INFINITY,
        (31, _) => f32::NAN,
        (0, _) => sign * mantissa * 2_f32.powi(-24),
        _ => sign * (mantissa / 1024.0 + 1.0) * 2_f32.powi(exponent - 15),
    }
}

/// Returns the bytes of a fixed-length string without its padding.
fn text(bytes: &[u8], padding: Padding) -> &[u8] {
    match padding {
        Padding::Blanks => bytes.trim_suffix_of(b' '),
        Padding::Nuls => bytes.trim_suffix_of(0),
        Padding::Nul => &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())],
    }
}

trait TrimSuffix {
    fn trim_suffix_of(&self, byte: u8) -> &[u8];
}

impl TrimSuffix for [u8] {
    fn trim_suffix_of(&self, byte: u8) -> &[u8] {
        &self[..self.iter().rposition(|b| *b != byte).map_or(0, |last| last + 1)]
    }
}

fn take(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], Failure> {
    let found = at.checked_add(length).and_then(|end| bytes.get(at..end));
    Ok(found.ok_or("an element is shorter than its datatype says: run 'h5lake verify'")?)
}

/// Reads the id of a blob from the bytes of an element.
fn id_at(bytes: &[u8], at: usize) -> Result<[u8; 16], Failure> {
    Ok(take(bytes, at, 16)?.try_into()?)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Failure> {
    Ok(u32::from_le_bytes(take(bytes, at, 4)?.try_into()?))
}

impl<'a> Decoder<'a> {
    /// Makes a decoder for elements of a container. `heap` is the inline heap of the attribute that contains the elements; it is empty for
    /// a dataset.
    pub fn new(container: &'a Container, heap: InlineHeap, paths: &'a mut Paths) -> Self {
        Self { container, heap, paths, bound: MAX_BYTES_OF_AN_ELEMENT, budget: 0 }
    }

    /// Replaces the bound.
    #[cfg(test)]
    pub fn bounded(self, bound: u64) -> Self {
        Self { bound, ..self }
    }

    /// Decodes an element.
    ///
    /// # Errors
    ///
    /// Returns an error if variable-length data cannot be read, if the bytes are malformed, or with [`TooLarge`] if the element exceeds the
    /// bound.
    pub fn decode(&mut self, of: &Type, bytes: &[u8]) -> Result<Item, Failure> {
        self.budget = self.bound;
        self.item(of, bytes)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.budget.checked_sub((bytes + size_of::<Item>()) as u64);
        self.budget = left.ok_or(TooLarge(self.bound))?;
        Ok(())
    }

    fn item(&mut self, of: &Type, bytes: &[u8]) -> Result<Item, Failure> {
        self.spend(bytes.len())?;
        match of {
            Type::Compound { members, .. } => {
                let mut items = Vec::with_capacity(members.len());
                for member in members {
                    let part = take(bytes, member.offset, member.of.size())?;
                    items.push((member.name.clone(), self.item(&member.of, part)?));
                }
                Ok(Item::Compound(items))
            }
            Type::Array { dims, base } => self.nested(dims, base, bytes),
            Type::Sequence(base) => self.sequence(base, bytes),
            Type::VariableText { .. } => {
                let (length, id) = (u32_at(bytes, 0)? as usize, id_at(bytes, 4)?);
                Ok(if id == [0; 16] { Item::Null } else { Item::Text(self.blob(&id, length)?) })
            }
            Type::Reference(kind) => self.reference(*kind, bytes),
            _ => Ok(plain(of, bytes)),
        }
    }

    /// Decodes an array to nested lists.
    fn nested(&mut self, dims: &[u64], base: &Type, bytes: &[u8]) -> Result<Item, Failure> {
        let Some((count, rest)) = dims.split_first() else { return self.item(base, bytes) };
        let count = usize::try_from(*count)?;
        let width = bytes.len() / count.max(1);
        let parts = (0..count).map(|n| self.nested(rest, base, take(bytes, n * width, width)?));
        Ok(Item::List(parts.collect::<Result<_, _>>()?))
    }

    fn sequence(&mut self, base: &Type, bytes: &[u8]) -> Result<Item, Failure> {
        let (count, id) = (u32_at(bytes, 0)? as usize, id_at(bytes, 4)?);
        let width = base.size();
        let length = count.checked_mul(width).ok_or("a sequence has an impossible length")?;
        let blob = self.blob(&id, length)?;
        let items = (0..count).map(|n| self.item(base, take(&blob, n * width, width)?));
        Ok(Item::List(items.collect::<Result<_, _>>()?))
    }

    /// Reads the first `length` bytes of a blob.
    fn blob(&mut self, id: &[u8; 16], length: usize) -> Result<Vec<u8>, Failure> {
        self.spend(length)?;
        if InlineHeap::has(id) {
            return Ok(self.heap.get(id, length as u64)?.to_vec());
        }
        if *id == [0; 16] && length == 0 {
            return Ok(Vec::new());
        }
        // The length is checked before memory is allocated, because it comes from an untrusted container.
        let there = self.container.heap_len(id)?;
        if there < length as u64 {
            return Err(format!("{length} bytes are asked of a blob of {there}: run 'h5lake verify'").into());
        }
        let mut blob = vec![0; length];
        self.container.heap_get(id, &mut blob)?;
        Ok(blob)
    }

    fn reference(&mut self, kind: ReferenceKind, bytes: &[u8]) -> Result<Item, Failure> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Item::Null);
        }
        match kind {
            ReferenceKind::Object => {
                let object = u64::from_le_bytes(take(bytes, 0, 8)?.try_into()?);
                self.leading_to("object", object)
            }
            ReferenceKind::Region => {
                // The reference contains the segment of a blob in the root group's heap, and the offset of the blob in it.
                let mut id = [0; 16];
                id[..8].copy_from_slice(&self.container.root().0.to_be_bytes());
                id[8..].copy_from_slice(take(bytes, 0, 8)?);
                let length = usize::try_from(self.container.heap_len(&id)?)?;
                let blob = self.blob(&id, length)?;
                let object = u64::from_be_bytes(take(&blob, 0, 8)?.try_into()?);
                let path = self.paths.of(self.container, ObjectId(object))?;
                let selection = Some(take(&blob, 8, length.saturating_sub(8))?.to_vec());
                let (file, attribute) = (None, None);
                Ok(Item::Reference(Box::new(Reference {
                    kind: "region",
                    object,
                    path,
                    file,
                    attribute,
                    selection,
                })))
            }
            ReferenceKind::New => self.new_reference(bytes),
        }
    }

    fn leading_to(&mut self, kind: &'static str, object: u64) -> Result<Item, Failure> {
        let path = self.paths.of(self.container, ObjectId(object))?;
        let (file, attribute, selection) = (None, None, None);
        Ok(Item::Reference(Box::new(Reference { kind, object, path, file, attribute, selection })))
    }

    fn new_reference(&mut self, bytes: &[u8]) -> Result<Item, Failure> {
        let (kind, flags) = (take(bytes, 0, 1)?[0], take(bytes, 1, 1)?[0]);
        let damaged = |why: &str| format!("a reference is damaged: {why}");
        if is_whole_reference(kind, flags) {
            let object = u64::from_le_bytes(take(bytes, 3, 8)?.try_into()?);
            return self.leading_to("object", object);
        }
        let (length, id) = (u32_at(bytes, 2)? as usize, id_at(bytes, 6)?);
        let blob = self.blob(&id, length)?;
        let found = check_reference(kind, flags, &blob).map_err(damaged)?;
        let token: [u8; 8] = found.token.try_into().map_err(|_| damaged("its token has not 8 bytes"))?;
        let object = u64::from_le_bytes(token);
        let mut rest = take(&blob, 9, blob.len().saturating_sub(9))?;
        let file = if found.is_external { Some(string(&mut rest)?) } else { None };
        let attribute = if kind == 4 { Some(string(&mut rest)?) } else { None };
        let path = if file.is_none() { self.paths.of(self.container, ObjectId(object))? } else { None };
        let selection = if kind == 3 { Some(rest.to_vec()) } else { None };
        let kind = match kind {
            2 => "object",
            3 => "region",
            _ => "attribute",
        };
        Ok(Item::Reference(Box::new(Reference { kind, object, path, file, attribute, selection })))
    }
}

/// Reads a string that follows its length of two bytes.
fn string(rest: &mut &[u8]) -> Result<String, Failure> {
    let length = usize::from(u16::from_le_bytes(take(rest, 0, 2)?.try_into()?));
    let text = String::from_utf8_lossy(take(rest, 2, length)?).into_owned();
    *rest = &rest[2 + length..];
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a float as JSON. Values that are not finite become strings, because JSON has no numbers for them.
fn float_json(number: f64) -> Value {
    match number {
        n if n.is_nan() => json!("NaN"),
        n if n.is_infinite() => json!(if n > 0.0 { "Infinity" } else { "-Infinity" }),
        n => json!(n),
    }
}

impl Item {
    /// Returns the value as JSON.
    pub fn json(&self) -> Value {
        match self {
            Self::Integer(n) => match (i64::try_from(*n), u64::try_from(*n)) {
                (Ok(n), _) => json!(n),
                (_, Ok(n)) => json!(n),
                _ => json!(n.to_string()),
            },
            Self::Bits(n) => u64::try_from(*n).map_or_else(|_| json!(format!("{n:#x}")), |n| json!(n)),
            // The conversion uses the shortest decimal form, so that 0.1 stays 0.1.
            Self::Single(n) if n.is_finite() => n.to_string().parse().map_or(Value::Null, float_json),
            Self::Single(n) => float_json(f64::from(*n)),
            Self::Double(n) => float_json(*n),
            Self::Complex(parts) => json!([parts[0].json(), parts[1].json()]),
            Self::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => json!(text),
                Err(_) => json!({ "bytes": hex(bytes) }),
            },
            Self::Name(name) => json!(&**name),
            Self::Bytes(bytes) => json!(format!("0x{}", hex(bytes))),
            Self::Compound(items) => {
                Value::Object(items.iter().map(|(name, item)| (name.to_string(), item.json())).collect())
            }
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Reference(r) => json!({
                "kind": r.kind, "path": r.path.as_deref(), "token": format!("{:#x}", r.object), "file": r.file,
                "attribute": r.attribute, "selection": r.selection.as_deref().map(hex),
            }),
            Self::Null => Value::Null,
        }
    }

    /// Returns the value as text on one line.
    pub fn text(&self) -> String {
        let listed = |items: &[Self]| items.iter().map(Self::text).collect::<Vec<_>>().join(", ");
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Bits(n) => format!("{n:#x}"),
            Self::Single(n) => format!("{n:?}"),
            Self::Double(n) => format!("{n:?}"),
            Self::Complex(parts) => {
                let (real, imaginary) = (parts[0].text(), parts[1].text());
                let sign = if imaginary.starts_with('-') { "" } else { "+" };
                format!("{real}{sign}{imaginary}j")
            }
            Self::Text(bytes) => quoted(bytes),
            Self::Name(name) => super::show::escaped(name),
            Self::Bytes(bytes) => format!("0x{}", hex(bytes)),
            Self::Compound(items) => {
                let items: Vec<_> = items.iter().map(|(_, item)| item.text()).collect();
                format!("({})", items.join(", "))
            }
            Self::List(items) => format!("[{}]", listed(items)),
            Self::Reference(r) => r.text(),
            Self::Null => "NULL".into(),
        }
    }
}

impl Reference {
    fn text(&self) -> String {
        let object = match &self.path {
            Some(path) => super::show::escaped(path),
            None => format!("{:#x}", self.object),
        };
        let file =
            self.file.as_ref().map_or_else(String::new, |file| format!("{}:", super::show::escaped(file)));
        let what = match (self.kind, &self.attribute) {
            (_, Some(name)) => format!("attribute {} of ", quoted(name.as_bytes())),
            ("region", _) => "region of ".into(),
            _ => String::new(),
        };
        format!("<{what}{file}{object}>")
    }
}

/// Returns a string in quotation marks. Bytes that are not printable UTF-8 are escaped.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if c.is_control() => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        part.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}
