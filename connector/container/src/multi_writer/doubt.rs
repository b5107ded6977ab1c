//! Commits with an unknown outcome: their changes are set aside until the outcome is known.
//!
//! If such changes counted as changes of the next batch, they would overwrite commits that other writers made after
//! them, or be reported as conflicts with these commits.

use crate::Container;
use crate::container::State;
use h5lake_ledger::Settled;

impl Container {
    /// Sets the operations, reads and writes of a failed commit aside if its outcome is unknown.
    pub(super) fn note_doubt(&self, s: &mut State) {
        self.settle_doubt(s);
        if self.ledger.is_outcome_unknown() && s.remote.outcome_unknown.is_none() {
            self.blocks.lock().set_touched_aside();
            self.reads.set_aside();
            s.remote.outcome_unknown = Some(std::mem::take(&mut s.remote.batch));
        }
    }

    /// Applies the outcome of a commit, if it is known by now: forgets the changes that were set aside if the commit
    /// was made, and counts them as changes of this batch otherwise.
    pub(super) fn settle_doubt(&self, s: &mut State) {
        let Some(settled) = self.ledger.take_settled() else { return };
        let Some(before) = s.remote.outcome_unknown.take() else { return };
        let is_committed = settled == Settled::Committed;
        self.blocks.lock().settle_touched(is_committed);
        self.reads.settle(is_committed);
        if !is_committed {
            s.remote.batch.follows(before);
        }
    }
}
