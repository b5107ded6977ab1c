//! `h5lake ls` and `h5lake tree`: list the members of a group, alone or with all groups below it. For a folder, `ls` lists its containers.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use h5lake_container::{Container, Link, LinkTarget, ObjectId, ObjectKind};
use serde_json::{Value, json};

use crate::containers::{Containers, below as containers_below, folder_named};
use crate::name_text::name_text;
use crate::objects::{Found, entry_json, find, link_text, object_json, object_text, shown};
use crate::output::{JsonArray, Output, Sink};
use crate::walk::{Links, kind_of};
use crate::{Failure, find as containers, list};

/// The maximum depth of nested groups, and the maximum length of their paths in bytes. Both bound the memory of a walk.
const MAX_DEPTH: usize = 1024;
const MAX_PATH: usize = 64 << 10;
/// The maximum number of groups that are remembered to show each only once.
const MAX_GROUPS: usize = 1 << 22;

/// Returns the path of a member of a group.
pub fn below(group: &str, name: &[u8]) -> String {
    format!("{}/{}", group.trim_end_matches('/'), name_text(name))
}

/// Returns the path as it is shown: from the root, and without slashes at its end.
pub fn absolute(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// Describes a link. If its object cannot be read, says so and counts it in `unread`, so that the other objects are still shown.
fn line(container: &Arc<Container>, link: &Link, long: bool, unread: &mut u64) -> String {
    let LinkTarget::Hard(id) = link.target else { return link_text(&link.target) };
    object_text(container, id, long).unwrap_or_else(|error| {
        *unread += 1;
        format!("unreadable: {}", shown(error.to_string().as_bytes()))
    })
}

/// Describes a link as JSON, like [`line()`].
fn entry(container: &Arc<Container>, path: &str, link: &Link, unread: &mut u64) -> Value {
    entry_json(container, path, link).unwrap_or_else(|error| {
        *unread += 1;
        json!({ "path": path, "kind": "unreadable", "error": error.to_string() })
    })
}

/// Ends the output. Returns an error if an object could not be read.
fn finish(mut out: Sink, container: &Container, unread: u64) -> Result<(), Failure> {
    out.finish()?;
    match unread {
        0 => Ok(()),
        n => {
            Err(format!("{}: {n} objects cannot be read; 'h5lake verify' says why", container.name()).into())
        }
    }
}

fn group_of(container: &Container, link: &Link) -> Option<ObjectId> {
    let LinkTarget::Hard(id) = link.target else { return None };
    // An error is reported where the object is shown.
    let kind = kind_of(container, id).ok().flatten();
    (kind == Some(ObjectKind::Group)).then_some(id)
}

/// The arguments of `h5lake ls`.
pub struct Wanted<'a> {
    pub name: &'a Path,
    /// The group or object to list. If it is `None`, the root group is listed.
    pub path: Option<&'a str>,
    pub long: bool,
    /// True if containers in subfolders are listed, too.
    pub recursive: bool,
    pub output: Output,
}

/// Lists the members of a group in a container, or the containers of a folder.
pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let &Wanted { name, path, long, recursive, output } = wanted;
    let listed = match folder_named(name)? {
        Some(folder) => Containers::of(folder, recursive)?,
        None => match containers::open(name) {
            Ok(_) if recursive => {
                let text = "is a container; 'h5lake tree' shows all that is in it";
                return Err(format!("{}: {text}", name.display()).into());
            }
            Ok(container) => return ls(&container, path.unwrap_or("/"), long, output),
            Err(error) if containers::is_not_found(&error) => {
                containers_below(name, recursive)?.ok_or(error)?
            }
            Err(error) => return Err(error),
        },
    };
    if path.is_some() {
        let text = "is a folder of containers; name a container to list an object in it";
        return Err(format!("{}: {text}", name.display()).into());
    }
    list::ls(&listed, long, output)
}

/// Lists the members of a group. Lists a single line if the path leads to any other object or to a link.
fn ls(container: &Arc<Container>, path: &str, long: bool, output: Output) -> Result<(), Failure> {
    let (mut out, mut unread) = (Sink::new(output == Output::Json), 0);
    let id = match find(container, path)? {
        Found::Link(link) => return one(container, path, &link, output, out),
        Found::Object(id) => id,
    };
    if kind_of(container, id)? != Some(ObjectKind::Group) {
        let link = Link {
            name: path.into(),
            target: LinkTarget::Hard(id),
            creation_order: None,
            cset: Default::default(),
        };
        return one(container, path, &link, output, out);
    }
    let mut links = Links::of(id);
    let mut array = if output == Output::Json { Some(JsonArray::begin(&mut out)?) } else { None };
    while let Some(link) = links.next(container)? {
        let path = below(&absolute(path), &link.name);
        if let Some(array) = &mut array {
            array.add(&mut out, &entry(container, &path, &link, &mut unread))?;
            continue;
        }
        let text = line(container, &link, long, &mut unread);
        let name = shown(&link.name);
        // The name is padded before it is coloured, because the bytes of the colour have no width.
        let padded = format!("{name:<24}");
        let is_group = group_of(container, &link).is_some();
        out.named_line("", &padded, is_group, &format!(" {text}"))?;
    }
    if let Some(array) = array {
        array.end(&mut out)?;
    }
    finish(out, container, unread)
}

