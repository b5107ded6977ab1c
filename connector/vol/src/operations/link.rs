//! Links.

use h5lake_container::{CharSet, GroupSpec, Link, LinkTarget};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::library::{Hid, Library};
use crate::operations::path::{Base, LinkPlace, Location, ResolvedObject};
use crate::session::Session;

/// What a new link leads to.
pub enum NewLink<'a> {
    /// An object; `None` stands for the link's own file.
    Hard {
        /// Where to start from.
        object: Option<&'a Handle>,
        /// The object, seen from there.
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

/// What missing groups on the way to a new link are made like, where its creation list asks for them.
fn missing_groups(library: Library, link_creation: Hid) -> Result<Option<GroupSpec>> {
    Ok(library.creates_intermediate_groups(link_creation)?.then(GroupSpec::default))
}

/// `H5Lcreate_hard`, `H5Lcreate_soft`, `H5Lcreate_ud`, `H5Olink`.
pub fn create(
    handle: Option<&Handle>,
    location: &Location<'_>,
    link: &NewLink<'_>,
    link_creation: Hid,
) -> Result<()> {
    let other = if let NewLink::Hard { object, .. } = link { *object } else { None };
    let base = Base::of(handle.or(other).ok_or_else(|| Error::argument("a link without a file"))?)?;
    let library = base.session.library;
    let mut target_file = None;
    let target = match link {
        NewLink::Hard { object, location } => {
            let found = hard_target(&base, *object, location)?;
            target_file = Some(found.session);
            LinkTarget::Hard(found.id)
        }
        NewLink::Soft(path) => LinkTarget::Soft(path.to_vec()),
        NewLink::UserDefined { class, data } => {
            library.check_link_class(*class)?;
            let external = if *class == EXTERNAL { external_target(data) } else { None };
            // As in native files, bad data of an external link is found when it is followed.
            external.unwrap_or_else(|| LinkTarget::UserDefined { class: *class, data: data.to_vec() })
        }
    };
    let place = base.link_place(location, missing_groups(library, link_creation)?.as_ref())?;
    let make = || {
        if let Some(file) = target_file {
            check_same_file(&file, &place.session)?;
        }
        let charset = library.character_set(link_creation)?;
        Ok(place.session.container.link_create(place.group, &place.name, target, charset)?)
    };
    base.finish_change(&place.session, make())
}

fn hard_target(base: &Base, object: Option<&Handle>, location: &Location<'_>) -> Result<ResolvedObject> {
    match object {
        Some(object) => Base::of(object)?.find(location),
        None => base.find(location),
    }
}

/// Object ids mean something in their own container alone, and those of a copy are the same: what counts is the file in which the
/// link is made, wherever the call started (`H5G_obj_insert`).
fn check_same_file(target: &Session, place: &Session) -> Result<()> {
    if std::sync::Arc::ptr_eq(&target.container, &place.container) {
        return Ok(());
    }
    Err(Error::new(Minor::BadValue, "a hard link cannot lead to an object of another file"))
}

/// External link data as `H5Lcreate_external` packs it: a byte with version and flags, file name, NUL, path, NUL.
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

/// A link's value as `H5Lget_val` gives it.
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

/// The link that a location names.
pub fn find(handle: &Handle, location: &Location<'_>) -> Result<(LinkPlace, Link)> {
    let place = Base::of(handle)?.link_place(location, None)?;
    let link = place.session.container.link(place.group, &place.name)?.ok_or_else(|| absent(&place.name))?;
    Ok((place, link))
}

/// `H5Lexists`: whether the link is there; where it leads does not matter.
pub fn exists(handle: &Handle, location: &Location<'_>) -> Result<bool> {
    let Location::ByName { name, access } = *location else { return Ok(find(handle, location).is_ok()) };
    Base::of(handle)?.has_link(name, access)
}

/// `H5Ldelete`.
pub fn delete(handle: &Handle, location: &Location<'_>) -> Result<()> {
    let base = Base::of(handle)?;
    let place = base.link_place(location, None)?;
    let deleted = place.session.container.link_delete(place.group, &place.name);
    base.finish_change(&place.session, deleted.map_err(Error::from))
}

/// What becomes of the link that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkTransfer {
    /// It stays (`H5Lcopy`).
    Copy,
    /// It goes (`H5Lmove`).
    Move,
}

/// `H5Lmove` and `H5Lcopy`. A missing handle stands for the other one's file (`H5L_SAME_LOC`).
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
    let charset: Option<CharSet> = Some(library.character_set(link_creation)?);
    let old = from_base.link_place(from, None)?;
    let link = old.session.container.link(old.group, &old.name)?.ok_or_else(|| absent(&old.name))?;
    if let LinkTarget::UserDefined { class, .. } = &link.target {
        library.check_link_class(*class)?;
    }
    let new = to_base.link_place(to, missing_groups(library, link_creation)?.as_ref())?;
    let container = &old.session.container;
    if !std::sync::Arc::ptr_eq(container, &new.session.container) {
        return transfer_across_files(transfer, (&from_base, &old), (&to_base, &new), link, charset);
    }
    let done = match transfer {
        LinkTransfer::Copy => container.link_copy(old.group, &old.name, new.group, &new.name, charset),
        LinkTransfer::Move => container.link_move(old.group, &old.name, new.group, &new.name, charset),
    };
    if transfer == LinkTransfer::Move
        && done.is_ok()
        && let (Some(from), Some(to)) = (old.path, new.path)
    {
        old.session.moves.lock().add(from, to);
    }
    from_base.finish_change(&old.session, done.map_err(Error::from))
}

/// A link that is no hard link may go to another file: what it leads to is looked up there. The old one goes when the new one is there.
fn transfer_across_files(
    transfer: LinkTransfer,
    (from, old): (&Base, &LinkPlace),
    (to, new): (&Base, &LinkPlace),
    link: Link,
    charset: Option<CharSet>,
) -> Result<()> {
    if let LinkTarget::Hard(_) = link.target {
        return Err(Error::new(Minor::BadValue, "a hard link cannot be moved or copied to another file"));
    }
    let charset = charset.unwrap_or(link.cset);
    let made = new.session.container.link_create(new.group, &new.name, link.target, charset);
    let made = to.finish_change(&new.session, made.map_err(Error::from));
    if transfer == LinkTransfer::Copy {
        return made;
    }
    let delete = |()| Ok(old.session.container.link_delete(old.group, &old.name)?);
    from.finish_change(&old.session, made.and_then(delete))
}

fn absent(name: &[u8]) -> Error {
    Error::new(Minor::NotFound, format!("link '{}' doesn't exist", String::from_utf8_lossy(name)))
}
