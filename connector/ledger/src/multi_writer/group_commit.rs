//! A commit that may go together with those of other writers.

use bytes::Bytes;

use super::EntryChange;
use crate::error::{ErrorKind, Result};
use crate::ledger::{After, Ledger, Settled, State, note_broken, unstage_committed};
use crate::memtable::Memtable;
use crate::storage::{GroupCommit, RemoteCommits};
use crate::wal::record::Entries;

impl Ledger {
    /// Whether [`commit_in_group`](Ledger::commit_in_group) can be asked for: one of many writers of an object store.
    pub fn commits_in_groups(&self) -> bool {
        self.is_one_of_many() && self.branch().is_none() && self.storage().takes_groups()
    }

    /// Commits what is staged, perhaps in one version with what others commit at the same time. For one of many writers that
    /// others overtook; a long one goes alone. It waits until that is done, up to a minute, or until another commit changes a key that begins with one
    /// of `conditions`: then `None`, and [`advance`](Ledger::advance) tells what. The conditions have to name everything with
    /// which what is staged would have to be merged.
    ///
    /// When this returns changes, the commit is as durable as the store makes it, and this handle is at its version. The changes
    /// are those of others up to that version; `wanted` is as for [`advance`](Ledger::advance).
    ///
    /// # Errors
    /// As for [`try_commit`](Ledger::try_commit).
    pub fn commit_in_group(
        &self,
        conditions: &[Bytes],
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<EntryChange>>> {
        let mut s = self.writable()?;
        if !s.unmerged.is_empty() {
            return Err(self.fail(ErrorKind::Conflict));
        }
        self.settle(&mut s)?;
        if s.unseen_commits.is_some() {
            return Ok(None);
        }
        if s.staged.is_empty() && !self.storage().has_freed() {
            return Ok(Some(Vec::new()));
        }
        let layer = s.staged.clone();
        let done = self.storage().commit_in_group(s.version, &layer.encoded(), conditions);
        if matches!(done, Ok(GroupCommit::TooLong)) {
            return Ok(self.commit_staged(&mut s, After::More)?.map(|_| Vec::new()));
        }
        if !self.conclude(&mut s, layer, done)? {
            return Ok(None);
        }
        let changes = self.take_commits(&mut s, wanted)?;
        // The caller hears it.
        s.settled = None;
        if std::mem::take(&mut s.leads) {
            self.checkpoint_if_long(&mut s);
        }
        Ok(Some(changes))
    }

    /// Finds out what became of a commit in a group that is in doubt.
    pub(crate) fn settle_group(&self, s: &mut State) -> Result<()> {
        let Some(layer) = s.in_group.take() else { return Ok(()) };
        let done = self.storage().settle_group();
        if !self.conclude(s, layer, done)? {
            s.settled = Some(Settled::NotCommitted);
        }
        Ok(())
    }

    fn conclude(&self, s: &mut State, layer: Memtable, done: Result<GroupCommit>) -> Result<bool> {
        match done {
            Ok(GroupCommit::Joined { commits, version, led }) => {
                self.take_joined(s, layer, version, commits);
                s.leads = led;
                Ok(true)
            }
            Ok(GroupCommit::Behind | GroupCommit::TooLong) => Ok(false),
            Ok(GroupCommit::InDoubt(e)) => {
                s.in_group = Some(layer);
                Err(e)
            }
            Err(e) => Err(note_broken(s, e)),
        }
    }

    /// The records are news, one of which is this commit. Until they are taken in, what was committed stays staged: else nobody would
    /// see it here.
    fn take_joined(&self, s: &mut State, layer: Memtable, version: u64, commits: RemoteCommits) {
        s.joined = Some((layer, version));
        s.unseen_commits = Some(commits);
    }

    /// What was committed in a group is staged no more, unless it was staged anew. The records are taken in.
    pub(crate) fn unstage_joined(&self, s: &mut State) {
        let Some((layer, _)) = s.joined.take() else { return };
        s.settled = Some(Settled::Committed);
        unstage_committed(s, &layer);
    }
}
