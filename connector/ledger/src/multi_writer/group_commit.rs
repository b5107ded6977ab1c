//! Commits that may share a version with the commits of other writers.

use bytes::Bytes;

use super::{EntryChange, Poll};
use crate::author;
use crate::error::{ErrorKind, Result};
use crate::ledger::{After, Counter, Ledger, Settled, State, note_broken, unstage_committed};
use crate::memtable::Memtable;
use crate::storage::{GroupCommit, RemoteCommits};
use crate::storage_kinds::StorageKinds;
use crate::store::ObjectStorage;
use crate::wal::record::Entries;

/// The number of commits after the last sign of contention that a writer still makes in groups.
const COMMITS_IN_GROUPS: u32 = 8;

impl State {
    /// Notes that a commit of a concurrent writer was made, or was not.
    pub(super) fn note_commit(&mut self, is_done: bool) {
        self.group_commits_left = self.group_commits_left.saturating_sub(u32::from(is_done));
    }
}

impl Ledger {
    /// Returns whether [`commit_in_group`](Ledger::commit_in_group) is available: for a concurrent writer of the main line in an object
    /// store.
    pub fn commits_in_groups(&self) -> bool {
        let takes_groups = || self.storage().as_objects().is_some_and(ObjectStorage::takes_groups);
        self.is_shared() && self.branch().is_none() && takes_groups()
    }

    /// Notes that another writer committed while this writer tried to.
    pub fn note_contention(&self) {
        self.lock().group_commits_left = COMMITS_IN_GROUPS;
    }

    /// Returns whether other writers committed at the same time as this one during its last commits, or wait in the queue of commits. Then
    /// the next commit should be [made in a group](Self::commit_in_group).
    pub fn is_contended(&self) -> bool {
        if self.storage().as_objects().is_some_and(ObjectStorage::take_saw_queued_commits) {
            self.note_contention();
        }
        self.lock().group_commits_left > 0
    }

    /// Commits the staged changes, possibly in one version with concurrent commits of other writers. A concurrent writer calls this after
    /// it has lost a race. A long commit is made alone. This waits up to a minute until the commit is done, or until another commit changes
    /// a key that begins with one of `conditions`. In the latter case it returns `None`, and [`advance`](Ledger::advance) reports the
    /// changes. The conditions must cover every key with which the staged changes would have to be merged.
    ///
    /// When this returns the version of the commit, the commit is as durable as the store makes it, and this handle is at that version or at
    /// a later one. The changes are those of other writers up to the handle's version; `wanted` is as for [`advance`](Ledger::advance).
    ///
    /// # Errors
    /// As for [`try_commit`](Ledger::try_commit).
    pub fn commit_in_group(
        &self,
        conditions: &[Bytes],
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<(u64, Vec<EntryChange>)>> {
        let mut s = self.writable()?;
        if !s.unmerged.is_empty() {
            return Err(self.fail(ErrorKind::Conflict));
        }
        self.settle(&mut s)?;
        if s.unseen_commits.is_some() {
            return Ok(None);
        }
        if s.staged.is_empty() && !self.storage().has_freed() && !author::makes_version() {
            return Ok(Some((s.version, Vec::new())));
        }
        self.stage_counter(&mut s, false)?;
        let layer = s.staged.clone();
        let mut conditions = conditions.to_vec();
        // Another commit may not raise the counter further, because the later one of the two values remains.
        conditions.extend(s.counter.as_ref().map(Counter::key));
        let done = self.storage().commit_in_group(&layer.encoded(), &conditions);
        if matches!(done, Ok(GroupCommit::TooLong)) {
            let done = self.commit_staged(&mut s, After::More)?;
            self.conclude_counter(&mut s, done.is_some());
            return Ok(done.map(|version| (version, Vec::new())));
        }
        let is_done = self.conclude(&mut s, layer, done)?;
        s.note_commit(is_done);
        if !is_done {
            self.conclude_counter(&mut s, false);
            return Ok(None);
        }
        let version = s.joined.as_ref().map_or(s.version, |(_, version)| *version);
        let changes = self.take_commits(&mut s, wanted, Poll::Newest)?;
        // The caller learns the result from the returned value.
        s.settled = None;
        if std::mem::take(&mut s.leads) {
            self.checkpoint_if_long(&mut s);
        }
        Ok(Some((version, changes)))
    }

    /// Determines the result of a group commit with an unknown outcome.
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
                self.take_joined(s, layer, version, *commits);
                s.leads = led;
                Ok(true)
            }
            Ok(GroupCommit::Superseded | GroupCommit::TooLong) => Ok(false),
            Ok(GroupCommit::OutcomeUnknown(e)) => {
                s.in_group = Some(layer);
                Err(e)
            }
            Err(e) => Err(note_broken(s, e)),
        }
    }

    /// The records, one of which is this commit, must be applied like remote commits. The changes of this commit stay staged until then,
    /// because otherwise this handle would not see them.
    fn take_joined(&self, s: &mut State, layer: Memtable, version: u64, commits: RemoteCommits) {
        s.joined = Some((layer, version));
        s.unseen_commits = Some(commits);
    }

    /// Unstages the changes that were committed in a group, unless they were staged anew, after the records have been applied.
    pub(crate) fn unstage_joined(&self, s: &mut State) {
        let Some((layer, _)) = s.joined.take() else { return };
        s.settled = Some(Settled::Committed);
        unstage_committed(s, &layer);
    }
}
