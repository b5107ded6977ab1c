//! The tasks of one container, which run one after another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use h5lake_ledger::locks::Mutex;
use h5lake_ledger::process;

use crate::background::pool;
use crate::background::task::{Ended, Kind, Task, Work};
use crate::error::{Error, SentError};

/// The most failed tasks of one queue that are remembered until their failures are reported. Further ones count as
/// reported: a program hears of one of them.
const MAX_UNREPORTED: usize = 64;

/// Failed tasks that were not reported yet, by their queues: failures in one container hide none in another.
static UNREPORTED: Mutex<BTreeMap<u64, Vec<Arc<Task>>>> = Mutex::new(BTreeMap::new());

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The order in which the tasks of one container run.
#[derive(Debug)]
pub struct Queue {
    pub(super) id: u64,
    process: u32,
    /// The number of tasks that wait or run.
    pending: AtomicUsize,
    /// The number of flushes among them.
    flushes: AtomicUsize,
}

impl Default for Queue {
    fn default() -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, process: process::id(), pending: AtomicUsize::new(0), flushes: AtomicUsize::new(0) }
    }
}

impl Queue {
    /// Runs `work` after all previously submitted work. If too many tasks wait, or no thread can be started, this
    /// thread waits and runs it itself: [`has_space`](Self::has_space) predicts the former.
    pub fn submit(self: &Arc<Self>, kind: Kind, slot: usize, work: Work) -> Arc<Task> {
        let task = Arc::new(Task::new(kind, slot, self.id));
        if let Err(work) = pool::submit(self, &task, work) {
            self.complete();
            if task.run(work).is_some() {
                remember_unreported(&task);
            }
        }
        task
    }

    /// Returns whether one more task may wait.
    pub fn has_space(&self) -> bool {
        !self.is_inherited() && pool::has_space()
    }

    /// Waits until all submitted tasks have ended. The caller must not hold a lock of h5lake: a task may need it.
    #[inline]
    pub fn complete(&self) {
        if self.pending.load(Ordering::Acquire) != 0 && !self.is_inherited() {
            pool::wait_until(|| self.pending.load(Ordering::Acquire) == 0);
        }
    }

    /// Waits like [`complete`](Self::complete), if a flush waits or runs: so no flush commits a change of several
    /// steps between two of the steps.
    #[inline]
    pub fn complete_flushes(&self) {
        if self.flushes.load(Ordering::Acquire) != 0 {
            self.complete();
        }
    }

    pub(super) fn came(&self, kind: Kind) {
        self.pending.fetch_add(1, Ordering::AcqRel);
        self.flushes.fetch_add(usize::from(kind == Kind::Flush), Ordering::AcqRel);
    }

    pub(super) fn left(&self, kind: Kind) {
        self.flushes.fetch_sub(usize::from(kind == Kind::Flush), Ordering::AcqRel);
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns the failure of tasks that were not reported yet. Each failure is returned once.
    pub fn unreported_failure(&self) -> Option<Error> {
        let mut failed = UNREPORTED.lock().remove(&self.id)?;
        failed.retain(|task| !task.is_reported() && !task.is_inherited());
        first_of(&failed).map(SentError::into_error)
    }

    fn is_inherited(&self) -> bool {
        self.process != process::id()
    }
}

/// Remembers a failed task until its failure is reported.
pub(super) fn remember_unreported(task: &Arc<Task>) {
    let mut unreported = UNREPORTED.lock();
    let of_queue = unreported.entry(task.queue).or_default();
    of_queue.retain(|task| !task.is_reported());
    if of_queue.len() < MAX_UNREPORTED {
        of_queue.push(task.clone());
    }
}

/// Passes the unreported failures of a library's tasks to `report`: the library shuts down, and the program will not
/// ask.
pub fn report_unreported(slot: usize, report: impl Fn(&str)) {
    let failed: Vec<_> = {
        let mut unreported = UNREPORTED.lock();
        unreported.values_mut().flat_map(|tasks| tasks.extract_if(.., |task| task.slot == slot)).collect()
    };
    let own: Vec<_> = failed.into_iter().filter(|task| !task.is_reported() && !task.is_inherited()).collect();
    if let Some(error) = first_of(&own) {
        report(&error.into_error().to_string());
    }
}

/// Returns the first failure, with the number of further ones. All of them count as reported then.
fn first_of(failed: &[Arc<Task>]) -> Option<SentError> {
    let unreported: Vec<_> = failed.iter().filter(|task| task.mark_reported()).collect();
    let Some(Ended::Failed(error)) = unreported.first()?.ended() else { return None };
    match unreported.len() - 1 {
        0 => Some(error),
        more => Some(error.into_error().followed_by(format_args!("; {more} more failed")).into_sent()),
    }
}
