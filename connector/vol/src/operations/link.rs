//! Links.

use std::sync::Arc;

use h5lake_container::{CharSet, GroupSpec, Link, LinkTarget};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::library::{Hid, Library};
use crate::operations::path::{Base, LinkPlace, Location, MissingGroups, Reached, ResolvedObject};
use crate::session::Session;

/// The target of a new link.
pub enum NewLink<'a> {
    /// An object; `None` stands for the link's own file.
    Hard {
        /// The object from which to start.
        object: Option<&'a Handle>,
        /// The object, relative to the start.
        location: Location<'a>,
    },
    /// A path.
    Soft(&'a [u8]),
    /// A user-defined or external link's class and data.
    UserDefined {
        /// `H5L_type_t`: 64 for external links, 65 to 255 for classes of the application.
        class: i32,
        /// The link's value.
        data: &'a [u8],
    },
}

/// The link class of external links (`H5L_TYPE_EXTERNAL`).
pub const EXTERNAL: i32 = 64;

/// Returns the properties of missing groups on the path to a new link, if its creation list requests them.
fn missing_groups(library: Library, link_creation: Hid) -> Result<Option<GroupSpec>> {
    Ok(library.creates_intermediate_groups(link_creation)?.then(GroupSpec::default))
}

/// Creates a link (`H5Lcreate_hard`, `H5Lcreate_soft`, `H5Lcreate_ud`, `H5Olink`).
pub fn create(
    handle: Option<&Handle>,
    location: &Location<'_>,
    link: &NewLink<'_>,
    link_creation: Hid,
) -> Result<()> {
    let other = if let NewLink::Hard { object, .. } = link { *object } else { None };
    let base = Base::of(handle.or(other).ok_or_else(|| Error::argument("a link without a file"))?)?;
    let library = base.session.library;
    let missing = missing_groups(library, link_creation)?;
    let target = target_of(&base, link);
    // After any failure in this process, the other processes follow the path, and wait for this process in the file
    // that the path leads to.
    let missing = MissingGroups::of(missing.as_ref(), target.is_err());
    let Reached { file, found: place } = base.reach_link(location, missing);
    let made = target.and_then(|target| {
        let place = place?;
        if let Some(file) = &target.file {
            check_same_file(file, &place.session)?;
        }
        let charset = library.character_set(link_creation)?;
        Ok(file.container.link_create(place.group, &place.name, target.leads_to, charset)?)
    });
    base.finish_change(&file, made)
}

/// The target of a new link.
struct Target {
    leads_to: LinkTarget,
    /// The file of an object.
    file: Option<Arc<Session>>,
}

fn target_of(base: &Base, link: &NewLink<'_>) -> Result<Target> {
    let leads_to = match link {
        NewLink::Hard { object, location } => {
            let found = hard_target(base, *object, location)?;
            return Ok(Target { leads_to: LinkTarget::Hard(found.id), file: Some(found.session) });
        }
        NewLink::Soft(path) => LinkTarget::Soft(normalized(path)),
        NewLink::UserDefined { class, data } => {
            base.session.library.check_link_class(*class)?;
            let external = if *class == EXTERNAL { external_target(data) } else { None };
            // Like in native files, bad data of an external link is found when the link is followed.
            external.unwrap_or_else(|| LinkTarget::UserDefined { class: *class, data: data.to_vec() })
        }
    };
    Ok(Target { leads_to, file: None })
}

fn hard_target(base: &Base, object: Option<&Handle>, location: &Location<'_>) -> Result<ResolvedObject> {
    let Some(object) = object else { return base.find(location) };
    let start = Base::of(object)?;
    if let Location::ByName { .. } = location {
        // `H5Lcreate_hard` does not get as far as making groups in this case (`H5VL__native_link_create`).
        check_same_file(&start.session, &base.session)?;
    }
    start.find(location)
}

/// Checks that a hard link and its target are in the same file. Object ids have a meaning in their own container only,
/// and a copy has the same ids. The file in which the link is made decides, wherever the call started
/// (`H5G_obj_insert`).
fn check_same_file(target: &Session, place: &Session) -> Result<()> {
    if Arc::ptr_eq(&target.container, &place.container) {
        return Ok(());
    }
    Err(Error::new(Minor::BadValue, "a hard link cannot lead to an object of another file"))
}

