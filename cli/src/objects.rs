//! Objects of a container: finds them by path and describes them as text and JSON.

use std::sync::Arc;

use h5lake_container::{
    Container, Dataset, Dataspace, Filter, LastLink, Layout, Link, LinkTarget, ObjectId, ObjectKind,
    Resolution, StoredSize, UNLIMITED, known_filter_name,
};
use serde_json::{Value, json};

use crate::Failure;
use crate::elements::show::escaped;
use crate::elements::{Type, type_of};
use crate::name_text::name_text;
use crate::walk::kind_of;

/// The maximum number of soft links in a path, as in HDF5 (`H5L_NUM_LINKS`).
const MAX_SOFT_LINKS: usize = 16;

/// The target of a path.
pub enum Found {
    /// An object.
    Object(ObjectId),
    /// A link that leads to no object of this container.
    Link(Link),
}

/// Returns a name as text, with control characters escaped.
pub fn shown(name: &[u8]) -> String {
    escaped(&name_text(name))
}

/// Resolves a path from the root.
///
/// # Errors
///
/// Returns an error if nothing exists at the path.
pub fn find(container: &Container, path: &str) -> Result<Found, Failure> {
    let root = container.root();
    let resolve = |last| container.resolve(root, path.as_bytes(), last, MAX_SOFT_LINKS);
    if let Ok(Resolution::Object { id }) = resolve(LastLink::Follow) {
        return Ok(Found::Object(id));
    }
    match resolve(LastLink::Keep).map_err(|error| format!("{}: {path}: {error}", container.name()))? {
        Resolution::Object { id } => Ok(Found::Object(id)),
        Resolution::Link { link, .. } | Resolution::Leaves { link, .. } => Ok(Found::Link(link)),
        Resolution::Missing { .. } => {
            let text = format!("nothing is at {path}; 'h5lake tree' shows what there is");
            Err(format!("{}: {text}", container.name()).into())
        }
    }
}

/// Returns the object at a path.
///
/// # Errors
///
/// Returns an error if the path leads to no object of this container.
pub fn object(container: &Container, path: &str) -> Result<ObjectId, Failure> {
    match find(container, path)? {
        Found::Object(id) => Ok(id),
        Found::Link(link) => {
            let text = format!(
                "{path} is a {}, which leads to no object of this container",
                link_text(&link.target)
            );
            Err(format!("{}: {text}", container.name()).into())
        }
    }
}

/// Describes the target of a link. The target of a hard link is not named.
pub fn link_text(target: &LinkTarget) -> String {
    match target {
        LinkTarget::Hard(_) => "hard link".into(),
        LinkTarget::Soft(path) => format!("soft link -> {}", shown(path)),
        LinkTarget::External { file, path, .. } => {
            format!("external link -> {}:{}", shown(file), shown(path))
        }
        LinkTarget::UserDefined { class, .. } => format!("user-defined link of class {class}"),
    }
}

/// Describes the target of a link as JSON.
pub fn link_json(target: &LinkTarget) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match target {
        LinkTarget::Hard(id) => json!({ "kind": "hard link", "token": token(*id) }),
        LinkTarget::Soft(path) => json!({ "kind": "soft link", "target": text(path) }),
        LinkTarget::External { file, path, .. } => {
            json!({ "kind": "external link", "file": text(file), "target": text(path) })
        }
        LinkTarget::UserDefined { class, .. } => json!({ "kind": "user-defined link", "class": class }),
    }
}

/// Returns the id of an object as it is shown in all commands.
pub fn token(id: ObjectId) -> String {
    format!("{:#x}", id.0)
}

/// Returns the kind of an object in HDF5's terms.
pub fn kind_text(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Group => "group",
        ObjectKind::Dataset => "dataset",
        ObjectKind::Datatype => "datatype",
    }
}

/// Returns a shape as text, with the maximum size of each dimension that can grow.
pub fn shape_text(space: &Dataspace) -> String {
    let Dataspace::Simple { dims, max } = space else {
        return if matches!(space, Dataspace::Null) { "null".into() } else { "scalar".into() };
    };
    let one = |(dim, max): (&u64, &u64)| match *max {
        max if max == *dim => dim.to_string(),
        UNLIMITED => format!("{dim}/unlimited"),
        max => format!("{dim}/{max}"),
    };
    format!("{{{}}}", dims.iter().zip(max).map(one).collect::<Vec<_>>().join(", "))
}

/// Returns the shape and the maximum shape as JSON. Both are null for a null dataspace. The maximum size of an unlimited dimension is null.
pub fn shape_json(space: &Dataspace) -> (Value, Value) {
    let bound = |max: &u64| if *max == UNLIMITED { Value::Null } else { json!(max) };
    match space {
        Dataspace::Null => (Value::Null, Value::Null),
        _ => (json!(space.dims()), space.max_dims().iter().map(bound).collect()),
    }
}

/// The properties of a dataset that lists show.
pub struct DatasetFacts {
    pub of: Result<Type, String>,
    pub space: Dataspace,
    pub layout: Layout,
    pub filters: Vec<Filter>,
    /// The size of all elements without filters, in bytes.
    pub logical: u64,
    pub stored: StoredSize,
}

impl DatasetFacts {
    pub fn of(dataset: &Dataset) -> Result<Self, Failure> {
        let space = dataset.space();
        Ok(Self {
            of: type_of(dataset.datatype()),
            logical: space.points()?.saturating_mul(dataset.datatype().size),
            space,
            layout: dataset.layout().clone(),
            filters: dataset.filters().to_vec(),
            stored: dataset.stored_size()?,
        })
    }

