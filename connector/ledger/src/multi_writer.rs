//! Concurrent writers: reads remote commits, and determines which of a writer's own staged changes must be merged with them.
//!
//! The ledger does not know the meaning of values. It reports which staged keys another writer changed meanwhile, each with the common
//! earlier value, and commits only when each of these keys was merged or unstaged.

mod group_commit;
pub(crate) mod numbers;
mod offer;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use crate::author::Author;
use crate::branches::is_of_branches;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::file::FileStorage;
use crate::ledger::{After, Ledger, State};
use crate::memtable::{EMPTY, range_of, value_in};
use crate::merged_view::Layers;
use crate::storage::RemoteCommits;
use crate::storage_kinds::StorageKinds;
use crate::wal::record::{self, CommitRecord};

pub use offer::OfferedChange;

/// The maximum number of attempts of [`Ledger::commit`].
const MAX_COMMIT_ATTEMPTS: u32 = 1000;

/// A concurrent writer stores payloads inline in values until it has staged this many bytes. Its staged changes stay in memory until it has
/// compared them with the remote commits.
const MAX_INLINE_STAGED_BYTES: u64 = 4 << 20;
/// An exclusive writer in a store does so until it has staged this many bytes.
const MAX_INLINE_STAGED_BYTES_ALONE: u64 = 64 << 20;
/// The maximum length of an inline payload while a concurrent writer of a remote store commits in groups.
const MAX_INLINE_IN_GROUP: usize = 256;
/// The maximum length of a payload that takes less space inline in a value than the extent of a separate payload would.
const MAX_TINY_PAYLOAD: usize = 64;

/// A key that another writer changed.
#[derive(Debug, Clone)]
pub struct EntryChange {
    /// The key.
    pub key: Bytes,
    /// The earlier value, as this handle last observed it. It is reported for staged keys and for requested keys only.
    pub before: Option<Bytes>,
    /// The last version that changed the key.
    pub version: u64,
    /// The host of the writer that made this version.
    pub host: String,
    /// The process of the writer that made this version.
    pub pid: u32,
}

/// The remote commits that a writer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poll {
    /// The commits up to the newest version.
    Newest,
    /// The commits up to the version that overtook a commit of this writer, or up to a later version.
    AfterLoss,
}

/// Prevents commits of other writers of a file until it is dropped. It has no effect in a store.
#[derive(Debug)]
pub struct CommitLock<'a>(Option<&'a FileStorage>);

impl Drop for CommitLock<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            file.unlock_commits();
        }
    }
}

/// Returns the pause before another attempt: short at first, and of random length.
fn pause(attempt: u32) -> Duration {
    let least = 50 << attempt.min(8);
    Duration::from_micros(least + clock::random_below(least))
}

