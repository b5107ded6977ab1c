//! Objects of a container: finding them by a path, and saying what they are.

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

/// Soft links that a path may pass, as HDF5 has it (`H5L_NUM_LINKS`).
const MAX_SOFT_LINKS: usize = 16;

/// What a path leads to.
pub enum Found {
    /// An object.
    Object(ObjectId),
    /// A link whose object is not in this container, or nowhere.
    Link(Link),
}

/// Names as people read them.
pub fn shown(name: &[u8]) -> String {
    escaped(&name_text(name))
}

/// Follows a path from the root.
///
/// # Errors
/// If nothing is there.
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

/// The object at a path.
///
/// # Errors
/// If there is none in this container.
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

/// What a link that is not hard leads to.
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

/// The same for programs.
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

/// An object's id, as other commands show it.
pub fn token(id: ObjectId) -> String {
    format!("{:#x}", id.0)
}

/// The kind of an object, in HDF5's terms.
pub fn kind_text(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Group => "group",
        ObjectKind::Dataset => "dataset",
        ObjectKind::Datatype => "datatype",
    }
}

/// A shape as people read it, with the largest sizes where they differ.
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

/// A shape for programs: null for a null space; null for an unlimited size.
pub fn shape_json(space: &Dataspace) -> (Value, Value) {
    let bound = |max: &u64| if *max == UNLIMITED { Value::Null } else { json!(max) };
    match space {
        Dataspace::Null => (Value::Null, Value::Null),
        _ => (json!(space.dims()), space.max_dims().iter().map(bound).collect()),
    }
}

/// What is said of a dataset in a list.
pub struct DatasetFacts {
    pub of: Result<Type, String>,
    pub space: Dataspace,
    pub layout: Layout,
    pub filters: Vec<Filter>,
    /// Bytes of all elements, as they are without filters.
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

    /// How many bytes one stored byte stands for, if any is stored.
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

    /// Adds what is said to an object for programs.
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

/// A filter's name: its own, or that of HDF5's list of registered filters.
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
        // Its parameter is the size of an element.
        2 | 3 => filter_name(filter),
        _ if parameters.is_empty() => filter_name(filter),
        _ => format!("{}({})", filter_name(filter), parameters.join(",")),
    }
}

fn filter_json(filter: &Filter) -> Value {
    let optional = filter.flags & 1 != 0;
    json!({ "id": filter.id, "name": filter_name(filter), "optional": optional, "parameters": filter.client_data })
}

/// An object as a line's words behind its name.
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

/// The same for programs.
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

/// A link's object, or the link where it is none to an object here, for programs.
pub fn entry_json(container: &Arc<Container>, path: &str, link: &Link) -> Result<Value, Failure> {
    let mut object = match link.target {
        LinkTarget::Hard(id) => object_json(container, id)?,
        _ => link_json(&link.target),
    };
    object["path"] = json!(path);
    Ok(object)
}
