//! Objects of any kind.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use h5lake_container::{
    CopyOptions, Datatype, Elements, HeapPlace, ObjectId, ObjectInfo, ObjectKind, OpenObject,
};
use h5lake_ledger::locks::Mutex;

use crate::config::CopiedReferences;
use crate::error::{Error, Minor, Result};
use crate::handles::open_objects::{DatasetHandle, DatatypeHandle, FileHandle, ObjectHandle};
use crate::handles::{Handle, anchor_of, anchor_of_types};
use crate::hdf5::anchor::Anchor;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::operations::external_data;
use crate::operations::group::{self, NewPlace};
use crate::operations::path::external_link::open_native;
use crate::operations::path::mount;
use crate::operations::path::{Base, Location, Reached, Resolved, ResolvedObject, reach};
use crate::session::collective::CollectiveChange;
use crate::session::{Handles, Session};
use crate::transfer::buffers::buffer_of;
use crate::transfer::library_codec::LentDataset;
use crate::transfer::memory::element_conversion::MemoryElements;
use crate::transfer::memory::references::Reference;
use crate::transfer::references::moved_region;
use crate::transfer::stored_type::FileType;
use crate::transfer::vlen_context;
use crate::transfer::vlen_copies::copy_plain;

/// Opens an object (`H5Oopen` in all its forms).
pub fn open(handle: &Handle, location: &Location<'_>) -> Result<Handle> {
    let found = match Base::of(handle)?.resolve(location)? {
        Resolved::Here(found) => found,
        Resolved::Native(path) => return open_native(&path, None),
    };
    let opened = handle_of(&found.session, found.id, found.path)?;
    if let Handle::Dataset(dataset) = &opened {
        external_data::check_prefix(dataset)?;
    }
    Ok(opened)
}

/// Opens a handle of an object, of the object's kind.
pub fn handle_of(session: &Arc<Session>, id: ObjectId, path: Option<Bytes>) -> Result<Handle> {
    let object = session.container.open_object(id)?;
    let base = ObjectHandle { session: session.clone(), object, path };
    match base.object.kind() {
        ObjectKind::Group => Ok(Handle::Group(base)),
        ObjectKind::Dataset => {
            let dataset = session.container.dataset_of(&base.object)?;
            let codec = LentDataset::to(session, &dataset);
            Ok(Handle::Dataset(DatasetHandle {
                types: OnceLock::new(),
                codec: Mutex::new(codec),
                virtual_layout: OnceLock::new(),
                dataset,
                access_list: None,
                user_properties: None,
                base,
                native: OnceLock::new(),
            }))
        }
        ObjectKind::Datatype => {
            let encoded = session.container.datatype(id)?.encoded.clone();
            let native = session.shadow.datatype(&encoded)?;
            Ok(Handle::Datatype(DatatypeHandle { native, base }))
        }
    }
}

/// Returns an identifier of an object for an application's callback; it is closed when the returned value is dropped.
pub fn identifier_of(session: &Arc<Session>, id: ObjectId, path: Option<Bytes>) -> Result<Id> {
    session.library.register(handle_of(session, id, path)?)
}

/// Makes the handles that libhdf5 is given for objects of containers.
pub struct OwnHandles;

impl Handles for OwnHandles {
    fn anchor(&self, session: Weak<Session>) -> Anchor {
        anchor_of(session)
    }

    fn anchor_of_types(&self, library: Library) -> &'static Anchor {
        anchor_of_types(library)
    }

    fn identifier(&self, session: &Arc<Session>, id: ObjectId) -> Result<Id> {
        identifier_of(session, id, None)
    }
}

/// How `H5Iget_file_id` gets the file of an object.
pub enum FileOf {
    /// The file has an identifier: libhdf5 finds it through the session's anchor in its next search.
    Known(Arc<Session>),
    /// The file has no identifier any more: this is a new handle for a new identifier.
    New(Handle),
}

/// Returns the file of an object.
pub fn file(handle: &Handle) -> Result<FileOf> {
    let session = handle.session()?;
    if session.file_handles.load(Ordering::Relaxed) > 0 {
        return Ok(FileOf::Known(session));
    }
    Ok(FileOf::New(Handle::File(FileHandle::new(session))))
}

