//! The file storage: a container in one ordinary file.

mod audit;
mod compaction;
mod copying;
mod counted;
mod create;
mod dating;
pub(crate) mod expired;
mod file_io;
mod file_operations;
pub(crate) mod free_space;
mod held_space;
pub(crate) mod intrusion;
mod journal;
mod lock_holders;
mod locks;
mod log;
mod multi_writer;
mod offer;
mod open;
mod own_pins;
mod permissions;
mod preallocate;
mod reclaim_horizon;
pub(crate) mod replaced;
mod resync;
mod snapshot_cache;
mod snapshots;
pub(crate) mod source;
pub(crate) mod space_delta;
mod storage;
pub(crate) mod superblock;
mod tagging;
mod tampering;
mod temporary;
mod version_lookup;
mod write_buffer;
mod writer;

#[cfg(test)]
mod careless_disk_tests;
#[cfg(test)]
mod checkpoint_commit_tests;
#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod create_over_tests;
#[cfg(test)]
mod delta_tests;
#[cfg(test)]
mod end_of_file_tests;
#[cfg(test)]
mod failed_sync_tests;
#[cfg(test)]
mod full_tests;
#[cfg(test)]
mod kept_file_tests;
#[cfg(test)]
mod length_tests;
#[cfg(test)]
mod multi_writer_crash_tests;
#[cfg(test)]
mod pin_tests;
#[cfg(test)]
mod put_back_tests;
#[cfg(test)]
mod reopening_tests;
#[cfg(test)]
mod replaced_tests;
#[cfg(test)]
pub(crate) mod sim_file;
#[cfg(test)]
mod stopped_writer_tests;
#[cfg(test)]
mod undercut_tests;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

pub(crate) use copying::{Filled, create_copy};
pub(crate) use create::create;
pub use locks::{HeldProbe, ProbeLock, SeenLock};
pub use open::OpenedFile;
pub(crate) use open::{look, old_is_read_only, open, probe, remove};
pub use permissions::mode_of_copy;
pub use replaced::Replacing;
pub use source::ByteSource;

use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::ReclaimRule;
use crate::file::journal::FileJournal;
use crate::file::locks::Locks;
use crate::file::superblock::{Fixed, Slot};
use crate::file::writer::FileWriter;
use crate::locks::{Mutex, MutexGuard};
use crate::options::{LockPolicy, Options};
use crate::tags::TagEntry;
use crate::timekeeping::StorageClock;

/// The time in quarantine if it is unknown whether there are readers, in microseconds.
const UNSEEN_READERS_QUARANTINE_MICROS: u64 = 60_000_000;
/// The time in quarantine for the sake of a plain copy of a live container, in microseconds.
const PLAIN_COPY_QUARANTINE_MICROS: u64 = 2_000_000;

/// A container's open file.
#[derive(Debug)]
pub(crate) struct FileStorage {
    target: String,
    raw: Arc<dyn FileIo>,
    fixed: Fixed,
    file: Option<(u64, u64)>,
    locks: Mutex<Locks>,
    lock_policy: LockPolicy,
    /// The file for pinning; `None` in tests without a file.
    handle: Mutex<Option<Arc<File>>>,
    /// The process to which `handle` and `locks` belong.
    opener: AtomicU32,
    /// The state of a writer; `None` for readers.
    writer: Option<Mutex<Option<FileWriter>>>,
    rule: ReclaimRule,
    options: Options,
    /// The slot of the snapshot in use.
    seen: Mutex<Option<Slot>>,
    /// The slot of a snapshot that an earlier reader of this process cached.
    known: Mutex<Option<Slot>>,
    clock: StorageClock,
    /// The journal of a copy in progress.
    journal: Mutex<Option<FileJournal>>,
    /// The end of the space that an earlier attempt of the copy used.
    earlier_end: Option<u64>,
    /// True if the snapshot in use has been reclaimed.
    gone: AtomicBool,
    /// The tag of the version to show, in place of the newest version.
    pub(crate) tagged: Option<Box<TagEntry>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock()
}

impl FileStorage {
    /// Returns whether a reader's snapshot is cached for the next reader. Snapshots of byte sources are not, because two
    /// sources may be different copies of one container.
    fn is_remembered(&self) -> bool {
        let is_newest = self.options.at.is_none() && !self.options.salvage;
        let is_source = self.file.is_some_and(|(device, _)| device == source::SOURCE_DEVICE);
        self.writer.is_none() && is_newest && !is_source
    }

    /// Calls `f` for a writer. Returns the default value for a reader.
    fn of_writer<T: Default>(&self, f: impl FnOnce(&mut FileWriter, &Locks) -> T) -> T {
        let Some(w) = &self.writer else { return T::default() };
        lock(w).as_mut().map_or_else(T::default, |w| f(w, &lock(&self.locks)))
    }

    fn with_writer<T>(&self, f: impl FnOnce(&mut FileWriter, &dyn FileIo, &Locks) -> Result<T>) -> Result<T> {
        let Some(w) = &self.writer else { return Err(Error::new(&self.target, ErrorKind::ReadOnly)) };
        let done = match lock(w).as_mut() {
            Some(w) => f(w, self.raw.as_ref(), &lock(&self.locks)),
            None => Err(Error::new(&self.target, ErrorKind::ReadOnly)),
        };
        done.map_err(|e| self.explained(e))
    }
}
