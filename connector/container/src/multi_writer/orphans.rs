//! Deleting objects without links, where others write too: in commits of their own, which are given up when another
//! writer commits in between, so that nobody's change of the same object has to be merged with its end.

use crate::container::State;
use crate::{Container, Result, keys};
use std::collections::BTreeSet;

/// How often it is tried at one flush. The mark of the object stays, and the next flush tries again.
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
                    if let Err(e) = again.and_then(|()| self.learn(s)) {
                        self.handles.closed.lock().extend(ids);
                        return Err(e);
                    }
                }
            }
            self.ledger.wait_before_retry(attempt);
        }
        self.handles.closed.lock().extend(ids);
        Ok(())
    }

    /// Takes back what deleting staged. Blocks that another thread writes meanwhile are of objects with headers.
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
                self.give_up(s, &key)?;
            }
        }
        s.headers.clear();
        s.lists.forget_all();
        s.heap.forget_all();
        Ok(())
    }
}
