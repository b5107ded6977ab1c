//! Paths: the lookup of an object by name, through soft links.

use crate::container::State;
use crate::{Container, Error, ErrorKind, GroupSpec, LastLink, OpenObject, Result};
use bytes::Bytes;
use h5lake_records::ObjectId;
use h5lake_records::conversion::show;
use h5lake_records::now;
use h5lake_records::types::{CharSet, CreationOrder, Link, LinkTarget, ObjectKind};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Maximum number of soft links that are followed by default.
pub(crate) const MAX_SOFT: usize = 16;

/// The result of following a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The path leads to an object.
    Object {
        /// The object.
        id: ObjectId,
    },
    /// The path leads to a link that was not followed (`LastLink::Keep`).
    Link {
        /// The group that holds it.
        group: ObjectId,
        /// The link.
        link: Link,
    },
    /// Only the last component of the path is missing.
    Missing {
        /// The group in which the component is missing; `None` if a soft link led there.
        group: Option<ObjectId>,
        /// Its name.
        name: Vec<u8>,
    },
    /// The path leaves the container through an external or user-defined link, which the caller follows.
    Leaves {
        /// The group that holds the link.
        group: ObjectId,
        /// The link.
        link: Link,
        /// The remaining path, relative to the target of the link; may be empty.
        rest: Vec<u8>,
        /// How many more links may be followed.
        links_left: usize,
    },
}

/// The group that contains the last component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// A name in a group; there may be a link of that name or not.
    In {
        /// The group.
        group: ObjectId,
        /// The last component.
        name: Vec<u8>,
    },
    /// The path names an object and not a link of a group (`.`, `/`, `a/.`).
    ItSelf(ObjectId),
    /// The path leaves the container; see [`Resolution::Leaves`].
    Leaves {
        /// The group that holds the link.
        group: ObjectId,
        /// The link.
        link: Link,
        /// The remaining path, ending in the last component.
        rest: Vec<u8>,
        /// See [`Resolution::Leaves`].
        links_left: usize,
    },
}

/// A component of a path.
struct Component {
    name: Vec<u8>,
    origin: Origin,
}

/// The origin of a component.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The caller's path.
    Path,
    SoftLink,
}

/// The state of following a path.
struct PathWalk {
    at: ObjectId,
    /// The component that led to `at`, if one did.
    by: Option<Vec<u8>>,
    pending: VecDeque<Component>,
    /// True if the path names an object and not a link.
    ends_in_dot: bool,
    soft: usize,
    max_soft: usize,
}

/// The result of one step.
enum PathStep {
    Moved,
    Missing,
    Leaves(Link),
}

fn components(path: &[u8], origin: Origin) -> impl DoubleEndedIterator<Item = Component> {
    let names = path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".");
    names.map(move |c| Component { name: c.to_vec(), origin })
}

/// Returns whether a path is the name of a link in its start group.
fn is_one_name(path: &[u8]) -> bool {
    !path.is_empty() && path != b"." && !path.contains(&b'/')
}

/// Returns whether a path ends in the component `.`, such as `a/.` and `./`. Such a path names an object and not a
/// link: all links before it are followed, and there is no last link to read, move or delete (`H5G__traverse_real`).
pub fn ends_in_dot(path: &[u8]) -> bool {
    path.split(|&b| b == b'/').rfind(|c| !c.is_empty()) == Some(b".".as_slice())
}

impl PathWalk {
    fn new(base: ObjectId, path: &[u8], max_soft: usize) -> Self {
        let at = if path.first() == Some(&b'/') { ObjectId::ROOT } else { base };
        let pending = components(path, Origin::Path).collect();
        Self { at, by: None, pending, ends_in_dot: ends_in_dot(path), soft: 0, max_soft }
    }

    fn links_left(&self) -> usize {
        self.max_soft - self.soft
    }

    fn rest(&self) -> Vec<u8> {
        let dot = self.ends_in_dot.then_some(b".".as_slice());
        let names: Vec<_> = self.pending.iter().map(|c| c.name.as_slice()).chain(dot).collect();
        names.join(&b'/')
    }

    /// Returns whether the component taken last is the last one of the caller's path, and names a link.
    fn is_at_last_link(&self, component: &Component) -> bool {
        self.pending.is_empty() && component.origin == Origin::Path && !self.ends_in_dot
    }

