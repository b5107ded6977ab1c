//! `h5lake cat`: shows the elements of a dataset or of an attribute.

use std::path::Path;
use std::sync::Arc;

use h5lake_container::{Container, Dataset, Dataspace, InlineHeap, Layout, ObjectId, ObjectKind};
use serde_json::json;

use crate::elements::value::Decoder;
use crate::elements::{Type, type_of};
use crate::ls::absolute;
use crate::objects::{filter_name, kind_text, object, shape_json};
use crate::output::Sink;
use crate::slice::{Axis, Parts, parse, points, shape};
use crate::walk::{Paths, kind_of};
use crate::{Failure, find};

/// The number of bytes that one read returns at most.
const BYTES_PER_READ: u64 = 8 << 20;

/// The output format of the elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text, with one row on each line.
    Text,
    /// One JSON object.
    Json,
    /// The bytes as they are stored, without filters.
    Raw,
}

/// The arguments of `h5lake cat`.
pub struct Wanted<'a> {
    pub path: &'a str,
    pub slice: Option<&'a str>,
    pub attribute: Option<&'a str>,
    pub form: Form,
}

/// Shows the elements of the dataset or attribute.
pub fn run(name: &Path, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let container = find::open(name)?;
    let id = object(&container, wanted.path)?;
    let mut out = Sink::new(wanted.form == Form::Json);
    match wanted.attribute {
        Some(attribute) => cat_attribute(&container, id, attribute, wanted, &mut out)?,
        None => cat_dataset(&container, id, wanted, &mut out)?,
    }
    out.finish()
}

/// Opens a dataset with elements that the tool can read.
///
/// # Errors
///
/// Returns an error if the object is no dataset, if its elements are stored outside of the container, or if the tool lacks one of its
/// filters.
pub fn readable(container: &Arc<Container>, id: ObjectId, path: &str) -> Result<Arc<Dataset>, Failure> {
    if kind_of(container, id)? != Some(ObjectKind::Dataset) {
        let kind = kind_of(container, id)?.map_or("lost object", kind_text);
        let text = format!("is no dataset but a {kind}; 'h5lake ls' and 'h5lake info' show it");
        return Err(format!("{}: {path} {text}", container.name()).into());
    }
    let dataset = container.dataset(id)?;
    check_readable(&dataset).map_err(|why| format!("{}: {path}: {why}", container.name()))?;
    Ok(dataset)
}

/// Returns an error if the tool cannot read the elements of a dataset. The error says why.
pub fn check_readable(dataset: &Dataset) -> Result<(), String> {
    let elsewhere = match dataset.layout() {
        Layout::Virtual { .. } => "shows elements of other datasets (virtual layout)",
        Layout::External { .. } => "has its elements in files beside the container (external storage)",
        _ if dataset.needs_codec() => {
            let names: Vec<_> = dataset.filters().iter().map(filter_name).collect();
            return Err(format!(
                "this tool does not have all of its filters ({}); read it by the plugin in a program with a libhdf5 that has them",
                names.join(", ")
            ));
        }
        _ => return Ok(()),
    };
    Err(format!("it {elsewhere}; read it with h5py or h5dump, with the plugin"))
}

/// Returns the number of elements that one read returns at most, for elements of `size` bytes.
pub fn elements_per_read(size: u64) -> u64 {
    (BYTES_PER_READ / size.max(1)).max(1)
}

fn cat_dataset(
    container: &Arc<Container>,
    id: ObjectId,
    wanted: &Wanted<'_>,
    out: &mut Sink,
) -> Result<(), Failure> {
    let dataset = readable(container, id, wanted.path)?;
    let of =
        type_of(dataset.datatype()).map_err(|why| format!("{}: {}: {why}", container.name(), wanted.path))?;
    let space = dataset.space();
    let axes = parse(wanted.slice, space.dims())?;
    if wanted.slice.is_some() && !matches!(space, Dataspace::Simple { .. }) {
        return Err(format!("{} has no dimensions that a slice could take a part of", wanted.path).into());
    }
    let mut paths = Paths::default();
    let mut writer =
        Writer::begin(container, &of, &space, &axes, wanted, InlineHeap::default(), &mut paths, out)?;
    let is_null = matches!(space, Dataspace::Null);
    for part in Parts::new(&axes, elements_per_read(of.size() as u64)).take_while(|_| !is_null) {
        let bytes = part.points.saturating_mul(of.size() as u64);
        let mut data = vec![0; usize::try_from(bytes)?];
        let read = dataset.read(&part.selection, &mut data);
        read.map_err(|error| error.within(container.name(), wanted.path))?;
        writer.elements(&data)?;
    }
    writer.end()
}

