//! Dimensions: scales become names, or else labels do, and other dimensions get some, which xarray needs.

use std::collections::HashMap;

use h5lake_container::{Dataset, Dataspace, ObjectId};

use super::attributes::Attributes;
use crate::Failure;
use crate::elements::Type;
use crate::elements::value::Item;

/// What a netCDF dimension without a variable says in its `NAME`.
const NO_VARIABLE: &[u8] = b"This is a netCDF dimension but not a netCDF variable";

/// Where HDF5 keeps the labels of dimensions.
const LABELS: &str = "DIMENSION_LABELS";

/// The names of an array's dimensions.
pub struct Named {
    pub names: Vec<String>,
    /// Whether the dataset is a dimension scale itself.
    is_scale: bool,
    /// Whether it has labels, as HDF5 keeps them.
    has_labels: bool,
}

impl Named {
    /// Whether the names take the place of an attribute, which may be anything on other objects.
    pub fn stands_for(&self, attribute: &str) -> bool {
        match attribute {
            "CLASS" | "NAME" => self.is_scale,
            LABELS => self.has_labels,
            _ => false,
        }
    }
}

/// The dimensions of one group: a name has one size there.
pub struct Dimensions {
    group: ObjectId,
    sizes: HashMap<String, u64>,
    /// Names of dimensions without scale, by size and by how many of that size an array has before.
    unnamed: HashMap<(u64, usize), String>,
}

/// Whether an object is a dimension of netCDF that is no variable: its elements mean nothing.
pub fn is_no_variable(attributes: &mut Attributes<'_>, id: ObjectId) -> Result<bool, Failure> {
    Ok(attributes.is_scale(id)?
        && attributes.text(id, "NAME")?.is_some_and(|text| text.starts_with(NO_VARIABLE)))
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Dimensions {
    /// Those of a group.
    pub fn new(group: ObjectId) -> Self {
        Self { group, sizes: HashMap::new(), unnamed: HashMap::new() }
    }

    /// Names for the dimensions of the dataset at a path, whose array has this shape. Labels that are none go to `left_out`, with why.
    pub fn of(
        &mut self,
        attributes: &mut Attributes<'_>,
        dataset: &Dataset,
        path: &str,
        shape: &[u64],
        left_out: &mut dyn FnMut(String, String),
    ) -> Result<Named, Failure> {
        let id = dataset.object().id();
        let (rank, is_scale) = (dataset.space().dims().len(), attributes.is_scale(id)?);
        let labels = labels(attributes, id, rank)?;
        let wanted = match scales(attributes, id)? {
            Some(scales) => scales,
            None if is_scale => vec![Some(last(path).to_owned())],
            None => Vec::new(),
        };
        let mut names: Vec<String> = Vec::with_capacity(shape.len());
        for (n, size) in shape.iter().enumerate() {
            let scale = wanted.get(n).cloned().flatten();
            let label = labels.as_ref().and_then(|labels| labels.get(n)).filter(|label| !label.is_empty());
            let is_free =
                |name: &String| !names.contains(name) && self.sizes.get(name).unwrap_or(size) == size;
            let mut name = scale.clone().filter(is_free);
            if let (None, Some(label)) = (&scale, label) {
                // xarray opens no group where a scalar has the name of a dimension.
                let is_own = rank == 1 && last(path) == label;
                let is_taken = !is_own && attributes.is_taken(self.group, label)?;
                name = Some(label.clone()).filter(is_free).filter(|_| !is_taken);
            }
            if let Some(label) = label.filter(|label| name.as_ref() != Some(*label)) {
                let why = match scale {
                    Some(_) => "the dimension has the name of its scale",
                    None => "it names something else in this group",
                };
                left_out(LABELS.to_owned(), format!("the label {label}: {why}"));
            }
            let name = name.unwrap_or_else(|| self.unnamed(*size, &names));
            self.sizes.insert(name.clone(), *size);
            names.push(name);
        }
        Ok(Named { names, is_scale, has_labels: labels.is_some() })
    }

    /// The name of a dimension without scale: the same for the same size, as far as one array has it once.
    fn unnamed(&mut self, size: u64, names: &[String]) -> String {
        let before = names.iter().filter(|name| self.sizes.get(*name) == Some(&size)).count();
        if let Some(known) = self.unnamed.get(&(size, before)).filter(|known| !names.contains(known)) {
            return known.clone();
        }
        let mut n = self.unnamed.len();
        let name = loop {
            let name = format!("phony_dim_{n}");
            if !self.sizes.contains_key(&name) {
                break name;
            }
            n += 1;
        };
        self.unnamed.insert((size, before), name.clone());
        name
    }
}

/// The labels of a dataset's dimensions, empty where there is none; `None` without an attribute of HDF5's form.
fn labels(
    attributes: &mut Attributes<'_>,
    id: ObjectId,
    rank: usize,
) -> Result<Option<Vec<String>>, Failure> {
    let Some(found) = attributes.values(id, LABELS)? else { return Ok(None) };
    let is_text = matches!(found.of, Type::VariableText { .. } | Type::Text { .. });
    let is_list = matches!(&found.space, Dataspace::Simple { dims, .. } if dims[..] == [rank as u64]);
    let text = |item: &Item| match item {
        Item::Text(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    Ok((is_text && is_list).then(|| found.items.iter().map(text).collect()))
}

/// The names of the scales of a dataset's dimensions, the first of each.
fn scales(attributes: &mut Attributes<'_>, id: ObjectId) -> Result<Option<Vec<Option<String>>>, Failure> {
    let Some(found) = attributes.values(id, "DIMENSION_LIST")? else { return Ok(None) };
    let first = |item: &Item| match item {
        Item::List(scales) => match scales.first() {
            Some(Item::Reference(scale)) => scale.path.as_deref().map(|path| last(path).to_owned()),
            _ => None,
        },
        _ => None,
    };
    Ok(Some(found.items.iter().map(first).collect()))
}
