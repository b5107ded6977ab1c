//! Dimensions: scales become names, and other dimensions get some, which xarray needs.

use std::collections::HashMap;

use h5lake_container::{Dataset, ObjectId};

use super::attributes::{Attributes, SCALE};
use crate::Failure;
use crate::elements::value::Item;

/// What a netCDF dimension without a variable says in its `NAME`.
const NO_VARIABLE: &[u8] = b"This is a netCDF dimension but not a netCDF variable";

/// The dimensions of one group: a name has one size there.
#[derive(Default)]
pub struct Dimensions {
    sizes: HashMap<String, u64>,
    /// Names of dimensions without scale, by size and by how many of that size an array has before.
    unnamed: HashMap<(u64, usize), String>,
}

/// Whether an object is a dimension of netCDF that is no variable: its elements mean nothing.
pub fn is_no_variable(attributes: &mut Attributes<'_>, id: ObjectId) -> Result<bool, Failure> {
    let is_scale = attributes.text(id, "CLASS")?.is_some_and(|text| text == SCALE);
    Ok(is_scale && attributes.text(id, "NAME")?.is_some_and(|text| text.starts_with(NO_VARIABLE)))
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Dimensions {
    /// Names for the dimensions of the dataset at a path, whose array has this shape.
    pub fn of(
        &mut self,
        attributes: &mut Attributes<'_>,
        dataset: &Dataset,
        path: &str,
        shape: &[u64],
    ) -> Result<Vec<String>, Failure> {
        let id = dataset.object().id();
        let wanted = match scales(attributes, id)? {
            Some(scales) => scales,
            None if attributes.text(id, "CLASS")?.is_some_and(|text| text == SCALE) => {
                vec![Some(last(path).to_owned())]
            }
            None => Vec::new(),
        };
        let mut names: Vec<String> = Vec::with_capacity(shape.len());
        for (n, size) in shape.iter().enumerate() {
            let scale = wanted.get(n).cloned().flatten();
            let scale =
                scale.filter(|name| !names.contains(name) && *self.sizes.get(name).unwrap_or(size) == *size);
            let name = match scale {
                Some(name) => name,
                None => self.unnamed(*size, &names),
            };
            self.sizes.insert(name.clone(), *size);
            names.push(name);
        }
        Ok(names)
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

/// The names of the scales of a dataset's dimensions, the first of each.
fn scales(attributes: &mut Attributes<'_>, id: ObjectId) -> Result<Option<Vec<Option<String>>>, Failure> {
    // One that cannot be read names no scales.
    let Ok(Some(found)) = attributes.values(id, "DIMENSION_LIST") else { return Ok(None) };
    let first = |item: &Item| match item {
        Item::List(scales) => match scales.first() {
            Some(Item::Reference(scale)) => scale.path.as_deref().map(|path| last(path).to_owned()),
            _ => None,
        },
        _ => None,
    };
    Ok(Some(found.items.iter().map(first).collect()))
}
