//! Conversion of attributes to JSON in the dialect of zarr-python, which allows Python's names of NaN and the infinities.

use std::fmt::Write;
use std::sync::Arc;

use h5lake_container::{Attribute, Container, Dataspace, Index, ObjectId, Order};
use serde_json::json;

use super::dimensions::Named;
use super::zarr_type::is_boolean;
use crate::Failure;
use crate::elements::value::{Decoder, Item, TooLarge, plain};
use crate::elements::{Type, type_of};
use crate::name_text::name_text;
use crate::walk::Paths;

/// Attributes in which HDF5 and netCDF store dimension scales and internal state. Zarr's dimension names replace them. Attributes that are
/// internal only on some objects are handled by [`Named`].
const HIDDEN: [&str; 7] = [
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
    "_NCProperties",
    "_ARRAY_DIMENSIONS",
];
/// The reason why references are left out.
const REFERENCES: &str = "references mean nothing outside of the container";
/// The value of the attribute `CLASS` of a dimension scale.
const SCALE: &[u8] = b"DIMENSION_SCALE";

/// A reader of the attributes of one container.
pub struct Attributes<'a> {
    container: &'a Arc<Container>,
    paths: Paths,
    /// True if the container was written by netCDF, which has no scalar attributes: an attribute with one element is then shown as a
    /// scalar.
    pub is_netcdf: bool,
}

/// The elements of an attribute.
pub struct Values {
    pub of: Type,
    pub space: Dataspace,
    pub items: Vec<Item>,
}

impl<'a> Attributes<'a> {
    pub fn of(container: &'a Arc<Container>) -> Result<Self, Failure> {
        let is_netcdf = container.attr_exists(container.root(), b"_NCProperties")?;
        Ok(Self { container, paths: Paths::default(), is_netcdf })
    }

    /// Returns the elements of an attribute, or `None` if it does not exist or its type is unknown to the tool.
    ///
    /// # Errors
    ///
    /// Returns an error if the attribute cannot be read.
    pub fn values(&mut self, id: ObjectId, name: &str) -> Result<Option<Values>, Failure> {
        if !self.container.attr_exists(id, name.as_bytes())? {
            return Ok(None);
        }
        let attribute = self.container.attr_open(id, name.as_bytes())?;
        let Ok(of) = type_of(attribute.datatype()) else { return Ok(None) };
        let values = self.decoded(&attribute, of).map_err(|error| failed(name, &error))?;
        Ok(values.ok())
    }

