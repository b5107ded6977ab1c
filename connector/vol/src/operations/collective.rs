//! What the processes of an MPI program do together: transfers, the last close of a file, atomicity.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use h5lake_container::Container;

use crate::error::{Error, Result};
use crate::handles::Handle;
use crate::handles::open_objects::DatasetHandle;
use crate::hdf5::datatype::Background;
use crate::hdf5::library::Hid;
use crate::operations::dataset::{file_selection, types_of};
use crate::session::Session;
use crate::session::collective::{CollectiveFile, Writing};
use crate::transfer;

/// Which way elements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into memory.
    Read,
    /// Into the file.
    Write,
}

/// Runs a transfer, with all other processes where its list says so. `cause` says why this process would not take part natively,
/// in HDF5's bits; the answer has the causes of all processes. `writing` says what a write is about, and `sources` from which files
/// virtual datasets read.
///
/// # Errors
/// Its own; with all others, if a write failed in any process.
pub fn transfer(
    first: &Handle,
    list: Hid,
    direction: Direction,
    cause: u32,
    writing: impl FnOnce() -> Writing,
    sources: impl FnOnce() -> Vec<Arc<Session>>,
    body: impl FnOnce() -> Result<()>,
) -> Result<u32> {
    let session = first.session()?;
    let Some(together) = session.sharers() else { return body().map(|()| cause) };
    if !together.is_collective_transfer(list)? {
        return body().map(|()| cause);
    }
    match direction {
        Direction::Write if session.container.writable() => {
            together.write(&session.container, cause, &writing(), body)
        }
        // It fails in this process alone: nobody waits in it.
        Direction::Write => body().map(|()| cause),
        Direction::Read => {
            let causes = settle_all(&session, together, cause, &sources())?;
            together.during(body).unwrap_or_else(|panic| resume_unwind(panic)).map(|()| causes)
        }
    }
}

/// Before all processes read: what any of them wrote to the file, and to the sources of its virtual datasets, is committed. The answer has
/// the causes of all processes.
fn settle_all(
    session: &Session,
    together: &CollectiveFile,
    cause: u32,
    sources: &[Arc<Session>],
) -> Result<u32> {
    let has_changed_sources = sources.iter().any(|source| source.has_changes_together());
    let told = together.tell_before_read(&session.container, cause, has_changed_sources)?;
    let mut settled = together.settle_told(&session.container, told);
    if told.has_changed_sources() {
        // All of them, also after a failure: the others wait.
        for source in sources {
            settled = settled.and(source.settle());
        }
    }
    settled.map(|()| told.causes())
}

/// Adds what this process writes to one dataset. What is wrong about the arguments the transfer tells.
pub fn add_write(
    writing: &mut Writing,
    dataset: &DatasetHandle,
    (memory_type, space): (Hid, Option<Hid>),
    list: Hid,
) {
    if let Ok((selection, _)) = file_selection(dataset, space) {
        let keeps_some = keeps_some(dataset, memory_type, list).unwrap_or(false);
        writing.add(&dataset.dataset, &selection, keeps_some);
    }
}

/// Whether elements that are written keep something of what they were: members of a compound that are not given.
fn keeps_some(dataset: &DatasetHandle, memory_type: Hid, list: Hid) -> Result<bool> {
    let types = types_of(dataset)?;
    if types.is_same_in_memory(memory_type)? {
        return Ok(false);
    }
    let both = (memory_type, types.in_file(&dataset.base.session)?);
    Ok(transfer::background_of(&types, both, list)? == Background::Existing)
}

/// The processes that close a file for writing together, if this is its last identifier here, and its container.
pub fn of_last(handle: &Handle) -> Option<(Arc<CollectiveFile>, Weak<Container>)> {
    let session = handle.session().ok()?;
    let is_last = session.file_handles.load(Ordering::Relaxed) == 1;
    let is_ours = session.container.writable() && !session.is_inherited();
    let together = session.together.clone().filter(|_| is_last && is_ours)?;
    Some((together, Arc::downgrade(&session.container)))
}

/// `H5Fget_mpi_atomicity`.
///
/// # Errors
/// For a file that was not opened with MPI's driver.
pub fn atomicity(handle: &Handle) -> Result<bool> {
    Ok(of(&*handle.session()?)?.is_atomic())
}

/// `H5Fset_mpi_atomicity`. Collective; what was written before is seen by all when it returns.
///
/// # Errors
/// For a file that was not opened with MPI's driver; if any process failed.
pub fn set_atomicity(handle: &Handle, atomic: bool) -> Result<()> {
    let session = handle.session()?;
    let together = of(&session)?;
    if session.container.writable() {
        together.flush(&session.container, Ok(()))?;
    }
    together.set_atomic(atomic);
    Ok(())
}

fn of(session: &Session) -> Result<&Arc<CollectiveFile>> {
    session
        .together
        .as_ref()
        .ok_or_else(|| Error::argument("the file was not opened with the MPI file driver"))
}
