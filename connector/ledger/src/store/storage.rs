//! The storage traits, implemented for a container in an object store.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use object_stores::{Condition, Filter};

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
use crate::filtered::{FilterPart, Filtered};
use crate::history::Mark;
use crate::options::{At, ContainerIdentity, Version};
use crate::storage::{
    Check, Checkpoint, Commit, GroupCommit, PageSizes, RemoteCommits, StorageCheckpoints, StorageCommits,
    StorageCompaction, StoragePayloads, StorageReads, StorageSharing, StorageTags, write_one_by_one,
};
use crate::tags::{Held, TagEntry, TagName, Tagging};
use crate::wal::record::{CommitRecord, Entries};

impl StorageReads for ObjectStorage {
    fn target(&self) -> &str {
        &self.target
    }

    fn identity(&self) -> ContainerIdentity {
        ContainerIdentity { id: self.id.0, file: None, key: self.names.head.as_str().to_owned() }
    }

    fn shape(&self) -> PageSizes {
        PageSizes { page: 32 << 10, branch: 1 << 20, spill: 16 << 10, records: 64 }
    }

    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        StoreAudit::of(self).map(|audit| Box::new(audit) as Box<dyn Audit>)
    }

    fn poll_commits_up_to(&self, last: u64) -> Result<Option<RemoteCommits>> {
        self.poll(last)
    }

    fn read(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()> {
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

    fn is_remote(&self) -> bool {
        true
    }

    fn is_in_memory(&self) -> bool {
        self.proven.is_some()
    }

    fn borrow_bytes(&self, run: &Run, check: &dyn Fn(&[u8]) -> Result<()>) -> Result<Option<Bytes>> {
        self.look(run, check)
    }

    fn filters(&self) -> bool {
        self.store_filters()
    }

    fn filter_many(&self, parts: &[FilterPart<'_>], filter: &Filter) -> Result<Filtered> {
        self.filter(parts, filter)
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
        let Some(told) = view.told.filter(|told| told.number == version) else { return Ok(None) };
        let manifest = view.manifest.clone();
        let fetcher = self.fetcher();
        let marks = past::marks(&manifest, usize::MAX, &mut view.segments, &fetcher)?;
        Ok(marks.iter().find(|mark| mark.version == told.version).map(mark_of))
    }

    fn size(&self) -> Result<u64> {
        size(self.store.as_ref(), &self.names, &self.target)
    }

    fn is_for_sources(&self) -> bool {
        self.is_for_sources
    }

    fn object_key(&self, location: &Location) -> Result<Option<String>> {
        self.names.object_key(location, &self.target).map(|key| Some(key.as_str().to_owned()))
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
    fn write_payload(&self, data: &[u8], on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
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

    fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Address>> {
        self.pack_of(data.iter().cloned().collect(), data.iter().map(Bytes::len))
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
        self.with_writer(|w| Ok(w.has_freed())).unwrap_or(false)
    }

    fn keep_payload(&self, place: &Address) {
        let _a_reader_frees_nothing = self.with_writer(|w| {
            w.keep(place);
            Ok(())
        });
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

    fn ensure_published(&self) -> Result<()> {
        self.publish()
    }

    fn spend_reserve(&self) -> bool {
        self.store.spend_reserve()
    }

    fn discard(&self) -> Result<()> {
        self.discard_new()
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
            None => self.poll_commits(),
            found => Ok(found),
        }
    }

    fn takes_groups(&self) -> bool {
        self.is_shared() && self.store.honours(Condition::Create)
    }

    fn commit_in_group(&self, _view: u64, entries: &[u8], conditions: &[Bytes]) -> Result<GroupCommit> {
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

    fn disown_payload(&self, place: &Address) -> Result<()> {
        self.with_writer(|w| {
            w.staged.disown(place);
            Ok(())
        })
    }

    fn begin_checkpoint(&self) -> bool {
        // A concurrent writer writes a checkpoint only at every eighth version. Otherwise all writers would try, and one of them would
        // succeed.
        !self.is_shared() || self.view.lock().told.is_some_and(|told| told.number.is_multiple_of(8))
    }
}

impl StorageCheckpoints for ObjectStorage {
    fn remembers_written_pages(&self) -> bool {
        self.store.capabilities().remote
    }

    fn wants_checkpoint(&self) -> bool {
        self.with_writer(|w| Ok(w.wants_checkpoint())).unwrap_or(false)
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
        let _a_reader_has_nothing_to_roll_back = self.with_writer(|w| {
            w.checkpoint_rollback();
            Ok(())
        });
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
    fn compaction_plan(&self) -> Result<CompactionPlan> {
        self.with_writer(Writer::compaction_plan)
    }

    fn wants_compaction_at_close(&self) -> Result<bool> {
        self.with_writer(Writer::wants_compaction_at_close)
    }

    fn write_before(&self, _: &Address, data: &[u8]) -> Result<Option<Address>> {
        // The open pack is a better location than an object that is nearly unused.
        self.write_payload(data, &mut |_| ()).map(Some)
    }
}

impl StorageTags for ObjectStorage {
    fn may_have_tags(&self) -> bool {
        false
    }

    fn hold(&self, _: Held, _: u64) {}

    fn prepare_tag(&self, _: u64) -> Result<Option<TagEntry>> {
        Ok(None)
    }

    fn has_references(&self) -> bool {
        true
    }

    fn references(&self, newest: bool) -> Result<Vec<(TagName, TagEntry)>> {
        self.all_references(newest)
    }

    fn refer(&self, name: &TagName, at: Option<At>, how: Tagging) -> Result<(TagName, TagEntry)> {
        self.make_reference(name, at, how)
    }

    fn remove_references(&self, names: &[TagName]) -> Result<()> {
        ObjectStorage::remove_references(self, names)
    }

    fn held_by_reference(&self, name: &TagName) -> Result<(Vec<(Location, u64)>, u64)> {
        self.held_by_tag(name)
    }

    fn present(&self) -> Result<u64> {
        self.with_writer(|w| Ok(w.present()))
    }

    fn held_bytes(&self) -> Result<u64> {
        self.with_view(|w, _| w.held_bytes())
    }
}
