//! The interface between a ledger and the storage of its container.
//!
//! Two storages implement [`Storage`]: an ordinary file, and objects in a store. The map, its pages and its log records are implemented
//! once, on top of this trait.

mod checkpoints;
mod commits;
mod compaction;
mod journal;
mod many_writers;
mod payloads;
mod read;

pub(crate) use checkpoints::StorageCheckpoints;
pub(crate) use commits::StorageCommits;
pub(crate) use compaction::StorageCompaction;
pub(crate) use journal::StorageJournal;
pub(crate) use many_writers::StorageSharing;
pub(crate) use payloads::{StoragePayloads, write_one_by_one};
pub(crate) use read::StorageReads;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::PageRef;
use crate::error::{Error, Result};
use crate::history::Mark;
use crate::memtable::Memtable;
use crate::page::Page;
use crate::wal::record::CommitRecord;

/// The newest checkpoint: the content of the map at `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
}

/// The commits that a handle needs in order to move to the newest version.
#[derive(Debug, Default)]
pub(crate) struct RemoteCommits {
    pub(crate) version: u64,
    /// If this is set, the handle discards its state and starts from this checkpoint.
    pub(crate) restart: Option<Checkpoint>,
    /// The records that follow the handle's state, or the checkpoint if there is one. Oldest first.
    pub(crate) records: Vec<CommitRecord>,
    /// The bytes of the checkpoint's root page, if they were read without a request of their own.
    pub(crate) root: Option<Bytes>,
    /// For a concurrent writer that restarts: the records between its state and the checkpoint, oldest first.
    pub(crate) skipped: Vec<CommitRecord>,
    /// For a restart: the handle's state belongs to another history of the container, even if its version has the same number.
    pub(crate) is_other: bool,
    /// The time and the author of `version`, if its record is not among `records` and the storage knows them from elsewhere.
    pub(crate) mark: Option<Mark>,
}

impl RemoteCommits {
    /// Returns the time and the author of `version`, if these commits contain them.
    pub(crate) fn mark_of_version(&self) -> Option<Mark> {
        let of_record = self.records.last().map(|record| Mark::of_record(&record.header));
        of_record.or_else(|| self.mark.clone()).filter(|mark| mark.version == self.version)
    }
}

/// The state of a reader.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) root: Option<PageRef>,
    pub(crate) log: Memtable,
    pub(crate) log_bytes: u64,
    pub(crate) log_records: u64,
    /// Pages that the reader has read, the most recently used page first. They are valid only together with `root`.
    pub(crate) pages: Vec<(PageRef, Arc<Page>)>,
}

/// The result of a commit.
#[derive(Debug)]
pub(crate) enum Commit {
    /// The commit is done. Its record has this many bytes.
    Done(u64),
    /// Another writer committed this version first, so the caller must merge the remote commits.
    Superseded,
    /// The outcome is unknown, because the store returned this error instead of an answer. [`settle_commit`](StorageCommits::settle_commit)
    /// must determine the outcome before this handle commits anything else or polls for remote commits.
    OutcomeUnknown(Error),
}

/// The result of a commit that may share a record with the commits of other writers.
#[derive(Debug)]
pub(crate) enum GroupCommit {
    /// The commit is done, as a part of version `version`. `commits` has the records up to that version or a later one. `led` is true if
    /// this writer was the leader of the group.
    Joined { commits: Box<RemoteCommits>, version: u64, led: bool },
    /// Another writer changed a key that the commit depends on. The commit was not made, and never will be.
    Superseded,
    /// The commit is too long for the queue. It was not made, and must be made alone.
    TooLong,
    /// The outcome is unknown, because of this error. [`settle_group`](StorageSharing::settle_group) must determine the outcome before this
    /// handle commits anything else or polls for remote commits.
    OutcomeUnknown(Error),
}

/// The sizes of pages, values and logs that suit a storage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSizes {
    /// The target size of a leaf in bytes.
    pub(crate) page: usize,
    /// The target size of a branch in bytes. Larger branches make the tree less deep.
    pub(crate) branch: usize,
    /// A checkpoint writes values that are longer than this to extents of their own.
    pub(crate) spill: usize,
    /// The maximum number of log records that a reader can read quickly.
    pub(crate) records: u64,
}

/// The properties of a storage, which do not change while a handle has the container open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Properties {
    pub(crate) sizes: PageSizes,
    /// True if the container is in an object store, including a store in memory. A read may take a round trip there, so several reads
    /// should be requested at once.
    pub(crate) is_in_store: bool,
    /// True if reads and writes go over a network. Then reading written bytes again is slow, and a power failure of this machine does not
    /// damage them.
    pub(crate) is_over_network: bool,
    /// True if all bytes are in this process's memory, so that [`borrow_bytes`](StorageReads::borrow_bytes) returns them.
    pub(crate) is_in_memory: bool,
    /// True if the container was made for extents in sources.
    pub(crate) is_for_sources: bool,
    /// True if records may be delta-encoded. This is safe because readers replay every record since the checkpoint.
    pub(crate) takes_edits: bool,
    /// True if a commit should be a checkpoint instead of a record, if the record would make the log long.
    pub(crate) commits_as_checkpoints: bool,
}

impl Properties {
    /// Returns whether a read takes a round trip to a store, so that batching requests saves time.
    pub(crate) fn is_remote(&self) -> bool {
        self.is_in_store && !self.is_in_memory
    }
}

/// Verifies the bytes of a run as soon as they have arrived, in any thread. The first argument is the index of the run among the requested
/// runs.
pub(crate) type Check<'a> = dyn Fn(usize, &[u8]) -> Result<()> + Sync + 'a;

/// The storage of a container's bytes. All methods take `&self`, because a storage has its own locks.
///
/// Bytes that were written belong to no version until [`commit`](StorageCommits::commit),
/// [`checkpoint_commit`](StorageCheckpoints::checkpoint_commit) or [`commit_as_checkpoint`](StorageCheckpoints::commit_as_checkpoint)
/// publishes them.
pub(crate) trait Storage:
    StorageReads
    + StoragePayloads
    + StorageCommits
    + StorageSharing
    + StorageCheckpoints
    + StorageCompaction
    + StorageJournal
{
}