impl Ledger {
    /// Moves a concurrent writer to the newest version. Staged changes stay staged. Staged keys that other writers changed must be merged
    /// ([`unmerged`](Ledger::unmerged)) before the next commit. `wanted` selects further keys: the earlier values of these are reported as
    /// well.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading, after which the next call reports the same changes. `Gone` if this writer did not
    /// read the remote commits for longer than the retention time of an object store: the container must be opened anew.
    pub fn advance(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Vec<EntryChange>> {
        self.advance_by(wanted, Poll::Newest)
    }

    /// Moves a concurrent writer to the version that overtook its commit, like [`advance`](Ledger::advance), at once after
    /// [`try_commit`](Ledger::try_commit) or [`commit_in_group`](Ledger::commit_in_group) returned `None`. In an object store this needs no
    /// request for the manifest, because the lost swap has read it.
    ///
    /// # Errors
    /// As for [`advance`](Ledger::advance).
    pub fn advance_after_loss(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Vec<EntryChange>> {
        self.advance_by(wanted, Poll::AfterLoss)
    }

    fn advance_by(&self, wanted: &dyn Fn(&[u8]) -> bool, poll: Poll) -> Result<Vec<EntryChange>> {
        let mut s = self.writable()?;
        self.take_commits(&mut s, wanted, poll).inspect_err(|e| {
            // The commits that this writer must read cannot be read any more.
            if e.is_final() || matches!(e.kind(), ErrorKind::Gone | ErrorKind::BranchGone { .. }) {
                s.broken = Some(e.clone());
            }
        })
    }

    pub(crate) fn take_commits(
        &self,
        s: &mut State,
        wanted: &dyn Fn(&[u8]) -> bool,
        poll: Poll,
    ) -> Result<Vec<EntryChange>> {
        // Otherwise, a commit of this writer could be reported as a remote commit.
        self.settle(s)?;
        self.unstage_counter(s);
        if s.unseen_commits.is_none() {
            s.unseen_commits = match poll {
                Poll::Newest => self.storage().poll_commits(u64::MAX)?,
                Poll::AfterLoss => self.storage().poll_after_loss()?,
            };
        }
        let Some(commits) = s.unseen_commits.take() else {
            if s.unmerged.is_empty()
                && let Some(file) = self.storage().as_file()
            {
                file.advance_pin();
            }
            return Ok(Vec::new());
        };
        let taken = self.check_branch(&commits).and_then(|()| self.take_in(s, &commits, wanted)).and_then(
            |changes| {
                self.apply(s, &commits)?;
                self.unstage_joined(s);
                Ok(changes)
            },
        );
        taken.inspect_err(|_| s.unseen_commits = Some(commits))
    }

    fn take_in(
        &self,
        s: &mut State,
        commits: &RemoteCommits,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<EntryChange>> {
        let mut last: BTreeMap<Bytes, (u64, &Author)> = BTreeMap::new();
        for record in commits.skipped.iter().chain(&commits.records) {
            if record.header.version > s.version {
                for (n, (key, _)) in self.changes(record)?.into_iter().enumerate() {
                    last.insert(key, (record.header.version, record.author_of(n)));
                }
            }
        }
        // No other writer changed the keys of this writer's group commit up to the version of that commit. Later changes of these keys are
        // those of other writers.
        if let Some((own, until)) = &s.joined {
            last.retain(|key, (version, _)| *version > *until || value_in(own, key).is_none());
        }
        let mut out = Vec::with_capacity(last.len());
        let mut unmerged = Vec::new();
        for (stored, (version, by)) in last {
            // A staged value that is equal to the committed one is unstaged when the commit is applied, so it needs no merge.
            let own = s.joined.as_ref().and_then(|(own, _)| value_in(own, &stored));
            let staged = value_in(&s.staged, &stored).is_some_and(|value| own != Some(value));
            let Some(key) = self.reported_key(&stored, staged) else { continue };
            let wanted = staged || wanted(&key);
            let before = match (wanted, own) {
                (false, _) => None,
                (true, Some(own)) => self.shown(&key, own.clone())?,
                (true, None) => self.shown(&key, self.below(s).get(&stored)?)?,
            };
            if staged {
                unmerged.push((stored, before.clone()));
            }
            out.push(EntryChange { key, before, version, host: by.host.to_string(), pid: by.pid });
        }
        for (key, before) in unmerged {
            if let Entry::Vacant(new) = s.unmerged.entry(key) {
                new.insert(before);
            }
        }
        Ok(out)
    }

    /// Returns the key under which this handle reports a change by another writer; `None` if the handle does not report it. A handle of the
    /// main line reports a key of a branch only if it has staged that key, as a merge of the branch does. A handle of a branch reports the
    /// entries of its branch and the keys that all branches share. It does not report the branch's record, because each commit to the
    /// branch writes the record anew.
    fn reported_key(&self, stored: &Bytes, is_staged: bool) -> Option<Bytes> {
        match self.branch().is_none() && is_of_branches(stored) {
            true => Some(stored.clone()).filter(|_| is_staged),
            false => self.shown_key(stored),
        }
    }

    fn changes(&self, record: &CommitRecord) -> Result<Vec<record::RecordChange>> {
        record.changes().map_err(|why| self.damaged(why))
    }

    pub(crate) fn damaged(&self, why: &str) -> Error {
        Error::corrupt(self.storage().target(), "record", why)
    }

    pub(crate) fn below<'a>(&'a self, s: &'a State) -> Layers<'a> {
        Layers { over: [&EMPTY, &s.log], tree: self.tree(s.root) }
    }

    /// Returns the staged keys that other writers changed since they were staged, each with the common earlier value.
    pub fn unmerged(&self) -> Vec<(Bytes, Option<Bytes>)> {
        let s = self.lock();
        s.unmerged.iter().filter_map(|(stored, v)| Some((self.shown_key(stored)?, v.clone()))).collect()
    }

    /// Returns the [`unmerged`](Ledger::unmerged) keys that begin with `prefix`, each with the common earlier value.
    pub fn unmerged_under(&self, prefix: &[u8]) -> Vec<(Bytes, Option<Bytes>)> {
        let s = self.lock();
        let prefix = &*self.stored_prefix(prefix);
        let from = s.unmerged.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        let under = from.take_while(|(stored, _)| stored.starts_with(prefix));
        under.filter_map(|(stored, v)| Some((self.shown_key(stored)?, v.clone()))).collect()
    }

    /// Returns the earlier value of a staged key: the common earlier value if the key is [`unmerged`](Ledger::unmerged), otherwise the
    /// committed value.
    ///
    /// # Errors
    /// Those of reading.
    pub fn base(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let s = self.lock();
        let stored = self.stored_key(key);
        match s.unmerged.get(&*stored) {
            Some(base) => Ok(base.clone()),
            None => self.shown(key, self.below(&s).get(&stored)?),
        }
    }

    /// Marks a staged key as unmerged, with no common earlier value. The caller has staged a change under this key that was made for
    /// another key.
    pub fn contest(&self, key: &[u8]) {
        self.contest_from(key, None);
    }

    /// Marks a staged key as unmerged, with the common earlier value `base`. This serves the merge of a branch, which began at an earlier
    /// version.
    pub fn contest_from(&self, key: &[u8], base: Option<Bytes>) {
        let stored = self.stored_key(key).into_owned();
        self.lock().unmerged.insert(stored.into(), base);
    }

    /// Marks a staged key as merged with the remote commits.
    pub fn merged(&self, key: &[u8]) {
        let stored = self.stored_key(key);
        self.lock().unmerged.remove(&*stored);
    }

    /// Unstages the change of a key, so that the key has its committed value again. The caller must free payloads that the change referred
    /// to.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn unstage(&self, key: &[u8]) -> Result<()> {
        let mut s = self.writable()?;
        let key = &*self.stored_key(key);
        s.unmerged.remove(key);
        self.take_back(&mut s, key);
        Ok(())
    }

    /// Returns the committed value of a key, without staged changes.
    ///
    /// # Errors
    /// Those of reading.
    pub fn committed(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.shown(key, self.below(&self.lock()).get(&self.stored_key(key))?)
    }

    /// Returns the staged changes of a concurrent writer under keys that begin with `prefix`: the value, or `None` for a delete.
    pub fn staged(&self, prefix: &[u8]) -> Vec<(Bytes, Option<Bytes>)> {
        let s = self.lock();
        let prefix = &*self.stored_prefix(prefix);
        let from = range_of(&s.staged, Bound::Included(prefix), Bound::Unbounded);
        let staged = from.map(|(k, v)| (k.to_bytes(), v)).take_while(|(k, _)| k.starts_with(prefix));
        // This handle can decode values that it staged itself.
        staged
            .filter_map(|(k, v)| Some((self.shown_key(&k)?, self.staged_value(&k, v).unwrap_or_default())))
            .collect()
    }

    /// Returns whether a payload of this length should be stored inline in a value instead of as a payload of its own. A writer that has
    /// staged many bytes keeps only extents in memory, unless it can [spill](crate::Options::spill_bytes) staged changes. So the record of
    /// its commit stays short, too. A concurrent writer of a remote store also keeps its records short while it commits in groups, because
    /// a short record leaves space for the commits of other writers.
    pub fn takes_inline(&self, bytes: usize) -> bool {
        if self.commits_as_checkpoints() || bytes <= MAX_TINY_PAYLOAD {
            return true;
        }
        let most = if self.is_shared() { MAX_INLINE_STAGED_BYTES } else { MAX_INLINE_STAGED_BYTES_ALONE };
        let s = self.lock();
        s.staged_bytes < most
            && (bytes <= MAX_INLINE_IN_GROUP || s.group_commits_left == 0 || !self.is_remote())
    }

    /// Returns whether this handle has staged a put or a delete of a key.
    pub fn is_staged(&self, key: &[u8]) -> bool {
        value_in(&self.lock().staged, &self.stored_key(key)).is_some()
    }

    /// Cancels [`free_payload`](Ledger::free_payload) of a committed payload.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn keep_payload(&self, e: &Extent) -> Result<()> {
        let _s = self.writable()?;
        if !self.is_of_base(e) {
            self.storage().keep_payload(e.place());
        }
        Ok(())
    }

    /// Starts to upload written payloads to an object store, so that the coming commit has less to wait for. In a file, the payloads are
    /// written already.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Store`.
    pub fn send_payloads(&self) -> Result<()> {
        let _s = self.writable()?;
        self.storage().send_payloads()
    }

    /// Prevents other writers of a file from committing until the returned lock is dropped. A writer uses this if other writers committed
    /// again and again while it merged. In an object store it prevents nothing.
    ///
    /// # Errors
    /// `CommitsLocked` if another writer holds this lock for a minute.
    pub fn lock_commits(&self) -> Result<CommitLock<'_>> {
        drop(self.writable()?);
        let file = self.storage().as_file();
        file.map_or(Ok(()), FileStorage::lock_commits)?;
        Ok(CommitLock(file))
    }