/// Returns a path of the object, or `None` if it has none (any more).
pub fn name(handle: &Handle, location: &Location<'_>) -> Result<Option<Bytes>> {
    let found = Base::of(handle)?.find(location)?;
    let container = &found.session.container;
    if let Some(path) = &found.path
        && container.leads_to(path, found.id)
    {
        return Ok(found.path);
    }
    if let Some(path) = &found.path
        && Base::from_bottom(&found.session).leads_to(path, &found.session, found.id)
    {
        return Ok(found.path);
    }
    if let Some(path) = found.path.as_ref().and_then(|path| found.session.moves.lock().applied_to(path))
        && container.leads_to(&path, found.id)
    {
        return Ok(Some(path));
    }
    let own = match container.find_path(found.id) {
        // Like in the native connector, a null reference leads to no object, so there is no name.
        Err(error) if error.kind() == h5lake_container::ErrorKind::NotFound => None,
        own => own?,
    };
    // The object was reached through a file on which its file is mounted.
    if let (Some(path), Some(own)) = (&found.path, &own)
        && let Some(way) = mount::path_of(&found.session)?
        && mount::path_behind(&way, path).is_some()
    {
        return Ok(Some(mount::joined(&way, own)));
    }
    Ok(own.map(Bytes::from))
}

/// Returns kind, counts and times of an object, with its id and the number of its file.
pub fn info(handle: &Handle, location: &Location<'_>) -> Result<Resolved<(ObjectId, u64, ObjectInfo)>> {
    Base::of(handle)?.resolve(location)?.and_then(|found| {
        let info = found.session.container.object_info(found.id)?;
        Ok(Resolved::Here((found.id, found.session.container.file_number(), info)))
    })
}

/// Changes an object's link count (`H5Oincr_refcount`, `H5Odecr_refcount`).
pub fn change_link_count(handle: &Handle, location: &Location<'_>, delta: i32) -> Result<()> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach(location);
    let changed = found.and_then(|found| Ok(file.container.change_link_count(found.id, delta).map(drop)?));
    base.finish_change(&file, changed)
}

/// Returns whether the path leads to an object (`H5Oexists_by_name`).
pub fn exists(handle: &Handle, location: &Location<'_>) -> Result<bool> {
    match Base::of(handle)?.is_there(location)? {
        Resolved::Here(there) => Ok(there),
        Resolved::Native(path) => path.exists(),
    }
}

/// Resolves a location.
pub fn resolve(handle: &Handle, location: &Location<'_>) -> Result<Resolved<ResolvedObject>> {
    Base::of(handle)?.resolve(location)
}

/// Returns the id of an object.
pub fn lookup(handle: &Handle, location: &Location<'_>) -> Result<ObjectId> {
    Ok(Base::of(handle)?.find(location)?.id)
}

/// Sets whether flushes of an object's metadata are disabled (`H5Odisable_mdc_flushes`, `H5Oenable_mdc_flushes`).
/// Cached metadata is never written between commits anyway. But programs can observe that the setting belongs to the
/// object, lasts until the object is closed, and cannot be made twice.
pub fn disable_metadata_flushes(handle: &Handle, disable: bool) -> Result<()> {
    let (session, id) = open_object(handle)?;
    let container = &session.container;
    let (is_changed, state) =
        if disable { (container.cork(id), "corked") } else { (container.uncork(id), "uncorked") };
    if is_changed {
        return Ok(());
    }
    Err(Error::new(Minor::CannotOperate, format!("object already {state}")))
}

/// Returns whether flushes of an object's metadata are disabled (`H5Oare_mdc_flushes_disabled`).
pub fn are_metadata_flushes_disabled(handle: &Handle) -> Result<bool> {
    let (session, id) = open_object(handle)?;
    Ok(session.container.is_corked(id))
}

fn open_object(handle: &Handle) -> Result<(Arc<Session>, ObjectId)> {
    let id = match handle {
        Handle::Group(group) => group.id(),
        Handle::Dataset(dataset) => dataset.base.id(),
        Handle::Datatype(datatype) => datatype.base.id(),
        _ => return Err(Error::new(Minor::BadType, "not a group, a dataset or a committed datatype")),
    };
    Ok((handle.session()?, id))
}

/// Commits all staged changes (`H5Oflush`, `H5Dflush`, `H5Gflush`, `H5Tflush`). When this returns, the data is as
/// durable as the file's settings require. If the operation `before` has failed, nothing is committed.
pub fn flush(handle: &Handle, before: Result<()>) -> Result<()> {
    let session = handle.session()?;
    if session.together.is_some() {
        return session.commit(before);
    }
    before.and(session.complete_and_tell())?;
    Ok(session.container.flush()?)
}

/// Moves a reader to the newest snapshot (`H5Orefresh` and similar functions).
pub fn refresh(handle: &Handle) -> Result<()> {
    let session = handle.session()?;
    session.container.refresh()?;
    Ok(())
}

