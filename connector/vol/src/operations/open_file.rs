//! Open files: queried, reopened, and closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::plist::ListClass;
use crate::operations::file::{SEMI, STRONG, degree_of, file_handle};
use crate::operations::object::OwnHandles;
use crate::operations::path::mount;
use crate::session::registry;
use crate::session::{OpenedBy, Session, SessionParts};

/// `H5F_OBJ_DATASET | H5F_OBJ_GROUP | H5F_OBJ_DATATYPE | H5F_OBJ_ATTR`
const EVERYTHING_BUT_FILES: u32 = 0x1e;
/// `H5F_OBJ_LOCAL`: only objects that were opened through this very file.
const LOCAL: u32 = 0x20;

/// Opens another file on the same container (`H5Freopen`).
pub fn reopen(handle: &Handle) -> Result<Handle> {
    let old = handle.session()?;
    let library = old.library;
    let parts = SessionParts {
        library,
        handles: &OwnHandles,
        container: old.container.clone(),
        together: old.together.clone(),
        config: old.config.clone(),
        name: old.name.clone(),
        access_list: library.copy_list(old.access_list.get())?,
        writable: old.writable,
        opened_by: OpenedBy::Program,
        swmr: *old.swmr.lock(),
    };
    Session::start(parts).map(file_handle)
}

/// Returns whether a file and another file, given by its native file, are one container.
pub fn is_same(handle: &Handle, other_native: usize) -> Result<bool> {
    let session = handle.session()?;
    Ok(registry::session_of(other_native)
        .is_some_and(|other| Arc::ptr_eq(&other.container, &session.container)))
}

/// Returns the access list of a file (`H5Fget_access_plist`).
pub fn access_list(handle: &Handle) -> Result<Id> {
    let session = handle.session()?;
    let list = session.library.copy_list(session.access_list.get())?;
    session.library.set_close_degree(list.get(), degree_of(&session)?)?;
    Ok(list)
}

/// Returns the creation list of a file (`H5Fget_create_plist`).
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let session = handle.session()?;
    let list =
        session.library.decode_list(&session.container.creation_properties(), ListClass::FileCreate)?;
    session.library.set_user_block(list.get(), session.container.user_block())?;
    Ok(list)
}

/// Closes a file (`H5Fclose`). When this returns, everything is committed, even if objects of the file stay open. If
/// it fails, the file stays open, and can be closed again; changes that can never be committed are reported once.
pub fn close(handle: &Handle) -> Result<()> {
    let session = handle.session()?;
    let last = session.file_handles.load(Ordering::Relaxed) == 1;
    if last { close_last(&session) } else { Ok(()) }
}

fn close_last(session: &Arc<Session>) -> Result<()> {
    // Processes that close a file together do the same steps, even if the file cannot be closed: the other processes
    // wait for those that can.
    let ready = make_ready(session);
    // A mounted file without an identifier could not be closed by the program.
    let mounted = mount::mounted_on(session);
    let alone = mounted.iter().filter(|mounted| !mounted.has_file_open());
    let ready = alone.fold(ready, |done, mounted| match done {
        Err(_) if mounted.together.is_none() => done,
        done => done.and(mounted.commit_to_close(Ok(()))),
    });
    session.commit_to_close(ready)
}

/// Treats the file's open objects according to its close degree.
fn make_ready(session: &Arc<Session>) -> Result<()> {
    let library = session.library;
    let open_objects = || identifiers_of(session, EVERYTHING_BUT_FILES);
    match degree_of(session)? {
        STRONG => {
            // All of them are closed, even if one of them cannot be closed.
            let mut stay = open_objects()?;
            stay.retain(|id| !library.close_all_references(*id));
            if !stay.is_empty() {
                let text =
                    "can't close file, an object of it can't be closed; what it could not write is lost";
                return Err(Error::new(Minor::CannotOperate, text));
            }
        }
        SEMI if !open_objects()?.is_empty() => {
            return Err(Error::new(Minor::CannotOperate, "can't close file, there are objects still open"));
        }
        _ => {}
    }
    Ok(())
}

/// Returns identifiers that are open on the container, or through this file only (`H5Fget_obj_count` and
/// `H5Fget_obj_ids`).
pub fn open_identifiers(handle: &Handle, types: u32) -> Result<Vec<Hid>> {
    let session = handle.session()?;
    if types & LOCAL != 0 {
        return identifiers_of(&session, types);
    }
    session.library.identifiers(types, &mut |handle| {
        handle.session().is_ok_and(|other| {
            other.library == session.library && Arc::ptr_eq(&other.container, &session.container)
        })
    })
}

fn identifiers_of(session: &Arc<Session>, types: u32) -> Result<Vec<Hid>> {
    let is_of_it = &mut |handle: &Handle| handle.session().is_ok_and(|other| Arc::ptr_eq(&other, session));
    session.library.identifiers(types, is_of_it)
}
