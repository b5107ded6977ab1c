//! Closing a container.

use super::{Ledger, State};
use crate::error::{Error, ErrorKind, Result};
use crate::file::FileStorage;
use crate::options::Access;
use crate::storage_kinds::StorageKinds;

/// The longest log in bytes that a close leaves without a checkpoint; the next open reads it with little cost.
const MAX_LOG_BYTES_AT_CLOSE: u64 = 32 << 10;
/// The most records that a close leaves without a checkpoint if they changed few keys: each record is a read of its own at the next open,
/// while the checkpoint writes little.
const MAX_RECORDS_AT_CLOSE: u64 = 64;
/// The largest number of changed keys that counts as few.
const MAX_KEYS_LEFT_AT_CLOSE: usize = 8;
/// The longest log in bytes that a close in a store leaves without a checkpoint. A checkpoint would cost round trips at the close and at
/// the next open, while the records come with the manifest or with one more request.
const MAX_STORE_LOG_BYTES_AT_CLOSE: u64 = 256 << 10;

impl Ledger {
    /// Returns whether this handle can never commit again: after an earlier failure it cannot tell what is stored, another writer has
    /// fenced it, or its snapshot was reclaimed.
    pub fn is_broken(&self) -> bool {
        self.lock().broken.is_some()
    }

    /// Returns whether a read has found that a writer reclaimed the snapshot in use. The handle can be refreshed, or the container can be
    /// opened again beside this handle.
    pub fn is_gone(&self) -> bool {
        self.storage.is_gone()
    }

    /// Returns whether the container's file still contains the data that this handle shows, so that another open in this process may share
    /// the handle. The file may have been replaced in place, or other code may have closed its descriptor.
    pub fn is_current(&self) -> bool {
        self.storage.as_file().is_none_or(FileStorage::is_current)
    }

    /// Abandons the uncommitted changes: this handle attempts no later commit, and sends no more requests to its store except for the lock.
    pub fn abandon(&self, why: &str) {
        let mut s = self.lock();
        if s.broken.is_none() {
            s.broken = Some(Error::new(self.storage.target(), ErrorKind::Broken { why: why.to_owned() }));
        }
    }

    /// Releases the lock of a handle that [is broken](Ledger::is_broken) before the handle is dropped. From then on the data that it reads
    /// may be reclaimed. Does nothing for a handle that is not broken.
    pub fn let_go(&self) {
        if !self.is_broken() {
            return;
        }
        if let Err(e) = self.finish() {
            tracing::warn!(error = %e, "letting go of a container failed");
        }
    }

    /// Closes the handle and releases its lock. Staged changes are discarded. A writer first writes a checkpoint of a long log, so that the
    /// next open is fast.
    ///
    /// # Errors
    /// The errors of these last steps. Committed data is safe after an error.
    pub fn close(self) -> Result<()> {
        self.finish()
    }

    /// Closes like [`close`](Self::close) a handle that has committed its changes: errors of the last steps are only logged as a warning,
    /// because the changes are committed.
    ///
    /// # Errors
    /// `Stranded` if committed changes cannot be uploaded to the store.
    pub fn close_committed(self) -> Result<()> {
        match self.finish() {
            Err(error) if !matches!(error.kind(), ErrorKind::Stranded { .. }) => {
                tracing::warn!(%error, "the changes are committed, but closing the container failed");
                Ok(())
            }
            other => other,
        }
    }

    /// Returns whether a close checkpoints a log of this length.
    pub(super) fn is_long_at_close(&self, bytes: u64, records: u64, keys: impl FnOnce() -> usize) -> bool {
        let remote = self.properties.is_in_store;
        let left = if remote { MAX_STORE_LOG_BYTES_AT_CLOSE } else { MAX_LOG_BYTES_AT_CLOSE };
        let many_records = || {
            !remote
                && !self.is_multi_writer
                && records > MAX_RECORDS_AT_CLOSE
                && keys() <= MAX_KEYS_LEFT_AT_CLOSE
        };
        let is_long = bytes > left.min(self.bytes_bound) || many_records();
        is_long && !self.spares_checkpoint(bytes, records)
    }

    fn is_checkpointed_at_close(&self, s: &State) -> bool {
        self.is_long_at_close(s.log_bytes, s.log_records, || s.log.len())
    }

    pub(super) fn finish(&self) -> Result<()> {
        // A forked child must not touch the file or the lock of its parent.
        if crate::process::id() != self.opener {
            return Ok(());
        }
        let mut s = self.lock();
        if std::mem::replace(&mut s.closed, true) {
            return Ok(());
        }
        let mut tidied = Ok(());
        if self.access == Access::ReadWrite && s.broken.is_none() {
            tidied = self.forget_staged(&mut s);
            self.stop_growing();
            // If the outcome of the last commit is unknown, the commit may exist. A checkpoint of the version before it would then replace
            // it.
            let may = tidied.is_ok() && !s.is_outcome_unknown();
            if may && self.is_checkpointed_at_close(&s) {
                tidied = self.checkpoint(&mut s);
            }
            tidied = tidied.and(self.storage.make_durable());
        }
        if self.access == Access::ReadOnly
            && let Some(file) = self.storage.as_file()
        {
            file.cache_snapshot(s.snapshot(&self.cache));
        }
        tidied.and(self.storage.close())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Err(e) = self.finish() {
            tracing::warn!(error = %e, "tidying a container at its close failed");
        }
    }
}

/// Records an error after which this handle can never commit again.
pub(crate) fn note_broken(s: &mut State, e: Error) -> Error {
    if e.is_final() {
        s.broken = Some(e.clone());
    }
    e
}
