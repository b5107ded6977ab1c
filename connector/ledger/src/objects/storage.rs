//! What the map asks of this storage.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use object_stores::{Condition, Filter};

use super::manifest::store_error;
use super::records::Log;
use super::version_lookup::history;
use super::writer::ObjectWriter;
use super::{ObjectStorage, audit, lock, open, replaced, writer};
use crate::address::{Address, Location, Run, Wanted};
use crate::audit::Audit;
use crate::clock::Moment;
use crate::compaction_plan::CompactionPlan;
use crate::error::{Error, ErrorKind, Result};
use crate::filtered::{FilterPart, Filtered};
use crate::history::Mark;
use crate::options::{ContainerIdentity, Version};
use crate::storage::{
    Check, Checkpoint, Commit, GroupCommit, PageSizes, RemoteCommits, StorageCheckpoints, StorageCommits,
    StorageCompaction, StoragePayloads, StorageReads, StorageSharing, StorageTags, write_one_by_one,
};
use crate::tags::{Held, TagEntry};
use crate::wal::record::{CommitRecord, Entries};

impl StorageReads for ObjectStorage {
    fn target(&self) -> &str {
        &self.target
    }

    fn identity(&self) -> ContainerIdentity {
        ContainerIdentity { id: self.id, file: None, key: self.names.head.as_str().to_owned() }
    }

