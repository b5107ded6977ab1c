//! One of many writers: learning what the others committed, and which of one's own changes have to be merged with it.
//!
//! The ledger does not know what values mean. It tells which staged keys another writer changed meanwhile, with the value
//! that both started from, and commits only when each of them was merged or given up.

mod group_commit;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use crate::branches::is_of_branches;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::ledger::{After, Ledger, State};
use crate::memtable::{EMPTY, range_of, value_in};
use crate::merged_view::Layers;
use crate::storage::RemoteCommits;
use crate::wal::record::{self, Author, CommitRecord};

/// How often [`Ledger::commit`] tries.
const MAX_COMMIT_ATTEMPTS: u32 = 1000;

/// Bytes of staged values up to which one of many writers takes payloads into them. What it stages stays in memory until it
/// has seen what the others changed of it.
const MAX_INLINE_STAGED_BYTES: u64 = 4 << 20;
/// The same of a writer that is alone in a store.
const MAX_INLINE_STAGED_BYTES_ALONE: u64 = 64 << 20;
/// Payloads that take less room in a value than the extent of a payload of its own.
const MAX_TINY_PAYLOAD: usize = 64;

/// A key that another writer changed.
#[derive(Debug, Clone)]
pub struct EntryChange {
    /// The key.
    pub key: Bytes,
    /// Its value before, as this handle last saw it, for staged keys and those that were asked for.
    pub before: Option<Bytes>,
    /// The last version that changed it.
    pub version: u64,
    /// The host that made that version.
    pub host: String,
    /// The process that made that version.
    pub pid: u32,
}

/// While it lives, no other writer commits, where the storage can keep them from it (in a file).
#[derive(Debug)]
pub struct CommitLock<'a>(&'a Ledger);

impl Drop for CommitLock<'_> {
    fn drop(&mut self) {
        self.0.storage().unlock_commits();
    }
}

/// The pause before another try: short at first, and not the same in every process.
fn pause(attempt: u32) -> Duration {
    let least = 50 << attempt.min(8);
    let chance = u64::from(std::process::id()).wrapping_mul(crate::clock::now() | 1) >> 7;
    Duration::from_micros(least + chance % least)
}