    /// Commits the staged changes, unless another writer committed since this writer last read the remote commits. Then it returns `None`,
    /// and [`advance`](Ledger::advance) reports the changes.
    ///
    /// # Errors
    /// As for [`commit`](Ledger::commit); `Conflict` while there are [`unmerged`](Ledger::unmerged) keys.
    pub fn try_commit(&self) -> Result<Option<u64>> {
        let mut s = self.writable()?;
        if let Some((key, _)) = s.unmerged.first_key_value() {
            tracing::debug!(?key, "a staged key was changed by another writer");
            return Err(self.fail(ErrorKind::Conflict));
        }
        self.settle(&mut s)?;
        if s.unseen_commits.is_some() {
            return Ok(None);
        }
        self.note_branch_commit(&mut s)?;
        self.stage_counter(&mut s, true)?;
        let done = self.commit_staged(&mut s, After::More)?;
        self.conclude_counter(&mut s, done.is_some());
        s.note_commit(done.is_some());
        Ok(done)
    }

    pub(crate) fn commit_many(&self) -> Result<u64> {
        for attempt in 0..MAX_COMMIT_ATTEMPTS {
            // The first lost commit has read the newest version. After a pause the version would be old.
            let poll = if attempt == 1 { Poll::AfterLoss } else { Poll::Newest };
            if attempt > 1 {
                std::thread::sleep(pause(attempt));
            }
            self.advance_by(&|_| false, poll)?;
            if let Some(version) = self.try_commit()? {
                return Ok(version);
            }
        }
        Err(self.fail(ErrorKind::Conflict))
    }

    /// Waits before another attempt, longer after each attempt.
    pub fn wait_before_retry(&self, attempt: u32) {
        std::thread::sleep(pause(attempt));
    }
}
