//! Conflicts in the tree of groups: a merge must not delete objects that another writer has just changed, merge changes
//! into objects that another writer deletes, or leave a group without a path from the root.

use super::links::named;
use super::{RemoteChange, Settle};
use crate::container::State;
use crate::{Container, ErrorKind, ObjectId, OnConflict, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::{HeaderRecord, LinkRecord, decode};
use std::collections::{HashMap, HashSet};

fn links(value: &Bytes) -> Result<u32> {
    let h: HeaderRecord = decode(value.clone(), || "a header".into())?;
    Ok(h.link_count)
}

pub(crate) fn hard(value: Option<&Bytes>) -> Result<Option<u64>> {
    let Some(value) = value else { return Ok(None) };
    let r: LinkRecord = decode(value.clone(), || "a link".into())?;
    Ok(r.hard)
}

impl Container {
    pub(super) fn check_tree(&self, s: &mut State) -> Result<()> {
        // The processes of an MPI program change the tree together.
        if s.ids.are_shared() {
            return Ok(());
        }
        if self.on_conflict != OnConflict::Last {
            self.check_deleted_here(s)?;
        }
        self.check_deleted_there(s)?;
        self.check_overruled(s)?;
        self.check_linked_anew(s)?;
        self.check_reachable(s)
    }

    /// Notes a conflict if another writer changed an object that this batch deletes. That writer has already committed,
    /// so it cannot be notified.
    fn check_deleted_here(&self, s: &mut State) -> Result<()> {
        for id in s.remote.batch.unlinked.clone() {
            let Some(now) = self.ledger.get(&keys::of(keys::HEADER, id))? else { continue };
            if links(&now)? > 0 || self.ledger.committed(&keys::of(keys::HEADER, id))?.is_none() {
                continue;
            }
            let mut by = None;
            self.visit_deleted(s, id, &mut |s, id| {
                by = s.remote.changed.by(id).cloned();
                Ok(by.is_some())
            })?;
            if let Some(by) = by {
                let (group, name) = self.removed_link(s, id)?;
                let what = format!("{name}, which this batch deletes,");
                self.whole_conflict(s, group, what, Some(&by), Settle::Overrule);
            }
        }
        Ok(())
    }

    /// Notes a conflict if this batch changed an object from which another writer removed the last link. That object will be
    /// deleted; changes of this batch must not be merged into it.
    fn check_deleted_there(&self, s: &mut State) -> Result<()> {
        let headers = s.remote.theirs.iter().filter(|(key, _)| key.first() == Some(&keys::HEADER));
        let headers: Vec<(Bytes, RemoteChange)> = headers.map(|(k, t)| (k.clone(), t.clone())).collect();
        for (key, their) in headers {
            let (Some(id), Some(before)) = (keys::id(&key), &their.before) else { continue };
            let Some(now) = self.ledger.get(&key)? else { continue };
            if links(before)? == 0 || links(&now)? > 0 || self.is_removed_here(s, id)? {
                continue;
            }
            let mut ours = false;
            self.visit_deleted(s, id, &mut |_, id| {
                ours = self.is_changed_here(id)?;
                Ok(ours)
            })?;
            if ours {
                let (group, name) = self.remotely_removed_link(s, id).unwrap_or((id, String::new()));
                let what = format!("{name}, which was deleted,");
                self.whole_conflict(s, group, what, Some(&their), Settle::Delete);
            }
        }
        Ok(())
    }

    /// Returns whether this batch, and not another writer, removed the last link of the object.
    fn is_removed_here(&self, s: &State, id: u64) -> Result<bool> {
        let committed = self.ledger.committed(&keys::of(keys::HEADER, id))?;
        Ok(s.remote.batch.unlinked.contains(&id) && committed.map_or(Ok(0), |h| links(&h))? > 0)
    }

    fn is_changed_here(&self, id: u64) -> Result<bool> {
        let letters = [keys::LINK, keys::ATTRIBUTE, keys::BLOCK];
        if letters.iter().any(|l| self.ledger.staged(&keys::of(*l, id)).iter().any(|(_, v)| v.is_some())) {
            return Ok(true);
        }
        let key = keys::of(keys::HEADER, id);
        match self.ledger.committed(&key)? {
            Some(theirs) if self.ledger.is_staged(&key) => {
                self.differs(&theirs, self.ledger.get(&key)?.as_ref())
            }
            _ => Ok(false),
        }
    }

    /// Notes a conflict if a rejected remote link is the only link to an object that another writer moved there and
    /// that this batch did not delete.
    fn check_overruled(&self, s: &mut State) -> Result<()> {
        for (id, links) in s.remote.overruled.clone() {
            if !self.is_deleted_without(s, id, links.len())? {
                continue;
            }
            for key in links {
                let link = self.ledger.committed(&key)?.unwrap_or_default();
                let link: LinkRecord = decode(link, || "a link that two writers changed".into())?;
                let what = named(keys::name(&key, &link.name));
                let (group, by) = (keys::id(&key).unwrap_or_default(), s.remote.theirs.get(&key).cloned());
                self.whole_conflict(s, group, what, by.as_ref(), Settle::KeepMoved);
            }
        }
        s.remote.overruled.clear();
        Ok(())
    }

    /// Returns whether an object that existed before would be deleted with object `id` if `id` loses `rejected` of its
    /// remote links.
    fn is_deleted_without(&self, s: &mut State, id: u64, rejected: usize) -> Result<bool> {
        let Some(theirs) = self.ledger.committed(&keys::of(keys::HEADER, id))? else { return Ok(false) };
        if links(&theirs)? as usize > rejected || !self.staged_links_to(s, id)?.is_empty() {
            return Ok(false);
        }
        let mut is_deleted = false;
        self.visit_deleted(s, id, &mut |s, id| {
            is_deleted = s.remote.was_there(id) && !s.remote.batch.unlinked.contains(&id);
            Ok(is_deleted)
        })?;
        Ok(is_deleted)
    }

    /// Notes a conflict if the main line made a new link to an object that the branch deleted: the object would stay,
    /// with objects that the branch has moved elsewhere. Links inside objects that the branch deleted do not count,
    /// because they are deleted too. Committed datatypes are not checked, because their link counts include the objects
    /// that use them.
    fn check_linked_anew(&self, s: &mut State) -> Result<()> {
        let deleted = s.remote.deleted.clone();
        let mut held = HashMap::<u64, u32>::new();
        for id in &deleted {
            for target in self.targets(*id)? {
                *held.entry(target).or_default() += 1;
            }
        }
        for id in deleted {
            let Some(now) = self.ledger.get(&keys::of(keys::HEADER, id))? else { continue };
            let now: HeaderRecord = decode(now, || format!("the header of object {id:#x}"))?;
            if now.datatype.is_none() && now.link_count > held.get(&id).copied().unwrap_or(0) {
                let main = RemoteChange::of_main_line();
                self.whole_conflict(s, id, ", which the branch deleted,".into(), Some(&main), Settle::Unlink);
            }
        }
        Ok(())
    }

    /// Notes a conflict if a group cannot be reached from the root after both sides removed links: one writer may have
    /// moved a group into a second one, and another writer the second into the first.
    fn check_reachable(&self, s: &mut State) -> Result<()> {
        let theirs = s.remote.theirs.iter();
        let Some(their) =
            theirs.filter(|(k, _)| k.first() == Some(&keys::LINK)).map(|(_, t)| t.clone()).next()
        else {
            return Ok(());
        };
        let mut wanted = HashSet::new();
        for id in s.remote.batch.unlinked.clone() {
            let is_group = |h: &HeaderRecord| h.group.is_some() && h.link_count > 0;
            if self.header_if_there(s, id)?.is_some_and(|h| is_group(&h)) {
                wanted.insert(id);
            }
        }
        self.reach(s, &mut wanted)?;
        for id in wanted {
            let (group, name) = self.removed_link(s, id)?;
            let what = format!("{name}, which the moves of two writers would make unreachable,");
            self.whole_conflict(s, group, what, Some(&their), Settle::MoveBack);
        }
        Ok(())
    }

    /// Removes the groups from `wanted` that can be reached from the root.
    fn reach(&self, s: &mut State, wanted: &mut HashSet<u64>) -> Result<()> {
        let (mut seen, mut pending) = (HashSet::from([ObjectId::ROOT.0]), vec![ObjectId::ROOT.0]);
        while let Some(id) = pending.pop() {
            wanted.remove(&id);
            if wanted.is_empty() {
                return Ok(());
            }
            for target in self.targets(id)? {
                if seen.insert(target) && self.header_if_there(s, target)?.is_some_and(|h| h.group.is_some())
                {
                    pending.push(target);
                }
            }
        }
        Ok(())
    }

    /// Calls `stops` with the object, and with each object that would be deleted with it, until `stops` returns true.
    fn visit_deleted(
        &self,
        s: &mut State,
        top: u64,
        stops: &mut dyn FnMut(&mut State, u64) -> Result<bool>,
    ) -> Result<()> {
        let (mut removed, mut pending) = (HashMap::<u64, u32>::new(), vec![top]);
        while let Some(id) = pending.pop() {
            if stops(s, id)? {
                return Ok(());
            }
            for target in self.targets(id)? {
                let Some(h) = self.header_if_there(s, target)? else { continue };
                let removed = removed.entry(target).or_default();
                *removed += 1;
                if *removed == h.link_count {
                    pending.push(target);
                }
            }
        }
        Ok(())
    }

    /// Returns the objects that hard links of a group lead to.
    fn targets(&self, group: u64) -> Result<Vec<u64>> {
        let mut all = Vec::new();
        self.each(&keys::of(keys::LINK, group), |_, value| {
            all.extend(hard(Some(&value))?);
            Ok(())
        })?;
        Ok(all)
    }

    pub(super) fn header_if_there(
        &self,
        s: &mut State,
        id: u64,
    ) -> Result<Option<std::sync::Arc<HeaderRecord>>> {
        match self.header(s, ObjectId(id)) {
            Ok(h) => Ok(Some(h)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}
