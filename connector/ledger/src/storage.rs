//! What a ledger needs from below: the storage that a container lives in.
//!
//! Two storages implement [`Storage`]: one ordinary file, and objects in a store. The map, its pages and its log records are
//! written once, on top of this trait.

use std::fmt::Debug;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::address::{Address, PageRef, Run, Wanted};
use crate::audit::Audit;
use crate::compaction_plan::CompactionPlan;
use crate::error::{Error, Result};
use crate::memtable::Memtable;
use crate::options::{Identity, Version};
use crate::page::Page;
use crate::wal::record::{CommitRecord, Entries};

/// The newest checkpoint: the map as it was at `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
}

/// What a reader has to do to see the newest version.
#[derive(Debug)]
pub(crate) struct RemoteCommits {
    pub(crate) version: u64,
    /// When set: forget everything, start from this base.
    pub(crate) restart: Option<Checkpoint>,
    /// Records, oldest first, that follow what the reader has (or the base).
    pub(crate) records: Vec<CommitRecord>,
    /// The bytes of the base's root page, where they came along without a request of their own.
    pub(crate) root: Option<Bytes>,
    /// With a restart, for one of many writers: the records between what it has and the base, oldest first.
    pub(crate) skipped: Vec<CommitRecord>,
}

/// What a reader knows of a container.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
    pub(crate) log: Memtable,
    pub(crate) log_bytes: u64,
    pub(crate) log_records: u64,
    /// Pages that it read, the one used last first. They are right where `root` is.
    pub(crate) pages: Vec<(PageRef, Arc<Page>)>,
}

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Commit {
    /// It is done, and its record has this many bytes.
    Done(u64),
    /// One of the other writers has made that version: there are news.
    Behind,
    /// The store gave this error instead of an answer: [`settle_commit`](Storage::settle_commit) has to find out, before anything
    /// else is committed or learnt.
    InDoubt(Error),
}

/// How a storage likes its pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSizes {
    /// Bytes that a leaf should have.
    pub(crate) page: usize,
    /// Bytes that a branch should have: the larger, the fewer levels there are to walk.
    pub(crate) branch: usize,
    /// Values longer than this get their own extent at a checkpoint.
    pub(crate) spill: usize,
    /// The longest log, in records, that is quick to read.
    pub(crate) records: u64,
}

/// Looks at the bytes of a run, by its number among those wanted, as soon as they are there; in any thread.
pub(crate) type Check<'a> = dyn Fn(usize, &[u8]) -> Result<()> + Sync + 'a;

/// Where a container's bytes are. All methods take `&self`; a storage has its own locks.
///
/// Written bytes belong to nobody until [`commit`](Storage::commit), [`checkpoint_commit`](Storage::checkpoint_commit) or
/// [`commit_as_checkpoint`](Storage::commit_as_checkpoint).
pub(crate) trait Storage: Debug + Send + Sync {
    /// The file or key, for messages.
    fn target(&self) -> &str;
    fn identity(&self) -> Identity;
    fn shape(&self) -> PageSizes;

    /// What is newer than what this handle was last told; `None` if nothing is. The first call tells all.
    fn news(&self) -> Result<Option<RemoteCommits>>;

    /// What a reader of this process knew of the container: the first [`news`](Storage::news) then follows upon that, or says
    /// to forget it.
    fn recall(&self) -> Option<Snapshot> {
        None
    }
    /// Keeps what a reader knows at its close, for [`recall`](Storage::recall).
    fn remember(&self, _: Snapshot) {}