/// Returns an object's comment (`H5Oget_comment`).
pub fn comment(handle: &Handle, location: &Location<'_>) -> Result<Vec<u8>> {
    match Base::of(handle)?.resolve(location)? {
        Resolved::Here(found) => Ok(found.session.container.comment(found.id)?.unwrap_or_default()),
        Resolved::Native(path) => path.comment(),
    }
}

/// Sets an object's comment (`H5Oset_comment`).
pub fn set_comment(handle: &Handle, location: &Location<'_>, comment: Option<&[u8]>) -> Result<()> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach(location);
    let comment = comment.filter(|text| !text.is_empty());
    let changed = found.and_then(|found| Ok(file.container.set_comment(found.id, comment)?));
    base.finish_change(&file, changed)
}

/// Returns whether `H5Ocopy` of an object, with external links to be expanded, encounters any.
pub fn copy_leads_outside(source: &Handle, from: &Location<'_>, name: &[u8], copy_list: Hid) -> Result<bool> {
    let base = group::located(source, from)?;
    let found = base.find(&Location::ByName { name, access: 0 })?;
    let options = copy_options(found.session.library.copy_flags(copy_list)?)?;
    Ok(found.session.container.leads_outside(found.id, options)?)
}

/// Copies an object (`H5Ocopy`). External links remain external links.
#[expect(clippy::too_many_arguments, reason = "they are H5Ocopy's own")]
pub fn copy(
    source: &Handle,
    from: &Location<'_>,
    source_name: &[u8],
    destination: &Handle,
    to: &Location<'_>,
    destination_name: &[u8],
    copy_list: Hid,
    link_creation: Hid,
) -> Result<()> {
    let (source_file, destination_file) = (source.session()?, destination.session()?);
    // A copy of one process's changes must include the changes of the other processes.
    let settled = source_file.settle();
    let source_path = Location::ByName { name: source_name, access: 0 };
    destination_file.change_structure(CollectiveChange::Made, || {
        let original = reach(&source_file, || group::located(source, from)?.find(&source_path));
        // After any failure in this process, the other processes continue, and wait for it in the files that the paths
        // lead to.
        let settled = match original.is_outside(&source_file) {
            true => settled.and(original.file.settle()),
            false => settled,
        };
        let library = destination_file.library;
        let original = settled.and(original.found);
        let original = original.and_then(|found| Ok((found, options_of(library, copy_list)?)));
        let look = |makes_nothing| {
            reach(&destination_file, || {
                let base = group::located(destination, to)?;
                NewPlace::find_after(base, destination_name, link_creation, makes_nothing)
            })
        };
        // Groups on the path are made after the copy, like in the native connector: they may be inside the copied
        // object.
        let makes_groups = library.creates_intermediate_groups(link_creation).unwrap_or(false);
        let mut target = look(makes_groups || original.is_err());
        let is_outside = target.is_outside(&destination_file);
        if makes_groups && is_outside {
            // A process that follows a link into another file exchanges messages with the other processes there: no
            // process may be copying by then.
            target = look(original.is_err());
        }
        let Reached { file, found: place } = target;
        let copy = || {
            let (original, options) = original?;
            let place = match place {
                Err(error) if makes_groups && error.minor() == Minor::NotFound => None,
                place => Some(place?),
            };
            check_free(place.as_ref(), destination_name)?;
            let copied = copy_to(&original, &file, options)?;
            let place = place.map_or_else(|| look(false).found, Ok)?;
            place.link(&copied).map(drop)
        };
        match (is_outside, file.sharers()) {
            (true, Some(_)) => file.change_structure(CollectiveChange::Made, copy),
            (true, None) => Base::of(destination)?.finish_change(&file, copy()),
            (false, _) => copy(),
        }
    })
}

fn options_of(library: Library, copy_list: Hid) -> Result<CopyOptions> {
    let options = copy_options(library.copy_flags(copy_list)?)?;
    if options.merge_committed {
        library.check_merging(copy_list)?;
    }
    Ok(options)
}

/// Refuses a place that already has a link. A place without its groups has none yet.
fn check_free(place: Option<&NewPlace>, name: &[u8]) -> Result<()> {
    if place.map_or(Ok(false), NewPlace::is_taken)? {
        let name = String::from_utf8_lossy(name);
        return Err(Error::new(Minor::Exists, format!("destination object '{name}' already exists")));
    }
    Ok(())
}

