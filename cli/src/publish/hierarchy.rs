//! Publishes the groups and datasets of a version as a Zarr hierarchy.

use std::collections::HashMap;
use std::sync::Arc;

use h5lake_container::{
    Container, Dataset, ErrorKind, InlineHeap, LastLink, Link, LinkTarget, ObjectId, ObjectKind, Resolution,
};
use h5lake_ledger::{HeldSpace, PayloadPlace};
use serde_json::{Value, json};

use super::array::Array;
use super::attributes::Attributes;
use super::chunks::{Chunks, Counts, UTF8};
use super::dimensions::{Dimensions, Named, is_no_variable};
use super::references::References;
use super::zarr_type::Elements;
use crate::Failure;
use crate::elements::value::{Decoder, Item};
use crate::elements::{Type, type_of};
use crate::objects::{link_text, shown};
use crate::walk::{Links, Paths, kind_of};

/// The maximum number of soft links in a path, as in HDF5 (`H5L_NUM_LINKS`).
const MAX_SOFT_LINKS: usize = 16;

/// A published dataset.
pub struct Shown {
    pub path: String,
    pub counts: Counts,
    /// True if xarray treats elements as missing that HDF5 shows.
    pub is_masked: bool,
}

/// The result of a publication: the objects that are shown, and those that are left out.
#[derive(Default)]
pub struct Report {
    pub groups: u64,
    pub datasets: Vec<Shown>,
    /// The paths that are left out, with the reasons.
    pub left_out: Vec<(String, String)>,
}

/// A writer of a Zarr hierarchy.
pub struct Hierarchy<'a> {
    pub container: &'a Arc<Container>,
    pub held: &'a HeldSpace,
    pub url: &'a dyn Fn(&PayloadPlace) -> String,
    pub out: &'a mut References,
    attributes: Attributes<'a>,
    report: Report,
    /// The groups that are shown, by object id, with their paths.
    groups: HashMap<u64, String>,
    /// The groups that are still to be written, with their paths.
    waiting: Vec<(ObjectId, String)>,
}

/// Returns a name if Zarr's stores accept it, otherwise the reason why they do not.
fn zarr_name(name: &[u8]) -> Result<&str, &'static str> {
    match std::str::from_utf8(name) {
        Err(_) => Err("its name is not UTF-8"),
        Ok(name) if name.bytes().all(|byte| byte == b'.') => Err("Zarr has no such names"),
        Ok(name) if name.contains('\\') => Err("Zarr has no backslash in names"),
        Ok(".zarray" | ".zattrs" | ".zgroup" | ".zmetadata" | "zarr.json") => {
            Err("Zarr keeps its metadata under this name")
        }
        Ok(name) => Ok(name),
    }
}

/// Returns an error of reading an object with the path of the object.
fn failed(path: &str, error: &dyn std::fmt::Display) -> String {
    format!("{path}: {error}")
}

/// Returns whether an error says that a path leads to no object. Other errors are failures of reading.
fn leads_nowhere(error: &h5lake_container::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WrongKind | ErrorKind::TooManyLinks)
}

/// Returns a value in the form of fill values, with all digits of a float of four bytes.
fn in_full(item: &Item) -> Value {
    match item {
        Item::Single(n) if n.is_finite() => json!(f64::from(*n)),
        other => other.json(),
    }
}

impl<'a> Hierarchy<'a> {
    pub fn new(
        container: &'a Arc<Container>,
        held: &'a HeldSpace,
        url: &'a dyn Fn(&PayloadPlace) -> String,
        out: &'a mut References,
    ) -> Result<Self, Failure> {
        let root = container.root();
        Ok(Self {
            container,
            held,
            url,
            out,
            attributes: Attributes::of(container)?,
            report: Report::default(),
            groups: HashMap::from([(root.0, "/".to_owned())]),
            waiting: vec![(root, String::new())],
        })
    }

    /// Writes all groups and datasets.
    pub fn write(mut self) -> Result<Report, Failure> {
        while let Some((group, path)) = self.waiting.pop() {
            self.group(group, &path)?;
        }
        Ok(self.report)
    }

    fn leave_out(&mut self, path: &str, why: impl Into<String>) {
        self.report.left_out.push((path.to_owned(), why.into()));
    }

