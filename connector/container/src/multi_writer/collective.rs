//! Collective mode: processes that write one container together, such as those of an MPI program. All of them make the
//! same changes to the structure, that is to everything but elements of datasets, in the same order. The first process
//! (rank 0) therefore commits these changes for all processes, together with the elements that each process wrote
//! (`offer`). Between two flushes a process can commit elements on its own.

use crate::container::State;
use crate::ids::{NumberSource, take_from};
use crate::multi_writer::RemoteChange;
use crate::registry;
use crate::{Access, Container, Error, ErrorKind, ObjectId, Result, Target, Together};
use bytes::Bytes;
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::{Extent, LockFiles};
use h5lake_records::extents_of;
use h5lake_records::keys;
use h5lake_records::record::{self, HeaderRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

pub(super) fn is_element(key: &[u8], value: Option<&Bytes>) -> bool {
    key.first() == Some(&keys::BLOCK) && value.is_some()
}

/// Returns the group of processes if it has more than one process.
pub(super) fn several(together: Option<Together>) -> Option<Together> {
    together.filter(|together| together.processes > 1)
}

impl Container {
    /// Takes the ids of new objects from `source` from now on. All processes ask `source` in the same order.
    pub fn number_together(&self, source: NumberSource) {
        // The replaced source may be dropped for the last time here, which must not happen under a lock.
        let before = self.state().ids.share(source);
        drop(before);
    }

    /// Reserves ids for new objects, if none are left in this process. Processes that create an object together call
    /// this function first, so that no failure of one process precedes it, and no lock is held while the processes
    /// communicate.
    ///
    /// # Errors
    /// Those of the source of ids.
    pub fn prepare_number(&self) -> Result<()> {
        let shortage = self.state().ids.shortage();
        let Some((source, length)) = shortage else { return Ok(()) };
        let first = source(length, &|count| take_from(&self.ledger, count))?;
        self.state().ids.go_on_from(&self.ledger, first, length)
    }

    /// Returns the id of the next object, which the processes compare; 0 if they have yet to reserve ids.
    pub fn next_number(&self) -> u64 {
        self.state().ids.position()
    }

    /// Discards the reserved ids, after processes may have used different numbers of them.
    pub fn forget_numbers(&self) {
        self.state().ids.begin_anew();
    }

    /// Returns whether this process has uncommitted changes.
    pub fn has_changes(&self) -> bool {
        self.writable()
            && (self.ledger.staged_bytes() > 0
                || self.blocks.lock().dirty_between(&[], None, None).next().is_some())
    }

    /// Returns whether a dataset shrank in the uncommitted changes. The truncated elements count as written in every
    /// process, so a process that writes there before the commit would lose its elements to the fill values of another
    /// process.
    pub fn has_cut(&self) -> bool {
        self.state().remote.batch.has_cut()
    }

    /// Returns whether other processes change the structure together with this one.
    pub(crate) fn has_sharers(&self) -> bool {
        self.sharers().is_some()
    }

    /// Returns the group of processes that currently share the container.
    fn sharers(&self) -> Option<Together> {
        several(self.together).filter(|_| !self.has_parted.load(Ordering::Relaxed))
    }

    /// Ends collective mode after all processes have closed their last file of the container together. Objects that are
    /// still open here belong to this process alone from now on, as with any writer in multi-writer mode.
    pub fn leave_collective(&self) {
        if self.has_sharers() {
            self.has_parted.store(true, Ordering::Relaxed);
            self.number_apart();
        }
    }

    /// Makes processes that have left collective mode allocate ids of their own again, after they created an object
    /// together. Otherwise two of them could give one id to different objects.
    pub fn number_apart(&self) {
        if self.has_parted.load(Ordering::Relaxed) {
            let source = self.state().ids.number_alone();
            drop(source);
        }
    }

    /// Returns the open container of this process for a target, at the newest version. Another open would share it.
    pub fn found_open(target: &Target) -> Option<std::sync::Arc<Self>> {
        registry::lock().find(target, None, None)
    }

    /// Returns whether this process has the container open for writing together with other processes.
    pub fn is_open_collectively(target: &Target) -> bool {
        Self::found_open(target).is_some_and(|container| container.writable() && container.has_sharers())
    }

    /// Returns the lock files that the processes which write the container together use in place of locks.
    pub fn lock_files(&self) -> Option<&LockFiles> {
        self.lock_files.as_ref()
    }

    /// Refuses to open a container that is open for writing in another group of processes: the structures would differ,
    /// or messages would remain unanswered. A process that only reads, on its own, is allowed and sees the changes of
    /// this process.
    pub(crate) fn check_sharers(&self, access: Access, together: Option<Together>) -> Result<()> {
        let wanted = several(together);
        // Under the MPI driver even a single process brings a source of ids.
        let reads_alone = access == Access::ReadOnly && together.is_none();
        if self.sharers() == wanted || !self.writable() || reads_alone {
            return Ok(());
        }
        // The processes open the container anew while one of them still has an object of it open.
        if several(self.together) == wanted && self.has_parted.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let text = format!(
            "{}: unable to open file: this process has it open to write with other processes (MPI) than it is opened with now; \
             close it first, or open it in this process alone to read it",
            self.name()
        );
        Err(Error::new(ErrorKind::Busy, text))
    }

    /// Flushes for the last time. After it no process will ask this one to commit the common changes.
    ///
    /// # Errors
    /// Those of a flush. `Conflict` if elements of this process belong to a dataset that no process has committed in its
    /// present state; all other elements are committed even then.
    pub(crate) fn flush_at_drop(&self) -> Result<()> {
        match self.sharers() {
            // There is nothing to lose, so a failure to read the remote commits must not be reported as a loss.
            Some(_) if !self.writable() || !self.has_changes_to_commit()? => Ok(()),
            Some(Together { rank: 0, .. }) => self.flush_for_all(&[]).flatten(),
            Some(_) => self.flush_with(|| self.flush_last_elements()),
            None => self.flush_to_close(),
        }
    }

    fn flush_last_elements(&self) -> Result<()> {
        if self.try_commit_elements()? {
            return Ok(());
        }
        // The first process may have committed the datasets of these elements meanwhile.
        self.refresh_shared()?;
        let unsettled = without_locks(|| self.unsettled())?;
        let discarded = self.discard_elements(&unsettled)?;
        self.commit_elements()?;
        let Some(first) = discarded.first() else { return Ok(()) };
        let path = self.find_path(ObjectId(*first)).ok().flatten().unwrap_or_default();
        let more = match discarded.len() - 1 {
            0 => String::new(),
            more => format!(" and of {more} other datasets"),
        };
        let text = format!(
            "{}: the elements of {}{more} that this process wrote are given up: nobody has committed that it was made or resized",
            self.name(),
            String::from_utf8_lossy(&path)
        );
        Err(Error::new(ErrorKind::Conflict, text))
    }

    /// Returns the datasets with elements that cannot be committed.
    fn unsettled(&self) -> Result<Vec<u64>> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        let mut unsettled = Vec::new();
        for id in self.with_staged_elements() {
            if !self.is_settled(s, id)? {
                unsettled.push(id);
            }
        }
        Ok(unsettled)
    }

    /// Discards the staged elements of `datasets`. Returns the datasets for which this is a loss, that is, those that
    /// still have a link; a dataset without links will be deleted anyway.
    fn discard_elements(&self, datasets: &[u64]) -> Result<Vec<u64>> {
        let mut state = self.state();
        let s = &mut *state;
        let mut discarded = Vec::new();
        for id in datasets {
            let prefix = keys::of(keys::BLOCK, *id);
            let has_any = self.ledger.staged(&prefix).iter().any(|(_, value)| value.is_some());
            if has_any && !self.header(s, ObjectId(*id)).is_ok_and(|header| header.link_count == 0) {
                discarded.push(*id);
            }
            self.discard_all(s, &prefix)?;
        }
        Ok(discarded)
    }

    /// Encodes the elements written in this process and begins to upload them, ahead of a flush. Nothing is committed.
    ///
    /// # Errors
    /// Those of staging: of a store, a full disk, a filter.
    pub fn prepare_flush(&self) -> Result<()> {
        without_locks(|| {
            self.stage_all(&mut self.state())?;
            Ok(self.ledger.send_payloads()?)
        })
    }

    /// Returns the objects with staged elements that have no link or no header here.
    pub(super) fn unlinked_with_elements(&self, s: &mut State) -> Result<BTreeSet<u64>> {
        let mut unlinked = BTreeSet::new();
        for id in self.with_staged_elements() {
            match self.header(s, ObjectId(id)) {
                Ok(header) if header.link_count > 0 => {}
                Ok(_) => _ = unlinked.insert(id),
                Err(e) if e.kind() == ErrorKind::NotFound => _ = unlinked.insert(id),
                Err(e) => return Err(e),
            }
        }
        Ok(unlinked)
    }

    fn with_staged_elements(&self) -> BTreeSet<u64> {
        self.ledger.staged(&[keys::BLOCK]).iter().filter_map(|(key, _)| keys::id(key)).collect()
    }

    /// Commits the elements that were written in this process, while all other changes stay staged.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn commit_elements(&self) -> Result<()> {
        let (aside, closed) = without_locks(|| {
            let mut state = self.state();
            self.stage_all(&mut state)?;
            let aside = self.set_aside(&mut state)?;
            // Closed objects without links are deleted when the removal of their last link is committed.
            Ok((aside, std::mem::take(&mut *self.handles.closed.lock())))
        })?;
        let done = self.flush_shared();
        self.handles.closed.lock().extend(closed);
        // All changes that were set aside are staged again, even if one of them fails.
        let mut state = self.state();
        let s = &mut *state;
        let theirs = s.remote.aside.take().map(|aside| aside.theirs).filter(|_| !aside.is_empty());
        let done = aside.into_iter().fold(done, |done, one| done.and(self.stage_again(s, one)));
        for (key, their) in theirs.into_iter().flatten() {
            s.remote.theirs.entry(key).or_insert(their);
        }
        done
    }

    fn stage_again(&self, s: &mut State, one: SetAside) -> Result<()> {
        // A remote change of the same key, made before or meanwhile, is still to be merged.
        let is_contested = one.is_contested || self.ledger.committed(&one.key)? != one.base;
        match one.value {
            Some(value) => self.ledger.put(&one.key, value)?,
            None => self.ledger.delete(&one.key)?,
        }
        if is_contested {
            self.ledger.contest_from(&one.key, one.base);
        }
        if let Some(theirs) = one.theirs {
            s.remote.theirs.entry(one.key).or_insert(theirs);
        }
        one.freed.iter().try_for_each(|extent| Ok(self.ledger.free_payload(extent)?))
    }

    /// Commits the elements written in this process, as [`commit_elements`](Self::commit_elements) does, and returns
    /// true, provided that the headers of their datasets are committed with the extents that the datasets have here.
    /// Otherwise it commits nothing and returns false: the elements then have to wait for a collective flush.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn try_commit_elements(&self) -> Result<bool> {
        if !without_locks(|| self.are_settled())? {
            return Ok(false);
        }
        self.commit_elements().map(|()| true)
    }

    fn are_settled(&self) -> Result<bool> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        for id in self.with_staged_elements() {
            if !self.is_settled(s, id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_settled(&self, s: &mut State, id: u64) -> Result<bool> {
        let key = keys::of(keys::HEADER, id);
        let Some(committed) = self.ledger.committed(&key)? else { return Ok(false) };
        if !self.ledger.is_staged(&key) {
            return Ok(true);
        }
        let what = || format!("{}: the header of object {id:#x}", self.name());
        let committed: HeaderRecord = record::decode(committed, what)?;
        let extent = |header: &HeaderRecord| header.dataset.as_ref().map(|dataset| dataset.space.clone());
        Ok(extent(&committed) == extent(&*self.header(s, ObjectId(id))?))
    }

    /// Moves to the newest version that other processes have committed, if there is one. If both sides changed the same
    /// block, the merged block becomes visible only when the elements of this process are committed, so they are
    /// committed [if possible](Self::try_commit_elements). After a flush of all processes that failed, this process may
    /// not know whether its elements are committed. Then it stays at its version, where it sees them, until the next
    /// flush.
    ///
    /// # Errors
    /// Those of the ledger, and of a flush.
    pub fn observe_remote_commits(&self) -> Result<()> {
        self.settle_known_offer()?;
        if self.ledger.has_offer() {
            return Ok(());
        }
        if !self.ledger.has_unseen_commits()? && self.ledger.unmerged().is_empty() {
            return Ok(());
        }
        self.refresh_shared()?;
        if !self.ledger.unmerged().is_empty() {
            self.try_commit_elements()?;
        }
        Ok(())
    }

    /// Unstages all changes except those of elements. The extents that the unstaged changes free stay in use until
    /// those changes are committed.
    fn set_aside(&self, s: &mut State) -> Result<Vec<SetAside>> {
        let list = |key: &[u8], value: Option<Bytes>| {
            value.map_or_else(|| Ok(Vec::new()), |value| extents_of(key, value))
        };
        let mut aside = Vec::new();
        let contested: BTreeSet<Bytes> = self.ledger.unmerged().into_iter().map(|(key, _)| key).collect();
        for (key, value) in self.ledger.staged(&[]) {
            if !is_element(&key, value.as_ref()) {
                let new = list(&key, value.clone())?;
                let base = self.ledger.base(&key)?;
                let mut freed = list(&key, base.clone())?;
                freed.retain(|extent| !new.contains(extent));
                let (is_contested, theirs) = (contested.contains(&key), s.remote.theirs.remove(&key));
                aside.push(SetAside { key, value, freed, base, is_contested, theirs });
            }
        }
        let keys = aside.iter().map(|one| one.key.clone()).collect();
        s.remote.aside = Some(Aside { keys, theirs: BTreeMap::new() });
        for one in &aside {
            one.freed.iter().try_for_each(|extent| self.ledger.keep_payload(extent))?;
            self.ledger.unstage(&one.key)?;
        }
        Ok(aside)
    }
}

/// A staged change that was set aside.
struct SetAside {
    key: Bytes,
    value: Option<Bytes>,
    /// Extents that the change frees.
    freed: Vec<Extent>,
    /// The base value of the change.
    base: Option<Bytes>,
    /// True if another writer has changed the same key.
    is_contested: bool,
    theirs: Option<RemoteChange>,
}

/// The keys that are set aside, and the remote changes of these keys that were committed meanwhile.
pub(super) struct Aside {
    pub(super) keys: BTreeSet<Bytes>,
    pub(super) theirs: BTreeMap<Bytes, RemoteChange>,
}