fn cat_attribute(
    container: &Arc<Container>,
    id: ObjectId,
    name: &str,
    wanted: &Wanted<'_>,
    out: &mut Sink,
) -> Result<(), Failure> {
    if wanted.slice.is_some() {
        return Err("a slice takes a part of a dataset; an attribute is shown as a whole".into());
    }
    let attribute = container.attr_open(id, name.as_bytes()).map_err(|error| {
        format!("{}: {}: {error}; 'h5lake info' lists the attributes", container.name(), wanted.path)
    })?;
    let of = type_of(attribute.datatype())?;
    let (data, heap) = attribute.read_with_heap()?;
    let space = attribute.space().clone();
    let axes = parse(None, space.dims())?;
    let mut paths = Paths::default();
    let mut writer = Writer::begin(container, &of, &space, &axes, wanted, heap, &mut paths, out)?;
    if !matches!(space, Dataspace::Null) {
        writer.elements(&data)?;
    }
    writer.end()
}

/// Writes elements one after the other in C order.
struct Writer<'a> {
    of: &'a Type,
    decoder: Decoder<'a>,
    form: Form,
    /// The shape of the result.
    shape: Vec<u64>,
    /// The number of elements of the result, and the number of elements already written.
    total: u64,
    written: u64,
    out: &'a mut Sink,
}

impl<'a> Writer<'a> {
    #[expect(clippy::too_many_arguments, reason = "they are what a result consists of")]
    fn begin(
        container: &'a Container,
        of: &'a Type,
        space: &Dataspace,
        axes: &[Axis],
        wanted: &Wanted<'_>,
        heap: InlineHeap,
        paths: &'a mut Paths,
        out: &'a mut Sink,
    ) -> Result<Self, Failure> {
        let form = wanted.form;
        if form == Form::Raw && !of.is_self_contained() {
            let text =
                "variable-length data and references mean nothing outside of their container; use --json";
            return Err(format!("{}: {text}", wanted.path).into());
        }
        let shape = shape(axes);
        if form == Form::Json {
            let shown = if matches!(space, Dataspace::Null) { shape_json(space).0 } else { json!(shape) };
            let path = json!(absolute(wanted.path));
            let attribute =
                wanted.attribute.map_or_else(String::new, |a| format!("\"attribute\":{},", json!(a)));
            out.text(&format!(
                "{{\"path\":{path},{attribute}\"type\":{},\"shape\":{shown},\"data\":",
                of.json()
            ))?;
            if matches!(space, Dataspace::Null) {
                out.text("null")?;
            } else if points(axes) == 0 {
                out.text(&empty_lists(&shape))?;
            }
        }
        let total = points(axes);
        Ok(Self { of, decoder: Decoder::new(container, heap, paths), form, shape, total, written: 0, out })
    }

    fn elements(&mut self, data: &[u8]) -> Result<(), Failure> {
        if self.form == Form::Raw {
            return self.out.bytes(data);
        }
        for bytes in data.chunks_exact(self.of.size().max(1)) {
            let item = self.decoder.decode(self.of, bytes)?;
            match self.form {
                Form::Json => self.json(&item.json().to_string())?,
                _ => self.text(&item.text())?,
            }
            self.written += 1;
        }
        Ok(())
    }

    /// Returns how many of the last dimensions begin at the element with this number. This is the number of brackets that open there.
    fn dimensions_at(&self, n: u64) -> usize {
        let mut block = 1;
        self.shape
            .iter()
            .rev()
            .take_while(|dim| {
                block *= **dim;
                n.is_multiple_of(block)
            })
            .count()
    }

    fn json(&mut self, item: &str) -> Result<(), Failure> {
        let opened = self.dimensions_at(self.written);
        let comma = if self.written == 0 { "" } else { "," };
        let closed = self.dimensions_at(self.written + 1);
        self.out.text(&format!("{comma}{}{item}{}", "[".repeat(opened), "]".repeat(closed)))
    }

    /// Writes an element as text. Each row is one line, and a blank line separates planes. With fewer than two dimensions, each element is
    /// one line.
    fn text(&mut self, item: &str) -> Result<(), Failure> {
        let ended = self.dimensions_at(self.written + 1);
        let is_last = self.written + 1 == self.total;
        let end = match self.shape.len() {
            0 | 1 => "\n",
            _ if ended == 0 => " ",
            _ if ended > 1 && !is_last => "\n\n",
            _ => "\n",
        };
        self.out.text(item)?;
        self.out.text(end)
    }

    fn end(self) -> Result<(), Failure> {
        if self.form == Form::Json { self.out.line("}") } else { Ok(()) }
    }
}

/// Returns empty JSON lists nested as the shape, such as `[[],[]]` for 2 × 0. If there would be more than 65,536 lists, returns a single
/// one.
fn empty_lists(shape: &[u64]) -> String {
    const MOST: u64 = 1 << 16;
    let outer: Vec<u64> = shape.iter().copied().take_while(|count| *count > 0).collect();
    if outer.iter().fold(1, |n: u64, count| n.saturating_mul(*count)) > MOST {
        return "[]".into();
    }
    outer
        .iter()
        .rev()
        .fold("[]".to_owned(), |inner, count| format!("[{}]", vec![inner; *count as usize].join(",")))
}
