//! `h5lake info`: shows the properties of a container, or of an object in it.

use std::path::Path;
use std::sync::Arc;

use h5lake_container::{
    AllocTime, Attribute, Container, CreationOrder, Dataset, Dataspace, Fill, FillTime, FillValue, Index,
    InlineHeap, ObjectId, ObjectKind, Order, Target,
};
use h5lake_ledger::{Access, At, Branch, FORMAT_VERSION, Holder, Ledger, Version};
use object_stores::shell_quoted;
use serde_json::{Value, json};

use crate::elements::type_of;
use crate::elements::value::{Decoder, Item};
use crate::ls::absolute;
use crate::name_text::name_text;
use crate::objects::{object, object_json, object_text, shape_json, shape_text, shown, token};
use crate::output::{Output, json_text, print};
use crate::walk::{Paths, kind_of};
use crate::{Failure, find};

/// The number of elements of an attribute that are shown in JSON. `h5lake cat --attribute` shows all elements.
const MAX_ELEMENTS: u64 = 1000;
/// The number of elements of an attribute that are shown in text.
const MAX_ELEMENTS_IN_TEXT: u64 = 20;

/// Shows the properties of a container, or of the object at a path.
pub fn run(name: &Path, path: Option<&str>, output: Output) -> Result<(), Failure> {
    let (place, options) = find::find_version(name, Access::ReadOnly)?;
    let storage = match &place.target {
        Target::File(path) => format!("file {}", path.display()),
        Target::Objects { store, key, url } => format!("objects at {} ({key} in {url})", store.place_of(key)),
    };
    let stage = stage_of(&place.target);
    let container = find::open_at(name, place, options)?;
    match (path, output) {
        (None, Output::Json) => {
            let mut shown = container_json(name, &storage, &container)?;
            if let Some((holder, folder, lives)) = &stage {
                shown["stage"] = json!({
                    "host": holder.host, "pid": holder.pid, "folder": folder, "writer_lives": lives,
                });
            }
            Ok(print([json_text(&shown)])?)
        }
        (None, _) => {
            let mut lines = container_lines(name, &storage, &container)?;
            lines.extend(stage.map(|stage| stage_line(&stage)));
            Ok(print(lines)?)
        }
        (Some(path), Output::Json) => Ok(print([json_text(&of_object_json(&container, path)?)])?),
        (Some(path), _) => Ok(print(of_object_lines(&container, path)?)?),
    }
}

/// The writer that holds the lock of a container and stages its commits, the staging directory, and whether the writer is alive, if that is
/// known.
type Stage = (Holder, String, Option<bool>);

/// Returns the writer that stages commits to the container. Ignores errors, because opening the container reports them.
fn stage_of(target: &Target) -> Option<Stage> {
    let Target::Objects { store, key, .. } = target else { return None };
    let lock = Ledger::lock_holder(store.as_ref(), key).ok()??;
    Some((lock.holder?, lock.stage?, lock.lives))
}

fn stage_line((holder, folder, lives): &Stage) -> String {
    let Holder { host, pid, .. } = holder;
    let said = match lives {
        Some(true) => "writes it, and newer commits may be on their way from",
        Some(false) => "is dead, and newer commits may be left in",
        None => "cannot be seen from here, and newer commits may be in",
    };
    let hint = if *lives == Some(true) {
        String::new()
    } else {
        format!(": 'h5lake drain {}' there brings them", shell_quoted(folder))
    };
    format!("  {:<22} process {pid} on {host} {said} {folder}{hint}", "stage")
}

fn version_text(version: &Version) -> String {
    format!("{} of {}", version.number, At::Time(version.time).setting_value())
}

fn container_lines(name: &Path, storage: &str, container: &Container) -> Result<Vec<String>, Failure> {
    let total = container.storage_use()?;
    let kept = container.versions(usize::MAX)?;
    let mut lines = vec![format!("{}: an h5lake container", name.display())];
    let mut add = |label: &str, text: String| lines.push(format!("  {label:<22} {text}"));
    add("storage", storage.to_owned());
    if let Some(branch) = container.branch()? {
        let Branch { name, base, commits, .. } = branch;
        add("branch", format!("{name}, which began with version {base}; {commits} commits"));
    }
    add("version", total.version.to_string());
    add("format", format!("{FORMAT_VERSION}, records of version {}", total.records_version));
    add("versions kept", kept.len().to_string());
    if let (Some(newest), Some(oldest)) = (kept.first(), kept.last()) {
        add("newest", version_text(newest));
        add("oldest", version_text(oldest));
    }
    for tag in container.tags()? {
        let version = tag.version.as_ref().map_or_else(|| "damaged".to_owned(), version_text);
        add("tag", format!("{}: version {version}; holds {} bytes at most", tag.name, tag.bytes));
    }
    add("groups", total.groups.to_string());
    add("datasets", total.datasets.to_string());
    add("committed datatypes", total.datatypes.to_string());
    add("links", total.links.to_string());
    add("attributes", total.attributes.to_string());
    add("bytes", total.size.to_string());
    add("  of data", total.payload_bytes.to_string());
    if total.source_bytes > 0 {
        add("  (in native files)", format!("{} ('h5lake materialize -n' lists them)", total.source_bytes));
    }
    add("  of the map", total.entry_bytes.to_string());
    let space = "pages, log, old versions, free space; vacuum frees at most this";
    add("  of other things", format!("{} ({space})", total.other_bytes()));
    if container.user_block() > 0 {
        add("user block", format!("{} bytes", container.user_block()));
    }
    Ok(lines)
}

