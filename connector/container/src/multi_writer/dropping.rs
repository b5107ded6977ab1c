//! Drops a batch with a conflict: nothing of the batch is committed, and the writer sees the newest version.

use super::reload_all;
use crate::attribute::take_back;
use crate::container::State;
use crate::heap::HeapState;
use crate::{Container, OnConflict, Result};
use h5lake_ledger::locks::MutexGuard;
use std::sync::Weak;

impl Container {
    /// Returns whether the conflicts prevent the commit of the whole batch.
    pub(super) fn drops_batch(&self, s: &State) -> bool {
        // The processes of an MPI program stage the same changes, so either all of them or none may drop these changes.
        let may = !s.ids.are_shared();
        let conflicts = &s.remote.conflicts;
        may && !conflicts.is_empty()
            && (self.on_conflict == OnConflict::Fail
                || s.remote.branch.is_some()
                || conflicts.iter().any(|c| c.is_whole))
    }

    /// Discards the staged changes, the cached state, and the results of the merge.
    pub(crate) fn forget_batch(&self, s: &mut State) -> Result<()> {
        self.ledger.rollback()?;
        self.blocks.lock().drop_all();
        self.reads.clear();
        s.headers.clear();
        s.unstored.clear();
        s.unmarked.clear();
        s.unstored_attribute = None;
        s.edition += 1;
        s.lists.forget_all();
        s.heap = HeapState::default();
        let dropped = std::mem::take(&mut s.remote);
        take_back(s, dropped.batch.attributes);
        Ok(())
    }

    /// Drops the batch and returns an error that says why. Objects created in the batch are gone; later operations on
    /// their open handles return an error.
    pub(super) fn drop_batch(&self, mut state: MutexGuard<'_, State>) -> Result<()> {
        let s = &mut *state;
        let conflicts = std::mem::take(&mut s.remote.conflicts);
        let then = match &s.remote.branch {
            Some((branch, _)) => self.after_refused_merge(branch, &conflicts),
            None => "Nothing of this batch is committed: all changes since the last flush are dropped, and the file \
                     shows the newest version; read again and retry"
                .to_owned(),
        };
        let reported = self.conflict_error(s, &conflicts, &then);
        self.forget_batch(s)?;
        let open: Vec<_> = s.datasets.values().filter_map(Weak::upgrade).collect();
        drop(state);
        let reloaded = reload_all(&open);
        // Nothing is staged any more, so the next flush would succeed: the conflict must be reported now.
        reported?;
        reloaded
    }
}
