//! The tasks of one container, which run one after another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use h5lake_ledger::locks::Mutex;
use h5lake_ledger::process;

use crate::background::pool;
use crate::background::task::{Ended, Kind, Task, Work};
use crate::error::{Error, SentError};

/// Failed tasks of one queue that are kept until somebody is told. More are counted as told: one of them is what a program hears of.
const MAX_UNTOLD: usize = 64;

/// Failed tasks of which nobody was told yet, by their queues: failures in one container hide none in another.
static UNTOLD: Mutex<BTreeMap<u64, Vec<Arc<Task>>>> = Mutex::new(BTreeMap::new());

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The order in which the tasks of one container run.
#[derive(Debug)]
pub struct Queue {
    pub(super) id: u64,
    process: u32,
    /// Tasks that wait or run.
    pending: AtomicUsize,
    /// Flushes among them.
    flushes: AtomicUsize,
}

impl Default for Queue {
    fn default() -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, process: process::id(), pending: AtomicUsize::new(0), flushes: AtomicUsize::new(0) }
    }
}

impl Queue {
    /// Has `work` done behind all that came before. Where too much waits, or no thread can be had, this thread waits and does
    /// it: [`has_room`](Self::has_room) tells before.
    pub fn submit(self: &Arc<Self>, kind: Kind, slot: usize, work: Work) -> Arc<Task> {
        let task = Arc::new(Task::new(kind, slot, self.id));
        if let Err(work) = pool::submit(self, &task, work) {
            self.complete();
            if task.run(work).is_some() {
                keep_untold(&task);
            }
        }
        task
    }

    /// Whether one more task may wait.
    pub fn has_room(&self) -> bool {
        !self.is_inherited() && pool::has_room()
    }

    /// Waits until all that was submitted has ended. No lock of ours may be held: a task may need it.
    #[inline]
    pub fn complete(&self) {
        if self.pending.load(Ordering::Acquire) != 0 && !self.is_inherited() {
            pool::wait_until(|| self.pending.load(Ordering::Acquire) == 0);
        }
    }

    /// Waits as [`complete`](Self::complete) does, if a flush waits or runs: what is being changed in several steps is not
    /// committed between two of them.
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

    /// The failure of tasks that nobody was told of, once.
    pub fn untold(&self) -> Option<Error> {
        let mut failed = UNTOLD.lock().remove(&self.id)?;
        failed.retain(|task| !task.is_told() && !task.is_inherited());
        first_of(&failed).map(SentError::into_error)
    }

    fn is_inherited(&self) -> bool {
        self.process != process::id()
    }
}

/// Keeps a task that failed until somebody is told.
pub(super) fn keep_untold(task: &Arc<Task>) {
    let mut untold = UNTOLD.lock();
    let of_queue = untold.entry(task.queue).or_default();
    of_queue.retain(|task| !task.is_told());
    if of_queue.len() < MAX_UNTOLD {
        of_queue.push(task.clone());
    }
}

/// Hands the failures of a library's tasks that nobody was told of to `report`: it shuts down, and nobody will ask.
pub fn report_untold(slot: usize, report: impl Fn(&str)) {
    let failed: Vec<_> = {
        let mut untold = UNTOLD.lock();
        untold.values_mut().flat_map(|tasks| tasks.extract_if(.., |task| task.slot == slot)).collect()
    };
    let own: Vec<_> = failed.into_iter().filter(|task| !task.is_told() && !task.is_inherited()).collect();
    if let Some(error) = first_of(&own) {
        report(&error.into_error().to_string());
    }
}

/// The first failure, with the number of the others. All count as told then.
fn first_of(failed: &[Arc<Task>]) -> Option<SentError> {
    let untold: Vec<_> = failed.iter().filter(|task| task.tell()).collect();
    let Some(Ended::Failed(error)) = untold.first()?.ended() else { return None };
    match untold.len() - 1 {
        0 => Some(error),
        more => Some(error.into_error().followed_by(format_args!("; {more} more failed")).into_sent()),
    }
}
