//! Names of dimensions for Zarr. They come from dimension scales or from labels. Other dimensions get generated names, because xarray
//! requires names.

use std::collections::HashMap;

use h5lake_container::{Dataset, Dataspace, ObjectId};

use super::attributes::Attributes;
use crate::Failure;
use crate::elements::Type;
use crate::elements::value::Item;

/// The beginning of the attribute `NAME` of a netCDF dimension without a variable.
const NO_VARIABLE: &[u8] = b"This is a netCDF dimension but not a netCDF variable";

/// The attribute in which HDF5 stores the labels of dimensions.
const LABELS: &str = "DIMENSION_LABELS";

/// The names of the dimensions of an array.
pub struct Named {
    pub names: Vec<String>,
    /// True if the dataset itself is a dimension scale.
    is_scale: bool,
    /// True if the dataset has labels in HDF5's format.
    has_labels: bool,
}

impl Named {
    /// Returns whether the names replace an attribute. The attribute may have another meaning on other objects.
    pub fn stands_for(&self, attribute: &str) -> bool {
        match attribute {
            "CLASS" | "NAME" => self.is_scale,
            LABELS => self.has_labels,
            _ => false,
        }
    }
}

/// The dimensions of one group. In a group, each dimension name has one size.
pub struct Dimensions {
    group: ObjectId,
    sizes: HashMap<String, u64>,
    /// The generated names of dimensions, by the size and the number of earlier dimensions of the array with the same size.
    unnamed: HashMap<(u64, usize), String>,
}

/// Returns whether an object is a netCDF dimension without a variable. Its elements have no meaning.
pub fn is_no_variable(attributes: &mut Attributes<'_>, id: ObjectId) -> Result<bool, Failure> {
    Ok(attributes.is_scale(id)?
        && attributes.text(id, "NAME")?.is_some_and(|text| text.starts_with(NO_VARIABLE)))
}

/// Returns the last component of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Dimensions {
    /// Creates an empty set of dimensions for a group.
    pub fn new(group: ObjectId) -> Self {
        Self { group, sizes: HashMap::new(), unnamed: HashMap::new() }
    }

    /// Returns names for the dimensions of the dataset at a path. `shape` is the shape of its array. Reports labels that cannot be used,
    /// with the reasons, to `left_out`.
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
                // xarray cannot open a group in which a scalar has the name of a dimension.
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

    /// Returns a generated name for a dimension. Dimensions of the same size share a name, but each name occurs only once in an array.
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

/// Returns the labels of a dataset's dimensions; dimensions without a label have an empty one. Returns `None` if the attribute is missing
/// or does not have HDF5's format.
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

/// Returns the names of the first scale of each dimension of a dataset, or `None` if the dataset has no scales.
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
