//! Deletes objects without links in multi-writer mode, in separate commits. Such a commit is abandoned if another
//! writer commits in between, so that a concurrent change of an object never has to be merged with its deletion.

use crate::container::State;
use crate::{Container, Result};
use h5lake_records::keys;
use std::collections::BTreeSet;

/// Number of attempts at one flush. After the last attempt the object keeps its orphan mark, and the next flush tries
/// again.
const MAX_ATTEMPTS: u32 = 8;

impl Container {
    pub(super) fn reap_apart(&self, s: &mut State) -> Result<()> {
        let mut ids = std::mem::take(&mut *self.handles.closed.lock());
        ids.retain(|id| !self.handles.counts.lock().contains_key(id));
        if ids.is_empty() {
            return Ok(());
        }
        for attempt in 0..MAX_ATTEMPTS {
            let before: BTreeSet<_> = self.ledger.staged(&[]).into_iter().map(|(k, _)| k).collect();
            let staged =
                ids.iter().try_for_each(|id| self.delete_now(s, *id)).and_then(|()| self.heap_store(s));
            let done = staged.and_then(|()| Ok(self.ledger.try_commit()?));
            match done {
                Ok(Some(_)) => return Ok(()),
                other => {
                    let again = self.take_back(s, &before).and_then(|()| other.map(drop));
                    self.ledger.wait_before_retry(attempt);
                    if let Err(e) = again.and_then(|()| self.learn(s, false)) {
                        self.handles.closed.lock().extend(ids);
                        return Err(e);
                    }
                }
            }
        }
        self.handles.closed.lock().extend(ids);
        Ok(())
    }

    /// Discards the staged deletions. Blocks that another thread stages meanwhile belong to objects with headers, and
    /// are retained.
    fn take_back(&self, s: &mut State, before: &BTreeSet<bytes::Bytes>) -> Result<()> {
        for (key, _) in self.ledger.staged(&[]) {
            if before.contains(&key) {
                continue;
            }
            let alive = key.first() == Some(&keys::BLOCK)
                && keys::id(&key).is_some_and(|id| {
                    self.ledger.get(&keys::of(keys::HEADER, id)).is_ok_and(|h| h.is_some())
                });
            if !alive {
                self.discard_change(s, &key)?;
            }
        }
        s.headers.clear();
        s.lists.forget_all();
        s.heap.forget_all();
        Ok(())
    }
}
