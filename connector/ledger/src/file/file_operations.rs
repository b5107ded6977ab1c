//! Operations that only a container in a file has. The ledger reaches them through `as_file`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FileStorage, lock, snapshot_cache};
use crate::address::{Address, Location};
use crate::error::{Error, Result};
use crate::options::SyncPolicy;
use crate::storage::Snapshot;
use crate::tags::{Held, TagEntry};

impl FileStorage {
    /// Returns the offset in the file at which the container begins.
    pub(crate) fn offset_in_file(&self) -> u64 {
        self.fixed.base
    }

    /// Returns the container's file, opened anew for reading, even if it was renamed meanwhile; `None` if it is not in a file
    /// system.
    pub(crate) fn reopened(&self) -> Option<io::Result<File>> {
        let is_none = |e: &io::Error| e.kind() == io::ErrorKind::Unsupported;
        Some(self.raw.reopened()).filter(|file| !file.as_ref().is_err_and(is_none))
    }

    /// Checks that the file is still the one that was opened.
    pub(crate) fn check_file(&self) -> Result<()> {
        self.raw.check().map_err(|e| self.explained(Error::io(&self.target, "using the file", &e)))
    }

    /// Returns the directory of the container; `None` for a container that is not in a file system.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let handle = lock(&self.handle).clone()?;
        // The present path of the file, whatever path it was opened by, and whatever the working folder is.
        let led_to = || std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok();
        let path = self.check_handle(&handle).ok().and_then(|()| led_to());
        let path =
            path.filter(|path| path.is_absolute()).or_else(|| std::path::absolute(&self.target).ok())?;
        path.parent().map(Path::to_owned)
    }

    /// Returns the state that an earlier reader of this process had cached. The first
    /// [`poll_commits`](crate::storage::StorageReads::poll_commits) then continues from this state, or says to discard it.
    pub(crate) fn cached_snapshot(&self) -> Option<Snapshot> {
        if !self.is_remembered() {
            return None;
        }
        let (slot, snapshot) = snapshot_cache::take((self.fixed.id, self.file))?;
        *lock(&self.known) = Some(slot);
        Some(snapshot)
    }

    /// Caches the state of a reader at its close, for [`cached_snapshot`](Self::cached_snapshot).
    pub(crate) fn cache_snapshot(&self, snapshot: Snapshot) {
        if !self.is_remembered() {
            return;
        }
        if let Some(slot) = lock(&self.seen).filter(|slot| slot.version == snapshot.version) {
            snapshot_cache::keep((self.fixed.id, self.file), slot, snapshot);
        }
    }
}

impl FileStorage {
    /// Writes data directly behind a payload, so that both are one payload from then on. Returns false if this is impossible.
    pub(crate) fn grow_payload(&self, place: &Address, data: &[u8]) -> Result<bool> {
        if place.location != Location::File {
            return Ok(false);
        }
        self.with_writer(|w, raw, _| w.grow(raw, place, data))
    }

    /// Releases all space that is reserved for the growth of payloads.
    pub(crate) fn stop_growing(&self) {
        self.of_writer(|w, _| w.stop_growing());
    }

    /// Writes to the user block, which precedes the container in its file, from byte `at` on.
    pub(crate) fn write_user_block(&self, at: u64, bytes: &[u8]) -> Result<()> {
        if self.writer.is_none() || at.saturating_add(bytes.len() as u64) > self.fixed.base {
            return Err(Error::invalid(
                &self.target,
                "a user block is longer than its space, or cannot be written",
            ));
        }
        let handle = lock(&self.handle).clone();
        let written = handle.map_or(Ok(()), |file| self.write_in_front(&file, at, bytes));
        written.map_err(|e| Error::io(&self.target, "writing the user block", &e))
    }

    /// Writes in front of the container. After a failed sync, bytes of the container are written again, but these are not,
    /// so they are synced through a descriptor of their own. The system reports an error to each open file description,
    /// even if it was already reported to another one.
    fn write_in_front(&self, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        let synced = match self.options.sync {
            SyncPolicy::Commit => Some(self.raw.reopened()?),
            SyncPolicy::Process => None,
        };
        self.raw.check()?;
        file.write_all_at(bytes, at)?;
        synced.map_or(Ok(()), |file| file.sync_data())
    }
}

impl FileStorage {
    /// Prevents other writers from committing until [`unlock_commits`](Self::unlock_commits).
    pub(crate) fn lock_commits(&self) -> Result<()> {
        self.with_writer(|w, raw, locks| w.lock_commits(raw, locks))
    }

