//! Flush: commits all changes as one commit. Refresh: moves to the newest version.

use super::{Container, State};
use crate::heap::HeapState;
use crate::{Error, ErrorKind, Result};
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::Ledger;
use h5lake_records::record::HeaderRecord;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The operation that is likely to follow a flush.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    MoreChanges,
    Close,
}

impl Container {
    /// Commits all changes as one commit. When this returns, the commit is durable as the options of the ledger say: it
    /// always survives the death of the process. Does nothing in a container opened for reading. Where processes write
    /// together, only elements are committed, and only [if possible](Self::try_commit_elements).
    ///
    /// # Errors
    /// Those of the ledger; no change is lost, and a later flush tries again. With many writers `Conflict`, which names
    /// the objects that another writer changed first: all other changes are committed, and the named objects are as the
    /// other writer left them. `Gone` if another writer reclaimed the version that the changes are based on: the
    /// container is [lost](Self::is_lost) then.
    pub fn flush(&self) -> Result<()> {
        self.flush_by(Next::MoreChanges)
    }

    /// Flushes like [`flush`](Self::flush) when a close is likely to follow, so that data that the close will rewrite
    /// is not written twice. A shared writer without changes does not look for remote commits in a store.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub fn flush_to_close(&self) -> Result<()> {
        self.flush_by(Next::Close)
    }

    /// Makes the next flush fail once with `error`, an error that no call could report so far. The flush after it
    /// commits as usual.
    pub fn report_later(&self, error: Error) {
        self.unreported.lock().get_or_insert(error);
    }

    fn flush_by(&self, next: Next) -> Result<()> {
        self.flush_with(|| {
            if self.has_sharers() {
                self.try_commit_elements().map(drop)
            } else if !self.ledger.is_shared() {
                without_locks(|| self.flush_alone(next))
            } else if next == Next::Close && self.ledger.is_remote() && !self.has_changes_to_commit()? {
                Ok(())
            } else {
                self.flush_shared()
            }
        })
    }

    /// Runs `flush` if this process may write, and logs its result.
    pub(crate) fn flush_with(&self, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        if !self.is_ours() {
            let text = format!("{}: was opened by the parent process; reopen it in this one", self.name);
            return Err(Error::new(ErrorKind::Forked, text));
        }
        if let Some(error) = self.unreported.lock().take() {
            return Err(error);
        }
        let (begun, version) = (Instant::now(), self.ledger.version());
        let flushed = flush();
        if flushed.is_err() {
            self.reported_changes.store(self.changes.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.log_flush(begun, version, &flushed);
        if self.ledger.is_shared() && flushed.as_ref().is_err_and(|e| e.kind() == ErrorKind::Gone) {
            // The staged changes are based on a reclaimed version, so no later attempt can commit them.
            self.abandon("others reclaimed the version that its changes were made on");
        }
        flushed
    }

    fn log_flush(&self, begun: Instant, before: u64, flushed: &Result<()>) {
        let (container, version) = (&self.name, self.ledger.version());
        let time = begun.elapsed();
        if flushed.is_err() || version != before {
            self.statistics.note_commit(flushed, time);
        }
        let microseconds = time.as_micros() as u64;
        match flushed {
            Ok(()) if version == before => {
                tracing::trace!(container, version, microseconds, "nothing to commit")
            }
            Ok(()) => tracing::debug!(container, version, microseconds, "committed"),
            Err(error) => tracing::warn!(container, version, microseconds, %error, "a flush failed"),
        }
    }

    fn flush_alone(&self, next: Next) -> Result<()> {
        let commit = if next == Next::Close { Ledger::commit_to_close } else { Ledger::commit };
        // Before a close the headers are unlikely to be read again, so they are not cached.
        let then: fn(&mut State, u64, Arc<HeaderRecord>) = match next {
            Next::MoreChanges => State::keep_header,
            Next::Close => |_, _, header| drop(header),
        };
        let mut state = self.state();
        state.ids.store(&self.ledger)?;
        self.store_headers_and(&mut state, then)?;
        self.store_attribute(&mut state)?;
        self.mark_new(&mut state)?;
        self.heap_store(&mut state)?;
        self.blocks.lock().flush_all(&self.ledger)?;
        commit(&self.ledger)?;
        Ok(())
    }

    /// Moves a container opened for reading to the newest version. Returns true if the version changed. An exclusive
    /// writer is always at the newest version; a shared writer moves to it and retains its uncommitted changes.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn refresh(&self) -> Result<bool> {
        if self.writable {
            return if self.ledger.is_shared() { self.refresh_shared() } else { Ok(false) };
        }
        self.refresh_up_to(u64::MAX)
    }

    /// Moves a container opened for reading to version `last`, if it shows an earlier version. Returns true if it
    /// moved. It moves past `last` only if a checkpoint has merged the record of that version.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn refresh_up_to(&self, last: u64) -> Result<bool> {
        let mut state = self.state();
        if !self.ledger.refresh_up_to(last)? {
            return Ok(false);
        }
        state.headers.clear();
        state.edition += 1;
        state.lists.forget_all();
        state.heap = HeapState::default();
        self.blocks.lock().drop_all();
        let open: Vec<_> = state.datasets.values().filter_map(Weak::upgrade).collect();
        drop(state);
        for dataset in open {
            dataset.reload_if_there()?;
        }
        Ok(true)
    }
}
