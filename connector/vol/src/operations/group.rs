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

/// `H5Gcreate`; without a name `H5Gcreate_anon`. The `lists` are those of [`NewPlace::find`].
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

/// `H5Gopen`.
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

/// The object a create or open call starts from.
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

/// Where a new object goes: its file, and the link it gets, if it gets one.
pub struct NewPlace {
    /// The file's session; another than the caller's where the path goes through an external link.
    pub session: Arc<Session>,
    link: Option<(LinkPlace, CharSet)>,
}

impl InFile for NewPlace {
    fn file(&self) -> &Arc<Session> {
        &self.session
    }
}

impl NewPlace {
    /// Finds the place of `name` seen from `base`. Of the `lists`, the first is for the new link: missing groups on the way are made if it
    /// asks for it. The second says how links on the way are followed.
    ///
    /// # Errors
    /// If the path leads nowhere, or what is on the way cannot be opened.
    pub fn find(base: Base, name: Option<&[u8]>, lists: (Hid, Hid)) -> Result<Self> {
        Self::find_making(base, name, lists, || Ok(GroupSpec::default()), false)
    }

    /// The same in a call that may have failed already, or that comes again later. It follows the path all the same, as other processes
    /// do. If it `makes_nothing`, missing groups are an error.
    pub fn find_after(base: Base, name: &[u8], link_creation: Hid, makes_nothing: bool) -> Result<Self> {
        // `H5Ocopy` has no list for following links.
        let lists = (link_creation, 0);
        Self::find_making(base, Some(name), lists, || Ok(GroupSpec::default()), makes_nothing)
    }

    /// The same for an object that is created with a list: of it, groups on the way take what is any object's
    /// (H5Gtraverse.c).
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

    /// Whether there is a link already.
    pub fn is_taken(&self) -> Result<bool> {
        match &self.link {
            Some((place, _)) => Ok(self.session.container.link(place.group, &place.name)?.is_some()),
            None => Ok(false),
        }
    }

    /// Links the object there, and says by which path it is known.
    pub fn link(self, object: &OpenObject) -> Result<Option<Bytes>> {
        let Some((place, charset)) = self.link else { return Ok(None) };
        self.session
            .container
            .link_create(place.group, &place.name, LinkTarget::Hard(object.id()), charset)
            .map_err(|error| Error::from(error).in_class(Major::Group))?;
        Ok(place.path)
    }
}

/// What a group creation list says.
pub fn spec_of(library: Library, creation: Hid) -> Result<GroupSpec> {
    let given = library.group_creation(creation)?;
    Ok(GroupSpec {
        creation_properties: library.encode_list(creation)?.into(),
        link_order: given.link_order,
        attribute_order: given.object.attribute_order,
        track_times: given.object.track_times,
    })
}

/// `H5Gget_create_plist`.
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let base = Base::of(handle)?;
    let (library, container) = (base.session.library, &base.session.container);
    let kept = container.object_creation_properties(base.id)?;
    if !kept.is_empty() {
        return library.decode_list(&kept, ListClass::GroupCreate);
    }
    // A root group, a copy of one, or a group that was made on the way to another object.
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

/// `H5Gget_info` and its variants. Says, too, whether a file is mounted on the group.
pub fn info(handle: &Handle, location: &Location<'_>) -> Result<(GroupInfo, bool)> {
    let found = Base::of(handle)?.find(location)?;
    let info = found.session.container.group_info(found.id)?;
    Ok((info, mount::is_mount_point(&found.session, found.id)))
}