/// Copies an object to a file, without a link to it yet.
fn copy_to(found: &ResolvedObject, to: &Arc<Session>, options: CopyOptions) -> Result<OpenObject> {
    let from = &found.session;
    let failed =
        |error: Error| h5lake_container::Error::new(h5lake_container::ErrorKind::Io, error.to_string());
    let keep_references = to.config.copied_references == CopiedReferences::Copies;
    let options = CopyOptions { keep_references, ..options };
    let convert = &mut |datatype: &Datatype,
                        place: HeapPlace,
                        elements: Elements,
                        resolve: &mut h5lake_container::Resolve<'_>| {
        let resolve = &mut |id| Ok(resolve(id)?);
        copy_elements(from, to, datatype, place, elements, Some(resolve)).map_err(failed)
    };
    Ok(from.container.copy_object_with_references(found.id, &to.container, options, convert)?)
}

/// Returns whether references to copied objects lead to the copies, according to the settings of the first container
/// among these files.
pub fn keeps_references(files: &[Result<&Handle>]) -> bool {
    let session = files.iter().flatten().find_map(|handle| handle.session().ok());
    session.is_some_and(|session| session.config.copied_references == CopiedReferences::Copies)
}

fn copy_options(flags: u32) -> Result<CopyOptions> {
    let has = |flag: u32| flags & flag != 0;
    Ok(CopyOptions {
        shallow: has(0x01),
        expand_soft: has(0x02),
        expand_external: has(0x04),
        expand_references: has(0x08),
        keep_references: false,
        without_attributes: has(0x10),
        preserve_null: has(0x20),
        merge_committed: has(0x40),
    })
}

/// Returns the value of an attribute with only the variable-length data that it refers to.
pub fn packed_anew(session: &Arc<Session>, datatype: &Datatype, elements: Elements) -> Result<Elements> {
    copy_elements(session, session, datatype, HeapPlace::Local, elements, None)
}

/// Copies elements of a dataset or attribute: variable-length data is copied into the heap of the copy, and references
/// are replaced by references to the results of `resolve`, or null. Without `resolve` references remain unchanged.
fn copy_elements(
    source: &Arc<Session>,
    destination: &Arc<Session>,
    datatype: &Datatype,
    to: HeapPlace,
    elements: Elements,
    resolve: Option<&mut dyn FnMut(ObjectId) -> Result<Option<ObjectId>>>,
) -> Result<Elements> {
    let old = FileType::of_datatype(source, datatype)?;
    let Elements { mut data, heap: local } = elements;
    if !old.is_located {
        if let Some(resolve) = resolve {
            old.slots.rewrite(&source.container, &destination.container, old.size, &mut data, resolve)?;
        }
        return Ok(data.into());
    }
    let mut elements = Elements { data, heap: local };
    if let Some(copied) = copy_plain([source, destination], &old, to, &mut elements)? {
        return Ok(copied);
    }
    let Elements { data, heap: local } = elements;
    let library = destination.library;
    let memory = old.for_copies()?;
    let mut elements =
        vlen_context::reading(local, || MemoryElements::of_stored(source, &old, memory, &data))?;
    if let Some(resolve) = resolve {
        let copied = &mut |reference: Reference<'_>| copy_reference(source, destination, reference, resolve);
        library.change_references(&mut elements, copied)?;
    }
    let new = FileType::of_datatype(destination, datatype)?;
    let count = data.len() / old.size;
    let mut background = buffer_of(count, new.size)?;
    vlen_context::writing(to, || {
        let stored = elements.into_stored(destination, &new, Some(&mut background), 0)?;
        Ok(Elements { data: stored[..count * new.size].to_vec(), heap: vlen_context::take() })
    })
}

/// Replaces one reference of a copy, in memory.
fn copy_reference(
    source: &Arc<Session>,
    destination: &Arc<Session>,
    reference: Reference<'_>,
    resolve: &mut dyn FnMut(ObjectId) -> Result<Option<ObjectId>>,
) -> Result<()> {
    match reference {
        Reference::Object(slot) => {
            let copied = resolve(ObjectId(u64::from_le_bytes(*slot)))?;
            *slot = copied.map_or([0; 8], |id| id.0.to_le_bytes());
        }
        Reference::Region(slot) => {
            *slot = moved_region(&source.container, &destination.container, slot, resolve)?;
        }
        Reference::New(new) => {
            let library = destination.library;
            let target = new.target(library);
            let found = target.as_ref().and_then(|target| library.object_of(target.object.get()));
            let (Some(target), Some((id, file))) = (target, found) else {
                new.clear(library);
                return Ok(());
            };
            // A reference to another file leads there from the copy, too.
            if file != source.container.file_number() {
                return Ok(());
            }
            match resolve(id)? {
                Some(same) if same == id && Arc::ptr_eq(&source.container, &destination.container) => {}
                Some(copied) => {
                    let object = identifier_of(destination, copied, None)?;
                    new.lead_to(library, object.get(), &target)?;
                }
                None => new.clear(library),
            }
        }
    }
    Ok(())
}
