//! Letting go of a container.

use super::{Ledger, State};
use crate::error::{Error, ErrorKind, Result};
use crate::options::Access;

/// What a log may be at close without being checkpointed, in bytes: little enough to be read at the next open.
const MAX_LOG_BYTES_AT_CLOSE: u64 = 32 << 10;
/// The same in records, where so few keys changed that a checkpoint of them writes little: each is read by itself at the next open.
const MAX_RECORDS_AT_CLOSE: u64 = 64;
/// As many keys are few.
const MAX_KEYS_LEFT_AT_CLOSE: usize = 8;
/// The same in a store, where a checkpoint costs round trips at the close and at the next open, and the records come with the manifest
/// or with one more request.
const MAX_STORE_LOG_BYTES_AT_CLOSE: u64 = 256 << 10;

impl Ledger {
    /// Whether this handle can never commit again: an earlier failure left it unable to tell what is stored, another writer has
    /// taken its place, or what it started from is gone.
    pub fn is_broken(&self) -> bool {
        self.lock().broken.is_some()
    }

    /// Whether a writer has reclaimed the snapshot in use, as far as a read has found out: it can be refreshed, or opened anew
    /// beside this handle.
    pub fn is_gone(&self) -> bool {
        self.storage.is_gone()
    }

    /// Returns whether the container's file still holds what this handle shows, so that another open in this process may share the handle.
    /// The file may have been replaced in place, or other code may have closed its descriptor.
    pub fn is_current(&self) -> bool {
        self.storage.is_current()
    }

    /// Gives up what is not committed: no later commit through this handle is tried, and its store is not asked again but for
    /// the lock.
    pub fn abandon(&self, why: &str) {
        let mut s = self.lock();
        if s.broken.is_none() {
            s.broken = Some(Error::new(self.storage.target(), ErrorKind::Broken { why: why.to_owned() }));
        }
    }

    /// Lets go of the lock of a handle that [is broken](Ledger::is_broken) before it is dropped; what it reads may be reclaimed
    /// from now on. Does nothing with another one.
    pub fn let_go(&self) {
        if !self.is_broken() {
            return;
        }
        if let Err(e) = self.finish() {
            tracing::warn!(error = %e, "letting go of a container failed");
        }
    }

    /// Closes the handle and lets go of its lock; what is staged is forgotten. A writer writes a checkpoint of a long log first, so that the
    /// next opening is quick.
    ///
    /// # Errors
    /// Those of that tidying. What was committed is safe all the same.
    pub fn close(self) -> Result<()> {
        self.finish()
    }

    /// As [`close`](Self::close) of a handle whose changes are committed: what fails of the tidying is no failure of theirs, and a
    /// warning tells of it.
    ///
    /// # Errors
    /// `Stranded` if what is committed cannot arrive in its store.
    pub fn close_committed(self) -> Result<()> {
        match self.finish() {
            Err(error) if !matches!(error.kind(), ErrorKind::Stranded { .. }) => {
                tracing::warn!(%error, "the changes are committed, but closing the container failed");
                Ok(())
            }
            other => other,
        }
    }

    /// Whether a log is not left as it is at close.
    pub(super) fn is_long_at_close(&self, bytes: u64, records: u64, keys: impl FnOnce() -> usize) -> bool {
        let remote = self.storage.is_remote();
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
        // A forked child must not touch the file, nor its parent's lock.
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
            self.storage.stop_growing();
            // A base of the version before a commit in doubt would be later than that commit, should it be there.
            let may = tidied.is_ok() && !s.is_in_doubt();
            if may && self.is_checkpointed_at_close(&s) {
                tidied = self.checkpoint(&mut s);
            }
            tidied = tidied.and(self.storage.make_durable());
        }
        if self.access == Access::ReadOnly {
            self.storage.cache_snapshot(s.snapshot(&self.cache));
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

/// Remembers an error after which this handle can never commit again.
pub(crate) fn note_broken(s: &mut State, e: Error) -> Error {
    if e.is_final() {
        s.broken = Some(e.clone());
    }
    e
}