    /// Follows the link of one component.
    fn step(&mut self, c: &Container, name: &[u8]) -> Result<PathStep> {
        let Some(link) = c.find_link(self.at, name)? else { return Ok(PathStep::Missing) };
        match &link.target {
            LinkTarget::Hard(id) => {
                self.at = *id;
                self.by = Some(name.to_vec());
            }
            LinkTarget::Soft(path) => self.enter_soft(path, name)?,
            _ => return Ok(PathStep::Leaves(link)),
        }
        Ok(PathStep::Moved)
    }

    fn enter_soft(&mut self, path: &[u8], name: &[u8]) -> Result<()> {
        self.soft += 1;
        if self.soft > self.max_soft {
            let text =
                format!("too many links: {} of them were followed up to {}", self.max_soft, show(name));
            return Err(Error::new(ErrorKind::TooManyLinks, text));
        }
        if path.first() == Some(&b'/') {
            self.at = ObjectId::ROOT;
            self.by = None;
        }
        for c in components(path, Origin::SoftLink).rev() {
            self.pending.push_front(c);
        }
        Ok(())
    }
}

impl Container {
    /// Follows a path from `base` (or the root, for a path that begins with `/`). Empty components and `.` are skipped;
    /// a soft link is followed from the group that holds it, and at most `max_soft_links` are followed in total.
    ///
    /// # Errors
    /// `NotFound` if a component before the last is missing; `WrongKind` if one is not a group; `TooManyLinks`.
    pub fn resolve(
        &self,
        base: ObjectId,
        path: &[u8],
        last: LastLink,
        max_soft_links: usize,
    ) -> Result<Resolution> {
        let mut s = self.state();
        let keep = last == LastLink::Keep;
        let mut w = PathWalk::new(base, path, max_soft_links);
        while let Some(c) = w.pending.pop_front() {
            self.need_group(&mut s, w.at, w.by.as_deref(), &c.name)?;
            let end = w.pending.is_empty() && !w.ends_in_dot;
            let group = w.at;
            if keep && w.is_at_last_link(&c) {
                return Ok(match self.find_link(group, &c.name)? {
                    Some(link) => Resolution::Link { group, link },
                    None => Resolution::Missing { group: Some(group), name: c.name },
                });
            }
            match w.step(self, &c.name)? {
                PathStep::Moved => (),
                PathStep::Leaves(link) => {
                    let links_left = w.links_left();
                    return Ok(Resolution::Leaves { group, link, rest: w.rest(), links_left });
                }
                PathStep::Missing if end => {
                    let group = (c.origin == Origin::Path).then_some(group);
                    return Ok(Resolution::Missing { group, name: c.name });
                }
                PathStep::Missing => return Err(missing(&c.name)),
            }
        }
        self.header(&mut s, w.at)?;
        Ok(Resolution::Object { id: w.at })
    }

    /// Returns whether a path from the root leads to this object. A positive result is cached until a link is removed.
    pub fn leads_to(&self, path: &Bytes, id: ObjectId) -> bool {
        let removals = {
            let s = self.state();
            if s.lists.leads(path, id.0) {
                return true;
            }
            s.lists.removals()
        };
        let found = self.resolve(ObjectId::ROOT, path, LastLink::Follow, MAX_SOFT);
        let leads = matches!(found, Ok(Resolution::Object { id: found }) if found == id);
        if leads {
            self.state().lists.keep_path(path, id.0, removals);
        }
        leads
    }

    /// Follows all of a path except its last component. With `create_missing`, missing groups on the way are created
    /// with its properties.
    ///
    /// # Errors
    /// As for [`Self::resolve`], and those of creating groups.
    pub fn resolve_parent(
        self: &Arc<Self>,
        base: ObjectId,
        path: &[u8],
        create_missing: Option<&GroupSpec>,
        max_soft_links: usize,
    ) -> Result<Parent> {
        let mut made = Vec::new();
        let found = self.walk_to_parent(base, path, create_missing, max_soft_links, &mut made);
        // The handles of new groups are dropped only here, without the state's lock.
        drop(made);
        found
    }

