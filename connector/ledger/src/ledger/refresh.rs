//! Refresh: moving a handle to the commits of other writers.

use bytes::Bytes;

use super::{Ledger, State};
use crate::error::Result;
use crate::key::Key;
use crate::memtable::{Memtable, value_in};
use crate::options::Access;
use crate::storage::RemoteCommits;
use crate::tags::TAG;

impl Ledger {
    /// Moves a reader to the newest version. Returns true if that changed the version. A writer is always at the newest version; a
    /// concurrent writer reaches it by [`advance`](Ledger::advance).
    ///
    /// # Errors
    /// Read errors. After an error the old snapshot stays in use.
    pub fn refresh(&self) -> Result<bool> {
        self.refresh_up_to(u64::MAX)
    }

    /// Refreshes like [`refresh`](Self::refresh), but not beyond version `last`. The reader gets a later version only if a checkpoint
    /// already contains the record of `last`, or if an older copy of the file was restored and no pin of this reader protects `last`.
    ///
    /// # Errors
    /// The errors of [`refresh`](Self::refresh).
    pub fn refresh_up_to(&self, last: u64) -> Result<bool> {
        let mut s = self.lock();
        if self.access == Access::ReadWrite || s.version >= last {
            return Ok(false);
        }
        self.refresh_state(&mut s, last)
    }

    pub(super) fn refresh_state(&self, s: &mut State, last: u64) -> Result<bool> {
        if s.unseen_commits.is_none() {
            s.unseen_commits = self.storage.poll_commits(last)?;
        }
        let Some(commits) = s.unseen_commits.take() else { return Ok(false) };
        let changed = commits.version != s.version || commits.is_other;
        // The storage reports each commit once, so commits that cannot be applied are retained for the next call.
        self.check_branch(&commits)
            .and_then(|()| self.apply(s, &commits))
            .inspect_err(|_| s.unseen_commits = Some(commits))?;
        Ok(changed)
    }

    /// Applies remote commits, all of them or none.
    pub(crate) fn apply(&self, s: &mut State, commits: &RemoteCommits) -> Result<()> {
        let mut fresh = Memtable::new();
        let (mut bytes, mut tags) = (0, false);
        let count = commits.records.len() as u64;
        for record in &commits.records {
            bytes += record.length;
            for (key, stored) in record.changes().map_err(|why| self.damaged(why))? {
                // The records above a new checkpoint do not depend on the log of the old one.
                let older = || value_in(&s.log, &key).filter(|_| commits.restart.is_none());
                let before = value_in(&fresh, &key).or_else(older).and_then(Option::as_ref);
                let value = stored.over(before).map_err(|why| self.damaged(why))?;
                tags |= key.first() == Some(&TAG);
                fresh.insert(key.into(), value);
            }
        }
        if let Some(base) = commits.restart {
            s.root = base.root;
            if let (Some(root), Some(bytes)) = (&base.root, commits.root.clone()) {
                // If the page is damaged, the next read of it reports the error.
                let _damage_is_met_again = self.tree(s.root).take_in(root, bytes);
            }
            s.log = fresh;
            (s.log_bytes, s.log_records) = (bytes, count);
        } else {
            lay_over(&mut s.log, fresh);
            s.log_bytes += bytes;
            s.log_records += count;
        }
        s.version = commits.version;
        s.mark = commits.mark_of_version().or(s.mark.take().filter(|_| commits.restart.is_none()));
        if self.is_multi_writer {
            s.knows_tags |= tags;
            self.hold_tags_if_any(s);
        }
        Ok(())
    }
}

pub(super) fn lay_over(
    layer: &mut Memtable,
    changes: impl IntoIterator<Item = (Key<'static>, Option<Bytes>)>,
) {
    for (k, v) in changes {
        layer.insert(k, v);
    }
}
