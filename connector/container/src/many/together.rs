//! Processes that write one container together, as those of an MPI program do: whatever is no element of a dataset, all of
//! them change in the same way, in the same order. So the first one's changes stand for all, and the others commit the
//! elements that they wrote.

use crate::container::State;
use crate::{Container, Result, keys};
use bytes::Bytes;
use std::sync::Arc;

/// Gets numbers for new objects that every process is given alike: called with how many are wanted, and a function that
/// takes so many from the container.
pub type NumberSource = Arc<dyn Fn(u64, &dyn Fn(u64) -> Result<u64>) -> Result<u64> + Send + Sync>;

fn is_element(key: &[u8], value: Option<&Bytes>) -> bool {
    key.first() == Some(&keys::BLOCK) && value.is_some()
}

impl Container {
    /// From now on numbers for new objects come from `source`, which all processes ask in the same order.
    pub fn number_together(&self, source: NumberSource) {
        self.state().ids.share(source);
    }

    /// Commits the elements that were written here, and gives up all other changes: the first process has committed them.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn flush_elements(&self) -> Result<()> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        for (key, value) in self.ledger.staged(&[]) {
            if !is_element(&key, value.as_ref()) {
                self.give_up(s, &key)?;
            }
        }
        s.headers.clear();
        s.lists.forget_all();
        s.heap.forget_all();
        // The first one deletes what has no link any more.
        self.closed.lock().clear();
        drop(state);
        self.flush_with_others()
    }

    /// Commits the elements that were written here, while all other changes stay staged.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn commit_elements(&self) -> Result<()> {
        let mut state = self.state();
        let aside = self.set_aside(&mut state)?;
        drop(state);
        let done = self.flush_with_others();
        for (key, value) in aside {
            match value {
                Some(value) => self.ledger.put(&key, value)?,
                None => self.ledger.delete(&key)?,
            }
        }
        done
    }

    fn set_aside(&self, s: &mut State) -> Result<Vec<(Bytes, Option<Bytes>)>> {
        self.stage_all(s)?;
        let mut aside = self.ledger.staged(&[]);
        aside.retain(|(key, value)| !is_element(key, value.as_ref()));
        for (key, _) in &aside {
            self.ledger.unstage(key)?;
        }
        Ok(aside)
    }
}
