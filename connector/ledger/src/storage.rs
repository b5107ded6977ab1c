//! What a ledger needs from below: the storage that a container lives in.
//!
//! Two storages implement [`Storage`]: one ordinary file, and objects in a store. The map, its pages and its log records are
//! written once, on top of this trait.

mod checkpoints;
mod commits;
mod compaction;
mod journal;
mod many_writers;
mod payloads;
mod read;
mod tags;

pub(crate) use checkpoints::StorageCheckpoints;
pub(crate) use commits::StorageCommits;
pub(crate) use compaction::StorageCompaction;
pub(crate) use journal::StorageJournal;
pub(crate) use many_writers::StorageSharing;
pub(crate) use payloads::{StoragePayloads, write_one_by_one};
pub(crate) use read::StorageReads;
pub(crate) use tags::StorageTags;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::PageRef;
use crate::error::{Error, Result};
use crate::history::Mark;
use crate::memtable::Memtable;
use crate::page::Page;
use crate::wal::record::CommitRecord;

/// The newest checkpoint: the map as it was at `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
}

/// What a reader has to do to see the newest version.
#[derive(Debug, Default)]
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
    /// With a restart: what the reader has is another state, though the number of its version may be the same.
    pub(crate) is_other: bool,
    /// The time and the author of `version`, where its record is not among `records` and the storage knows them all the same.
    pub(crate) mark: Option<Mark>,
}

impl RemoteCommits {
    /// The time and the author of `version`, as far as these commits tell them.
    pub(crate) fn mark_of_version(&self) -> Option<Mark> {
        let of_record = self.records.last().map(|record| Mark::of_record(&record.header));
        of_record.or_else(|| self.mark.clone()).filter(|mark| mark.version == self.version)
    }
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
    /// The store gave this error instead of an answer: [`settle_commit`](StorageCommits::settle_commit) has to find out, before anything
    /// else is committed or learnt.
    InDoubt(Error),
}

/// What became of a commit that may go together with others'.
#[derive(Debug)]
pub(crate) enum GroupCommit {
    /// It is done. It is `version`; the records up to there are news. One writer of each group has led it.
    Joined { commits: RemoteCommits, version: u64, led: bool },
    /// Others changed what it depends on: it is not done, and will not be.
    Behind,
    /// It is too long to wait in the queue: it is not done, and has to go alone.
    TooLong,
    /// The store gave this error: [`settle_group`](StorageSharing::settle_group) has to find out, before anything else is
    /// committed or learnt.
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
/// Written bytes belong to nobody until [`commit`](StorageCommits::commit),
/// [`checkpoint_commit`](StorageCheckpoints::checkpoint_commit) or
/// [`commit_as_checkpoint`](StorageCheckpoints::commit_as_checkpoint).
pub(crate) trait Storage:
    StorageReads
    + StoragePayloads
    + StorageCommits
    + StorageSharing
    + StorageCheckpoints
    + StorageCompaction
    + StorageTags
    + StorageJournal
{
}

impl<S> Storage for S where
    S: StorageReads
        + StoragePayloads
        + StorageCommits
        + StorageSharing
        + StorageCheckpoints
        + StorageCompaction
        + StorageTags
        + StorageJournal
{
}