/// Returns the path of a soft link as native files store it (`H5G_normalize`): consecutive slashes are merged, and a
/// trailing slash is removed unless the path consists of it.
fn normalized(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    path.dedup_by(|next, last| *next == b'/' && *last == b'/');
    if path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

/// Decodes external link data in the format of `H5Lcreate_external`: a byte with version and flags, file name, NUL,
/// path, NUL.
fn external_target(data: &[u8]) -> Option<LinkTarget> {
    let (first, rest) = data.split_first()?;
    if first >> 4 != 0 || rest.last() != Some(&0) {
        return None;
    }
    let mut parts = rest.split(|byte| *byte == 0);
    let (file, path) = (parts.next()?, parts.next()?);
    let is_all = file.len() + path.len() + 2 == rest.len();
    is_all.then(|| LinkTarget::External {
        file: file.to_vec(),
        path: path.to_vec(),
        flags: u32::from(first & 0x0f),
    })
}

/// Returns a link's value in the format of `H5Lget_val`.
pub fn value(target: &LinkTarget) -> Option<Vec<u8>> {
    match target {
        LinkTarget::Hard(_) => None,
        LinkTarget::Soft(path) => Some([path.as_slice(), b"\0"].concat()),
        LinkTarget::External { file, path, flags } => {
            Some([&[(*flags & 0x0f) as u8][..], file, b"\0", path, b"\0"].concat())
        }
        LinkTarget::UserDefined { data, .. } => Some(data.clone()),
    }
}

/// Returns the link that a location names.
pub fn find(handle: &Handle, location: &Location<'_>) -> Result<(LinkPlace, Link)> {
    let place = Base::of(handle)?.link_place(location, MissingGroups::Fail)?;
    let link = place.session.container.link(place.group, &place.name)?.ok_or_else(|| absent(&place.name))?;
    Ok((place, link))
}

/// Returns whether the link exists (`H5Lexists`), wherever it leads.
pub fn exists(handle: &Handle, location: &Location<'_>) -> Result<bool> {
    let Location::ByName { name, access } = *location else { return Ok(find(handle, location).is_ok()) };
    Base::of(handle)?.has_link(name, access)
}

/// Deletes a link (`H5Ldelete`).
pub fn delete(handle: &Handle, location: &Location<'_>) -> Result<()> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach_link(location, MissingGroups::Fail);
    let deleted = found.and_then(|place| Ok(file.container.link_delete(place.group, &place.name)?));
    base.finish_change(&file, deleted)
}

/// The treatment of the original link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkTransfer {
    /// The link remains (`H5Lcopy`).
    Copy,
    /// The link is deleted (`H5Lmove`).
    Move,
}

/// Moves or copies a link (`H5Lmove` and `H5Lcopy`). A missing handle stands for the file of the other handle
/// (`H5L_SAME_LOC`).
pub fn transfer(
    transfer: LinkTransfer,
    source: Option<&Handle>,
    from: &Location<'_>,
    destination: Option<&Handle>,
    to: &Location<'_>,
    link_creation: Hid,
) -> Result<()> {
    let source = source.or(destination).ok_or_else(|| Error::argument("a link without a file"))?;
    let from_base = Base::of(source)?;
    let to_base = Base::of(destination.unwrap_or(source))?;
    let library = from_base.session.library;
    let charset = library.character_set(link_creation)?;
    let missing = missing_groups(library, link_creation)?;
    let Reached { file: old_file, found } = from_base.reach_link(from, MissingGroups::Fail);
    let old = found.and_then(|place| MovedLink::at(place, library));
    // See the note on a new link in [`create`].
    let missing = MissingGroups::of(missing.as_ref(), old.is_err());
    let Reached { file: new_file, found: new } = to_base.reach_link(to, missing);
    let both = old.and_then(|old| Ok((old, new?)));
    if !Arc::ptr_eq(&old_file.container, &new_file.container) {
        let made = both.and_then(|(old, new)| old.copy_to_other_file(&new, charset).map(|()| old));
        let made = to_base.finish_change(&new_file, made);
        if transfer == LinkTransfer::Copy {
            return made.map(drop);
        }
        // The old link is deleted after the new one has been made.
        return from_base.finish_change(&old_file, made.and_then(|old| old.delete()));
    }
    from_base.finish_change(&old_file, both.and_then(|(old, new)| old.transfer(transfer, &new, charset)))
}

/// A link that is moved or copied.
struct MovedLink {
    place: LinkPlace,
    target: LinkTarget,
}

impl MovedLink {
    fn at(place: LinkPlace, library: Library) -> Result<Self> {
        let link = place.session.container.link(place.group, &place.name)?;
        let target = link.ok_or_else(|| absent(&place.name))?.target;
        if let LinkTarget::UserDefined { class, .. } = &target {
            library.check_link_class(*class)?;
        }
        Ok(Self { place, target })
    }

    /// Moves or copies the link within its file.
    fn transfer(self, transfer: LinkTransfer, new: &LinkPlace, charset: CharSet) -> Result<()> {
        let (old, charset) = (self.place, Some(charset));
        let container = &old.session.container;
        match transfer {
            LinkTransfer::Copy => {
                container.link_copy(old.group, &old.name, new.group, &new.name, charset)?;
            }
            LinkTransfer::Move => {
                container.link_move(old.group, &old.name, new.group, &new.name, charset)?;
                if let (Some(from), Some(to)) = (&old.path, &new.path) {
                    old.session.moves.lock().add(from.clone(), to.clone());
                }
            }
        }
        Ok(())
    }

    /// Copies the link to another file, unless it is a hard link: its target is looked up there.
    fn copy_to_other_file(&self, new: &LinkPlace, charset: CharSet) -> Result<()> {
        if let LinkTarget::Hard(_) = self.target {
            return Err(Error::new(Minor::BadValue, "a hard link cannot be moved or copied to another file"));
        }
        Ok(new.session.container.link_create(new.group, &new.name, self.target.clone(), charset)?)
    }

    fn delete(self) -> Result<()> {
        Ok(self.place.session.container.link_delete(self.place.group, &self.place.name)?)
    }
}
fn absent(name: &[u8]) -> Error {
    Error::new(Minor::NotFound, format!("link '{}' doesn't exist", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn a_soft_link_keeps_single_slashes_and_none_at_its_end() {
        assert_eq!(normalized(b"a//b"), b"a/b");
        assert_eq!(normalized(b"/a///"), b"/a");
        assert_eq!(normalized(b"//"), b"/");
        assert_eq!(normalized(b"./a/../b/."), b"./a/../b/.");
        assert_eq!(normalized(b""), b"");
    }
}
