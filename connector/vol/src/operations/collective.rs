//! Collective operations of the processes of an MPI program: transfers, the last close of a file, atomicity.

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

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

/// Runs a transfer, collectively if its list says so. `cause` says, in HDF5's bits, why this process would not take
/// part in a native collective transfer; the causes of all processes are returned. `writing` gives the elements of a
/// write, and `sources` the files from which virtual datasets read.
///
/// # Errors
/// The process's own error; the same in all processes, if a write failed in any of them.
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
        // The write fails in this process only, and no other process waits for it.
        Direction::Write => body().map(|()| cause),
        Direction::Read => {
            let causes = settle_all(&session, together, cause, &sources())?;
            together.during(body).unwrap_or_else(|panic| resume_unwind(panic)).map(|()| causes)
        }
    }
}

/// Prepares a collective read: commits the changes of all processes in the file, and in the sources of its virtual
/// datasets. Returns the causes of all processes.
fn settle_all(
    session: &Session,
    together: &CollectiveFile,
    cause: u32,
    sources: &[Arc<Session>],
) -> Result<u32> {
    let has_changed_sources = sources.iter().any(|source| source.has_changes_together());
    let exchanged = together.tell_before_read(&session.container, cause, has_changed_sources)?;
    let mut settled = together.settle_exchanged(&session.container, &exchanged);
    if exchanged.has_changed_sources() {
        // All sources are tried, even after a failure, because the other processes wait.
        for source in sources {
            settled = settled.and(source.settle());
        }
    }
    settled.map(|()| exchanged.causes())
}

/// Adds the elements that this process writes to one dataset. Wrong arguments are reported by the transfer.
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

/// Returns whether written elements keep part of their previous values: members of a compound that are not given.
fn keeps_some(dataset: &DatasetHandle, memory_type: Hid, list: Hid) -> Result<bool> {
    let types = types_of(dataset)?;
    if types.is_same_in_memory(memory_type)? {
        return Ok(false);
    }
    let both = (memory_type, types.in_file(&dataset.base.session)?);
    Ok(transfer::background_of(&types, both, list)? == Background::Existing)
}

/// Returns the processes that close a file for writing together, with its container, if this is the file's last
/// identifier in this process.
pub fn of_last(handle: &Handle) -> Option<(Arc<CollectiveFile>, Weak<Container>)> {
    let session = handle.session().ok()?;
    let is_last = session.file_handles.load(Ordering::Relaxed) == 1;
    let is_ours = session.container.writable() && !session.is_inherited();
    let together = session.together.clone().filter(|_| is_last && is_ours)?;
    Some((together, Arc::downgrade(&session.container)))
}

/// Returns whether the file is in atomic mode (`H5Fget_mpi_atomicity`).
///
/// # Errors
/// For a file that was not opened with MPI's driver.
pub fn atomicity(handle: &Handle) -> Result<bool> {
    Ok(of(&*handle.session()?)?.is_atomic())
}

/// Sets whether the file is in atomic mode (`H5Fset_mpi_atomicity`). Collective; when it returns, all processes see
/// all previous writes.
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
