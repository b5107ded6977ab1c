//! Numbers that a concurrent writer reserves, each for this writer alone.
//!
//! A counter in the map is greater than all numbers in use. In an object store, a reservation does not raise this counter: the next commit
//! of the writer does, because only that commit can use the numbers. So a reservation makes no version.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Counter, Ledger, State};
use crate::memtable::value_in;
use crate::wal::record::{self, CommitRecord};

/// The factor by which a block that is reserved with a commit exceeds the last request.
const GROWTH: u64 = 4;

impl Ledger {
    /// Returns the counter of reserved numbers outside of the map, for an exclusive writer that continues from the greater counter of the
    /// two.
    pub fn reserved_numbers(&self) -> u64 {
        self.storage().reserved_numbers()
    }

    /// Reserves `by` numbers for this writer alone, and returns the first one. `key` has a counter (8 bytes, big-endian; `initial` if it does
    /// not exist) that is greater than all numbers in use. The version that this handle shows does not change.
    ///
    /// In a file this raises the counter in a separate commit. In an object store it is a swap that makes no version, and the next commit of
    /// this writer raises the counter, and reserves more numbers for later calls.
    ///
    /// # Errors
    /// As for [`commit`](Ledger::commit); `Corrupt` for a value of another length.
    pub fn take_numbers(&self, key: &[u8], by: u64, initial: u64) -> Result<u64> {
        let mut s = self.writable()?;
        self.settle(&mut s)?;
        let first = match take_ahead(&mut s, key, by) {
            Some(first) => first,
            None => self.reserve_numbers(&mut s, (key, initial), by)?,
        };
        self.note_end(&mut s, key, first.saturating_add(by));
        Ok(first)
    }

    /// Notes that the next commit of this writer may use the numbers below `end`, which another process has taken for both.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn note_numbers(&self, key: &[u8], end: u64) -> Result<()> {
        let mut s = self.writable()?;
        self.note_end(&mut s, key, end);
        Ok(())
    }

    fn note_end(&self, s: &mut State, key: &[u8], end: u64) {
        match &mut s.counter {
            Some(counter) if counter.key == key => counter.end = counter.end.max(end),
            _ => {
                let key = Bytes::copy_from_slice(key);
                s.counter = Some(Counter { key, end, ahead: None, next: 0 });
            }
        }
    }

    fn reserve_numbers(&self, s: &mut State, (key, initial): (&[u8], u64), by: u64) -> Result<u64> {
        let mut seen = self.below(s).get(key)?;
        if let Some(commits) = &s.unseen_commits {
            self.find(key, commits.skipped.iter().chain(&commits.records), &mut seen)?;
        }
        let mut counter = |unseen: &[CommitRecord]| {
            let mut now = seen.clone();
            self.find(key, unseen.iter(), &mut now)?;
            self.counter_of(now.as_ref(), initial)
        };
        let raised = |next: u64| {
            let value = Some(Bytes::copy_from_slice(&next.to_be_bytes()));
            record::encode_changes(BTreeMap::from([(Bytes::copy_from_slice(key), value)]).iter())
        };
        let first = self.storage().reserve_numbers(by, &mut counter, &raised).inspect_err(|e| {
            if matches!(e.kind(), ErrorKind::Broken { .. } | ErrorKind::Tampered { .. }) {
                s.broken = Some(e.clone());
            }
        })?;
        self.note_end(s, key, first);
        if let Some(counter) = &mut s.counter {
            counter.next = by.saturating_mul(GROWTH);
        }
        Ok(first)
    }

    fn counter_of(&self, value: Option<&Bytes>, initial: u64) -> Result<u64> {
        let bad = || Error::corrupt(self.storage().target(), "counter", "it has not eight bytes");
        value.map_or(Ok(initial), |v| Ok(u64::from_be_bytes(v.as_ref().try_into().map_err(|_| bad())?)))
    }

    /// Stages the counter for a commit that may use numbers above it. A commit of other changes only does so, because numbers alone make no
    /// version. `reserves` says that the commit can also reserve numbers.
    pub(crate) fn stage_counter(&self, s: &mut State, reserves: bool) -> Result<()> {
        self.unstage_counter(s);
        let Some(Counter { key, end, ahead, next }) = &s.counter else { return Ok(()) };
        if s.staged.is_empty() && !self.storage().has_freed() {
            return Ok(());
        }
        let (key, end) = (key.clone(), *end);
        let used = self.counter_of(self.below(s).get(&key)?.as_ref(), 0)?;
        let count = if reserves && ahead.is_none() { *next } else { 0 };
        self.storage().reserve_with_commit(used.max(end), count);
        if used < end {
            self.stage_stored(s, &key, Some(Bytes::copy_from_slice(&end.to_be_bytes())));
        }
        Ok(())
    }

    /// Ends the staging of the counter after a commit was attempted.
    pub(crate) fn conclude_counter(&self, s: &mut State, is_done: bool) {
        if !is_done {
            self.unstage_counter(s);
        }
        let Some(counter) = &mut s.counter else { return };
        if let Some(reserved) = self.storage().reserved_with_commit() {
            counter.ahead = Some(reserved);
        }
    }

    /// Unstages the counter, which only [`stage_counter`](Self::stage_counter) stages in a concurrent writer.
    pub(crate) fn unstage_counter(&self, s: &mut State) {
        if let Some(key) = s.counter.as_ref().map(|counter| counter.key.clone())
            && value_in(&s.staged, &key).is_some()
        {
            s.unmerged.remove(&key);
            self.take_back(s, &key);
        }
    }

    /// Replaces `value` by the last value that the records put under a key, if they change the key.
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

/// Takes numbers of a block that a commit has reserved.
fn take_ahead(s: &mut State, key: &[u8], by: u64) -> Option<u64> {
    let counter = s.counter.as_mut().filter(|counter| counter.key == key)?;
    let (first, count) = counter.ahead.filter(|(_, count)| *count >= by)?;
    counter.ahead = (count > by).then_some((first + by, count - by));
    counter.next = by.saturating_mul(GROWTH);
    Some(first)
}
