//! Groups.

use std::sync::Arc;

use bytes::Bytes;
use h5lake_container::{CharSet, GroupInfo, GroupSpec, LinkTarget, OpenObject};

use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::ObjectHandle;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::ListClass;
use crate::hdf5::plist::creation::ObjectCreation;
use crate::operations::path::external_link::open_native;
use crate::operations::path::mount;
use crate::operations::path::{Base, InFile, LinkPlace, Location, MissingGroups, Resolved, reach};
use crate::session::Session;

/// Creates a group (`H5Gcreate`; without a name `H5Gcreate_anon`). The `lists` are those of [`NewPlace::find`].
pub fn create(
    handle: &Handle,
    location: &Location<'_>,
    name: Option<&[u8]>,
    lists: (Hid, Hid),
    creation: Hid,
) -> Result<Handle> {
    let session = handle.session()?;
    let find = || NewPlace::find_like(located(handle, location)?, name, lists, creation);
    let find_and_make = || {
        let place = reach(&session, find);
        let (is_outside, file) = (place.is_outside(&session), place.file);
        let make_there = || make(place.found?, creation);
        if is_outside { file.make_together(make_there) } else { make_there() }
    };
    session.make_together(find_and_make).map(Handle::Group)
}

fn make(place: NewPlace, creation: Hid) -> Result<ObjectHandle> {
    let session = place.session.clone();
    let object = session.container.create_group(spec_of(session.library, creation)?)?;
    let path = place.link(&object)?;
    Ok(ObjectHandle { session, object, path })
}

/// Opens a group (`H5Gopen`).
pub fn open(handle: &Handle, location: &Location<'_>, name: &[u8], access: Hid) -> Result<Handle> {
    let base = located(handle, location)?;
    let found = match base.resolve(&Location::ByName { name, access })? {
        Resolved::Here(found) => found,
        Resolved::Native(path) => return open_native(&path, Some(h5lake_container::ObjectKind::Group)),
    };
    let object = found.session.container.open_object(found.id)?;
    if object.kind() != h5lake_container::ObjectKind::Group {
        return Err(Error::new(
            Minor::BadType,
            format!("'{}' is not a group", String::from_utf8_lossy(name)),
        ));
    }
    Ok(Handle::Group(ObjectHandle { session: found.session, object, path: found.path }))
}

/// Returns the object from which a create or open call starts.
pub fn located(handle: &Handle, location: &Location<'_>) -> Result<Base> {
    let base = Base::of(handle)?;
    match location {
        Location::Itself => Ok(base),
        _ => {
            let found = base.find(location)?;
            Ok(found.into())
        }
    }
}

/// The place of a new object: its file, and its link, if it gets one.
pub struct NewPlace {
    /// The file's session; another session than the caller's if the path goes through an external link.
    pub session: Arc<Session>,
    link: Option<(LinkPlace, CharSet)>,
}

impl InFile for NewPlace {
    fn file(&self) -> &Arc<Session> {
        &self.session
    }
}

impl NewPlace {
    /// Finds the place of `name` relative to `base`. The first of the `lists` is for the new link: missing groups on
    /// the path are made if it requests that. The second says how links on the path are followed.
    ///
    /// # Errors
    /// If the path leads nowhere, or an object on the path cannot be opened.
    pub fn find(base: Base, name: Option<&[u8]>, lists: (Hid, Hid)) -> Result<Self> {
        Self::find_making(base, name, lists, || Ok(GroupSpec::default()), false)
    }

    /// Finds the place in a call that may have failed already, or that will be repeated. It follows the path even so,
    /// like other processes do. If it `makes_nothing`, missing groups are an error.
    pub fn find_after(base: Base, name: &[u8], link_creation: Hid, makes_nothing: bool) -> Result<Self> {
        // `H5Ocopy` has no list for following links.
        let lists = (link_creation, 0);
        Self::find_making(base, Some(name), lists, || Ok(GroupSpec::default()), makes_nothing)
    }

    /// Finds the place for an object that is created with a list: groups on the path take those properties from the
    /// list that any object has (H5Gtraverse.c).
    pub fn find_like(base: Base, name: Option<&[u8]>, lists: (Hid, Hid), creation: Hid) -> Result<Self> {
        let library = base.session.library;
        let missing = || {
            let ObjectCreation { attribute_order, track_times } = library.object_creation(creation)?;
            Ok(GroupSpec { attribute_order, track_times, ..GroupSpec::default() })
        };
        Self::find_making(base, name, lists, missing, false)
    }

    fn find_making(
        base: Base,
        name: Option<&[u8]>,
        (link_creation, access): (Hid, Hid),
        missing: impl FnOnce() -> Result<GroupSpec>,
        has_failed: bool,
    ) -> Result<Self> {
        let Some(name) = name else { return Ok(Self { session: base.session, link: None }) };
        let library = base.session.library;
        let missing = library.creates_intermediate_groups(link_creation)?.then(missing).transpose()?;
        let charset = library.character_set(link_creation)?;
        let missing = MissingGroups::of(missing.as_ref(), has_failed);
        let place = base.link_place(&Location::ByName { name, access }, missing)?;
        Ok(Self { session: place.session.clone(), link: Some((place, charset)) })
    }

    /// Returns whether a link already exists.
    pub fn is_taken(&self) -> Result<bool> {
        match &self.link {
            Some((place, _)) => Ok(self.session.container.link(place.group, &place.name)?.is_some()),
            None => Ok(false),
        }
    }

    /// Links the object at the place, and returns the path by which it is known.
    pub fn link(self, object: &OpenObject) -> Result<Option<Bytes>> {
        let Some((place, charset)) = self.link else { return Ok(None) };
        self.session
            .container
            .link_create(place.group, &place.name, LinkTarget::Hard(object.id()), charset)
            .map_err(|error| Error::from(error).in_class(Major::Group))?;
        Ok(place.path)
    }
}

/// Reads a group creation list.
pub fn spec_of(library: Library, creation: Hid) -> Result<GroupSpec> {
    let given = library.group_creation(creation)?;
    Ok(GroupSpec {
        creation_properties: library.encode_list(creation)?.into(),
        link_order: given.link_order,
        attribute_order: given.object.attribute_order,
        track_times: given.object.track_times,
    })
}

/// Returns the creation list of a group (`H5Gget_create_plist`).
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let base = Base::of(handle)?;
    let (library, container) = (base.session.library, &base.session.container);
    let kept = container.object_creation_properties(base.id)?;
    if !kept.is_empty() {
        return library.decode_list(&kept, ListClass::GroupCreate);
    }
    // The group is a root group, a copy of one, or was made on the path to another object.
    let list = library.default_list(ListClass::GroupCreate)?;
    if base.id == container.root() {
        let of_file = library.decode_list(&container.creation_properties(), ListClass::FileCreate)?;
        library.copy_group_properties(of_file.get(), list.get())?;
    }
    let (links, attributes) =
        (container.group_info(base.id)?.link_order, container.attribute_order(base.id)?);
    library.set_orders(list.get(), links, attributes)?;
    library.set_track_times(list.get(), container.tracks_times(base.id)?)?;
    Ok(list)
}

/// Returns information about a group, and whether a file is mounted on it (`H5Gget_info` and its variants).
pub fn info(handle: &Handle, location: &Location<'_>) -> Result<(GroupInfo, bool)> {
    let found = Base::of(handle)?.find(location)?;
    let info = found.session.container.group_info(found.id)?;
    Ok((info, mount::is_mount_point(&found.session, found.id)))
}
