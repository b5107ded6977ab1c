//! The storage traits, implemented for a container in an object store.

use std::any::Any;
use std::io::IoSliceMut;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use object_stores::Condition;

use super::audit::StoreAudit;
use super::note::{mark_of, version_of};
use super::open::size;
use super::pack::PACK_BYTES;
use super::writer::Writer;
use super::{ObjectStorage, past, replaced};
use crate::address::{Address, Location, Run, Wanted};
use crate::audit::Audit;
use crate::compaction_plan::CompactionPlan;
use crate::error::{Error, Result, store_error};
use crate::history::Mark;
use crate::options::{ContainerIdentity, Version};
use crate::storage::{
    Check, Checkpoint, Commit, GroupCommit, PageSizes, Properties, RemoteCommits, Storage,
    StorageCheckpoints, StorageCommits, StorageCompaction, StoragePayloads, StorageReads, StorageSharing,
    write_one_by_one,
};
use crate::wal::record::{CommitRecord, Entries};

impl Storage for ObjectStorage {}

impl StorageReads for ObjectStorage {
    fn target(&self) -> &str {
        &self.target
    }

    fn identity(&self) -> ContainerIdentity {
        ContainerIdentity { id: self.id.0, file: None, key: self.names.head.as_str().to_owned() }
    }

    fn properties(&self) -> Properties {
        Properties {
            sizes: PageSizes { page: 32 << 10, branch: 1 << 20, spill: 16 << 10, records: 64 },
            is_in_store: true,
            is_over_network: self.store.capabilities().remote,
            is_in_memory: self.proven.is_some(),
            is_for_sources: self.is_for_sources,
            takes_edits: false,
            commits_as_checkpoints: false,
        }
    }

    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        StoreAudit::of(self).map(|audit| Box::new(audit) as Box<dyn Audit>)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll_commits(&self, last: u64) -> Result<Option<RemoteCommits>> {
        self.poll(last)
    }

