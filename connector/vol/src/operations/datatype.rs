//! Committed datatypes.

use bytes::Bytes;
use h5lake_container::{DatatypeSpec, ObjectId, ObjectKind};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::{DatatypeHandle, ObjectHandle};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::plist::ListClass;
use crate::operations::group::{NewPlace, located};
use crate::operations::object::handle_of;
use crate::operations::path::external_link::open_native;
use crate::operations::path::{Base, Location, Resolved, reach};
use crate::session::Session;
use crate::transfer::stored_type::FileType;

/// Commits a datatype (`H5Tcommit`; without a name `H5Tcommit_anon`). The `lists` are those of [`NewPlace::find`].
pub fn commit(
    handle: &Handle,
    location: &Location<'_>,
    name: Option<&[u8]>,
    datatype: Hid,
    lists: (Hid, Hid),
    creation: Hid,
) -> Result<Handle> {
    let session = handle.session()?;
    let find = || {
        let base = located(handle, location)?;
        if base.session.library.is_immutable(datatype)? {
            let text = "the datatype is immutable: commit a copy of it (H5Tcopy)";
            return Err(Error::new(Minor::BadValue, text));
        }
        // A datatype that cannot be stored fails before groups are made on the path to its name.
        FileType::of_new(&base.session, datatype)?;
        NewPlace::find(base, name, lists)
    };
    let find_and_make = || {
        let place = reach(&session, find);
        let (is_outside, file) = (place.is_outside(&session), place.file);
        let make_there = || make(place.found?, datatype, creation);
        if is_outside { file.make_together(make_there) } else { make_there() }
    };
    session.make_together(find_and_make).map(Handle::Datatype)
}

fn make(place: NewPlace, datatype: Hid, creation: Hid) -> Result<DatatypeHandle> {
    let session = place.session.clone();
    let library = session.library;
    let stored = FileType::of_new(&session, datatype)?.to_datatype(None);
    let native = session.shadow.datatype(&stored.encoded)?;
    let given = library.object_creation(creation)?;
    let spec = DatatypeSpec {
        datatype: stored,
        creation_properties: library.encode_list(creation)?.into(),
        attribute_order: given.attribute_order,
        track_times: given.track_times,
    };
    let object = session.container.create_datatype(spec)?;
    let path = place.link(&object)?;
    Ok(DatatypeHandle { native, base: ObjectHandle { session, object, path } })
}

/// Opens a committed datatype (`H5Topen`).
pub fn open(handle: &Handle, location: &Location<'_>, name: &[u8], access: Hid) -> Result<Handle> {
    let found = match located(handle, location)?.resolve(&Location::ByName { name, access })? {
        Resolved::Here(found) => found,
        Resolved::Native(path) => return open_native(&path, Some(ObjectKind::Datatype)),
    };
    match handle_of(&found.session, found.id, found.path)? {
        opened @ Handle::Datatype(_) => Ok(opened),
        _ => Err(Error::new(
            Minor::BadType,
            format!("'{}' is not a committed datatype", String::from_utf8_lossy(name)),
        )),
    }
}

/// Returns HDF5's encoding of the datatype.
pub fn encoded(handle: &Handle) -> Result<Bytes> {
    let base = Base::of(handle)?;
    Ok(base.session.container.datatype(base.id)?.encoded.clone())
}

/// Returns the creation list of a committed datatype (`H5Tget_create_plist`).
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let base = Base::of(handle)?;
    let encoded = base.session.container.object_creation_properties(base.id)?;
    base.session.library.decode_list(&encoded, ListClass::DatatypeCreate)
}

/// Returns the committed datatype of this container behind an application's identifier, if it is one.
pub fn committed_id(session: &Session, datatype: Hid) -> Result<Option<ObjectId>> {
    if session.library.predefined(datatype).is_some() || !session.library.is_committed(datatype)? {
        return Ok(None);
    }
    let Some((id, file)) = session.library.object_of(datatype) else { return Ok(None) };
    let is_ours = file == session.container.file_number()
        && session.container.object_info(id).is_ok_and(|info| info.kind == ObjectKind::Datatype);
    Ok(is_ours.then_some(id))
}

/// Returns the identifier for `H5Dget_type` and `H5Aget_type`: the committed type if there is one, otherwise a
/// read-only copy.
pub fn identifier(
    session: &std::sync::Arc<Session>,
    types: &FileType,
    committed: Option<ObjectId>,
) -> Result<Id> {
    if let Some(id) = committed
        && let Ok(handle) = handle_of(session, id, None)
    {
        return session.library.register(handle);
    }
    types.read_only_copy()
}