    /// Returns the document with the attributes of the object at a path.
    fn attributes(
        &mut self,
        id: ObjectId,
        path: &str,
        dimensions: Option<&Named>,
    ) -> Result<String, Failure> {
        let report = &mut self.report;
        self.attributes.document(id, dimensions, &mut |name, why| {
            report.left_out.push((format!("{path}@{name}"), why));
        })
    }

    /// Writes a group and its members. The path is empty for the root group and otherwise ends with a slash.
    fn group(&mut self, group: ObjectId, path: &str) -> Result<(), Failure> {
        self.report.groups += 1;
        let own = format!("/{path}");
        self.out.document(&format!("{path}.zgroup"), r#"{"zarr_format":2}"#)?;
        let attributes = self.attributes(group, &own, None).map_err(|error| failed(&own, &error))?;
        self.out.document(&format!("{path}.zattrs"), &attributes)?;
        let (mut links, mut dimensions) = (Links::of(group), Dimensions::new(group));
        while let Some(link) = links.next(self.container).map_err(|error| failed(&own, &error))? {
            let full = format!("{path}{}", shown(&link.name));
            match zarr_name(&link.name) {
                Ok(name) => self.link(group, &link, &format!("{path}{name}"), &mut dimensions)?,
                Err(why) => self.leave_out(&format!("/{full}"), why),
            }
        }
        Ok(())
    }

    fn link(
        &mut self,
        group: ObjectId,
        link: &Link,
        path: &str,
        dimensions: &mut Dimensions,
    ) -> Result<(), Failure> {
        let full = format!("/{path}");
        let id = match &link.target {
            LinkTarget::Hard(id) => *id,
            LinkTarget::Soft(target) => {
                let found = self.container.resolve(group, target, LastLink::Follow, MAX_SOFT_LINKS);
                match found {
                    Ok(Resolution::Object { id }) => id,
                    Err(error) if !leads_nowhere(&error) => return Err(failed(&full, &error).into()),
                    _ => {
                        self.leave_out(&full, "a soft link that leads to no object of the container");
                        return Ok(());
                    }
                }
            }
            other => {
                self.leave_out(&full, link_text(other));
                return Ok(());
            }
        };
        match kind_of(self.container, id).map_err(|error| failed(&full, &error))? {
            Some(ObjectKind::Dataset) => {
                Ok(self.dataset(id, path, dimensions).map_err(|error| failed(&full, &error))?)
            }
            Some(ObjectKind::Group) => {
                match self.groups.get(&id.0) {
                    Some(there) => {
                        let why = format!("another link to the group {there}");
                        self.leave_out(&full, why);
                    }
                    // The group is shown at the hard link that leads to it.
                    None if matches!(link.target, LinkTarget::Soft(_)) => {
                        self.leave_out(&full, "a soft link to a group");
                    }
                    None => {
                        self.groups.insert(id.0, full);
                        self.waiting.push((id, format!("{path}/")));
                    }
                }
                Ok(())
            }
            Some(ObjectKind::Datatype) => {
                self.leave_out(&full, "a committed datatype");
                Ok(())
            }
            None => {
                self.leave_out(&full, "a lost object");
                Ok(())
            }
        }
    }

    fn dataset(&mut self, id: ObjectId, path: &str, dimensions: &mut Dimensions) -> Result<(), Failure> {
        let dataset = self.container.dataset(id)?;
        let full = format!("/{path}");
        if is_no_variable(&mut self.attributes, id)? {
            self.leave_out(&full, "a dimension of netCDF that is no variable");
            return Ok(());
        }
        let array = match self.array(&dataset)? {
            Ok(array) => array,
            Err(why) => {
                self.leave_out(&full, why);
                return Ok(());
            }
        };
        let report = &mut self.report;
        let names =
            dimensions.of(&mut self.attributes, &dataset, path, &array.shape(), &mut |name, why| {
                report.left_out.push((format!("{full}@{name}"), why));
            })?;
        let attributes = self.attributes(id, &full, Some(&names))?;
        let prefix = format!("{path}/");
        let chunks = Chunks {
            container: self.container,
            dataset: &dataset,
            array: &array,
            held: self.held,
            url: self.url,
            prefix: &prefix,
            out: self.out,
            counts: Counts::default(),
        };
        let strings = if array.zarr.elements == Elements::Strings { chunks.strings()? } else { UTF8 };
        chunks.out.document(&format!("{path}/.zarray"), &array.document(strings))?;
        chunks.out.document(&format!("{path}/.zattrs"), &attributes)?;
        let counts = chunks.write()?;
        self.report.datasets.push(Shown { path: full, counts, is_masked: array.is_masked() });
        Ok(())
    }

    /// Returns the array of a dataset, or the reason why the dataset is left out.
    ///
    /// # Errors
    ///
    /// Returns an error if the dataset or its attributes cannot be read.
    fn array(&mut self, dataset: &Dataset) -> Result<Result<Array, String>, Failure> {
        let missing = self.attributes.values(dataset.object().id(), "_FillValue")?;
        let missing = missing.map(|values| values.items.iter().map(in_full).collect::<Vec<Value>>());
        // The number of missing chunks is needed only for times and for fill values other than zero.
        let is_opaque = dataset.datatype().class == 5;
        let written = match dataset.filling().is_some() || is_opaque {
            true => dataset.stored_size()?.blocks,
            false => 0,
        };
        let text = self.fill_text(dataset)?;
        Ok(Array::of(dataset, missing.as_deref(), written, text))
    }

    /// Returns the fill value of variable-length strings, or an empty text without a fill value.
    fn fill_text(&self, dataset: &Dataset) -> Result<Vec<u8>, Failure> {
        let Some(fill) = dataset.filling() else { return Ok(Vec::new()) };
        let Ok(of @ Type::VariableText { .. }) = type_of(dataset.datatype()) else { return Ok(Vec::new()) };
        let mut paths = Paths::default();
        match Decoder::new(self.container, InlineHeap::default(), &mut paths).decode(&of, &fill)? {
            Item::Text(text) => Ok(text),
            _ => Ok(Vec::new()),
        }
    }
}

impl Report {
    /// Returns the sums over all datasets: the referenced chunks and bytes, and the copied chunks and bytes.
    pub fn sums(&self) -> [u64; 4] {
        self.datasets.iter().fold([0; 4], |sums, shown| {
            let c = &shown.counts;
            let more = [c.referenced, c.referenced_bytes, c.copied, c.copied_bytes];
            std::array::from_fn(|n| sums[n] + more[n])
        })
    }

