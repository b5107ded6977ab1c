//! Iterating and visiting links, objects and attributes.

use std::collections::HashSet;
use std::sync::Arc;

use h5lake_container::{
    AttrInfo, Container, Index, Link, LinkPages, LinkTarget, ObjectId, ObjectInfo, ObjectKind, Order,
};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::id::Id;
use crate::operations::object;
use crate::operations::path::{Base, Location};
use crate::session::Session;

/// The index and the order of an iteration, and its position.
pub struct VisitWalk<'a> {
    /// The index.
    pub index: Index,
    /// The order.
    pub order: Order,
    /// The number of elements to skip; afterwards the number of elements passed.
    pub position: Option<&'a mut u64>,
}

/// Calls `each` with the group's identifier, the name and the link until it returns a value other than 0, which is
/// then the result (`H5Literate` and `H5Lvisit`).
pub fn links(
    handle: &Handle,
    location: &Location<'_>,
    recursive: bool,
    walk: VisitWalk<'_>,
    each: &mut dyn FnMut(&Id, &[u8], &Link) -> i32,
) -> Result<i32> {
    let found = Base::of(handle)?.find(location)?;
    let (session, top) = (found.session, found.id);
    // The group's links must be readable before its identifier is shown to the application.
    if !recursive {
        let links = GroupLinks::of(&session, top, walk.index, walk.order)?;
        let group = object::identifier_of(&session, top, found.path)?;
        return shown(group, |group| {
            let mut unused = 0;
            let position = walk.position.unwrap_or(&mut unused);
            let begin = *position;
            let answer = links.walk(position, |link| each(group, &link.name, link));
            // After an error the position is unchanged, like in the native connector for links, but not for
            // attributes.
            if !matches!(answer, Ok(0..)) || !group.is_valid() {
                *position = begin;
            }
            answer
        });
    }
    let links = session.container.links(top, index_of(&session, top, walk.index)?, walk.order)?;
    let group = object::identifier_of(&session, top, found.path)?;
    shown(group, |group| {
        let (index, order, seen) = (walk.index, walk.order, HashSet::from([top]));
        LinkVisit { session: &session, group, index, order, seen, each }.below(&links, b"")
    })
}

/// Passes an application the identifier of the object that is visited. Returns an error if the application has closed it.
fn shown(identifier: Id, walk: impl FnOnce(&Id) -> Result<i32>) -> Result<i32> {
    let answer = walk(&identifier)?;
    identifier.close().map(|()| answer)
}

/// Continues from the position and counts on; stops if `each` returns a value other than 0. Continuing behind the last
/// item is an error (`H5G__obj_iterate`, `H5A__attr_iterate_table`).
fn plain<T>(
    items: impl ExactSizeIterator<Item = T>,
    position: &mut u64,
    mut each: impl FnMut(T) -> i32,
) -> Result<i32> {
    if *position > 0 && *position >= items.len() as u64 {
        return Err(behind_last());
    }
    for item in items.skip(usize::try_from(*position).unwrap_or(usize::MAX)) {
        *position += 1;
        let answer = each(item);
        if answer != 0 {
            return Ok(answer);
        }
    }
    Ok(0)
}

fn behind_last() -> Error {
    Error::new(Minor::BadValue, "index out of bound")
}

/// The links of a group along an index.
enum GroupLinks {
    /// All links.
    List(Vec<Arc<Link>>),
    /// The links of a large group in the order of their names, read page by page, and their number.
    Pages(Arc<Container>, LinkPages, u64),
}

impl GroupLinks {
    fn of(session: &Session, group: ObjectId, index: Index, order: Order) -> Result<Self> {
        let container = &session.container;
        let count = container.group_info(group)?.link_count;
        let is_by_name = index == Index::Name && order != Order::Decreasing;
        if is_by_name && count > LinkPages::LINKS as u64 {
            return Ok(Self::Pages(container.clone(), LinkPages::of(group), count));
        }
        container.links(group, index, order).map(Self::List).map_err(Error::from)
    }

    /// Visits the links, as [`plain`] does.
    fn walk(self, position: &mut u64, mut each: impl FnMut(&Link) -> i32) -> Result<i32> {
        let (container, mut pages, count) = match self {
            Self::List(links) => return plain(links.iter(), position, |link| each(link)),
            Self::Pages(container, pages, count) => (container, pages, count),
        };
        if *position > 0 && *position >= count {
            return Err(behind_last());
        }
        let mut skipped = *position;
        loop {
            let links = container.next_links(&mut pages)?;
            if links.is_empty() {
                return Ok(0);
            }
            let skipped_here = skipped.min(links.len() as u64);
            skipped -= skipped_here;
            for link in links.iter().skip(skipped_here as usize) {
                *position += 1;
                let answer = each(link);
                if answer != 0 {
                    return Ok(answer);
                }
            }
        }
    }
}

