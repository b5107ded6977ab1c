//! Processes that write one container together, as those of an MPI program do: whatever is no element of a dataset, all of
//! them change in the same way, in the same order. So the first one's changes stand for all, and the others commit the
//! elements that they wrote.

use crate::chunk::block_store::extents_of;
use crate::container::State;
use crate::filters::unlocked::without_locks;
use crate::ids::{NumberSource, take_from};
use crate::multi_writer::RemoteChange;
use crate::record::{self, HeaderRecord};
use crate::registry;
use crate::{Access, Container, Error, ErrorKind, ObjectId, Result, Target, Together, keys};
use bytes::Bytes;
use h5lake_ledger::Extent;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

fn is_element(key: &[u8], value: Option<&Bytes>) -> bool {
    key.first() == Some(&keys::BLOCK) && value.is_some()
}

/// The processes, if there are several.
pub(super) fn several(together: Option<Together>) -> Option<Together> {
    together.filter(|together| together.processes > 1)
}

impl Container {
    /// From now on numbers for new objects come from `source`, which all processes ask in the same order.
    pub fn number_together(&self, source: NumberSource) {
        // It may end with the last one that holds it: not while anything is locked.
        let before = self.state().ids.share(source);
        drop(before);
    }

    /// Gets numbers for new objects, if there are none left here. Processes that make an object together call it first: nobody's
    /// failure can come before it, and no lock is held while they talk.
    ///
    /// # Errors
    /// Those of the source of numbers.
    pub fn prepare_number(&self) -> Result<()> {
        let shortage = self.state().ids.shortage();
        let Some((source, length)) = shortage else { return Ok(()) };
        let first = source(length, &|count| take_from(&self.ledger, count))?;
        self.state().ids.go_on_from(first, length);
        Ok(())
    }

    /// The number of the next object, which processes compare; 0 where they have yet to ask for one.
    pub fn next_number(&self) -> u64 {
        self.state().ids.position()
    }

    /// Forgets the numbers at hand, after processes may have taken different ones.
    pub fn forget_numbers(&self) {
        self.state().ids.begin_anew();
    }

    /// Whether anything was changed here that is not committed.
    pub fn has_changes(&self) -> bool {
        self.writable()
            && (self.ledger.staged_bytes() > 0
                || self.blocks.lock().dirty_between(&[], None, None).next().is_some())
    }

    /// Whether a dataset shrank in what is not committed. What is cut off counts as written in every process. Who writes there before
    /// the commit would lose it to another's fill.
    pub fn has_cut(&self) -> bool {
        self.state().others.batch.has_cut()
    }

    /// Whether other processes change the structure as this one does.
    pub(crate) fn has_sharers(&self) -> bool {
        self.sharers().is_some()
    }

    /// The processes that share it at present.
    fn sharers(&self) -> Option<Together> {
        several(self.together).filter(|_| !self.has_parted.load(Ordering::Relaxed))
    }

    /// All processes have closed their last file of the container together. What this one still has open of it is its own from now
    /// on, as with any of many writers.
    pub fn part_from_others(&self) {
        if self.has_sharers() {
            self.has_parted.store(true, Ordering::Relaxed);
            self.number_apart();
        }
    }

    /// After processes have made an object together: those that have parted take numbers of their own again. Two of them must not
    /// give one number to different objects.
    pub fn number_apart(&self) {
        if self.has_parted.load(Ordering::Relaxed) {
            let source = self.state().ids.number_alone();
            drop(source);
        }
    }

    /// The newest version of a container, if this process has it open: what another open would share.
    pub fn found_open(target: &Target) -> Option<std::sync::Arc<Self>> {
        registry::lock().find(target, None, None)
    }

    /// Whether this process has a container open to write together with others.
    pub fn is_open_with_others(target: &Target) -> bool {
        Self::found_open(target).is_some_and(|container| container.writable() && container.has_sharers())
    }