    /// Fills `buf` from `offset` within `place`; the caller has checked the bounds.
    fn read(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Fills one buffer after the other, the first from `offset` within `place`; else as [`read`](Storage::read).
    fn read_parts(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = offset;
        for part in parts {
            self.read(place, at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Reads several runs, each as [`read`](Storage::read) does, and checks each. A storage whose requests take a round trip
    /// joins neighbours, and asks for the rest side by side.
    fn read_many(&self, wanted: &mut [Wanted<'_>], check: &Check<'_>) -> Result<()> {
        for (n, wanted) in wanted.iter_mut().enumerate() {
            let run = &wanted.run;
            match &mut wanted.into {
                Some(into) => self.read(&run.place, run.offset, into)?,
                None => {
                    let mut bytes = vec![0; run.length as usize];
                    self.read(&run.place, run.offset, &mut bytes)?;
                    wanted.bytes = bytes.into();
                }
            }
            check(n, wanted.read())?;
        }
        Ok(())
    }

    /// Whether a read takes a round trip, so that it is worth while to ask for several things at once.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether all that is stored lies in this process's memory, and [`borrow_bytes`](Storage::borrow_bytes) answers.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// The bytes of a run where they lie, not copied; `None` in a storage that has them elsewhere. `check` is asked about them
    /// unless they are known to be right.
    fn borrow_bytes(&self, _: &Run, _check: &dyn Fn(&[u8]) -> Result<()>) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Writes one. All of it is shown to `on_bytes`, part by part, each when it is about to be read anyway.
    fn write_payload(&self, data: &[u8], on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address>;
    /// Writes several; after an error none is left.
    fn write_payloads(&self, data: &[&[u8]]) -> Result<Vec<Address>> {
        write_one_by_one(self, data)
    }
    /// Writes several that need not be copied, in one object where that is kept in a store, and waits until they are there.
    fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Address>> {
        self.write_payloads(&data.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }
    /// Writes one that may go on until it has `most` bytes, and is better kept where it can.
    fn write_to_grow(&self, data: &[u8], _most: u64, on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
        self.write_payload(data, on_bytes)
    }
    /// Writes `data` right behind a payload, which with it makes one payload from then on; false where that cannot be.
    fn grow_payload(&self, _place: &Address, _data: &[u8]) -> Result<bool> {
        Ok(false)
    }
    /// No payload that was written before goes on.
    fn stop_growing(&self) {}
    /// Lets payloads set out that are not on their way yet, without waiting for them.
    fn send_payloads(&self) -> Result<()> {
        Ok(())
    }
    /// Staged, or done at once if the place was written since the last commit.
    fn free_payload(&self, place: &Address) -> Result<()>;
    /// Whether places were freed that only a commit gives back.
    fn has_freed(&self) -> bool;
    /// Takes back that a place is to be freed, if that is staged.
    fn keep_payload(&self, place: &Address);
    /// Appends the record of `version`, if that is the next one. When this returns, the version is durable as
    /// the options say. After an error the version is not committed, unless the error is `Broken`.
    fn commit(&self, version: u64, entries: &dyn Entries) -> Result<Commit>;
    /// Finds out what became of a commit that is in doubt, and completes it unless another writer was first.
    fn settle_commit(&self) -> Result<Commit> {
        Err(Error::invalid(self.target(), "no commit is in doubt"))
    }
    /// Returns when the container is there by its name.
    fn arrive(&self) -> Result<()> {
        Ok(())
    }
    /// Whether records may say how values differ from those before. Whoever reads them has read all records behind the base.
    fn takes_edits(&self) -> bool {
        false
    }
    /// For one of many writers: a commit beside what is staged. `make` is given the records that this handle has not
    /// been told of, and makes the entries.
    fn commit_independent(&self, make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>) -> Result<()>;
    /// For one of many writers: keeps others from committing until `release`, where that is possible.
    fn hold(&self) -> Result<()> {
        Ok(())
    }
    fn release(&self) {}
    /// For one of many writers: versions older than the newest that it was told of are not read any more.
    fn advance_pin(&self) {}
    /// For one of many writers: whether it may fold now.
    fn begin_checkpoint(&self) -> bool {
        true
    }
    fn end_checkpoint(&self) {}
    /// Whether so much went out of use since the base that a checkpoint is worth it, because only that gives it back.
    fn is_crowded(&self) -> bool {
        false
    }
    /// Gives back all places written or freed since the last commit.
    fn rollback(&self) -> Result<()>;

    /// Writes a page or a spilled value of a coming base.
    fn checkpoint_write(&self, data: &[u8]) -> Result<Address>;
    /// A place that the coming base does not need any more.
    fn checkpoint_free(&self, place: &Address) -> Result<()>;
    /// Makes the new base the one that readers start from.
    fn checkpoint_commit(&self, base: Checkpoint) -> Result<()>;
    /// Gives back what was written for the coming base, up to what is [kept](Storage::checkpoint_keep).
    fn checkpoint_rollback(&self);

    /// Whether pages can be kept for a commit that is to come, and that commit be a base.
    fn commits_as_checkpoints(&self) -> bool {
        false
    }
    /// What was written for a coming base stays, and what that does without and an earlier call kept is given back, until
    /// [`commit_as_checkpoint`](Storage::commit_as_checkpoint), [`checkpoint_forget`](Storage::checkpoint_forget) or [`rollback`](Storage::rollback). Returns the
    /// bytes written since the last call. After an error nothing has changed.
    fn checkpoint_keep(&self) -> Result<u64> {
        Err(Error::invalid(self.target(), "pages cannot be kept before a commit here"))
    }
    /// Gives back what was written for a coming base, all that was kept included.
    fn checkpoint_forget(&self) {}
    /// Makes what is kept the next version, which is a base, with the payloads written and freed since the last commit. Durable
    /// as by [`commit`](Storage::commit). After an error the version is not committed, unless the error is `Broken`, and all
    /// that was kept still is.
    fn commit_as_checkpoint(&self, _base: Checkpoint) -> Result<()> {
        Err(Error::invalid(self.target(), "a commit is a record here"))
    }

    /// Gives up the room that is kept for when there is none; whether there was any.
    fn spend_reserve(&self) -> bool {
        false
    }
    /// After a checkpoint: deletes what nothing refers to.
    fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// Tries again what failed when a version was to be made durable that is committed otherwise. After an error it may be tried
    /// again.
    fn make_durable(&self) -> Result<()> {
        Ok(())
    }
    /// From now on the clock alone says how long what went out of use has rested.
    fn believe_clock(&self) {}
    /// What is worth moving.
    fn compaction_plan(&self) -> Result<CompactionPlan>;
    /// Dead bytes in objects that live ones keep, and those live bytes, as far as known at once.
    fn fragmentation(&self) -> (u64, u64) {
        (0, 0)
    }
    /// From now on what is written goes where it stands in nobody's way, if it can: in a file, before the end that it would
    /// have without holes. Until [`end_compaction`](Storage::end_compaction).
    fn begin_compaction(&self) -> Result<()> {
        Ok(())
    }
    fn end_compaction(&self) {}
    /// Whether a place stands in the way, and what is there could be elsewhere. Never, unless gathering.
    fn must_relocate(&self, _place: &Address) -> bool {
        false
    }
    /// How long it is until all that went out of use may be used again, as far as time goes. `None` if nothing
    /// did, or little is free with it.
    fn rests(&self) -> Result<Option<Duration>> {
        Ok(None)
    }
    /// Writes a payload where it is better kept than at `place`; `None` if there is no such place.
    fn write_before(&self, place: &Address, data: &[u8]) -> Result<Option<Address>>;

    /// The versions that can be opened, newest first, at most so many.
    fn versions(&self, most: usize) -> Result<Vec<Version>>;

    /// Bytes in the file or store.
    fn size(&self) -> Result<u64>;

    /// Where in a file it begins; `None` for one that is no file.
    fn offset_in_file(&self) -> Option<u64> {
        None
    }
    /// Deletes what there is of a new container that nobody can find yet. Does nothing with another one.
    fn discard(&self) -> Result<()> {
        Ok(())
    }
    /// Lets go of locks; a writer's last tidying.
    fn close(&self) -> Result<()>;
    /// Whether a writer has reclaimed what the snapshot in use needs, as far as it was found out.
    fn is_gone(&self) -> bool {
        false
    }
    /// What a check of the whole container goes by; `None` where there is nothing beside what is read.
    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        None
    }
    /// All bytes that belong to what lies at a place.
    fn claimed(&self, place: &Address) -> Address {
        *place
    }
    /// Turns an error met while reading stored bytes into `Gone`, if a writer may have reclaimed them.
    fn classify_read_error(&self, e: Error) -> Error;
}

/// Writes payloads one after the other, and gives those back that came before one that failed.
pub(crate) fn write_one_by_one<S: Storage + ?Sized>(storage: &S, data: &[&[u8]]) -> Result<Vec<Address>> {
    let mut places = Vec::with_capacity(data.len());
    for data in data {
        match storage.write_payload(data, &mut |_| ()) {
            Ok(place) => places.push(place),
            Err(e) => {
                for place in places.iter().filter(|place| place.length > 0) {
                    storage.free_payload(place)?;
                }
                return Err(e);
            }
        }
    }
    Ok(places)
}