    /// Returns the report as JSON.
    pub fn json(&self) -> Value {
        let [referenced, referenced_bytes, copied, copied_bytes] = self.sums();
        let datasets = self.datasets.iter().map(|shown| {
            let c = &shown.counts;
            json!({
                "path": shown.path, "referenced": c.referenced, "referenced_bytes": c.referenced_bytes,
                "copied": c.copied, "copied_bytes": c.copied_bytes, "reasons": c.reasons, "masked": shown.is_masked,
            })
        });
        let left_out = self.left_out.iter().map(|(path, why)| json!({ "path": path, "reason": why }));
        json!({
            "groups": self.groups, "datasets": datasets.collect::<Value>(), "left_out": left_out.collect::<Value>(),
            "referenced": referenced, "referenced_bytes": referenced_bytes,
            "copied": copied, "copied_bytes": copied_bytes,
        })
    }

    /// Returns the report as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let [referenced, referenced_bytes, copied, copied_bytes] = self.sums();
        let mut lines = vec![format!(
            "{} groups, {} datasets: {referenced} chunks referenced ({referenced_bytes} bytes), {copied} copied ({copied_bytes} bytes)",
            self.groups,
            self.datasets.len()
        )];
        for shown in &self.datasets {
            let c = &shown.counts;
            let reasons: Vec<_> = c.reasons.iter().map(|(why, count)| format!("{count} {why}")).collect();
            if c.copied > 0 {
                lines.push(format!(
                    "copied from {}: {} of {} chunks, {} bytes ({})",
                    shown.path,
                    c.copied,
                    c.copied + c.referenced,
                    c.copied_bytes,
                    reasons.join("; ")
                ));
            }
            if shown.is_masked {
                let how = "open it with mask_and_scale=False to see the fill value";
                lines.push(format!(
                    "masked in {}: xarray takes its fill value for missing data; {how}",
                    shown.path
                ));
            }
        }
        lines.extend(self.left_out.iter().map(|(path, why)| format!("not shown: {path}: {why}")));
        lines
    }
}