fn container_json(name: &Path, storage: &str, container: &Container) -> Result<Value, Failure> {
    let total = container.storage_use()?;
    let kept = container.versions(usize::MAX)?;
    let version = |v: Option<&Version>| {
        v.map(|v| json!({ "number": v.number, "time": At::Time(v.time).setting_value() }))
    };
    Ok(json!({
        "name": name.display().to_string(), "storage": storage, "version": total.version,
        "format": FORMAT_VERSION, "records_version": total.records_version, "versions_kept": kept.len(), "newest": version(kept.first()),
        "branch": container.branch()?.as_ref().map(crate::branch::object),
        "tags": container.tags()?.iter().map(crate::tag::object).collect::<Value>(),
        "oldest": version(kept.last()), "groups": total.groups, "datasets": total.datasets,
        "datatypes": total.datatypes, "links": total.links, "attributes": total.attributes, "bytes": total.size,
        "data_bytes": total.payload_bytes, "source_bytes": total.source_bytes, "map_bytes": total.entry_bytes,
        "other_bytes": total.other_bytes(), "user_block": container.user_block(),
    }))
}

fn order_text(order: CreationOrder) -> &'static str {
    match (order.tracked, order.indexed) {
        (false, _) => "not tracked",
        (true, false) => "tracked",
        (true, true) => "tracked and indexed",
    }
}

/// Returns the properties of an object: for each a label for the text, a key for JSON, and the value.
fn properties(
    container: &Arc<Container>,
    id: ObjectId,
) -> Result<Vec<(&'static str, &'static str, Value)>, Failure> {
    let info = container.object_info(id)?;
    let mut all = vec![
        ("hard links", "hard_links", json!(info.link_count)),
        ("order of attributes", "attribute_order", json!(order_text(container.attribute_order(id)?))),
    ];
    if let Some(comment) = container.comment(id)? {
        all.push(("comment", "comment", json!(String::from_utf8_lossy(&comment))));
    }
    if container.tracks_times(id)? {
        let time = |seconds: i64| match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => json!(At::Time(seconds.saturating_mul(1_000_000)).setting_value()),
            _ => Value::Null,
        };
        all.push(("created", "created", time(info.birth_time)));
        all.push(("data changed", "data_changed", time(info.modify_time)));
        all.push(("header changed", "header_changed", time(info.change_time)));
    }
    match info.kind {
        ObjectKind::Group => {
            let order = container.group_info(id)?.link_order;
            all.push(("order of links", "link_order", json!(order_text(order))));
        }
        ObjectKind::Dataset => of_dataset(container, &*container.dataset(id)?, &mut all)?,
        ObjectKind::Datatype => (),
    }
    Ok(all)
}

/// Returns the words for the time at which fill values are written, and for the time at which space is allocated.
fn fill_words(fill: &Fill) -> (&'static str, &'static str) {
    let time = match fill.time {
        FillTime::Alloc => "on allocation",
        FillTime::Never => "never",
        FillTime::IfSet => "if set",
    };
    let allocate = match fill.allocate {
        AllocTime::Early => "early",
        AllocTime::Late => "late",
        AllocTime::Incremental => "incremental",
    };
    (time, allocate)
}

/// Returns the fill properties as text.
pub fn fill_text(fill: &Fill) -> String {
    let value = match &fill.value {
        FillValue::Undefined => "undefined".into(),
        FillValue::Default => "default".into(),
        FillValue::User(bytes) => Item::Bytes(bytes.to_vec()).text(),
    };
    let (time, allocate) = fill_words(fill);
    format!("{value}, written {time}, allocated {allocate}")
}

fn of_dataset(
    container: &Container,
    dataset: &Dataset,
    all: &mut Vec<(&'static str, &'static str, Value)>,
) -> Result<(), Failure> {
    let fill = dataset.fill();
    let value = match &fill.value {
        FillValue::Undefined => json!("undefined"),
        FillValue::Default => json!("default"),
        FillValue::User(bytes) => match type_of(dataset.datatype()) {
            Ok(of) => Decoder::new(container, InlineHeap::default(), &mut Paths::default())
                .decode(&of, bytes)?
                .json(),
            Err(why) => json!({ "error": why }),
        },
    };
    let (time, allocate) = fill_words(fill);
    all.push(("fill value", "fill_value", value));
    all.push(("fill time", "fill_time", json!(time)));
    all.push(("allocation", "allocation", json!(allocate)));
    let committed = dataset.datatype().committed;
    if let Some(committed) = committed {
        all.push(("committed type", "committed_type", path_or_token(container, committed)?));
    }
    Ok(())
}