    /// Decodes the elements of an attribute. The inner error is the reason why an intact attribute cannot be shown.
    ///
    /// # Errors
    ///
    /// Returns an error if the attribute cannot be read.
    fn decoded(&mut self, attribute: &Attribute, of: Type) -> Result<Result<Values, String>, Failure> {
        let space = attribute.space().clone();
        let (data, heap) = attribute.read_with_heap()?;
        let mut decoder = Decoder::new(self.container, heap, &mut self.paths);
        let elements = data.chunks_exact(of.size().max(1)).take(usize::try_from(space.points()?)?);
        let items: Result<Vec<Item>, Failure> = elements.map(|bytes| decoder.decode(&of, bytes)).collect();
        match items {
            Ok(items) => Ok(Ok(Values { of, space, items })),
            Err(error) if error.is::<TooLarge>() => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Returns the first element of an attribute if it is a string.
    pub fn text(&mut self, id: ObjectId, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let values = self.values(id, name)?;
        Ok(values.and_then(|values| match values.items.into_iter().next() {
            Some(Item::Text(text)) => Some(text),
            _ => None,
        }))
    }

    /// Returns whether an object is a dimension scale.
    pub fn is_scale(&mut self, id: ObjectId) -> Result<bool, Failure> {
        Ok(self.text(id, "CLASS")?.is_some_and(|text| text == SCALE))
    }

    /// Returns whether a group has a link with a name.
    pub fn is_taken(&self, group: ObjectId, name: &str) -> Result<bool, Failure> {
        Ok(self.container.link(group, name.as_bytes())?.is_some())
    }

    /// Returns the document `.zattrs`, including the names of dimensions if there are any. Reports attributes that cannot be shown, with
    /// the reasons, to `left_out`.
    ///
    /// # Errors
    ///
    /// Returns an error if an attribute cannot be read.
    pub fn document(
        &mut self,
        id: ObjectId,
        dimensions: Option<&Named>,
        left_out: &mut dyn FnMut(String, String),
    ) -> Result<String, Failure> {
        let mut entries = Vec::new();
        if let Some(dimensions) = dimensions {
            entries.push(format!("\"_ARRAY_DIMENSIONS\":{}", json!(dimensions.names)));
        }
        for info in self.container.attrs(id, Index::Name, Order::Increasing)? {
            let shown = name_text(&info.name);
            let Ok(name) = std::str::from_utf8(&info.name) else {
                left_out(shown, "its name is not UTF-8".into());
                continue;
            };
            if HIDDEN.contains(&name) || dimensions.is_some_and(|dimensions| dimensions.stands_for(name)) {
                continue;
            }
            let attribute = self.container.attr_open(id, &info.name)?;
            let values = match showable(&attribute) {
                Ok(of) => self.decoded(&attribute, of).map_err(|error| failed(&shown, &error))?,
                Err(why) => Err(why),
            };
            match values.and_then(|values| self.json(&values)) {
                Ok(text) => entries.push(format!("{}:{text}", json!(name))),
                Err(why) => left_out(shown, why),
            }
        }
        Ok(format!("{{{}}}", entries.join(",")))
    }

    fn json(&self, values: &Values) -> Result<String, String> {
        let mut out = String::new();
        match &values.space {
            Dataspace::Null => return Err("it has no elements".into()),
            Dataspace::Simple { dims, .. } if !(self.is_netcdf && dims[..] == [1]) => {
                let mut items = values.items.iter();
                list(&values.of, &mut items, dims, &mut out)?;
            }
            _ => write_item(&values.of, values.items.first().unwrap_or(&Item::Null), &mut out)?,
        }
        Ok(out)
    }
}

fn failed(attribute: &str, error: &Failure) -> String {
    format!("the attribute {attribute}: {error}")
}

/// Returns the type of an attribute, or the reason why no element of the type can be converted to JSON, so that the elements need not be
/// read.
fn showable(attribute: &Attribute) -> Result<Type, String> {
    fn obstacle(of: &Type) -> Option<String> {
        match of {
            Type::Reference(_) => Some(REFERENCES.into()),
            Type::Compound { .. } => Some(no_json(of)),
            Type::Array { base, .. } => obstacle(base),
            _ => None,
        }
    }
    let of = type_of(attribute.datatype())?;
    let has_elements = attribute.space().points().is_ok_and(|points| points > 0);
    match obstacle(&of).filter(|_| has_elements) {
        Some(why) => Err(why),
        None => Ok(of),
    }
}

fn no_json(of: &Type) -> String {
    format!("JSON has no values of the type {of}")
}

/// Writes the elements of an attribute as nested lists.
fn list<'i>(
    of: &Type,
    items: &mut impl Iterator<Item = &'i Item>,
    dims: &[u64],
    out: &mut String,
) -> Result<(), String> {
    let Some((count, rest)) = dims.split_first() else {
        return items.next().map_or(Ok(()), |item| write_item(of, item, out));
    };
    out.push('[');
    for n in 0..*count {
        if n > 0 {
            out.push(',');
        }
        list(of, items, rest, out)?;
    }
    out.push(']');
    Ok(())
}

fn float(n: f64, out: &mut String) {
    // Writing to a string cannot fail.
    let _written = match n {
        n if n.is_nan() => write!(out, "NaN"),
        n if n.is_infinite() => write!(out, "{}Infinity", if n > 0.0 { "" } else { "-" }),
        n => write!(out, "{n:?}"),
    };
}

fn write_item(of: &Type, item: &Item, out: &mut String) -> Result<(), String> {
    match item {
        Item::Integer(n) => out.push_str(&n.to_string()),
        Item::Bits(n) => out.push_str(&n.to_string()),
        Item::Single(n) => float(f64::from(*n), out),
        Item::Double(n) => float(*n, out),
        Item::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
            out.push_str(&json!(text).to_string());
        }
        Item::Null if matches!(of, Type::VariableText { .. }) => out.push_str("\"\""),
        Item::Name(name) => {
            let Type::Enum { base, names } = of else { return Err("it has no JSON".into()) };
            let value = names.iter().find(|(other, _)| other == name).map(|(_, value)| value);
            match value {
                Some(value) if is_boolean(base, names) => out.push_str(&json!(value[..] == [1]).to_string()),
                Some(value) => write_item(base, &plain(base, value), out)?,
                None => return Err("it has no JSON".into()),
            }
        }
        Item::List(items) => {
            let inner = match of {
                Type::Array { dims, base } if dims.len() <= 1 => base,
                Type::Array { .. } => of,
                Type::Sequence(base) => base,
                _ => return Err("it has no JSON".into()),
            };
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                let deeper = if let (Type::Array { base, .. }, false) = (of, matches!(item, Item::List(_))) {
                    base
                } else {
                    inner
                };
                write_item(deeper, item, out)?;
            }
            out.push(']');
        }
        Item::Reference(_) | Item::Null => return Err(REFERENCES.into()),
        Item::Compound(_) | Item::Complex(_) | Item::Bytes(_) => return Err(no_json(of)),
    }
    Ok(())
}