    /// Lets other writers commit again.
    pub(crate) fn unlock_commits(&self) {
        self.of_writer(|w, locks| w.unlock_commits(locks));
    }

    /// Releases the pins of versions before the newest one that this handle has observed, because the handle does not read them any more.
    pub(crate) fn advance_pin(&self) {
        self.of_writer(|w, locks| w.unpin_old(locks));
    }

    /// Returns whether checkpoints should be delayed, because the history has space for only a few more of them within the retention time.
    /// A longer log is better than losing versions early.
    pub(crate) fn spares_checkpoints(&self) -> bool {
        self.with_writer(|w, raw, _| w.spares_checkpoints(raw)).unwrap_or(false)
    }
}

impl FileStorage {
    /// Lets the clock alone decide from now on whether the retention time of freed space is over.
    pub(crate) fn trust_clock(&self) {
        self.of_writer(|w, _| w.trust_clock());
    }

    /// Returns the number of bytes that this writer freed.
    pub(crate) fn freed_bytes(&self) -> u64 {
        self.of_writer(|w, _| w.reclaim.freed)
    }

    /// Returns the number of bytes that a concurrent writer freed, or reserved and did not use. Only an exclusive writer can reclaim them.
    pub(crate) fn space_left_for_writers(&self) -> u64 {
        self.of_writer(|w, _| w.space_left_for_writers())
    }

    /// Counts bytes that other writers freed as freed by this writer, for its decisions at close.
    pub(crate) fn note_freed(&self, bytes: u64) -> Result<()> {
        self.with_writer(|w, raw, _| {
            // A writer that has written nothing has not read the free list yet.
            w.load(raw)?;
            w.reclaim.freed = w.reclaim.freed.saturating_add(bytes);
            Ok(())
        })
    }

    /// Returns the time until all space that went out of use can be reused, if only the retention time prevents that. Returns `None` if
    /// nothing waits, or if too little space would become free.
    pub(crate) fn reclaim_delay(&self) -> Result<Option<Duration>> {
        self.with_writer(|w, raw, _| w.reclaim_delay(raw))
    }

    /// Makes later writes go before the end that the file would have without holes, if it has enough holes. Ends with
    /// [`end_compaction`](Self::end_compaction).
    pub(crate) fn begin_compaction(&self) -> Result<()> {
        self.with_writer(|w, raw, locks| {
            w.growth.below = w.compaction_plan(raw, locks)?.beyond;
            Ok(())
        })
    }

    pub(crate) fn end_compaction(&self) {
        self.of_writer(|w, _| w.growth.below = None);
    }

    /// Returns whether an extent prevents the file from being truncated, and its content fits elsewhere. False outside of a compaction.
    pub(crate) fn must_relocate(&self, place: &Address) -> bool {
        self.of_writer(|w, _| w.must_relocate(place))
    }

    /// Returns whether a payload of this length fits into a free run before byte `limit`.
    pub(crate) fn fits_before(&self, limit: u64, length: u64) -> Result<bool> {
        self.with_writer(|w, raw, _| w.fits_before(raw, limit, length))
    }

    /// Returns the lengths of at most `most` parts into which a payload can be divided so that each part fits into a free run before byte
    /// `limit`. Returns no lengths if a division is no improvement.
    pub(crate) fn parts_before(&self, limit: u64, length: u64, most: usize) -> Result<Vec<u64>> {
        self.with_writer(|w, raw, _| w.parts_before(raw, limit, length, most))
    }

    /// Writes a payload into a free run before byte `limit`. Returns `None` if no such run is long enough.
    pub(crate) fn write_before(&self, limit: u64, data: &[u8]) -> Result<Option<Address>> {
        self.with_writer(|w, raw, _| w.payload_before(raw, limit, data))
    }
}

impl FileStorage {
    /// Returns whether the map may contain tags. If not, the ledger does not search for them.
    pub(crate) fn may_have_tags(&self) -> bool {
        self.fixed.tags || self.of_writer(|w, _| w.tags.may_exist)
    }

    /// Sets the space that tags hold, according to the map of `version`. A writer calls this before anything can be reclaimed.
    pub(crate) fn hold(&self, held: Held, version: u64) {
        self.of_writer(|w, _| w.hold(held, version));
    }

    /// Prepares a tag of a version: the pointers that lead to the version, and the space that it may need. The caller adds the times.
    /// Returns `None` if the version is not retained. Afterwards this writer reclaims nothing until [`hold`](Self::hold) is called.
    pub(crate) fn prepare_tag(&self, version: u64) -> Result<Option<TagEntry>> {
        self.with_writer(|w, raw, locks| w.prepare_tag(raw, locks, version))
    }
}
