//! A writer of a container: its staged objects and frees, and its pending commit.

mod commits;
mod payloads;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use object_stores::Key;

use super::committer::Committer;
use super::fetch::Fetcher;
use super::group_commit::Queued;
use super::io::Io;
use super::journal::Journal;
use super::numbers::Numbers;
use super::pack::PackBuffer;
use super::segments::UnnamedSegment;
use super::staged::Staged;
use crate::address::{Address, PageRef};
use crate::core::change::Change;
use crate::core::events::Outcome;
use crate::core::ids::ObjectId;
use crate::core::records::{SegmentRef, Segments};
use crate::core::session::{Entry, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use crate::register::Lease;
use crate::store::store_clock;
use crate::store::uploads::Uploads;
use crate::store::verified_ranges::VerifiedRanges;

/// The number of object names that a change may need in addition to those of its pages.
const RESERVED_NAMES: usize = 16;

/// A commit in progress, or with an unknown outcome.
#[derive(Debug)]
struct Pending {
    /// The objects and frees of the commit.
    staged: Staged,
    /// For a commit that is a checkpoint: the root that contains the commit.
    root: Option<Option<PageRef>>,
    /// The bytes of the record.
    length: u64,
    /// Extents freed by this commit that stay live if the commit fails.
    kept: Vec<Address>,
    /// True if the commit was rolled back while its outcome was unknown.
    gave_up: bool,
    /// The content of a long record, which is needed only if the commit succeeds.
    stored: Option<PageRef>,
    /// The segment that the commit names if it fits.
    segment: Option<SegmentRef>,
}

/// The state of a writer of a container in a store.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) committer: Committer,
    pub(super) io: Io,
    pub(super) mode: Mode,
    pub(super) staged: Staged,
    pack: PackBuffer,
    uploads: Uploads,
    pub(super) segment: UnnamedSegment,
    pub(super) numbers: Numbers,
    /// Extents of pages that the coming root does not need.
    pub(super) freed_pages: Vec<Address>,
    pending: Option<Pending>,
    /// A commit that waits for a group commit.
    pub(super) queued: Option<Queued>,
    /// The newest time of a version that this writer knows. The times of versions and tags ascend.
    pub(super) last_time: u64,
    /// Bytes that went out of use since the last checkpoint.
    obsolete: u64,
    /// The extents that can be [revived](Writer::revive), and the sequence of the manifest from which they were determined.
    pub(super) revivable: Option<(u64, HashSet<Address>)>,
    /// The retention time of replaced versions, if this handle was opened with one.
    pub(super) retention: Option<Duration>,
    pub(super) lease: Option<Lease>,
    pub(super) proven: Option<Arc<Mutex<VerifiedRanges>>>,
    /// The journal of a copy in progress, if objects outlive this process.
    pub(super) journal: Option<Journal>,
    /// True if something was committed.
    pub(super) wrote: bool,
    /// The number of commits without a queue.
    commits: u64,
    /// True if commits of other writers were in the queue when this writer last listed it.
    pub(super) saw_queued_commits: bool,
    /// The time at which the staged changes were queued for the first time, in microseconds since 1970.
    pub(super) waits_since: Option<u64>,
    /// Copies of manifests in the store, oldest first; `None` until this writer has listed them.
    pub(super) copies: Option<VecDeque<Key>>,
}

impl Writer {
    pub(super) fn new(
        committer: Committer,
        fetcher: Fetcher,
        mode: Mode,
        lease: Option<Lease>,
        proven: Option<Arc<Mutex<VerifiedRanges>>>,
    ) -> Self {
        let numbers = Numbers { seen: committer.known().numbers, ..Numbers::default() };
        Self {
            committer,
            numbers,
            io: Io::new(fetcher, Segments::default()),
            mode,
            staged: Staged::default(),
            pack: PackBuffer::default(),
            uploads: Uploads::default(),
            segment: UnnamedSegment::default(),
            freed_pages: Vec::new(),
            pending: None,
            queued: None,
            last_time: 0,
            obsolete: 0,
            revivable: None,
            retention: None,
            lease,
            proven,
            journal: None,
            wrote: false,
            commits: 0,
            saw_queued_commits: false,
            waits_since: None,
            copies: None,
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.io.fetcher.target
    }

    /// Returns the time for a new version: the time of the store's clock if that is available, but later than the newest version.
    pub(super) fn time(&self) -> u64 {
        let newest = self.committer.known().line.time.max(self.last_time);
        self.present().max(newest + 1)
    }

    pub(super) fn present(&self) -> u64 {
        store_clock::version_time(self.io.fetcher.store.as_ref())
    }

    /// Returns the day for a session's entry.
    pub(super) fn today(&self) -> u64 {
        store_clock::today(self.io.fetcher.store.as_ref())
    }

    // Sessions

    /// Ensures that a manifest lists the session. This is required before the session puts an object.
    pub(super) fn ensure_listed(&mut self) -> Result<()> {
        if self.committer.session.entry() == Entry::Listed {
            return Ok(());
        }
        if self.is_pending() {
            return Err(Error::invalid(
                self.target(),
                "a commit is in doubt; flush again before more is written",
            ));
        }
        // The pending change may be the join itself.
        if self.committer.is_in_doubt() {
            let fetcher = self.io.fetcher.clone();
            self.committer.abandon(&fetcher)?;
            return self.ensure_listed();
        }
        if self.committer.session.entry() == Entry::Gone {
            self.committer.begin_again(self.mode)?;
        }
        let day = self.today();
        let fetcher = self.io.fetcher.clone();
        match self.committer.submit(Change::Join { day }, &fetcher, &mut |_, _| Ok(None))? {
            Outcome::Done { .. } => Ok(()),
            other => Err(self.committer.failure(&other)),
        }
    }

    /// Returns a name for a new object.
    pub(super) fn new_object(&mut self) -> Result<ObjectId> {
        self.ensure_listed()?;
        let none = || Error::new(&self.io.fetcher.target, ErrorKind::Conflict);
        self.committer.session.next_object().ok_or_else(none)
    }

    /// Reserves the object names that a change may need.
    pub(super) fn reserve_names(&mut self) -> Result<()> {
        while self.io.names.len() < RESERVED_NAMES {
            let name = self.new_object()?;
            self.io.names.push_back(name);
        }
        Ok(())
    }

    /// Discards the reserved names, which belong to a session that has ended.
    pub(super) fn forget_names(&mut self) {
        self.io.names.clear();
    }
}
