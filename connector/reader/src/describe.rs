//! Descriptions of objects, datatypes and attributes as JSON, for programs. The tool's own JSON is for people.

use h5lake_container::{
    Attribute, Dataset, Dataspace, Error, ErrorKind, FillValue, Filter, Layout, Link, LinkTarget, ObjectId,
    ObjectKind, Result, UNLIMITED, known_filter_name,
};
use serde_json::{Value, json};

use crate::elements::value::plain;
use crate::elements::{ByteOrder, FloatFields, Padding, ReferenceKind, Type};
use crate::form::Form;

/// Returns a name as text. Bytes that are not UTF-8 become U+FFFD; `raw` holds the bytes of such a name.
pub fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the error of a datatype that cannot be read.
pub fn damaged(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{why}"))
}

fn order(order: ByteOrder) -> &'static str {
    match order {
        ByteOrder::Little => "little",
        ByteOrder::Big => "big",
        ByteOrder::Vax => "vax",
    }
}

fn fields(fields: &FloatFields) -> Value {
    json!({
        "sign": fields.sign, "exponent": fields.exponent, "exponent_bits": fields.exponent_bits,
        "mantissa": fields.mantissa, "mantissa_bits": fields.mantissa_bits, "bias": fields.bias,
        "implied": fields.is_implied,
    })
}

fn charset(utf8: bool) -> &'static str {
    if utf8 { "utf8" } else { "ascii" }
}

/// Describes a type. `size` is the size of an element in [value form](crate::form), `memory_size` and `memory_offset`
/// are those of HDF5's memory form.
///
/// # Errors
/// If an element has an impossible size.
pub fn datatype(of: &Type) -> Result<Value> {
    let form = Form::of(of).map_err(damaged)?;
    let mut made = json!({ "class": of.class(), "size": form.size() });
    match of {
        Type::Integer { bits, signed } => {
            (made["order"], made["signed"]) = (json!(order(bits.order)), json!(signed));
        }
        Type::Bitfield(bits) => made["order"] = json!(order(bits.order)),
        Type::Float { order: o, .. } => made["order"] = json!(order(*o)),
        Type::OtherFloat { order: o, fields: f, .. } => {
            (made["order"], made["fields"]) = (json!(order(*o)), fields(f));
        }
        Type::Time { order: o, .. } => made["order"] = json!(order(*o)),
        Type::Text { padding, utf8, .. } => {
            let padding = match padding {
                Padding::Nul => "nul",
                Padding::Nuls => "nuls",
                Padding::Blanks => "blanks",
            };
            (made["charset"], made["padding"]) = (json!(charset(*utf8)), json!(padding));
        }
        Type::VariableText { utf8 } => {
            (made["charset"], made["variable"]) = (json!(charset(*utf8)), json!(true));
        }
        Type::Opaque { tag, .. } => made["tag"] = json!(tag),
        Type::Compound { .. } => compound(of, &form, &mut made)?,
        Type::Reference(kind) => made["kind"] = json!(reference(*kind)),
        Type::Enum { base, names } => {
            let pairs = names.iter().map(|(name, value)| json!([&**name, plain(base, value).json()]));
            (made["values"], made["base"]) = (pairs.collect::<Value>(), datatype(base)?);
        }
        Type::Array { dims, base } => (made["shape"], made["base"]) = (json!(dims), datatype(base)?),
        Type::Sequence(base) | Type::Complex(base) => made["base"] = datatype(base)?,
    }
    Ok(made)
}

fn reference(kind: ReferenceKind) -> &'static str {
    match kind {
        ReferenceKind::Object => "object",
        ReferenceKind::Region => "region",
        ReferenceKind::New => "any",
    }
}

fn compound(of: &Type, form: &Form, made: &mut Value) -> Result<()> {
    let Type::Compound { encoded_size, members, .. } = of else { return Ok(()) };
    let offset = |n: usize| match form {
        Form::Compound { members: moved, .. } => moved[n].1,
        _ => members[n].offset,
    };
    let described = members.iter().enumerate().map(|(n, member)| {
        Ok(json!({
            "name": &*member.name, "offset": offset(n), "memory_offset": member.encoded_offset,
            "type": datatype(&member.of)?,
        }))
    });
    made["members"] = described.collect::<Result<Value>>()?;
    made["memory_size"] = json!(encoded_size);
    Ok(())
}

