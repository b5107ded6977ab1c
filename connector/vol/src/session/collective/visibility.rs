//! What a process knows of elements that processes write together and have not committed.
//!
//! It is of the container, and not of a file handle: what is written through one handle is met through every other one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use h5lake_container::Container;
use h5lake_ledger::locks::Mutex;

use super::flag;
use crate::session::registry;
use crate::session::trace::Traces;
use crate::session::uncommitted::Uncommitted;

/// Told to all at an open: this process has had the container open before.
const KNOWN: u32 = 1;
/// Told to all at an open: every write is seen by all at once.
const ATOMIC: u32 = 2;
/// Told to all at an open: a process has read what another had left.
const EAGER: u32 = 4;

/// What all handles of a container share in one process.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    /// Whether every write is seen by all at once (`H5Fset_mpi_atomicity`).
    pub(super) atomic: AtomicBool,
    /// Whether a process read what another had left: from then on everything is committed at once.
    pub(super) is_eager: AtomicBool,
    /// The datasets that this process took part in writing: bit n for those whose number is n modulo 64.
    pub(super) written: AtomicU64,
    /// Whether this process has read such a dataset by itself since the last message.
    pub(super) has_read: AtomicBool,
    /// What this process wrote and did not commit.
    pub(super) left: Mutex<Traces>,
    /// What this process read by itself since the last message.
    pub(super) looked: Mutex<Traces>,
    /// What processes wrote and did not commit, as far as this one knows.
    pub(super) uncommitted: Mutex<Uncommitted>,
}

impl Visibility {
    /// That of a container which this process has open with others already.
    pub(super) fn known(container: &Arc<Container>) -> Option<Arc<Self>> {
        let sessions = registry::sessions_on(container);
        sessions.iter().find_map(|session| session.together.as_ref()?.visibility.get().cloned())
    }

    /// What is told to all when the container is opened once more.
    pub(super) fn flags(&self) -> u32 {
        let is_set = |state: &AtomicBool| state.load(Ordering::Relaxed);
        KNOWN | flag(is_set(&self.atomic), ATOMIC) | flag(is_set(&self.is_eager), EAGER)
    }

    /// Takes in what all have told at an open. Processes close the last object at different times, so that only some may know the
    /// container from before. When they talk, what follows has to be the same in all.
    pub(super) fn take_in(&self, told: u32, is_new: bool) {
        self.atomic.fetch_or(told & ATOMIC != 0, Ordering::Relaxed);
        self.is_eager.fetch_or(told & EAGER != 0, Ordering::Relaxed);
        if is_new && told & KNOWN != 0 {
            // Another process may have elements left that this one was told of before.
            self.uncommitted.lock().lose_track();
        }
    }

    /// All have committed what they had.
    pub(super) fn forget_committed(&self) {
        self.left.lock().clear();
        self.uncommitted.lock().clear();
    }

    /// This process has committed what it wrote.
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
        visibility.uncommitted.lock().others_meet(&[all])
    }

    #[test]
    fn all_take_over_what_one_knows_at_an_open() {
        let (old, new) = (Visibility::default(), Visibility::default());
        old.is_eager.store(true, Ordering::Relaxed);
        let told = old.flags();
        old.take_in(told, false);
        new.take_in(told, true);
        assert_eq!((old.flags(), new.flags()), (KNOWN | EAGER, KNOWN | EAGER));
        assert!(may_be_left(&new) && !may_be_left(&old));
        new.forget_committed();
        assert!(!may_be_left(&new));
    }

    #[test]
    fn nothing_is_left_of_a_container_that_nobody_knew() {
        let first = Visibility::default();
        first.take_in(0, true);
        assert!(!may_be_left(&first) && first.flags() == KNOWN);
    }
}
