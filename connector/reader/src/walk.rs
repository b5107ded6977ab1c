//! Iteration over groups: pages of links, the kinds of objects, and the paths of objects.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use h5lake_container::{Container, ErrorKind, Link, LinkPages, LinkTarget, ObjectId, ObjectKind, Result};

use crate::name_text::name_text;

/// The maximum number of paths that are remembered for references. References to further objects are shown by token.
const MAX_PATHS: usize = 1 << 18;

/// The paths of objects, for references to them. All paths are found when the first one is needed.
#[derive(Default)]
pub struct Paths(Option<HashMap<u64, Arc<str>>>);

impl Paths {
    /// Returns a shortest path of hard links to an object, or `None` if no path is known.
    pub fn of(&mut self, container: &Container, id: ObjectId) -> Result<Option<Arc<str>>> {
        if self.0.is_none() {
            self.0 = Some(Self::all(container)?);
        }
        Ok(self.0.as_ref().and_then(|all| all.get(&id.0).cloned()))
    }

    fn all(container: &Container) -> Result<HashMap<u64, Arc<str>>> {
        let root = container.root();
        let mut all = HashMap::from([(root.0, Arc::from("/"))]);
        let mut groups: VecDeque<(ObjectId, Arc<str>)> = VecDeque::from([(root, Arc::from(""))]);
        while let Some((group, path)) = groups.pop_front() {
            let mut links = Links::of(group);
            while let Some(link) = links.next(container)? {
                let LinkTarget::Hard(id) = link.target else { continue };
                if all.len() >= MAX_PATHS {
                    return Ok(all);
                }
                if all.contains_key(&id.0) {
                    continue;
                }
                let below: Arc<str> = format!("{path}/{}", name_text(&link.name)).into();
                all.insert(id.0, below.clone());
                if kind_of(container, id)? == Some(ObjectKind::Group) {
                    groups.push_back((id, below));
                }
            }
        }
        Ok(all)
    }
}

/// Returns the kind of an object, or `None` if the object does not exist, as can happen in a damaged container.
pub fn kind_of(container: &Container, id: ObjectId) -> Result<Option<ObjectKind>> {
    match container.object_info(id) {
        Ok(info) => Ok(Some(info.kind)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An iterator over the links of a group in the order of their names. One page of links is in memory at a time.
pub struct Links {
    pages: LinkPages,
    page: VecDeque<Link>,
}

impl Links {
    /// Starts before the first link of a group.
    pub fn of(group: ObjectId) -> Self {
        Self { pages: LinkPages::of(group), page: VecDeque::new() }
    }

    /// Returns the next link.
    pub fn next(&mut self, container: &Container) -> Result<Option<Link>> {
        if self.page.is_empty() {
            self.page = container.next_links(&mut self.pages)?.into();
        }
        Ok(self.page.pop_front())
    }
}
