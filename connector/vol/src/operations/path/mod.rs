//! The targets of calls in a container: paths, and the objects to which they lead through links, mounts and other
//! files.

use std::sync::Arc;

use bytes::Bytes;
use h5lake_container::{
    GroupSpec, Index, LastLink, LinkTarget, ObjectId, Order, Parent, Resolution, ends_in_dot,
};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::native_path::NativePath;
use crate::hdf5::library::Hid;
use crate::operations::path::external_link::External;
use crate::operations::path::hierarchy::{Gap, Walked};
use crate::operations::path::reached::{apart, come_to};
use crate::session::{OpenedBy, Session};

pub mod external_link;
mod hierarchy;
pub mod mount;
pub mod prefix;
mod reached;

pub use self::reached::{InFile, MissingGroups, Reached, reach};

/// A decoded `H5VL_loc_params_t`.
#[derive(Debug, Clone, Copy)]
pub enum Location<'a> {
    /// The object itself.
    Itself,
    /// The object to which a path from the object leads.
    ByName {
        /// The path.
        name: &'a [u8],
        /// Link access properties.
        access: Hid,
    },
    /// The n-th link of the group to which a path leads.
    ByIndex {
        /// Path of the group.
        name: &'a [u8],
        /// The index by which links are counted.
        index: Index,
        /// The order in which links are counted.
        order: Order,
        /// The number of the link.
        n: u64,
        /// Link access properties.
        access: Hid,
    },
    /// The object with this id.
    ByToken(ObjectId),
}

/// Returns the path of the root group.
pub fn root_path() -> Bytes {
    Bytes::from_static(b"/")
}

/// The object a call starts from.
pub struct Base {
    /// The object's session.
    pub session: Arc<Session>,
    /// The object (for an attribute the object that has it, for a file the root group).
    pub id: ObjectId,
    /// The object's path, if known.
    pub path: Option<Bytes>,
}

/// An object found.
pub struct ResolvedObject {
    /// The object's session.
    pub session: Arc<Session>,
    /// The object.
    pub id: ObjectId,
    /// The path by which the object was found, if it was found by a path.
    pub path: Option<Bytes>,
}

/// The target of a path: in a container, or in a native file, which stays open as long as this value exists.
pub enum Resolved<T> {
    /// A target in a container.
    Here(T),
    /// A target in a native file, reached through an external link.
    Native(NativePath),
}

impl<T> Resolved<T> {
    /// Returns a target in a container.
    ///
    /// # Errors
    /// If the target is in a native file.
    pub fn here(self) -> Result<T> {
        match self {
            Self::Here(found) => Ok(found),
            Self::Native(_) => {
                Err(Error::unsupported("this call through an external link into a native HDF5 file"))
            }
        }
    }

    /// Appends the remaining path to a target in a native file; leaves a target in a container unchanged.
    fn further(self, rest: &[u8]) -> Self {
        match self {
            Self::Here(_) => self,
            Self::Native(path) => Self::Native(path.further(rest)),
        }
    }

    /// Continues in a container.
    ///
    /// # Errors
    /// The errors of `next`.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Result<Resolved<U>>) -> Result<Resolved<U>> {
        match self {
            Self::Here(found) => next(found),
            Self::Native(path) => Ok(Resolved::Native(path)),
        }
    }
}

impl From<ResolvedObject> for Base {
    fn from(found: ResolvedObject) -> Self {
        Self { session: found.session, id: found.id, path: found.path }
    }
}

/// The place of a link.
pub struct LinkPlace {
    /// The link's session.
    pub session: Arc<Session>,
    /// The group that holds the link, or would hold it.
    pub group: ObjectId,
    /// The link's name.
    pub name: Vec<u8>,
    /// Path of the link, if known.
    pub path: Option<Bytes>,
}

impl Base {
    /// Returns the object behind a handle. For a mounted file, this is the root of the file at the bottom
    /// (`H5G_rootof`).
    pub fn of(handle: &Handle) -> Result<Self> {
        let mut session = handle.session()?;
        if let Handle::File(_) = handle {
            session = mount::bottom_of(&session);
        }
        let root = session.container.root();
        let (id, path) = match handle {
            Handle::Anchor(_)
            | Handle::Types(_)
            | Handle::File(_)
            | Handle::Closing(_)
            | Handle::Native(_)
            | Handle::Request(_) => (root, Some(root_path())),
            Handle::Group(object) => (object.id(), object.path.clone()),
            Handle::Dataset(dataset) => (dataset.base.id(), dataset.base.path.clone()),
            Handle::Datatype(datatype) => (datatype.base.id(), datatype.base.path.clone()),
            Handle::Attribute(attribute) => (attribute.attribute.owner().id(), attribute.path.clone()),
        };
        Ok(Self { session, id, path })
    }