fn path_or_token(container: &Container, id: ObjectId) -> Result<Value, Failure> {
    let path = container.find_path(id)?;
    Ok(path.map_or_else(|| json!(token(id)), |path| json!(name_text(&path))))
}

/// Returns the value of an attribute, nested as its shape. Returns `None` if the attribute has more than `most` elements or a null
/// dataspace.
fn value_of(container: &Container, attribute: &Attribute, most: u64) -> Result<Option<Item>, Failure> {
    let space = attribute.space();
    match space.points()? {
        _ if matches!(space, Dataspace::Null) => return Ok(None),
        // The other dimensions could require an unbounded number of empty lists.
        0 => return Ok(Some(Item::List(Vec::new()))),
        points if points > most => return Ok(None),
        _ => (),
    }
    let of = type_of(attribute.datatype())?;
    let (data, heap) = attribute.read_with_heap()?;
    let mut paths = Paths::default();
    let mut decoder = Decoder::new(container, heap, &mut paths);
    let items = data.chunks_exact(of.size().max(1)).map(|bytes| decoder.decode(&of, bytes));
    let mut items = items.collect::<Result<Vec<_>, _>>()?.into_iter();
    Ok(Some(nested(space.dims(), &mut items)))
}

fn nested(dims: &[u64], items: &mut impl Iterator<Item = Item>) -> Item {
    match dims.split_first() {
        None => items.next().unwrap_or(Item::Null),
        Some((count, rest)) => Item::List((0..*count).map(|_| nested(rest, items)).collect()),
    }
}

fn attributes(container: &Arc<Container>, id: ObjectId) -> Result<Vec<Arc<Attribute>>, Failure> {
    let all = container.attrs(id, Index::Name, Order::Native)?;
    Ok(all.iter().map(|info| container.attr_open(id, &info.name)).collect::<Result<_, _>>()?)
}

fn of_object_lines(container: &Arc<Container>, path: &str) -> Result<Vec<String>, Failure> {
    let id = object(container, path)?;
    let mut lines =
        vec![format!("{}  {}", shown(absolute(path).as_bytes()), object_text(container, id, true)?)];
    let stored = match kind_of(container, id)? {
        Some(ObjectKind::Dataset) => Some(container.dataset(id)?.stored_size()?.blocks),
        _ => None,
    };
    lines.extend(stored.map(|blocks| format!("  {:<22} {blocks}", "stored blocks")));
    for (label, _, value) in properties(container, id)? {
        let value = value.as_str().map_or_else(|| value.to_string(), |text| shown(text.as_bytes()));
        lines.push(format!("  {label:<22} {value}"));
    }
    for attribute in attributes(container, id)? {
        let of = type_of(attribute.datatype()).map_or_else(|why| why, |of| of.to_string());
        let value = match value_of(container, &attribute, MAX_ELEMENTS_IN_TEXT) {
            Ok(Some(item)) => item.text(),
            Ok(None) if attribute.space().points()? == 0 => "no elements".into(),
            Ok(None) => "'h5lake cat --attribute' shows it".into(),
            Err(error) => format!("unreadable: {error}"),
        };
        let (name, shape) = (shown(&attribute.name()), shape_text(attribute.space()));
        lines.push(format!("  @{name:<21} {shape}  {of}  = {value}"));
    }
    Ok(lines)
}

fn of_object_json(container: &Arc<Container>, path: &str) -> Result<Value, Failure> {
    let id = object(container, path)?;
    let mut made = object_json(container, id)?;
    made["path"] = json!(absolute(path));
    for (_, key, value) in properties(container, id)? {
        made[key] = value;
    }
    let mut all = serde_json::Map::new();
    for attribute in attributes(container, id)? {
        all.insert(name_text(&attribute.name()), attribute_json(container, &attribute)?);
    }
    made["attributes"] = Value::Object(all);
    Ok(made)
}

fn attribute_json(container: &Container, attribute: &Attribute) -> Result<Value, Failure> {
    let of = match type_of(attribute.datatype()) {
        Ok(of) => of.json(),
        Err(why) => json!({ "error": why }),
    };
    let mut made = json!({ "shape": shape_json(attribute.space()).0, "type": of });
    // The value is omitted if it has more than `MAX_ELEMENTS` elements.
    match value_of(container, attribute, MAX_ELEMENTS) {
        Ok(Some(item)) => made["value"] = item.json(),
        Ok(None) => (),
        Err(error) => made["error"] = json!(error.to_string()),
    }
    Ok(made)
}
