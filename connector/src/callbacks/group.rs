//! Groups.

use h5lake_container::{GroupInfo, GroupSpec, LinkTarget, OpenObject};

use crate::callbacks::location::{Base, Location};
use crate::error::{Error, Major, Minor, Result};
use crate::ffi::handle::Handle;
use crate::ffi::ids::Id;
use crate::ffi::library::{Hid, Library};
use crate::ffi::plists::ListClass;
use crate::session::ObjectHandle;

/// `H5Gcreate`; without a name `H5Gcreate_anon`.
pub fn create(
    handle: &Handle,
    location: &Location<'_>,
    name: Option<&[u8]>,
    link_creation: Hid,
    creation: Hid,
) -> Result<Handle> {
    let base = located(handle, location)?;
    base.session.face.group()?;
    let spec = spec_of(base.session.library, creation)?;
    let object = base.session.container.create_group(spec)?;
    let path = link_new(&base, &object, name, link_creation)?;
    Ok(Handle::Group(ObjectHandle { session: base.session, object, path }))
}

/// `H5Gopen`.
pub fn open(handle: &Handle, location: &Location<'_>, name: &[u8], access: Hid) -> Result<Handle> {
    let base = located(handle, location)?;
    base.session.face.group()?;
    let found = base.find(&Location::ByName { name, access })?;
    let object = found.session.container.open_object(found.id)?;
    if object.kind() != h5lake_container::ObjectKind::Group {
        return Err(Error::new(
            Minor::BadType,
            format!("'{}' is not a group", String::from_utf8_lossy(name)),
        ));
    }
    Ok(Handle::Group(ObjectHandle { session: found.session, object, path: found.path }))
}

/// The object a create or open call starts from.
pub fn located(handle: &Handle, location: &Location<'_>) -> Result<Base> {
    let base = Base::of(handle)?;
    match location {
        Location::Itself => Ok(base),
        _ => {
            let found = base.find(location)?;
            Ok(Base { session: found.session, id: found.id, path: found.path })
        }
    }
}

/// Links a new object under `name`, if it has one, and says by which path it is known.
pub fn link_new(
    base: &Base,
    object: &OpenObject,
    name: Option<&[u8]>,
    link_creation: Hid,
) -> Result<Option<Vec<u8>>> {
    let Some(name) = name else { return Ok(None) };
    let library = base.session.library;
    let create_missing = library.creates_intermediate_groups(link_creation)?;
    let charset = library.character_set(link_creation)?;
    let place = base.link_place(&Location::ByName { name, access: 0 }, create_missing)?;
    place
        .session
        .container
        .link_create(place.group, &place.name, LinkTarget::Hard(object.id()), charset)
        .map_err(|error| Error::from(error).in_class(Major::Group))?;
    Ok(place.path)
}

/// What a group creation list says.
pub fn spec_of(library: Library, creation: Hid) -> Result<GroupSpec> {
    Ok(GroupSpec {
        creation_properties: library.encode_list(creation)?.into(),
        link_order: library.link_order(creation)?,
        attribute_order: library.attribute_order(creation)?,
        track_times: library.tracks_times(creation)?,
    })
}

/// `H5Gget_create_plist`.
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let base = Base::of(handle)?;
    let encoded = base.session.container.object_creation_properties(base.id)?;
    base.session.library.decode_list(&encoded, ListClass::GroupCreate)
}

/// `H5Gget_info` and its variants.
pub fn info(handle: &Handle, location: &Location<'_>) -> Result<GroupInfo> {
    let found = Base::of(handle)?.find(location)?;
    Ok(found.session.container.group_info(found.id)?)
}
