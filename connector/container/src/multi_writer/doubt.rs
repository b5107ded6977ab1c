//! Commits of which nobody knows whether they were made: what they hold is set aside until that is known.
//!
//! Were it taken for a change of the next batch, it would go over what others have committed after it, or be told as a
//! conflict with that.

use crate::Container;
use crate::container::State;
use h5lake_ledger::Settled;

impl Container {
    /// After a commit that failed: if it may have been made all the same, what was written, read and done for it is set aside.
    pub(super) fn note_doubt(&self, s: &mut State) {
        self.settle_doubt(s);
        if self.ledger.is_in_doubt() && s.others.in_doubt.is_none() {
            self.blocks.lock().set_touched_aside();
            self.reads.set_aside();
            s.others.in_doubt = Some(std::mem::take(&mut s.others.batch));
        }
    }

    /// If it is known by now what became of a commit in doubt: forgets what was set aside, or lets it count again.
    pub(super) fn settle_doubt(&self, s: &mut State) {
        let Some(settled) = self.ledger.take_settled() else { return };
        let Some(before) = s.others.in_doubt.take() else { return };
        let is_committed = settled == Settled::Committed;
        self.blocks.lock().settle_touched(is_committed);
        self.reads.settle(is_committed);
        if !is_committed {
            s.others.batch.follows(before);
        }
    }
}