    pub fn type_text(&self) -> String {
        self.of.as_ref().map_or_else(|why| format!("unreadable type ({why})"), Type::to_string)
    }

    pub fn layout_text(&self) -> String {
        match &self.layout {
            Layout::Chunked { chunk } => {
                format!("chunked {{{}}}", chunk.iter().map(u64::to_string).collect::<Vec<_>>().join(", "))
            }
            other => layout_name(other).into(),
        }
    }

    pub fn filters_text(&self) -> String {
        self.filters.iter().map(filter_text).collect::<Vec<_>>().join(" + ")
    }

    /// Returns the compression ratio, or `None` if no bytes are stored.
    pub fn ratio(&self) -> Option<f64> {
        (self.stored.bytes > 0).then(|| self.logical as f64 / self.stored.bytes as f64)
    }

    pub fn text(&self) -> String {
        let filters =
            if self.filters.is_empty() { String::new() } else { format!("  {}", self.filters_text()) };
        let ratio = self.ratio().map_or_else(String::new, |ratio| format!(" ({ratio:.2}:1)"));
        let (shape, of, layout) = (shape_text(&self.space), self.type_text(), self.layout_text());
        let sizes = format!("{} bytes, {} stored{ratio}", self.logical, self.stored.bytes);
        format!("{shape}  {of}  {layout}{filters}  {sizes}")
    }

    /// Adds the properties to a JSON object.
    pub fn add_to(&self, object: &mut Value) {
        let (shape, max) = shape_json(&self.space);
        object["shape"] = shape;
        object["maxshape"] = max;
        object["type"] = match &self.of {
            Ok(of) => of.json(),
            Err(why) => json!({ "error": why }),
        };
        object["layout"] = json!(layout_name(&self.layout));
        object["chunks"] = match &self.layout {
            Layout::Chunked { chunk } => json!(chunk),
            _ => Value::Null,
        };
        object["filters"] = self.filters.iter().map(filter_json).collect();
        object["bytes"] = json!(self.logical);
        object["stored_bytes"] = json!(self.stored.bytes);
        object["stored_blocks"] = json!(self.stored.blocks);
        object["ratio"] = json!(self.ratio());
    }
}

fn layout_name(layout: &Layout) -> &'static str {
    match layout {
        Layout::Compact => "compact",
        Layout::Contiguous => "contiguous",
        Layout::Chunked { .. } => "chunked",
        Layout::External { .. } => "external",
        Layout::Virtual { .. } => "virtual",
    }
}

/// Returns the name of a filter in HDF5's list of registered filters, otherwise the name that the filter itself has.
pub fn filter_name(filter: &Filter) -> String {
    match (known_filter_name(filter.id), &filter.name[..]) {
        ("", []) => format!("filter {}", filter.id),
        ("", name) => shown(name),
        (known, _) => known.into(),
    }
}

fn filter_text(filter: &Filter) -> String {
    let parameters: Vec<_> = filter.client_data.iter().map(u32::to_string).collect();
    match filter.id {
        // The only parameter of shuffle and fletcher32 is the size of an element, which the type shows already.
        2 | 3 => filter_name(filter),
        _ if parameters.is_empty() => filter_name(filter),
        _ => format!("{}({})", filter_name(filter), parameters.join(",")),
    }
}

fn filter_json(filter: &Filter) -> Value {
    let optional = filter.flags & 1 != 0;
    json!({ "id": filter.id, "name": filter_name(filter), "optional": optional, "parameters": filter.client_data })
}

/// Describes an object as the text that follows its name on a line.
pub fn object_text(container: &Arc<Container>, id: ObjectId, long: bool) -> Result<String, Failure> {
    let Some(kind) = kind_of(container, id)? else { return Ok("lost object".into()) };
    let name = kind_text(kind);
    if !long {
        return Ok(match kind {
            ObjectKind::Dataset => format!("{name}  {}", shape_text(&container.dataset(id)?.space())),
            _ => name.into(),
        });
    }
    Ok(match kind {
        ObjectKind::Group => format!("{name}  {} links", container.group_info(id)?.link_count),
        ObjectKind::Dataset => format!("{name}  {}", DatasetFacts::of(&*container.dataset(id)?)?.text()),
        ObjectKind::Datatype => {
            let of = type_of(&*container.datatype(id)?);
            format!("{name}  {}", of.map_or_else(|why| why, |of| of.to_string()))
        }
    })
}

/// Describes an object as JSON.
pub fn object_json(container: &Arc<Container>, id: ObjectId) -> Result<Value, Failure> {
    let Some(kind) = kind_of(container, id)? else {
        return Ok(json!({ "kind": "lost object", "token": token(id) }));
    };
    let info = container.object_info(id)?;
    let mut object = json!({
        "kind": kind_text(kind), "token": token(id), "hard_links": info.link_count, "attributes": info.attribute_count,
    });
    match kind {
        ObjectKind::Group => object["links"] = json!(container.group_info(id)?.link_count),
        ObjectKind::Dataset => DatasetFacts::of(&*container.dataset(id)?)?.add_to(&mut object),
        ObjectKind::Datatype => {
            object["type"] = match type_of(&*container.datatype(id)?) {
                Ok(of) => of.json(),
                Err(why) => json!({ "error": why }),
            }
        }
    }
    Ok(object)
}

/// Describes the object of a hard link, or any other link itself, as JSON.
pub fn entry_json(container: &Arc<Container>, path: &str, link: &Link) -> Result<Value, Failure> {
    let mut object = match link.target {
        LinkTarget::Hard(id) => object_json(container, id)?,
        _ => link_json(&link.target),
    };
    object["path"] = json!(path);
    Ok(object)
}