/// Shows a link or an object that is no group.
fn one(
    container: &Arc<Container>,
    path: &str,
    link: &Link,
    output: Output,
    mut out: Sink,
) -> Result<(), Failure> {
    let (path, mut unread) = (absolute(path), 0);
    if output == Output::Json {
        let mut array = JsonArray::begin(&mut out)?;
        array.add(&mut out, &entry(container, &path, link, &mut unread))?;
        array.end(&mut out)?;
    } else {
        let text = line(container, link, true, &mut unread);
        out.line(&format!("{:<24} {text}", shown(path.as_bytes())))?;
    }
    finish(out, container, unread)
}

/// A group in a walk, with the links that are still to be visited.
struct Level {
    path: String,
    links: Links,
}

/// A depth-first walk over all members below a group.
struct Walk<'a> {
    container: &'a Arc<Container>,
    seen: HashSet<u64>,
    levels: Vec<Level>,
    /// The maximum depth. At 1, only the members of the group itself are visited.
    depth: usize,
}

/// A member that the walk visits.
struct Member {
    link: Link,
    path: String,
    /// The depth of the member, which is 1 for members of the group itself.
    level: usize,
    /// True if the member is a group that was already visited through another hard link.
    is_known: bool,
    /// True if the member is a group that is not entered because it is nested too deeply.
    is_cut: bool,
}

impl<'a> Walk<'a> {
    fn new(container: &'a Arc<Container>, path: &str, group: ObjectId, depth: usize) -> Self {
        let levels = vec![Level { path: absolute(path), links: Links::of(group) }];
        Self { container, seen: HashSet::from([group.0]), levels, depth }
    }

    fn next(&mut self) -> Result<Option<Member>, Failure> {
        while let Some(level) = self.levels.last_mut() {
            let Some(link) = level.links.next(self.container)? else {
                self.levels.pop();
                continue;
            };
            let (path, at) = (below(&level.path, &link.name), self.levels.len());
            let (mut is_known, mut is_cut) = (false, false);
            if let Some(group) = group_of(self.container, &link) {
                is_known = !self.seen.insert(group.0);
                if self.seen.len() > MAX_GROUPS {
                    return Err(
                        format!("there are more than {MAX_GROUPS} groups; name a group to begin at").into()
                    );
                }
                is_cut = !is_known && at < self.depth && (at >= MAX_DEPTH || path.len() > MAX_PATH);
                if !is_known && !is_cut && at < self.depth {
                    self.levels.push(Level { path: path.clone(), links: Links::of(group) });
                }
            }
            return Ok(Some(Member { link, path, level: at, is_known, is_cut }));
        }
        Ok(None)
    }
}

/// Shows a group and all objects below it.
pub fn tree(name: &Path, path: &str, depth: usize, long: bool, output: Output) -> Result<(), Failure> {
    let container = containers::open(name)?;
    let id = crate::objects::object(&container, path)?;
    let (mut out, mut unread) = (Sink::new(output == Output::Json), 0);
    let is_json = output == Output::Json;
    let mut array = if is_json { Some(JsonArray::begin(&mut out)?) } else { None };
    match &mut array {
        Some(array) => {
            let mut object = object_json(&container, id)?;
            object["path"] = json!(absolute(path));
            array.add(&mut out, &object)?;
        }
        None => out.line(&format!(
            "{}  {}",
            shown(absolute(path).as_bytes()),
            object_text(&container, id, long)?
        ))?,
    }
    if kind_of(&container, id)? == Some(ObjectKind::Group) {
        let mut walk = Walk::new(&container, path, id, depth);
        while let Some(member) = walk.next()? {
            match &mut array {
                Some(array) => {
                    let mut object = entry(&container, &member.path, &member.link, &mut unread);
                    if member.is_known {
                        object["shown_before"] = json!(true);
                    }
                    if member.is_cut {
                        object["too_deep"] = json!(true);
                    }
                    array.add(&mut out, &object)?;
                }
                None => member_line(&container, &member, long, &mut out, &mut unread)?,
            }
        }
    }
    if let Some(array) = array {
        array.end(&mut out)?;
    }
    finish(out, &container, unread)
}

fn member_line(
    container: &Arc<Container>,
    member: &Member,
    long: bool,
    out: &mut Sink,
    unread: &mut u64,
) -> Result<(), Failure> {
    let text = line(container, &member.link, long, unread);
    let name = shown(&member.link.name);
    let is_group = group_of(container, &member.link).is_some();
    let again = match (member.is_known, member.is_cut) {
        (true, _) => "  (shown before)",
        (_, true) => "  (too deep; name it as the path to go on from)",
        _ => "",
    };
    // The indentation is limited, because the blanks of very deep groups would exceed their text.
    let blanks = "  ".repeat(member.level.min(64));
    out.named_line(&blanks, &name, is_group, &format!("  {text}{again}"))
}
