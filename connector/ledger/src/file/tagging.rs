//! Tags of a file: the pointers to a tagged version, and the space that it may need.

use std::sync::Arc;

use crate::author::Author;
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::locks::Locks;
use crate::file::superblock::{self, DATA, FIXED, Fixed, Slot};
use crate::file::version_lookup::OldVersions;
use crate::file::writer::FileWriter;
use crate::file::{FileStorage, lock, log, resync};
use crate::history::Mark;
use crate::options::{At, SyncPolicy, Version};
use crate::storage::RemoteCommits;
use crate::tags::{Held, TAG, TagEntry};
use crate::wal::record::CommitRecord;

/// Returns whether a record creates or deletes a tag. A record that cannot be decoded counts as one.
fn changes_tags(record: &CommitRecord) -> bool {
    record.changes().map_or(true, |changes| changes.iter().any(|(key, _)| key.first() == Some(&TAG)))
}

fn mark_of(slot: &Slot, version: Option<Version>) -> Mark {
    let (bytes, author) = match version {
        Some(v) => (v.bytes, v.author()),
        None => (0, Author::default()),
    };
    Mark { version: slot.version, reclaim_epoch: slot.sequence, time: slot.time, bytes, author }
}

impl FileWriter {
    /// Sets the runs that tags hold, according to the map of `version`.
    pub(super) fn hold(&mut self, held: Held, version: u64) {
        if version >= self.tags.changed {
            self.hold_runs(held);
        }
    }

    pub(super) fn hold_runs(&mut self, held: Held) {
        self.tags.held = Arc::new(held);
        if let Some(free_space) = &mut self.free_space {
            free_space.hold(self.tags.held.clone());
        }
    }

    /// Stops reclaiming until the held runs are set again, if records of other writers change tags.
    pub(super) fn learn_tags(&mut self, records: &[log::LoggedRecord]) {
        let changed = records.iter().map(|l| &l.record).filter(|record| changes_tags(record));
        if let Some(version) = changed.map(|record| record.header.version).max() {
            self.tags.changed = version;
            self.hold_runs(Held::Everything);
        }
    }

    /// Sets the feature of tags in the superblock, so that a writer without the feature refuses this file instead of reusing
    /// held space. If the bit is set already, it may not be on the disk, because the sync of the previous writer may have
    /// failed. So if commits are synced, the bit is written again.
    fn mark_tags(&mut self, raw: &dyn FileIo) -> Result<()> {
        let mut bytes = [0; FIXED];
        raw.read_at(&mut bytes, 0).map_err(|e| self.io("reading the head", &e))?;
        Fixed::decode(&bytes, &self.target)?;
        let (marked, is_synced) = (superblock::with_tags(&bytes), self.sync == SyncPolicy::Commit);
        if is_synced || marked[..] != bytes[..] {
            raw.write_at(&marked, 0).map_err(|e| self.io("writing the head", &e))?;
        }
        if !is_synced {
            return Ok(());
        }
        let unknown = "whether the mark of tags survives a loss of power is unknown, syncing the head";
        raw.sync().map_err(|e| match resync::is_lost(&e) {
            true => self.break_off(unknown, &e),
            false => self.io("syncing the head", &e),
        })
    }

    /// Prepares a tag of a version: its pointers, and the space that it may need. Returns `None` if the version is not
    /// retained. Nothing is reclaimed until [`hold`](Self::hold) is called.
    pub(super) fn prepare_tag(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        version: u64,
    ) -> Result<Option<TagEntry>> {
        match self.shared {
            Some(_) => self.alone(raw, locks, |w| w.way_to(raw, version)),
            None => self.way_to(raw, version),
        }
    }

    fn way_to(&mut self, raw: &dyn FileIo, version: u64) -> Result<Option<TagEntry>> {
        self.look_once(raw)?;
        let (head, target) = (self.head, self.target.clone());
        let past = OldVersions::of(raw, &head, &target)?;
        if self.shared.is_some() {
            // Other writers write the horizon, too.
            self.reclaim.horizon = None;
        }
        let whole = self.horizon(raw)?;
        let found = past.find(At::Version(version))?.filter(|slot| slot.sequence >= whole);
        let Some(slot) = found else { return Ok(None) };
        let listed = past.versions(usize::MAX)?.into_iter().find(|v| v.number == version);
        let reserved = self.reserved_space();
        let runs = self.load(raw)?.needed_by(slot.sequence, &reserved);
        self.mark_tags(raw)?;
        self.hold_runs(Held::Everything);
        Ok(Some(TagEntry {
            mark: mark_of(&slot, listed),
            base_version: slot.base_version,
            root: slot.root,
            record: slot.record,
            log_bytes: slot.log_bytes,
            runs,
            ..TagEntry::default()
        }))
    }

    /// Returns the number of bytes that only tags need.
    pub(super) fn held_bytes(&mut self, raw: &dyn FileIo) -> Result<u64> {
        Ok(self.load(raw)?.kept_bytes())
    }
}