    /// Returns the object that `location` leads to.
    ///
    /// # Errors
    /// As for [`Self::resolve`]; for an object of a native file.
    pub fn find(&self, location: &Location<'_>) -> Result<ResolvedObject> {
        self.resolve(location)?.here()
    }

    /// Resolves `location`.
    ///
    /// # Errors
    /// If it leads nowhere, or an object on the path cannot be opened.
    pub fn resolve(&self, location: &Location<'_>) -> Result<Resolved<ResolvedObject>> {
        come_to(&self.session);
        match *location {
            Location::Itself => self.found(self.id, self.path.clone()),
            Location::ByToken(id) => self.found(id, None),
            Location::ByName { name, access } => self.find_by_path(name, &self.traversal(access)?),
            Location::ByIndex { name, index, order, n, access } => {
                // The group may be in another file than the object from which the call starts.
                let group = Self::from(self.find_by_path(name, &self.traversal(access)?)?.here()?);
                let link = group.session.container.link_at(group.id, index, order, n)?;
                match link.target {
                    LinkTarget::Hard(id) => {
                        let path = group.path.as_deref().map(|path| join(path, &link.name));
                        let end = Self { id, path, ..group }.entered();
                        end.found(end.id, end.path.clone())
                    }
                    _ => group.find_by_path(&link.name, &self.traversal(access)?),
                }
            }
        }
    }

    /// Returns whether an object exists: a path that ends at a missing link, or at a dangling link, leads to none.
    ///
    /// # Errors
    /// If something is missing on the path, like in the native connector (`H5G_TARGET_EXISTS`).
    pub fn is_there(&self, location: &Location<'_>) -> Result<Resolved<bool>> {
        match *location {
            Location::ByName { name, access } => self.is_path_there(name, &self.traversal(access)?),
            Location::ByIndex { name, index, order, n, access } => {
                let how = self.traversal(access)?;
                let group = self.find_by_path(name, &how)?.here()?;
                let link = group.session.container.link_at(group.id, index, order, n)?;
                Self::from(group).is_path_there(&link.name, &how)
            }
            Location::Itself | Location::ByToken(_) => {
                self.resolve(location)?.and_then(|_| Ok(Resolved::Here(true)))
            }
        }
    }

    fn is_path_there(&self, name: &[u8], how: &Traversal) -> Result<Resolved<bool>> {
        if !self.is_in_hierarchy() {
            return self.is_in_file(name, how);
        }
        self.walk(name, how)?.and_then(|end| match end {
            Walked::Object(_) => Ok(Resolved::Here(true)),
            Walked::Dangling(_) | Walked::Missing(Gap { is_end: true, .. }) => Ok(Resolved::Here(false)),
            Walked::Missing(_) => Err(missing(name)),
        })
    }