    fn shape(&self) -> PageSizes {
        PageSizes { page: 32 << 10, branch: 1 << 20, spill: 16 << 10, records: 64 }
    }

    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        audit::ObjectAudit::of(self).map(|audit| Box::new(audit) as Box<dyn Audit>)
    }

    fn poll_commits_up_to(&self, last: u64) -> Result<Option<RemoteCommits>> {
        let mut seen = lock(&self.seen);
        if let Some(entry) = &self.tagged {
            return self.tagged_version(&mut seen, entry);
        }
        if let Some(at) = self.at {
            return self.old_version(&mut seen, at);
        }
        let Some(version) = seen.version else { return self.first_commits(&mut seen, last).map(Some) };
        if self.is_shared() {
            return self.poll_shared(&mut seen, version);
        }
        let Log { mut records, intent } = match self.log(version, version, seen.head.version) {
            Err(e) => return self.past_unreadable(&mut seen, version, e),
            found => found?,
        };
        // In a directory a program can put older objects back, and a look at the head is cheap there.
        let may_be_put_back = self.writer.is_none() && !self.store.capabilities().remote;
        let mut is_other = false;
        if self.is_old(&seen) || may_be_put_back && !records.is_empty() || intent.is_some() {
            let (known, etag) = (seen.head.base, seen.etag.clone());
            match self.reread(&mut seen) {
                // It was replaced or deleted: a reader keeps what it has as long as that is there.
                Err(e) if *e.kind() == ErrorKind::Gone && self.writer.is_none() => seen.read = Moment::now(),
                other => other?,
            }
            if seen.etag != etag && self.writer.is_none() {
                let is_there = self.is_still_there(&seen)?;
                is_other = is_there == Some(false);
                seen.version = seen.version.filter(|_| is_there == Some(true));
            }
            if seen.version.is_none() {
                tracing::debug!(from = known.version, to = seen.head.base.version, "another base");
                let commits = self.first_commits(&mut seen, last)?;
                return Ok(Some(RemoteCommits { is_other, ..commits }));
            }
            let now = version + records.len() as u64;
            if seen.head.version > now {
                records.extend(self.records(now, seen.head.version, seen.head.version)?);
            }
        }
        self.cut_off(&mut records, last);
        let Some(newest) = records.last() else { return Ok(None) };
        let version = newest.record.header.version;
        (seen.version, seen.nonce) = (Some(version), Some(newest.record.header.nonce));
        let records = records.into_iter().map(|l| l.record).collect();
        Ok(Some(RemoteCommits { version, records, ..RemoteCommits::default() }))
    }

    fn read(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()> {
        if let Some(w) = &self.writer
            && let Some(w) = lock(w).as_ref()
            && let Some(part) = w.unput(place, offset, buf.len())
        {
            buf.copy_from_slice(part);
            return Ok(());
        }
        if let Some(part) = lock(&self.tail).part(place, offset, buf.len()) {
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
        self.list_versions(most)
    }

    fn mark_of_snapshot(&self, version: u64) -> Result<Option<Mark>> {
        let seen = lock(&self.seen).clone();
        if seen.version != Some(version) {
            return Ok(None);
        }
        if version > seen.head.base.version {
            return Ok(self.record(version)?.map(|l| Mark::of_record(&l.record.header)));
        }
        let history = history(self.store.as_ref(), &self.names, &seen.head, &self.target)?;
        Ok(Some(history.base).filter(|base| base.version == version))
    }

    fn size(&self) -> Result<u64> {
        if self.writer.is_some() {
            self.with_writer(ObjectWriter::await_first_head)?;
        }
        open::size(self.store.as_ref(), &self.names, &self.target)
    }

    fn is_for_sources(&self) -> bool {
        self.is_for_sources
    }

    fn object_key(&self, location: &Location) -> Result<Option<String>> {
        self.names.object_key(location, &self.target).map(|key| Some(key.as_str().to_owned()))
    }

    /// As it is: no object changes once it is there, so what was reclaimed is missing, and not other than it was.
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
        let is_large = self.proven.is_some() && total >= writer::PACK_BYTES / 4;
        match is_large.then(|| Self::joined(data, total)).flatten() {
            Some(joined) => self.pack_of(joined, data.iter().map(|data| data.len())),
            None => write_one_by_one(self, data),
        }
    }

    fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Address>> {
        self.pack_of(data.iter().cloned().collect(), data.iter().map(Bytes::len))
    }

    fn send_payloads(&self) -> Result<()> {
        self.with_writer(|w| w.send_pack())
    }

    fn prepare_to_free(&self) -> Result<()> {
        self.with_writer(|w| w.table_to_free().map(drop))
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
    fn commit(&self, version: u64, entries: &dyn Entries, _closes: bool) -> Result<Commit> {
        if self.is_shared() {
            return self.commit_shared(version, &entries.encoded());
        }
        self.with_writer(|w| w.commit(version, entries))
    }

    fn settle_commit(&self) -> Result<Commit> {
        if self.is_shared() { self.settle_shared() } else { self.with_writer(ObjectWriter::settle) }
    }

    fn ensure_published(&self) -> Result<()> {
        self.with_writer(ObjectWriter::await_first_head)
    }

    fn rollback(&self) -> Result<()> {
        self.with_writer(|w| {
            w.rollback();
            Ok(())
        })
    }

    fn spend_reserve(&self) -> bool {
        self.store.spend_reserve()
    }

    fn discard(&self) -> Result<()> {
        self.with_writer(ObjectWriter::discard)
    }

    fn arrive(&self) -> Result<()> {
        match self.store.stage() {
            Some(stage) => stage.drain().map_err(|e| store_error(&self.target, &e)),
            None => Ok(()),
        }
    }

    fn close(&self) -> Result<()> {
        match &self.writer {
            Some(w) => match lock(w).as_mut() {
                Some(w) => w.close().and_then(|()| self.arrive()),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl StorageSharing for ObjectStorage {
    fn commit_independent(&self, make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>) -> Result<()> {
        self.put_independent(make)
    }

    fn look_ahead(&self) -> Result<Option<RemoteCommits>> {
        self.look_ahead_if_old()
    }

    fn takes_groups(&self) -> bool {
        self.is_shared() && self.store.honours(Condition::Create)
    }

    fn commit_in_group(&self, view: u64, entries: &[u8], conditions: &[Bytes]) -> Result<GroupCommit> {
        self.queue_commit(view, entries, conditions)
    }

    fn settle_group(&self) -> Result<GroupCommit> {
        self.settle_queued()
    }

    fn begin_checkpoint(&self) -> bool {
        // Where many write, one in so many commits to a long log tries; else all of them would, and one succeed.
        !self.is_shared() || self.with_writer(|w| Ok(w.version.is_multiple_of(8))).unwrap_or(false)
    }
}

impl StorageCheckpoints for ObjectStorage {
    fn wants_checkpoint(&self) -> bool {
        self.with_writer(|w| Ok(w.wants_checkpoint())).unwrap_or(false)
    }

    fn leaves_log_beside_head(&self) -> bool {
        self.with_writer(|w| Ok(w.leaves_log_beside_head())).unwrap_or(false)
    }

    fn spares_checkpoints(&self) -> bool {
        self.with_writer(ObjectWriter::spares_checkpoints).unwrap_or(false)
    }

    fn remembers_written_pages(&self) -> bool {
        self.store.capabilities().remote
    }

    fn begin_spill(&self) -> Result<bool> {
        self.with_writer(ObjectWriter::begin_spill)
    }

    fn needs_checkpoint_to_commit(&self) -> bool {
        self.with_writer(|w| Ok(w.has_intent())).unwrap_or(false)
    }

    fn checkpoint_keep(&self) -> Result<u64> {
        self.with_writer(ObjectWriter::checkpoint_keep)
    }

    fn commit_as_checkpoint(&self, base: Checkpoint) -> Result<Commit> {
        self.with_writer(|w| w.commit_as_checkpoint(base))
    }

    fn checkpoint_write(&self, data: &[u8]) -> Result<Address> {
        self.with_writer(|w| w.checkpoint_write(data))
    }

    fn checkpoint_free(&self, place: &Address) -> Result<()> {
        self.with_writer(|w| {
            w.checkpoint_free(place);
            Ok(())
        })
    }

    fn checkpoint_commit(&self, base: Checkpoint) -> Result<()> {
        self.with_writer(|w| w.checkpoint_commit(base))
    }

    fn checkpoint_rollback(&self) {
        let _a_reader_has_nothing_to_roll_back = self.with_writer(|w| {
            w.checkpoint_rollback();
            Ok(())
        });
    }

    fn sweep(&self) -> Result<()> {
        if self.is_shared() {
            let why =
                "objects that nobody refers to may be another writer's; open the container for one writer";
            return Err(Error::invalid(&self.target, why));
        }
        let all = open::lake(self.store.as_ref(), &self.names, &self.target)?;
        self.with_writer(|w| w.sweep(all))?;
        replaced::sweep_all(self.store.as_ref(), &self.names.head, &self.target)
    }
}

impl StorageCompaction for ObjectStorage {
    fn compaction_plan(&self) -> Result<CompactionPlan> {
        self.with_writer(ObjectWriter::compaction_plan)
    }

    fn wants_compaction_at_close(&self) -> Result<bool> {
        self.with_writer(|w| Ok(w.wants_compaction_at_close()))
    }

    fn write_before(&self, _: &Address, data: &[u8]) -> Result<Option<Address>> {
        // A pack that is being filled is better than one that is nearly empty.
        self.write_payload(data, &mut |_| ()).map(Some)
    }
}

impl StorageTags for ObjectStorage {
    fn may_have_tags(&self) -> bool {
        let of_writer = self.with_writer(|w| Ok(w.manifest.head.tagged.is_some()));
        of_writer.unwrap_or_else(|_| lock(&self.seen).head.tagged.is_some())
    }

    fn hold(&self, held: Held, version: u64) {
        let _a_reader_deletes_nothing = self.with_writer(|w| {
            w.hold(held, version);
            Ok(())
        });
    }

    fn look_for_base(&self) {
        lock(&self.seen).looks_for_base = true;
    }

    fn prepare_tag(&self, version: u64) -> Result<Option<TagEntry>> {
        self.way_to(version)
    }

    fn confirm_tag(&self, entry: &TagEntry, version: u64) -> Result<bool> {
        self.check_tag(entry, version)
    }

    fn present(&self) -> Result<u64> {
        self.with_writer(|w| Ok(w.present()))
    }

    fn held_bytes(&self) -> Result<u64> {
        self.with_writer(|w| w.held_bytes())
    }
}