impl FileStorage {
    /// Returns the snapshot of a tagged version, pinned. The caller then checks that the tag still exists.
    pub(super) fn tagged_version(
        &self,
        seen: &mut Option<Slot>,
        entry: &TagEntry,
    ) -> Result<Option<RemoteCommits>> {
        if seen.is_some() {
            return Ok(None);
        }
        let newest = self.pin_newest(None)?;
        let slot = Slot {
            sequence: entry.mark.reclaim_epoch,
            version: entry.mark.version,
            time: entry.mark.time,
            base_version: entry.base_version,
            root: entry.root,
            record: entry.record,
            log_bytes: entry.log_bytes,
            end: self.raw.len().map_err(|e| Error::io(&self.target, "asking for the length", &e))?,
            ..newest
        };
        let places = [slot.root, slot.record].into_iter().flatten().map(|p| p.place);
        let is_outside = |p: crate::address::Address| p.offset < DATA || p.length >= 1 << 62;
        if slot.end < DATA || places.into_iter().any(is_outside) {
            return Err(Error::corrupt(&self.target, "tag", "it points outside of the container"));
        }
        let locks = lock(&self.locks);
        locks.pin(slot.sequence, &self.target)?;
        if slot.sequence != newest.sequence {
            locks.unpin_own(newest.sequence);
        }
        drop(locks);
        *seen = Some(slot);
        Ok(Some(RemoteCommits { mark: Some(entry.mark.clone()), ..self.read_commits(&slot, None)? }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Tagging;
    use crate::error::ErrorKind;
    use crate::file::open::{find, storage};
    use crate::file::sim_file::SimFile;
    use crate::ledger::Ledger;
    use crate::options::{Access, LockPolicy, Options, Replace, Writers};
    use crate::tags::TagName;
    use crate::timekeeping::StorageClock;
    use crate::work::data;

    /// Options that make a checkpoint at each close, and retain no old versions.
    fn options() -> Options {
        Options {
            writers: Writers::Many,
            retention: Some(Duration::ZERO),
            checkpoint_bytes: 0,
            ..Options::default()
        }
    }

    /// Replaces the payload, and reuses the space of earlier payloads.
    fn replace_payload(l: &Ledger, times: u64) {
        for n in 0..times {
            let old = l.get(b"k").unwrap().map(|value| crate::Extent::decode(&value).unwrap().0);
            l.put(b"k", l.write_payload(&data(n, 100_000)).unwrap().to_bytes()).unwrap();
            old.iter().for_each(|old| l.free_payload(old).unwrap());
            l.commit().unwrap();
            l.advance(&|_| false).unwrap();
        }
    }

    /// A concurrent writer cannot repeat a write after a failed sync, because other writers may have written there since.
    #[test]
    fn a_mark_of_tags_that_the_disk_may_not_have_is_made_again() {
        let f = SimFile::container();
        let o = Options { sync: SyncPolicy::Commit, ..options() };
        let l = f.open(Access::ReadWrite, &o).unwrap();
        l.put(b"k", "v").unwrap();
        l.commit().unwrap();
        let tag = |l: &Ledger| l.tag(TagName::new("paper").unwrap(), None, Tagging::default()).map(drop);
        f.fail_syncs(1, 2, false);
        for _ in 0..2 {
            let error = tag(&l).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Broken { .. }), "{error}");
        }
        drop(l);
        tag(&f.open(Access::ReadWrite, &o).unwrap()).unwrap();
        let left = f.after_power_loss(|| false);
        assert!(Fixed::decode(&left[..FIXED], "x").unwrap().tags);
    }

    #[test]
    fn a_writer_heeds_a_tag_that_another_made_while_it_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let l = Ledger::create_file(&path, Replace::Fail, options()).unwrap();
        replace_payload(&l, 1);
        l.close().unwrap();
        let opened = find(&path, Access::ReadWrite, "x").unwrap();
        let locks = Locks::writer(&opened.file, LockPolicy::Required, Writers::Many, "x").unwrap().unwrap();
        // This writer has read the superblock, and no slot yet.
        let other = Ledger::open_file(&path, Access::ReadWrite, options()).unwrap();
        let name = TagName::new("paper").unwrap();
        other.tag(name, None, Tagging::default()).unwrap();
        other.close().unwrap();
        let storage = storage("x".into(), opened, locks, Some(StorageClock::default()), &options());
        let l = Ledger::start(Box::new(storage), Access::ReadWrite, &options()).unwrap();
        replace_payload(&l, 6);
        let tagged = Options { at: Some(At::Tag(name)), ..Options::default() };
        let r = Ledger::open_file(&path, Access::ReadOnly, tagged).unwrap();
        let payload = crate::Extent::decode(&r.get(b"k").unwrap().unwrap()).unwrap().0;
        let mut bytes = vec![0; 100_000];
        r.read_payload(&payload, 0, &mut bytes).unwrap();
        assert!(bytes == data(0, 100_000));
    }
}