/// Returns the shape and the maximum shape; null for a null dataspace. The maximum of an unlimited dimension is null.
fn shapes(space: &Dataspace) -> (Value, Value) {
    let bound = |max: &u64| if *max == UNLIMITED { Value::Null } else { json!(max) };
    match space {
        Dataspace::Null => (Value::Null, Value::Null),
        _ => (json!(space.dims()), space.max_dims().iter().map(bound).collect()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn filter(filter: &Filter) -> Value {
    let known = known_filter_name(filter.id);
    let shown = if known.is_empty() { name(&filter.name) } else { known.to_owned() };
    let is_optional = filter.flags & 1 != 0;
    json!({ "id": filter.id, "name": shown, "optional": is_optional, "parameters": filter.client_data })
}

/// Describes a dataset: shape, maximum shape, layout, chunk shape, filters, and the fill value as hexadecimal bytes in
/// value form, or null if it is not defined or all zeros. `fill` converts the fill value.
///
/// # Errors
/// A datatype that cannot be read.
pub fn dataset(
    dataset: &Dataset,
    space: &Dataspace,
    of: &Type,
    fill: impl FnOnce(&[u8]) -> Result<(Vec<u8>, Vec<u8>)>,
) -> Result<Value> {
    let (shape, max) = shapes(space);
    let (layout, chunks) = match dataset.layout() {
        Layout::Compact => ("compact", Value::Null),
        Layout::Contiguous => ("contiguous", Value::Null),
        Layout::Chunked { chunk } => ("chunked", json!(chunk)),
        Layout::External { .. } => ("external", Value::Null),
        Layout::Virtual { .. } => ("virtual", Value::Null),
    };
    let (fill, pool) = match &dataset.fill().value {
        FillValue::User(value) => fill(value).map(|(fill, pool)| (json!(hex(&fill)), json!(hex(&pool))))?,
        _ => (Value::Null, Value::Null),
    };
    Ok(json!({
        "kind": "dataset", "shape": shape, "maxshape": max, "type": datatype(of)?, "layout": layout, "chunks": chunks,
        "filters": dataset.filters().iter().map(filter).collect::<Value>(), "fill": fill, "fill_pool": pool,
        "is_fill_defined": dataset.fill().value != FillValue::Undefined,
    }))
}

/// Describes an attribute.
///
/// # Errors
/// A datatype that cannot be read.
pub fn attribute(attribute: &Attribute, of: &Type) -> Result<Value> {
    let (shape, _) = shapes(attribute.space());
    Ok(json!({ "name": name(&attribute.name()), "shape": shape, "type": datatype(of)? }))
}

/// Returns the kind of an object in HDF5's terms.
pub fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Group => "group",
        ObjectKind::Dataset => "dataset",
        ObjectKind::Datatype => "datatype",
    }
}

/// Returns the text of an object's id.
pub fn token(id: ObjectId) -> String {
    format!("{:#x}", id.0)
}

/// Describes something that has a name alone: the name, and its bytes if they are not UTF-8.
pub fn named(bytes: &[u8]) -> Value {
    let mut made = json!({ "name": name(bytes) });
    if std::str::from_utf8(bytes).is_err() {
        made["raw"] = json!(hex(bytes));
    }
    made
}

/// Describes a link of a group: its name, its kind, and its target.
pub fn link(link: &Link) -> Value {
    let mut made = match &link.target {
        LinkTarget::Hard(id) => json!({ "link": "hard", "token": token(*id) }),
        LinkTarget::Soft(path) => json!({ "link": "soft", "target": name(path) }),
        LinkTarget::External { file, path, .. } => {
            json!({ "link": "external", "file": name(file), "target": name(path) })
        }
        LinkTarget::UserDefined { class, .. } => json!({ "link": "user-defined", "class": class }),
    };
    let Value::Object(named) = named(&link.name) else { return made };
    if let Value::Object(made) = &mut made {
        made.extend(named);
    }
    made
}