    /// Returns the properties of a created group. It tracks the creation order of links if its parent group does
    /// (H5Gtraverse.c).
    fn inherited(&self, s: &mut State, spec: &GroupSpec, above: ObjectId) -> Result<GroupSpec> {
        let header = self.header(s, above)?;
        let link_order = header.group.as_ref().map_or(spec.link_order, |group| CreationOrder {
            tracked: group.order_tracked,
            indexed: group.order_indexed,
        });
        Ok(GroupSpec { link_order, ..spec.clone() })
    }

    fn walk_to_parent(
        self: &Arc<Self>,
        base: ObjectId,
        path: &[u8],
        create_missing: Option<&GroupSpec>,
        max_soft_links: usize,
        made: &mut Vec<OpenObject>,
    ) -> Result<Parent> {
        let mut s = self.state();
        if is_one_name(path) {
            self.need_group(&mut s, base, None, path)?;
            return Ok(Parent::In { group: base, name: path.to_vec() });
        }
        let mut w = PathWalk::new(base, path, max_soft_links);
        while let Some(c) = w.pending.pop_front() {
            self.need_group(&mut s, w.at, w.by.as_deref(), &c.name)?;
            let group = w.at;
            if w.is_at_last_link(&c) {
                return Ok(Parent::In { group, name: c.name });
            }
            match (w.step(self, &c.name)?, create_missing) {
                (PathStep::Moved, _) => (),
                (PathStep::Leaves(link), _) => {
                    let links_left = w.links_left();
                    return Ok(Parent::Leaves { group, link, rest: w.rest(), links_left });
                }
                (PathStep::Missing, Some(spec)) if c.origin == Origin::Path => {
                    self.check_writable("unable to create group")?;
                    let spec = self.inherited(&mut s, spec, group)?;
                    let new = self.add_object(&mut s, spec.header(0, now()))?;
                    let target = LinkTarget::Hard(new.id());
                    w.at = new.id();
                    made.push(new);
                    self.insert_link(&mut s, group, &c.name, target, CharSet::Ascii)?;
                }
                (PathStep::Missing, _) => return Err(missing(&c.name)),
            }
        }
        Ok(Parent::ItSelf(w.at))
    }

    /// Checks that `name` can be looked up in the object `at`, which the component `by` led to.
    fn need_group(&self, s: &mut State, at: ObjectId, by: Option<&[u8]>, name: &[u8]) -> Result<()> {
        let unable = |e: Error| e.context(format!("unable to look up {}", show(name)));
        let header = self.header(s, at).map_err(unable)?;
        match by {
            _ if header.group.is_some() => Ok(()),
            // Object ids mean nothing to users, so the message names the component.
            Some(by) => Err(unable(self.no_group(show(by), header.kind()))),
            None => Err(unable(self.no_group("what it is to be found in", header.kind()))),
        }
    }

    /// Returns a shortest path from the root to an object by hard links; `None` if no path leads to it.
    ///
    /// # Errors
    /// Those of reading the container.
    pub fn find_path(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        if id == ObjectId::ROOT {
            return Ok(Some(b"/".to_vec()));
        }
        let mut s = self.state();
        if let Some(path) = s.lists.path_of(id.0) {
            return Ok(Some(path));
        }
        // No link leads to the object.
        if self.header(&mut s, id)?.link_count == 0 {
            return Ok(None);
        }
        let mut seen = HashSet::from([ObjectId::ROOT]);
        let mut level = VecDeque::from([(ObjectId::ROOT, Vec::new())]);
        while let Some((group, path)) = level.pop_front() {
            let links = self.link_list(&mut s, group, crate::Index::Name)?.to_vec();
            for link in links {
                let LinkTarget::Hard(target) = link.target else { continue };
                let mut below: Vec<u8> = path.clone();
                below.push(b'/');
                below.extend_from_slice(&link.name);
                if target == id {
                    let removals = s.lists.removals();
                    s.lists.keep_path(&Bytes::copy_from_slice(&below), id.0, removals);
                    return Ok(Some(below));
                }
                if seen.insert(target) && self.header(&mut s, target)?.kind() == ObjectKind::Group {
                    level.push_back((target, below));
                }
            }
        }
        Ok(None)
    }
}

fn missing(name: &[u8]) -> Error {
    Error::not_found(format!("component not found: {}", show(name)))
}
