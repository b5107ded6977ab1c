//! The costs of this process's containers: commits, requests, bytes and cache hits. There is one summary per container,
//! while it is open and after it was closed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use h5lake_ledger::locks::Mutex;
use h5lake_ledger::{CacheUse, process};
use object_stores::staged::StageUse;
use object_stores::{Meter, Reading, RequestKind, Requests, StagedStore};

use crate::{Error, ErrorKind, Options, Result, Target};

/// Number of summaries of closed containers in memory; older ones are dropped.
pub const MAX_CLOSED: usize = 256;

/// The counters of one open container.
#[derive(Debug)]
pub(crate) struct Statistics {
    container: String,
    writable: bool,
    begun: Instant,
    pid: u32,
    commits: Meter,
    conflicts: AtomicU64,
    /// Hits and misses of the block cache.
    pub(crate) blocks: Arc<CacheUse>,
    ledger: Arc<h5lake_ledger::Statistics>,
    /// Requests to the target's store.
    requests: Option<Arc<Requests>>,
    /// State of the target's staging directory, if it has one.
    stage: Option<Arc<StageUse>>,
}

/// The costs of one container since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The container's path or URL, as messages show it. URLs of stores hold no credential: one that does is refused.
    pub container: String,
    /// True if it was opened for writing.
    pub writable: bool,
    /// True if it is still open.
    pub is_open: bool,
    /// Time for which it has been open, or was.
    pub open_for: Duration,
    /// Flushes and closes that created a version, and those that failed.
    pub commits: Reading,
    /// Commits that failed because another writer had changed the same object.
    pub conflicts: u64,
    /// Requests by kind: of a store `get`, `put`, `head`, `list` and `delete`; of a file `read`, `write` and `sync`.
    pub requests: Vec<(&'static str, Reading)>,
    /// Bytes of objects put into the staging directory, and of those uploaded to the store; `None` without a staging
    /// directory.
    pub staged: Option<(u64, u64)>,
    /// Requests of a store that were sent again.
    pub retries: u64,
    /// Hits and misses of the block cache.
    pub block_cache: (u64, u64),
    /// Hits and misses of the page cache.
    pub page_cache: (u64, u64),
}

impl Summary {
    /// Returns the bytes read from the store or the file.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_of(["get", "read"])
    }

    /// Returns the bytes written to the store or the file.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_of(["put", "write"])
    }

    fn bytes_of(&self, kinds: [&str; 2]) -> u64 {
        self.requests.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, shown)| shown.bytes).sum()
    }
}

/// The summaries of this process's containers.
#[derive(Default)]
struct Known {
    open: Vec<Weak<Statistics>>,
    closed: VecDeque<Summary>,
    pid: u32,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { open: Vec::new(), closed: VecDeque::new(), pid: 0 });
static LISTENER: OnceLock<fn(&Summary)> = OnceLock::new();

impl Known {
    /// Drops the summaries of the parent process in a forked child.
    fn forget_parents(&mut self) {
        let pid = process::id();
        if self.pid != pid {
            *self = Known { pid, ..Known::default() };
        }
    }
}

/// Sets the function that gets each container's summary when its last handle has been closed. If several are set, the
/// first one is used.
pub fn on_close(listener: fn(&Summary)) {
    let _another_was_first = LISTENER.set(listener);
}

/// Returns the summaries of this process's containers: first the containers closed last, then the open ones.
pub fn summaries() -> Vec<Summary> {
    let mut known = KNOWN.lock();
    known.forget_parents();
    let open = known.open.iter().filter_map(Weak::upgrade).map(|statistics| statistics.summary(true));
    known.closed.iter().cloned().chain(open).collect()
}

impl Statistics {
    /// Starts the counters of a container with a ledger that was opened with these options.
    pub(crate) fn start(target: &Target, writable: bool, options: &Options) -> Arc<Self> {
        let statistics = Arc::new(Self {
            container: target.name(),
            writable,
            begun: Instant::now(),
            pid: process::id(),
            commits: Meter::default(),
            conflicts: AtomicU64::new(0),
            blocks: Arc::default(),
            ledger: options.ledger.statistics.clone(),
            requests: match target {
                Target::Objects { store, .. } => store.requests(),
                Target::File(_) => None,
            },
            stage: match target {
                Target::Objects { store, .. } => store.stage().map(StagedStore::counts),
                Target::File(_) => None,
            },
        });
        let mut known = KNOWN.lock();
        known.forget_parents();
        known.open.push(Arc::downgrade(&statistics));
        statistics
    }

    /// Counts a flush that created a version, or failed.
    pub(crate) fn note_commit(&self, done: &Result<()>, time: Duration) {
        self.commits.note(0, done.is_ok(), time);
        if done.as_ref().is_err_and(|error: &Error| error.kind() == ErrorKind::Conflict) {
            self.conflicts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn summary(&self, is_open: bool) -> Summary {
        let requests = match &self.requests {
            Some(requests) => RequestKind::ALL.map(|kind| (kind.name(), requests.read(kind))).to_vec(),
            None => {
                let Self { ledger, .. } = self;
                let calls = [("read", &ledger.reads), ("write", &ledger.writes), ("sync", &ledger.syncs)];
                calls.map(|(kind, meter)| (kind, meter.read())).to_vec()
            }
        };
        let looks = |cache: &CacheUse| (cache.hits(), cache.misses());
        Summary {
            container: self.container.clone(),
            writable: self.writable,
            is_open,
            open_for: self.begun.elapsed(),
            commits: self.commits.read(),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            requests,
            staged: self.stage.as_ref().map(|stage| (stage.staged_bytes(), stage.drained_bytes())),
            retries: self.requests.as_ref().map_or(0, |requests| requests.retries()),
            block_cache: looks(&self.blocks),
            page_cache: looks(&self.ledger.pages),
        }
    }
}

/// Reports a container's costs when dropped. It is a container's last field, so that all other fields have made their
/// last requests.
#[derive(Debug)]
pub(crate) struct ReportAtClose(pub(crate) Arc<Statistics>);

impl Drop for ReportAtClose {
    fn drop(&mut self) {
        // A forked child closes its parent's container without a request.
        if self.0.pid != process::id() {
            return;
        }
        let summary = self.0.summary(false);
        let mut known = KNOWN.lock();
        known.forget_parents();
        known.open.retain(|open| !std::ptr::eq(open.as_ptr(), Arc::as_ptr(&self.0)));
        if known.closed.len() == MAX_CLOSED {
            known.closed.pop_front();
        }
        known.closed.push_back(summary.clone());
        drop(known);
        if let Some(report) = LISTENER.get() {
            report(&summary);
        }
    }
}