impl Ledger {
    /// Moves one of many writers to the newest version. What is staged stays staged; keys of it that others changed have
    /// to be merged ([`unmerged`](Ledger::unmerged)) before the next commit. `wanted` says of which other keys the value
    /// before is told too.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading: the same changes are then told by the next call. `Gone` when this
    /// writer looked away for longer than the retention time of an object store: it has to be opened anew.
    pub fn advance(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Vec<EntryChange>> {
        let mut s = self.writable()?;
        self.take_commits(&mut s, wanted).inspect_err(|e| {
            // What this writer has to look at is gone for good.
            if e.is_final() || matches!(e.kind(), ErrorKind::Gone | ErrorKind::BranchGone { .. }) {
                s.broken = Some(e.clone());
            }
        })
    }

    pub(crate) fn take_commits(
        &self,
        s: &mut State,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<EntryChange>> {
        // Else an own record would be news.
        self.settle(s)?;
        if s.unseen_commits.is_none() {
            s.unseen_commits = self.storage().poll_commits()?;
        }
        let Some(commits) = s.unseen_commits.take() else {
            if s.unmerged.is_empty() {
                self.storage().advance_pin();
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
        // Nobody else changed what a group commit took in of this writer.
        // What is later than that is theirs.
        if let Some((own, until)) = &s.joined {
            last.retain(|key, (version, _)| *version > *until || value_in(own, key).is_none());
        }
        let mut out = Vec::with_capacity(last.len());
        let mut unmerged = Vec::new();
        for (stored, (version, by)) in last {
            // What is staged as it was committed leaves when that is taken in.
            let own = s.joined.as_ref().and_then(|(own, _)| value_in(own, &stored));
            let staged = value_in(&s.staged, &stored).is_some_and(|value| own != Some(value));
            let Some(key) = self.news_of(&stored, staged) else { continue };
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

    /// What this handle calls a key that another writer changed. Entries of branches are nobody's here, but those of this handle's
    /// branch, and those that who merges a branch has staged. The record of a branch is made anew at each commit.
    fn news_of(&self, stored: &Bytes, is_staged: bool) -> Option<Bytes> {
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

    /// The staged keys that others changed since they were staged, each with the value that both started from.
    pub fn unmerged(&self) -> Vec<(Bytes, Option<Bytes>)> {
        let s = self.lock();
        s.unmerged.iter().filter_map(|(stored, v)| Some((self.shown_key(stored)?, v.clone()))).collect()
    }

    /// Those of them that begin with `prefix`.
    pub fn unmerged_under(&self, prefix: &[u8]) -> Vec<(Bytes, Option<Bytes>)> {
        let s = self.lock();
        let prefix = &*self.stored_prefix(prefix);
        let from = s.unmerged.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        let under = from.take_while(|(stored, _)| stored.starts_with(prefix));
        under.filter_map(|(stored, v)| Some((self.shown_key(stored)?, v.clone()))).collect()
    }

    /// What a staged key started from: the value that both saw if it is [`unmerged`](Ledger::unmerged), else the committed one.
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

    /// Says that what is staged under a key has to be merged with what others committed there, and that both started from
    /// nothing: for what is staged under another key than it was made for.
    pub fn contest(&self, key: &[u8]) {
        self.contest_from(key, None);
    }

    /// The same where both started from `base`: for who merges a branch, which began with an earlier version.
    pub fn contest_from(&self, key: &[u8], base: Option<Bytes>) {
        let stored = self.stored_key(key).into_owned();
        self.lock().unmerged.insert(stored.into(), base);
    }

    /// Says that what is staged under a key has taken in what others committed under it.
    pub fn merged(&self, key: &[u8]) {
        let stored = self.stored_key(key);
        self.lock().unmerged.remove(&*stored);
    }

    /// Gives up what one of many writers has staged under a key; the committed value counts again. Payloads are the caller's to
    /// give back.
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

    /// The value under a key without what is staged.
    ///
    /// # Errors
    /// Those of reading.
    pub fn committed(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.shown(key, self.below(&self.lock()).get(&self.stored_key(key))?)
    }

    /// What one of many writers has staged under keys that begin with `prefix`: the value, or `None` for a delete.
    pub fn staged(&self, prefix: &[u8]) -> Vec<(Bytes, Option<Bytes>)> {
        let s = self.lock();
        let prefix = &*self.stored_prefix(prefix);
        let from = range_of(&s.staged, Bound::Included(prefix), Bound::Unbounded);
        let staged = from.map(|(k, v)| (k.to_bytes(), v)).take_while(|(k, _)| k.starts_with(prefix));
        // What this handle staged itself, it can read.
        staged
            .filter_map(|(k, v)| Some((self.shown_key(&k)?, self.staged_value(&k, v).unwrap_or_default())))
            .collect()
    }

    /// Whether so many bytes are better put into a value than written as a payload. A writer that has staged much keeps no more than
    /// extents in memory, unless it can [spill](crate::Options::spill_bytes) the rest: so a commit's record stays short, too.
    pub fn takes_inline(&self, bytes: usize) -> bool {
        let most =
            if self.is_one_of_many() { MAX_INLINE_STAGED_BYTES } else { MAX_INLINE_STAGED_BYTES_ALONE };
        self.commits_as_checkpoints() || bytes <= MAX_TINY_PAYLOAD || self.lock().staged_bytes < most
    }

    /// Whether this handle has staged a put or a delete of a key.
    pub fn is_staged(&self, key: &[u8]) -> bool {
        value_in(&self.lock().staged, &self.stored_key(key)).is_some()
    }

    /// Takes back [`free_payload`](Ledger::free_payload) of a committed payload.
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

    /// Lets payloads that were written set out for an object store, so that the coming commit need not wait for all of that. In
    /// a file they are there already.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `Store`.
    pub fn send_payloads(&self) -> Result<()> {
        let _s = self.writable()?;
        self.storage().send_payloads()
    }

    /// Keeps other writers of a file from committing as long as the answer lives: for one that was overtaken again and
    /// again while it merged. In an object store nobody is kept from anything.
    ///
    /// # Errors
    /// `Locked` when another writer holds the file for a minute.
    pub fn lock_commits(&self) -> Result<CommitLock<'_>> {
        drop(self.writable()?);
        self.storage().lock_commits()?;
        Ok(CommitLock(self))
    }

    /// Commits what is staged, unless another writer committed since this one last looked: then `None`, and
    /// [`advance`](Ledger::advance) tells what.
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
        self.commit_staged(&mut s, After::More)
    }

    pub(crate) fn commit_many(&self) -> Result<u64> {
        for attempt in 0..MAX_COMMIT_ATTEMPTS {
            self.advance(&|_| false)?;
            if let Some(version) = self.try_commit()? {
                return Ok(version);
            }
            std::thread::sleep(pause(attempt));
        }
        Err(self.fail(ErrorKind::Conflict))
    }

    /// Waits a little before another try, the longer the more tries there were.
    pub fn wait_before_retry(&self, attempt: u32) {
        std::thread::sleep(pause(attempt));
    }

    /// Adds to a counter (8 bytes, big-endian; `initial` where there is none) in a commit of its own, at once, whatever is
    /// staged. Returns the count before: the numbers from it on, `by` of them, are this writer's alone. This handle goes on
    /// to see the version that it sees.
    ///
    /// # Errors
    /// As for [`commit`](Ledger::commit); `Corrupt` for a value of another length.
    pub fn take_numbers(&self, key: &[u8], by: u64, initial: u64) -> Result<u64> {
        let mut s = self.writable()?;
        self.settle(&mut s)?;
        let mut seen = self.below(&s).get(key)?;
        if let Some(commits) = &s.unseen_commits {
            self.find(key, commits.skipped.iter().chain(&commits.records), &mut seen)?;
        }
        let mut first = initial;
        let taken = self.storage().commit_independent(&mut |unseen_commits| {
            let mut now = seen.clone();
            self.find(key, unseen_commits.iter(), &mut now)?;
            let bad = || Error::corrupt(self.storage().target(), "counter", "it has not eight bytes");
            first = match &now {
                Some(v) => u64::from_be_bytes(v.as_ref().try_into().map_err(|_| bad())?),
                None => initial,
            };
            let next = Some(Bytes::copy_from_slice(&first.saturating_add(by).to_be_bytes()));
            let change = BTreeMap::from([(Bytes::copy_from_slice(key), next)]);
            Ok(record::encode_changes(change.iter()))
        });
        taken.inspect_err(|e| {
            if matches!(e.kind(), ErrorKind::Broken { .. } | ErrorKind::Tampered { .. }) {
                s.broken = Some(e.clone());
            }
        })?;
        Ok(first)
    }

    /// The last value that records put under a key.
    fn find<'r>(
        &self,
        key: &[u8],
        records: impl Iterator<Item = &'r CommitRecord>,
        value: &mut Option<Bytes>,
    ) -> Result<()> {
        for record in records {
            for (k, stored) in self.changes(record)? {
                if k == key {
                    *value = stored.over(value.as_ref()).map_err(|why| self.damaged(why))?;
                }
            }
        }
        Ok(())
    }
}