    /// Refuses to open what is open to write with other processes: their structure would differ, or messages go unanswered. One that
    /// reads alone sees what this process has.
    pub(crate) fn check_sharers(&self, access: Access, together: Option<Together>) -> Result<()> {
        let wanted = several(together);
        // By MPI's driver even one process would bring a source of numbers of its own.
        let reads_alone = access == Access::ReadOnly && together.is_none();
        if self.sharers() == wanted || !self.writable() || reads_alone {
            return Ok(());
        }
        // They open it anew, while one of them has something of it open still.
        if several(self.together) == wanted && self.has_parted.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let text = format!(
            "{}: unable to open file: this process has it open to write with other processes (MPI) than it is opened with now; \
             close it first, or open it to read without the MPI driver",
            self.name()
        );
        Err(Error::new(ErrorKind::Busy, text))
    }

    /// Commits everything that was changed, for all processes: the first one calls it when each of them has made the same changes.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn flush_for_all(&self) -> Result<()> {
        if !self.ledger.is_one_of_many() {
            return self.flush();
        }
        self.flush_with(|| self.flush_with_others())
    }

    /// The last flush, after which no process will ask this one to commit what all have changed.
    ///
    /// # Errors
    /// Those of a flush. For elements of what nobody has committed as it is here; all others are committed then.
    pub(crate) fn flush_at_drop(&self) -> Result<()> {
        match self.sharers() {
            Some(Together { rank: 0, .. }) => self.flush_for_all(),
            Some(_) => self.flush_with(|| self.flush_last_elements()),
            None => self.flush_to_close(),
        }
    }

    fn flush_last_elements(&self) -> Result<()> {
        if self.try_commit_elements()? {
            return Ok(());
        }
        // The first process may have committed meanwhile what they belong to.
        self.refresh_with_others()?;
        let unsettled = without_locks(|| self.unsettled())?;
        let lost = self.give_up_elements(&unsettled)?;
        self.commit_elements()?;
        let Some(first) = lost.first() else { return Ok(()) };
        let path = self.find_path(ObjectId(*first)).ok().flatten().unwrap_or_default();
        let more = match lost.len() - 1 {
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

    /// The datasets whose elements cannot be committed.
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

    /// Gives up the elements of datasets, and answers of which of them that is a loss: one without a link is to be deleted.
    fn give_up_elements(&self, datasets: &[u64]) -> Result<Vec<u64>> {
        let mut state = self.state();
        let s = &mut *state;
        let mut lost = Vec::new();
        for id in datasets {
            let prefix = keys::of(keys::BLOCK, *id);
            let has_any = self.ledger.staged(&prefix).iter().any(|(_, value)| value.is_some());
            if has_any && !self.header(s, ObjectId(*id)).is_ok_and(|header| header.link_count == 0) {
                lost.push(*id);
            }
            self.give_up_all(s, &prefix)?;
        }
        Ok(lost)
    }

    /// Encodes what was written here, and begins to send it, ahead of a flush. Nothing is committed.
    ///
    /// # Errors
    /// Those of staging: of a store, a full disk, a filter.
    pub fn prepare_flush(&self) -> Result<()> {
        without_locks(|| {
            self.stage_all(&mut self.state())?;
            Ok(self.ledger.send_payloads()?)
        })
    }

    /// Commits the elements that were written here, and gives up all other changes: the first process has committed them.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn flush_elements(&self) -> Result<()> {
        let unlinked = without_locks(|| self.give_up_all_but_elements())?;
        without_locks(|| self.commit_with_others(&|s| self.give_up_reaped(s, &unlinked)))
    }

    /// The objects with elements that have no link here, or are gone: the first process may have deleted them.
    fn give_up_all_but_elements(&self) -> Result<BTreeSet<u64>> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        let unlinked = self.unlinked_with_elements(s)?;
        for (key, value) in self.ledger.staged(&[]) {
            if !is_element(&key, value.as_ref()) {
                self.give_up(s, &key)?;
            }
        }
        s.headers.clear();
        s.lists.forget_all();
        s.heap.forget_all();
        // The first one deletes what has no link any more.
        self.handles.closed.lock().clear();
        Ok(unlinked)
    }

    fn unlinked_with_elements(&self, s: &mut State) -> Result<BTreeSet<u64>> {
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

    /// Gives up elements of what all have deleted: that is no conflict, and they would belong to nothing.
    fn give_up_reaped(&self, s: &mut State, unlinked: &BTreeSet<u64>) -> Result<()> {
        for id in unlinked {
            if self.ledger.committed(&keys::of(keys::HEADER, *id))?.is_none() {
                self.give_up_all(s, &keys::of(keys::BLOCK, *id))?;
            }
        }
        Ok(())
    }

    fn with_staged_elements(&self) -> BTreeSet<u64> {
        self.ledger.staged(&[keys::BLOCK]).iter().filter_map(|(key, _)| keys::id(key)).collect()
    }

    /// Commits the elements that were written here, while all other changes stay staged.
    ///
    /// # Errors
    /// Those of a flush.
    pub fn commit_elements(&self) -> Result<()> {
        let (aside, closed) = without_locks(|| {
            let mut state = self.state();
            self.stage_all(&mut state)?;
            let aside = self.set_aside(&mut state)?;
            // Objects whose last link went go when the loss of the link is committed.
            Ok((aside, std::mem::take(&mut *self.handles.closed.lock())))
        })?;
        let done = self.flush_with_others();
        self.handles.closed.lock().extend(closed);
        // All of them, whatever fails.
        let mut state = self.state();
        let s = &mut *state;
        let theirs = s.others.aside.take().map(|aside| aside.theirs).filter(|_| !aside.is_empty());
        let done = aside.into_iter().fold(done, |done, one| done.and(self.stage_again(s, one)));
        for (key, their) in theirs.into_iter().flatten() {
            s.others.theirs.entry(key).or_insert(their);
        }
        done
    }

    fn stage_again(&self, s: &mut State, one: SetAside) -> Result<()> {
        // Others have changed it, too, before or meanwhile, and that is still to be merged.
        let is_contested = one.is_contested || self.ledger.committed(&one.key)? != one.base;
        match one.value {
            Some(value) => self.ledger.put(&one.key, value)?,
            None => self.ledger.delete(&one.key)?,
        }
        if is_contested {
            self.ledger.contest_from(&one.key, one.base);
        }
        if let Some(theirs) = one.theirs {
            s.others.theirs.entry(one.key).or_insert(theirs);
        }
        one.freed.iter().try_for_each(|extent| Ok(self.ledger.free_payload(extent)?))
    }

    /// Commits the elements that were written here, as [`commit_elements`](Self::commit_elements) does, if the datasets that they
    /// belong to are committed with the extents that they have here. Elements of others have to wait for a flush of all.
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

    /// Moves to what other processes have committed, if there is something new. Where they and we changed the same block, what
    /// both wrote is visible from when ours is committed, too: it is, if [that](Self::try_commit_elements) can be.
    ///
    /// # Errors
    /// Those of the ledger, and of a flush.
    pub fn look_at_others(&self) -> Result<()> {
        if !self.ledger.has_unseen_commits()? && self.ledger.unmerged().is_empty() {
            return Ok(());
        }
        self.refresh_with_others()?;
        if !self.ledger.unmerged().is_empty() {
            self.try_commit_elements()?;
        }
        Ok(())
    }

    /// Takes out all changes but those of elements. What they give back is in use until they are committed themselves.
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
                let (is_contested, theirs) = (contested.contains(&key), s.others.theirs.remove(&key));
                aside.push(SetAside { key, value, freed, base, is_contested, theirs });
            }
        }
        let keys = aside.iter().map(|one| one.key.clone()).collect();
        s.others.aside = Some(Aside { keys, theirs: BTreeMap::new() });
        for one in &aside {
            one.freed.iter().try_for_each(|extent| self.ledger.keep_payload(extent))?;
            self.ledger.unstage(&one.key)?;
        }
        Ok(aside)
    }
}

/// A change that is not committed yet.
struct SetAside {
    key: Bytes,
    value: Option<Bytes>,
    /// What it gives back.
    freed: Vec<Extent>,
    /// What it started from.
    base: Option<Bytes>,
    /// Others have changed it, too.
    is_contested: bool,
    theirs: Option<RemoteChange>,
}

/// Which keys are set aside, and what others committed meanwhile that concerns them.
pub(super) struct Aside {
    pub(super) keys: BTreeSet<Bytes>,
    pub(super) theirs: BTreeMap<Bytes, RemoteChange>,
}