    fn read(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = offset;
        for part in parts {
            self.read_part(place, at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn distrust(&self, location: &Location) -> bool {
        let key = self.names.object_key(location, &self.target);
        key.is_ok_and(|key| {
            self.store.forget(&key);
            true
        })
    }

    fn read_many(&self, wanted: &mut [Wanted<'_>], check: &Check<'_>) -> Result<()> {
        self.many(wanted, check)
    }

    fn borrow_bytes(&self, run: &Run, check: &dyn Fn(&[u8]) -> Result<()>) -> Result<Option<Bytes>> {
        self.look(run, check)
    }

    fn versions(&self, most: usize) -> Result<Vec<Version>> {
        let mut view = self.view.lock();
        let manifest = match &self.writer {
            Some(writer) => writer.lock().committer.known(),
            None => {
                let mut newest = view.clone();
                // A reader of a replaced container reports the versions of the manifest that it has.
                let _the_view_stays = self.load(&mut newest);
                newest.manifest
            }
        };
        let fetcher = self.fetcher();
        let marks = past::marks(&manifest, most, &mut view.segments, &fetcher)?;
        Ok(marks.iter().map(version_of).collect())
    }

    fn mark_of_snapshot(&self, version: u64) -> Result<Option<Mark>> {
        let mut view = self.view.lock();
        let Some(reported) = view.reported.filter(|reported| reported.number == version) else {
            return Ok(None);
        };
        let manifest = view.manifest.clone();
        let fetcher = self.fetcher();
        let marks = past::marks(&manifest, usize::MAX, &mut view.segments, &fetcher)?;
        Ok(marks.iter().find(|mark| mark.version == reported.version).map(mark_of))
    }

    fn size(&self) -> Result<u64> {
        size(self.store.as_ref(), &self.names, &self.target)
    }

    /// Returns the error unchanged. Objects never change once they are stored, so a reclaimed object is missing, but never has other
    /// content.
    fn classify_read_error(&self, e: Error) -> Error {
        e
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl StoragePayloads for ObjectStorage {
    fn write_payload(&self, data: &[u8], _most: u64, on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
        on_bytes(data);
        if data.is_empty() {
            return Ok(Address::file(0, 0));
        }
        self.with_writer(|w| w.payload(data))
    }

    fn write_payloads(&self, data: &[&[u8]]) -> Result<Vec<Address>> {
        let total = data.iter().map(|data| data.len()).sum::<usize>();
        let is_large = self.proven.is_some() && total >= PACK_BYTES / 4;
        match is_large.then(|| Self::joined(data, total)).flatten() {
            Some(joined) => self.pack_of(joined, data.iter().map(|data| data.len())),
            None => write_one_by_one(self, data),
        }
    }

    fn send_payloads(&self) -> Result<()> {
        self.with_writer(Writer::send_pack)
    }

    fn prepare_to_free(&self) -> Result<()> {
        self.with_writer(|_| Ok(()))
    }

    fn free_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w| w.free(place))
    }

    fn has_freed(&self) -> bool {
        self.of_writer(|w| w.has_freed())
    }

    fn keep_payload(&self, place: &Address) {
        self.of_writer(|w| w.keep(place));
    }
}

impl ObjectStorage {
    /// Stages that the next commit uses a payload of an old version again. Returns false if the payload is not out of use, or was
    /// reclaimed.
    pub(crate) fn revive_payload(&self, place: &Address) -> Result<bool> {
        self.with_writer(|w| w.revive(place))
    }

    /// Returns whether commits of other writers wait in the queue since the last call, as far as this writer has listed it.
    pub(crate) fn take_saw_queued_commits(&self) -> bool {
        self.of_writer(|w| std::mem::take(&mut w.saw_queued_commits))
    }

    /// Prepares the writer to [revive](Self::revive_payload) payloads: until its next commit, it reclaims nothing.
    pub(crate) fn begin_restore(&self) {
        self.of_writer(Writer::begin_restore);
    }
}

impl StorageCommits for ObjectStorage {
    fn commit(&self, _version: u64, entries: &dyn Entries, closes: bool) -> Result<Commit> {
        self.with_view(|w, view| w.commit_with_reserve(view, entries, closes))
    }

    fn settle_commit(&self) -> Result<Commit> {
        self.with_view(|w, view| w.settle(view))
    }

    fn rollback(&self) -> Result<()> {
        self.with_writer(|w| {
            w.rollback();
            Ok(())
        })
    }

    fn resolve(&self) -> Result<Option<RemoteCommits>> {
        self.with_view(|w, view| w.resolve(view))
    }

    fn spend_reserve(&self) -> bool {
        self.store.spend_reserve()
    }

    fn give_up_new(&self) -> Result<bool> {
        if self.of_writer(Writer::keep_journal) {
            // The head object continues to list the copy.
            *self.draft.lock() = None;
            return Ok(true);
        }
        self.discard_draft().map(|()| false)
    }

    fn present(&self) -> Result<u64> {
        self.with_writer(|w| Ok(w.present()))
    }

    fn arrive(&self) -> Result<()> {
        match self.store.stage() {
            Some(stage) => stage.drain().map_err(|e| store_error(&self.target, &e)),
            None => Ok(()),
        }
    }

    fn close(&self) -> Result<()> {
        match &self.writer {
            Some(_) => self.with_view(|w, view| w.close(view)).and_then(|()| self.arrive()),
            None => Ok(()),
        }
    }
}

impl StorageSharing for ObjectStorage {
    fn reserve_numbers(
        &self,
        count: u64,
        counter: &mut dyn FnMut(&[CommitRecord]) -> Result<u64>,
        _: &dyn Fn(u64) -> Vec<u8>,
    ) -> Result<u64> {
        self.with_view(|w, view| w.reserve_numbers(view, count, counter))
    }

    fn reserve_with_commit(&self, least: u64, count: u64) {
        let _only_writers_commit = self.with_writer(|w| {
            w.numbers.wanted = (count > 0).then_some((least, count));
            Ok(())
        });
    }

    fn reserved_with_commit(&self) -> Option<(u64, u64)> {
        self.with_writer(|w| Ok(w.numbers.reserved.take())).unwrap_or_default()
    }

    fn reserved_numbers(&self) -> u64 {
        match &self.writer {
            Some(writer) => writer.lock().numbers.seen,
            None => self.view.lock().manifest.numbers,
        }
    }

    fn poll_after_loss(&self) -> Result<Option<RemoteCommits>> {
        match self.with_view(|w, view| self.known_commits(view, w))? {
            None => self.poll_commits(u64::MAX),
            found => Ok(found),
        }
    }

    fn commit_in_group(&self, entries: &[u8], conditions: &[Bytes]) -> Result<GroupCommit> {
        self.queue_commit(entries, conditions)
    }

    fn settle_group(&self) -> Result<GroupCommit> {
        self.settle_queued()
    }

    fn offer_payloads(&self) -> Result<()> {
        self.with_writer(Writer::offer)
    }

    fn accept_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w| w.accept(place))
    }

    fn end_offer(&self) -> Result<()> {
        self.with_writer(|w| {
            w.end_offer();
            Ok(())
        })
    }

    fn disown_payload(&self, place: &Address, is_named: bool) -> Result<()> {
        self.with_writer(|w| {
            match is_named {
                true => w.staged.disown(place),
                false => _ = w.staged.lose(place),
            }
            Ok(())
        })
    }
}

impl StorageCheckpoints for ObjectStorage {
    fn begin_checkpoint(&self) -> bool {
        // A concurrent writer writes a checkpoint only at every eighth version. Otherwise all writers would try, and one of them would
        // succeed.
        !self.is_shared()
            || self.view.lock().reported.is_some_and(|reported| reported.number.is_multiple_of(8))
    }

    fn wants_checkpoint(&self) -> bool {
        self.of_writer(|w| w.wants_checkpoint())
    }

    fn begin_spill(&self) -> Result<bool> {
        self.with_writer(|w| Ok(w.may_spill()))
    }

    fn checkpoint_write(&self, data: &[u8]) -> Result<Address> {
        self.with_writer(|w| w.checkpoint_write(data))
    }

    fn checkpoint_free(&self, place: &Address) -> Result<()> {
        self.with_writer(|w| {
            w.freed_pages.push(*place);
            Ok(())
        })
    }

    fn checkpoint_commit(&self, base: Checkpoint) -> Result<()> {
        self.with_view(|w, view| w.checkpoint_commit(view, base))
    }

    fn checkpoint_rollback(&self) {
        self.of_writer(Writer::checkpoint_rollback);
    }

    fn checkpoint_keep(&self) -> Result<u64> {
        self.with_writer(Writer::checkpoint_keep)
    }

    fn commit_as_checkpoint(&self, base: Checkpoint) -> Result<Commit> {
        self.with_view(|w, view| w.commit_root(view, base))
    }

    fn sweep(&self) -> Result<()> {
        self.with_view(|w, view| {
            w.expel_dead(view)?;
            w.reclaim(view)?;
            w.sweep(view)
        })?;
        replaced::sweep(self.store.as_ref(), &self.names.head, &self.target)
    }
}

impl StorageCompaction for ObjectStorage {
    fn compaction_plan(&self, _most: u64) -> Result<CompactionPlan> {
        self.with_writer(Writer::compaction_plan)
    }

    fn wants_compaction_at_close(&self) -> Result<bool> {
        self.with_writer(Writer::wants_compaction_at_close)
    }

    fn held_bytes(&self) -> Result<u64> {
        self.with_view(|w, _| w.held_bytes())
    }
}

/// Operations that only a container in a store has. The ledger reaches them through `as_objects`.
impl ObjectStorage {
    /// Returns the key of the object at a location.
    pub(crate) fn object_key(&self, location: &Location) -> Result<String> {
        self.names.object_key(location, &self.target).map(|key| key.as_str().to_owned())
    }

    /// Puts several payloads as one object, without copying them, and waits until it is stored.
    pub(crate) fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Address>> {
        self.pack_of(data.iter().cloned().collect(), data.iter().map(Bytes::len))
    }

    /// Returns whether several commits can share one record in this store.
    pub(crate) fn takes_groups(&self) -> bool {
        self.is_shared() && self.store.honours(Condition::Create)
    }

    /// Deletes the journal of a copy that is complete.
    pub(crate) fn end_journal(&self) {
        self.of_writer(Writer::end_journal);
    }

    fn read_part(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()> {
        if let Some(w) = &self.writer
            && let Some(part) = w.lock().unput(place, offset, buf.len())
        {
            buf.copy_from_slice(part);
            return Ok(());
        }
        let key = self.names.object_key(&place.location, &self.target)?;
        let read = self.store.get_into(&key, place.offset.saturating_add(offset), buf);
        read.map(drop).map_err(|e| self.unread(&key, &e))
    }
}