struct LinkVisit<'a> {
    session: &'a Session,
    group: &'a Id,
    index: Index,
    order: Order,
    seen: HashSet<ObjectId>,
    each: &'a mut dyn FnMut(&Id, &[u8], &Link) -> i32,
}

impl LinkVisit<'_> {
    fn below(&mut self, links: &[Arc<Link>], prefix: &[u8]) -> Result<i32> {
        for link in links {
            let name = [prefix, &link.name].concat();
            let answer = (self.each)(self.group, &name, link);
            if answer != 0 {
                return Ok(answer);
            }
            let LinkTarget::Hard(id) = link.target else { continue };
            if let Some(below) = members(self.session, id, self.index, self.order, &mut self.seen)? {
                let answer = self.below(&below, &[&name, &b"/"[..]].concat())?;
                if answer != 0 {
                    return Ok(answer);
                }
            }
        }
        Ok(0)
    }
}

/// Returns the links of a group that has not been visited before.
fn members(
    session: &Session,
    id: ObjectId,
    index: Index,
    order: Order,
    seen: &mut HashSet<ObjectId>,
) -> Result<Option<Vec<Arc<Link>>>> {
    let container = &session.container;
    // An object that the application deleted during the visit is skipped.
    let Some(info) = session.container.object_info_if_there(id)? else { return Ok(None) };
    if info.kind != ObjectKind::Group || !seen.insert(id) {
        return Ok(None);
    }
    Ok(Some(container.links(id, index_of(session, id, index)?, order)?))
}

/// Returns the index by which to visit a group: a group without creation order is visited by name, like in native
/// files.
fn index_of(session: &Session, group: ObjectId, wanted: Index) -> Result<Index> {
    let tracked = session.container.group_info(group)?.link_order.tracked;
    Ok(if tracked { wanted } else { Index::Name })
}

/// The function called for each object with the starting object's identifier, the session, and the object's path, id
/// and information.
pub type EachObject<'a> = dyn FnMut(&Id, &Arc<Session>, &[u8], ObjectId, &ObjectInfo) -> i32 + 'a;

/// Calls `each` with the starting object's identifier, and path and information of every object that hard links lead
/// to, each object once (`H5Ovisit`).
pub fn objects(
    handle: &Handle,
    location: &Location<'_>,
    index: Index,
    order: Order,
    each: &mut EachObject<'_>,
) -> Result<i32> {
    let found = Base::of(handle)?.find(location)?;
    let (session, top) = (found.session, found.id);
    let info = session.container.object_info(top)?;
    let identifier = object::identifier_of(&session, top, found.path)?;
    let answer = each(&identifier, &session, b".", top, &info);
    if answer != 0 || info.kind != ObjectKind::Group {
        return Ok(answer);
    }
    let links = session.container.links(top, index_of(&session, top, index)?, order)?;
    let mut visit = ObjectVisit {
        session: &session,
        start: &identifier,
        index,
        order,
        // If a cycle leads back to the object by its only name, the object is visited a second time, like in native
        // HDF5 (`H5O__visit`).
        shown: if info.link_count > 1 { HashSet::from([top]) } else { HashSet::new() },
        entered: HashSet::from([top]),
        each,
    };
    visit.below(&links, b"")
}

struct ObjectVisit<'a> {
    session: &'a Arc<Session>,
    start: &'a Id,
    index: Index,
    order: Order,
    shown: HashSet<ObjectId>,
    entered: HashSet<ObjectId>,
    each: &'a mut EachObject<'a>,
}

impl ObjectVisit<'_> {
    fn below(&mut self, links: &[Arc<Link>], prefix: &[u8]) -> Result<i32> {
        for link in links {
            let LinkTarget::Hard(id) = link.target else { continue };
            if !self.shown.insert(id) {
                continue;
            }
            // An object that the application deleted during the visit is skipped.
            let Some(info) = self.session.container.object_info_if_there(id)? else { continue };
            let name = [prefix, &link.name].concat();
            let answer = (self.each)(self.start, self.session, &name, id, &info);
            if answer != 0 {
                return Ok(answer);
            }
            if let Some(below) = members(self.session, id, self.index, self.order, &mut self.entered)? {
                let answer = self.below(&below, &[&name, &b"/"[..]].concat())?;
                if answer != 0 {
                    return Ok(answer);
                }
            }
        }
        Ok(0)
    }
}

/// Calls `each` for the attributes of an object (`H5Aiterate`).
pub fn attributes(
    handle: &Handle,
    location: &Location<'_>,
    walk: VisitWalk<'_>,
    each: &mut dyn FnMut(&Id, &AttrInfo) -> i32,
) -> Result<i32> {
    let found = Base::of(handle)?.find(location)?;
    let mut unused = 0;
    let attributes = found.session.container.attrs(found.id, walk.index, walk.order)?;
    let identifier = object::identifier_of(&found.session, found.id, found.path)?;
    shown(identifier, |identifier| {
        let position = walk.position.unwrap_or(&mut unused);
        plain(attributes.iter(), position, |attribute| each(identifier, attribute))
    })
}
