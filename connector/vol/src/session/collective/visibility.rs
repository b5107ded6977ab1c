//! Elements that the processes of an MPI program have written together and not committed, as far as one process knows.
//!
//! This state belongs to the container, not to a file handle: elements written through one handle concern every other
//! handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use h5lake_container::Container;
use h5lake_ledger::locks::Mutex;

use super::flag;
use crate::session::registry;
use crate::session::trace::Traces;
use crate::session::uncommitted::Uncommitted;

/// Sent to all processes at an open: this process has had the container open before.
const KNOWN: u32 = 1;
/// Sent to all processes at an open: every write becomes visible to all processes at once.
const ATOMIC: u32 = 2;
/// Sent to all processes at an open: a process has read elements that another process had left uncommitted.
const EAGER: u32 = 4;

/// The state that all handles of a container share in one process.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    /// True if every write becomes visible to all processes at once (`H5Fset_mpi_atomicity`).
    pub(super) atomic: AtomicBool,
    /// True if a process has read elements that another process had left uncommitted: from then on every write is
    /// committed at once.
    pub(super) is_eager: AtomicBool,
    /// The datasets that this process took part in writing: bit n stands for the datasets with a number that is n
    /// modulo 64.
    pub(super) written: AtomicU64,
    /// True if this process has read such a dataset independently since the last message.
    pub(super) has_read: AtomicBool,
    /// The elements that this process wrote and did not commit.
    pub(super) left: Mutex<Traces>,
    /// The elements that this process read independently since the last message.
    pub(super) looked: Mutex<Traces>,
    /// True if a process may not know yet whether the last commit of the first process took effect, or has not moved to
    /// its version. The same in all processes.
    pub(super) is_unsettled: AtomicBool,
    /// The elements that processes wrote and did not commit, as far as this process knows.
    pub(super) uncommitted: Mutex<Uncommitted>,
}

impl Visibility {
    /// Returns the state of a container that this process already has open together with other processes.
    pub(super) fn known(container: &Arc<Container>) -> Option<Arc<Self>> {
        let sessions = registry::sessions_on(container);
        sessions.iter().find_map(|session| session.together.as_ref()?.visibility.get().cloned())
    }

    /// Returns the flags that are sent to all processes when the container is opened once more.
    pub(super) fn flags(&self) -> u32 {
        let is_set = |state: &AtomicBool| state.load(Ordering::Relaxed);
        KNOWN | flag(is_set(&self.atomic), ATOMIC) | flag(is_set(&self.is_eager), EAGER)
    }

    /// Merges the flags that all processes have sent at an open. Processes close the last object at different times,
    /// so only some of them may know the container from before. After their exchange, all of them must act alike.
    pub(super) fn take_in(&self, all_flags: u32, is_new: bool) {
        self.atomic.fetch_or(all_flags & ATOMIC != 0, Ordering::Relaxed);
        self.is_eager.fetch_or(all_flags & EAGER != 0, Ordering::Relaxed);
        if is_new && all_flags & KNOWN != 0 {
            // Another process may have uncommitted elements that were reported to this process's earlier handles.
            self.uncommitted.lock().lose_track();
        }
    }

    /// Forgets all uncommitted elements, after all processes have committed.
    pub(super) fn forget_committed(&self) {
        self.left.lock().clear();
        self.uncommitted.lock().clear();
    }

    /// Forgets the uncommitted elements of this process, after it has committed them.
    pub(super) fn forget_own(&self) {
        self.left.lock().clear();
        self.uncommitted.lock().forget_own();
    }
}

#[cfg(test)]
mod tests {
    use h5lake_container::{ObjectId, Selection};

    use super::*;
    use crate::session::uncommitted::Bounds;

    fn may_be_left(visibility: &Visibility) -> bool {
        let all = Bounds::of(ObjectId(7), &Selection::All, &[4]);
        visibility.uncommitted.lock().remote_writes_overlap(&[all])
    }

    #[test]
    fn all_processes_adopt_known_flags_at_an_open() {
        let (old, new) = (Visibility::default(), Visibility::default());
        old.is_eager.store(true, Ordering::Relaxed);
        let all_flags = old.flags();
        old.take_in(all_flags, false);
        new.take_in(all_flags, true);
        assert_eq!((old.flags(), new.flags()), (KNOWN | EAGER, KNOWN | EAGER));
        assert!(may_be_left(&new) && !may_be_left(&old));
        new.forget_committed();
        assert!(!may_be_left(&new));
    }

    #[test]
    fn an_unknown_container_has_no_uncommitted_elements() {
        let first = Visibility::default();
        first.take_in(0, true);
        assert!(!may_be_left(&first) && first.flags() == KNOWN);
    }
}