    fn is_in_file(&self, name: &[u8], how: &Traversal) -> Result<Resolved<bool>> {
        match self.session.container.resolve(self.id, name, LastLink::Follow, how.maximum_links)? {
            Resolution::Object { .. } => Ok(Resolved::Here(true)),
            Resolution::Missing { .. } | Resolution::Link { .. } => Ok(Resolved::Here(false)),
            Resolution::Leaves { group, link, rest, links_left } => {
                let how = how.with_left(links_left);
                how.one_less()?;
                match self.follow(group, &link.target, &how) {
                    Ok(there) => there.further(&rest).and_then(|there| match rest.is_empty() {
                        true => Ok(Resolved::Here(true)),
                        false => there.is_path_there(&rest, &how.one_less()?),
                    }),
                    // The target of an external link cannot be opened: the link is dangling.
                    Err(_) if rest.is_empty() => Ok(Resolved::Here(false)),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn found(&self, id: ObjectId, path: Option<Bytes>) -> Result<Resolved<ResolvedObject>> {
        Ok(Resolved::Here(ResolvedObject { session: self.session.clone(), id, path }))
    }

    fn traversal(&self, access: Hid) -> Result<Traversal> {
        let maximum_links = self.session.library.maximum_links(access)?;
        Ok(Traversal { access, maximum_links, makes_groups: false })
    }

    fn find_by_path(&self, name: &[u8], how: &Traversal) -> Result<Resolved<ResolvedObject>> {
        if !self.is_in_hierarchy() {
            return self.find_in_file(name, how);
        }
        self.walk(name, how)?.and_then(|end| match end {
            Walked::Object(end) => end.found(end.id, end.path.clone()),
            Walked::Missing(_) => Err(missing(name)),
            Walked::Dangling(error) => Err(error),
        })
    }

    fn find_in_file(&self, name: &[u8], how: &Traversal) -> Result<Resolved<ResolvedObject>> {
        match self.session.container.resolve(self.id, name, LastLink::Follow, how.maximum_links)? {
            Resolution::Object { id } => self.found(id, self.path.as_deref().map(|path| join(path, name))),
            Resolution::Leaves { group, link, rest, links_left } => {
                let how = how.with_left(links_left);
                let there = self.follow(group, &link.target, &how)?;
                there.further(&rest).and_then(|there| there.find_remaining(&rest, &how.one_less()?))
            }
            Resolution::Missing { .. } | Resolution::Link { .. } => Err(missing(name)),
        }
    }

    /// Returns the object to which an external link held by `group` leads.
    fn follow(&self, group: ObjectId, target: &LinkTarget, how: &Traversal) -> Result<Resolved<Self>> {
        let how = how.one_less()?;
        match target {
            LinkTarget::External { file, path, .. } => {
                let session = match apart(|| external_link::open(self, group, file, path, how.access))? {
                    External::Container(session) => {
                        // The call has only waited for background work on its own object's container.
                        session.complete();
                        come_to(&session);
                        session
                    }
                    External::Native(file) => {
                        return Ok(Resolved::Native(NativePath::new(self.session.library, file, path)?));
                    }
                };
                if how.makes_groups {
                    // No process can have failed here yet.
                    session.prepare_number()?;
                }
                let root = session.container.root();
                let start = Self { session, id: root, path: Some(root_path()) };
                let found = start.find_by_path(path, &how).map_err(|error| match error.minor() {
                    Minor::TooManyLinks => error.of_kind(Minor::TooManyExternalLinks),
                    _ => error,
                })?;
                found.and_then(|found| Ok(Resolved::Here(found.into())))
            }
            _ => Err(Error::unsupported("following a user-defined link")),
        }
    }

    fn find_remaining(&self, rest: &[u8], how: &Traversal) -> Result<Resolved<ResolvedObject>> {
        if rest.is_empty() { self.found(self.id, self.path.clone()) } else { self.find_by_path(rest, how) }
    }

    /// Returns whether a path's last link exists, wherever it leads.
    pub fn has_link(&self, name: &[u8], access: Hid) -> Result<bool> {
        self.has_link_by(name, &self.traversal(access)?)
    }

    fn has_link_by(&self, name: &[u8], how: &Traversal) -> Result<bool> {
        if self.is_in_hierarchy()
            && let Some((folder, last)) = split_last(name)
        {
            return match self.walk(folder, how)?.here()? {
                Walked::Object(_) if last == b"." => Ok(false),
                Walked::Object(group) => group.has_link_in_file(last, how),
                Walked::Missing(_) => Err(missing(name)),
                Walked::Dangling(error) => Err(error),
            };
        }
        self.has_link_in_file(name, how)
    }

    fn has_link_in_file(&self, name: &[u8], how: &Traversal) -> Result<bool> {
        match self.session.container.resolve(self.id, name, LastLink::Keep, how.maximum_links)? {
            // `.` names no link; the root counts as one.
            Resolution::Object { .. } => Ok(!ends_in_dot(name)),
            Resolution::Link { .. } => Ok(true),
            Resolution::Missing { group: Some(_), .. } => Ok(false),
            Resolution::Missing { .. } => Err(missing(name)),
            Resolution::Leaves { group, link, rest, links_left } => {
                let how = how.with_left(links_left);
                self.follow(group, &link.target, &how)?.here()?.has_link_by(&rest, &how.one_less()?)
            }
        }
    }

    /// Returns the place of the link that `location` names. `missing` says how missing groups on the path are treated.
    ///
    /// # Errors
    /// If the path leads nowhere, or an object on the path cannot be opened.
    pub fn link_place(&self, location: &Location<'_>, missing: MissingGroups<'_>) -> Result<LinkPlace> {
        come_to(&self.session);
        let makes_groups = missing.may_be_made();
        if makes_groups && self.session.opened_by == OpenedBy::Link {
            self.session.prepare_number()?;
        }
        match *location {
            Location::ByName { name, access } => {
                let how = Traversal { makes_groups, ..self.traversal(access)? };
                self.link_place_by_path(name, missing.spec(), &how)
            }
            Location::ByIndex { name, index, order, n, access } => {
                let group = self.find_by_path(name, &self.traversal(access)?)?.here()?;
                let link = group.session.container.link_at(group.id, index, order, n)?;
                let path = group.path.as_deref().map(|path| join(path, &link.name));
                Ok(LinkPlace { session: group.session, group: group.id, name: link.name, path })
            }
            Location::Itself | Location::ByToken(_) => {
                Err(Error::argument("a link is named by its path or its index"))
            }
        }
    }

    fn link_place_by_path(
        &self,
        name: &[u8],
        missing_groups: Option<&GroupSpec>,
        how: &Traversal,
    ) -> Result<LinkPlace> {
        let Some((folder, last)) = split_last(name).filter(|_| self.is_in_hierarchy()) else {
            return self.link_place_in_file(name, missing_groups, how);
        };
        match self.walk(folder, how)?.here()? {
            Walked::Object(group) => group.link_place_in_file(last, missing_groups, how),
            // No file is mounted behind a missing group.
            Walked::Missing(Gap { at, missing_path: Some(tail), .. }) if missing_groups.is_some() => {
                at.link_place_in_file(&[&tail, last].join(&b'/'), missing_groups, how)
            }
            Walked::Missing(_) => Err(missing(folder)),
            Walked::Dangling(error) => Err(error),
        }
    }

    fn link_place_in_file(
        &self,
        name: &[u8],
        missing_groups: Option<&GroupSpec>,
        how: &Traversal,
    ) -> Result<LinkPlace> {
        match self.session.container.resolve_parent(self.id, name, missing_groups, how.maximum_links)? {
            Parent::In { group, name: last } => {
                let path = self.path.as_deref().map(|path| join(path, name));
                Ok(LinkPlace { session: self.session.clone(), group, name: last, path })
            }
            Parent::ItSelf(_) => Err(Error::argument(format!(
                "'{}' names an object and not a link of a group",
                String::from_utf8_lossy(name)
            ))),
            Parent::Leaves { group, link, rest, links_left } => {
                let how = how.with_left(links_left);
                let there = self.follow(group, &link.target, &how)?.here()?;
                there.link_place_by_path(&rest, missing_groups, &how.one_less()?)
            }
        }
    }
}

/// How links are followed.
struct Traversal {
    /// Link access properties.
    access: Hid,
    /// The number of soft and external links that may still be followed.
    maximum_links: usize,
    /// True if some process may make missing groups on the path.
    makes_groups: bool,
}

impl Traversal {
    /// Returns the settings after soft links: these count like the external link behind them.
    fn with_left(&self, maximum_links: usize) -> Self {
        Self { maximum_links, ..*self }
    }

    fn one_less(&self) -> Result<Self> {
        match self.maximum_links.checked_sub(1) {
            Some(maximum_links) => Ok(Self { maximum_links, ..*self }),
            None => Err(Error::new(Minor::TooManyLinks, "too many links")),
        }
    }
}

fn missing(name: &[u8]) -> Error {
    Error::new(Minor::NotFound, format!("object '{}' doesn't exist", String::from_utf8_lossy(name)))
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Splits a path of several components into the path to the last one and the last one, which may be `.`.
fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let is_several = components(&path[..start]).next().is_some() || path.first() == Some(&b'/');
    is_several.then_some((&path[..start], &path[start..end]))
}

/// Returns the path of `name` relative to `base`, without `.` and empty components.
pub fn join(base: &[u8], name: &[u8]) -> Bytes {
    if !name.contains(&b'/') && name != b"." && !name.is_empty() {
        let base = base.strip_suffix(b"/").unwrap_or(base);
        return [base, b"/", name].concat().into();
    }
    let from_root = name.first() == Some(&b'/');
    let mut path = if from_root { Vec::new() } else { base.strip_suffix(b"/").unwrap_or(base).to_vec() };
    for component in components(name) {
        path.push(b'/');
        path.extend_from_slice(component);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn a_path_is_split_before_its_last_component() {
        assert_eq!(super::split_last(b"/a/b/"), Some((&b"/a/"[..], &b"b"[..])));
        assert_eq!(super::split_last(b"a/b/."), Some((&b"a/b/"[..], &b"."[..])));
        assert_eq!(super::split_last(b"a//b"), Some((&b"a//"[..], &b"b"[..])));
        assert_eq!(super::split_last(b"./a"), None);
        assert_eq!(super::split_last(b"/a"), Some((&b"/"[..], &b"a"[..])));
        assert_eq!(super::split_last(b"a"), None);
        assert_eq!(super::split_last(b"/"), None);
    }

    #[test]
    fn paths_are_joined_as_hdf5_shows_them() {
        assert_eq!(join(b"/", b"a"), "/a");
        assert_eq!(join(b"/a", b"b/./c//"), "/a/b/c");
        assert_eq!(join(b"/a", b"/b"), "/b");
        assert_eq!(join(b"/a", b"."), "/a");
        assert_eq!(join(b"/", b"/"), "/");
    }
}
