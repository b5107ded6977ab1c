//! The threads that run tasks: few, started when they are first needed, and paused while the process forks.
//!
//! The state of all queues is behind one lock, which is held for moments and never while a task runs. At a fork every
//! worker is asleep: the child has no workers, and no lock is left locked by one.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use h5lake_ledger::locks::{Condvar, Mutex, MutexGuard};
use h5lake_ledger::process;

use crate::background::queue::{Queue, remember_unreported};
use crate::background::task::{Task, Work};
use crate::error::SentError;

/// The most tasks that wait or run in the whole process. A further task is run by its caller.
const MAX_PENDING: usize = 1024;
/// The most threads. A task that filters or uploads much has threads of its own for that.
const MAX_WORKERS: usize = 4;
/// The longest time that a fork waits for running tasks. Tasks on a store that does not answer end sooner.
const MAX_FORK_WAIT: Duration = Duration::from_secs(120);

static POOL: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new()));
/// The process that last had a worker, or 0.
static OWNER: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// The tasks that wait in one queue.
struct Waiting {
    queue: Arc<Queue>,
    tasks: VecDeque<(Arc<Task>, Work)>,
    /// The error of a task that failed because its store did not answer. The tasks that waited behind it fail with the
    /// same error: otherwise each would wait for the store again, and a thread that waits for the queue would wait for
    /// all of them.
    silence: Option<SentError>,
}

/// The next task to run.
struct Turn {
    queue: Arc<Queue>,
    task: Arc<Task>,
    work: Work,
    /// The error with which the task fails without being tried, if there is one.
    silence: Option<SentError>,
}

struct State {
    /// The process that the workers belong to.
    process: u32,
    /// Queues with tasks, including those with a running task.
    queues: HashMap<u64, Waiting>,
    /// Queues with tasks of which none is running.
    ready: VecDeque<u64>,
    pending: usize,
    workers: usize,
    /// Sleeping workers. The thread that wakes a worker removes it. Workers are parked one by one, and not at a
    /// condition variable: that would keep them in a list of all sleeping threads, where a forked child finds the
    /// stacks of threads that it does not have.
    asleep: Vec<Thread>,
    /// The number of forks in progress.
    forks: usize,
    /// Signalled to threads that wait for tasks to end, or for workers to sleep. Each process has its own.
    progress: Arc<Condvar>,
}

impl State {
    fn new() -> Self {
        Self {
            process: process::id(),
            queues: HashMap::new(),
            ready: VecDeque::new(),
            pending: 0,
            workers: 0,
            asleep: Vec::new(),
            forks: 0,
            progress: Arc::default(),
        }
    }

    /// Wakes a worker, or starts one. Returns whether any worker exists.
    fn wake(&mut self) -> bool {
        if self.forks > 0 {
            return self.workers > 0;
        }
        if let Some(worker) = self.asleep.pop() {
            worker.unpark();
        } else if self.workers < MAX_WORKERS.min(cores()) {
            OWNER.store(self.process, Ordering::Relaxed);
            if Builder::new().name("h5lake-async".into()).spawn(run).is_ok() {
                self.workers += 1;
            }
        }
        self.workers > 0
    }

    /// Takes the next task of a queue in which no task is running.
    fn next(&mut self) -> Option<Turn> {
        while let Some(id) = self.ready.pop_front() {
            let Some(waiting) = self.queues.get_mut(&id) else { continue };
            if let Some((task, work)) = waiting.tasks.pop_front() {
                let (queue, silence) = (waiting.queue.clone(), waiting.silence.clone());
                return Some(Turn { queue, task, work, silence });
            }
            self.queues.remove(&id);
        }
        None
    }

    /// Notes that a task of a queue has ended, so that the next one may run.
    fn ended(&mut self, queue: &Queue, task: &Task, silence: Option<SentError>) {
        self.forget(queue, task);
        match self.queues.get_mut(&queue.id) {
            Some(waiting) if !waiting.tasks.is_empty() => {
                waiting.silence = silence;
                self.ready.push_back(queue.id);
            }
            _ => drop(self.queues.remove(&queue.id)),
        }
    }

    fn forget(&mut self, queue: &Queue, task: &Task) {
        self.pending -= 1;
        queue.left(task.kind);
        self.progress.notify_all();
    }
}

fn cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get).max(2));
    *CORES
}

/// Locks the state of this process. A forked child abandons the state that it inherited from its parent: no thread
/// runs those tasks, and the buffers that they name are the parent's.
fn state() -> Option<MutexGuard<'static, State>> {
    let owner = OWNER.load(Ordering::Relaxed);
    let is_forked = owner != 0 && owner != process::id();
    // One thread of a parent may have held the lock when another thread forked.
    let mut state = if is_forked { lock_for_a_while()? } else { POOL.lock() };
    if state.process != process::id() {
        std::mem::forget(std::mem::replace(&mut *state, State::new()));
    }
    Some(state)
}

/// Takes the lock, unless it is held by a thread that does not exist in this process. The lock is never held for long.
fn lock_for_a_while() -> Option<MutexGuard<'static, State>> {
    let begun = Instant::now();
    loop {
        match POOL.try_lock() {
            Some(state) => return Some(state),
            None if begun.elapsed() > Duration::from_secs(5) => return None,
            None => std::thread::yield_now(),
        }
    }
}

pub(super) fn submit(queue: &Arc<Queue>, task: &Arc<Task>, work: Work) -> Result<(), Work> {
    let Some(mut state) = state() else { return Err(work) };
    if state.pending >= MAX_PENDING {
        return Err(work);
    }
    match state.queues.get_mut(&queue.id) {
        Some(waiting) => waiting.tasks.push_back((task.clone(), work)),
        None => {
            if !state.wake() {
                return Err(work);
            }
            let tasks = VecDeque::from([(task.clone(), work)]);
            state.queues.insert(queue.id, Waiting { queue: queue.clone(), tasks, silence: None });
            state.ready.push_back(queue.id);
        }
    }
    state.pending += 1;
    queue.came(task.kind);
    Ok(())
}

/// Returns whether one more task may wait.
pub(super) fn has_space() -> bool {
    state().is_some_and(|state| state.pending < MAX_PENDING)
}

/// Removes a task that has not begun. Returns whether it was removed.
pub fn cancel(task: &Task) -> bool {
    let Some(mut state) = state() else { return false };
    let Some(waiting) = state.queues.get_mut(&task.queue) else { return false };
    let Some(at) = waiting.tasks.iter().position(|(other, _)| std::ptr::eq(&raw const **other, task)) else {
        return false;
    };
    let (queue, taken) = (waiting.queue.clone(), waiting.tasks.remove(at));
    drop(state);
    // Dropping the task's work may lock. Threads that wait for the queue wait until the work is dropped, too.
    drop(taken);
    task.cancel();
    if let Some(mut state) = self::state() {
        state.forget(&queue, task);
    }
    true
}

/// Waits until a condition holds that changes when a task ends.
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    wait(None, &mut holds);
}

/// Waits like [`wait_until`], but at most for `time`. Returns whether the condition holds.
pub fn wait_for(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    // A time beyond the range of the clock means no limit.
    wait(Instant::now().checked_add(time), &mut holds)
}

fn wait(end: Option<Instant>, holds: &mut dyn FnMut() -> bool) -> bool {
    let Some(mut state) = state() else { return holds() };
    while !holds() {
        let progress = state.progress.clone();
        match end {
            None => progress.wait(&mut state),
            Some(end) => {
                if progress.wait_until(&mut state, end) {
                    return holds();
                }
            }
        }
    }
    true
}

/// Waits until no task is left in this process.
pub fn complete_all() {
    if OWNER.load(Ordering::Relaxed) != process::id() {
        return;
    }
    let Some(mut state) = state() else { return };
    while state.pending > 0 {
        let progress = state.progress.clone();
        progress.wait(&mut state);
    }
}

/// Returns whether this thread runs tasks. Such a thread never enters libhdf5.
pub fn is_worker() -> bool {
    IS_WORKER.get()
}

/// Runs tasks until the process ends.
fn run() {
    IS_WORKER.set(true);
    let mut state = POOL.lock();
    loop {
        let next = if state.forks > 0 { None } else { state.next() };
        let Some(turn) = next else {
            state = sleep(state);
            continue;
        };
        drop(state);
        let (queue, task) = (turn.queue.clone(), turn.task.clone());
        let silence = take(turn);
        state = POOL.lock();
        state.ended(&queue, &task, silence);
    }
}

/// Runs a task, or lets it fail like a task before it. Returns the error with which the tasks behind it are to fail,
/// if any.
fn take(turn: Turn) -> Option<SentError> {
    let Turn { task, work, silence, .. } = turn;
    let failed = match silence {
        Some(why) => {
            // Dropping the task's work may lock.
            drop(work);
            task.fail(why.clone());
            Some(why)
        }
        None => task.run(work),
    };
    if failed.is_some() {
        remember_unreported(&task);
    }
    failed.filter(|why| why.clone().into_error().is_of_silent_store())
}

/// Sleeps until another thread wakes this worker.
fn sleep(mut state: MutexGuard<'static, State>) -> MutexGuard<'static, State> {
    let me = std::thread::current();
    state.asleep.push(me.clone());
    state.progress.notify_all();
    loop {
        drop(state);
        std::thread::park();
        state = POOL.lock();
        if state.asleep.iter().all(|other| other.id() != me.id()) {
            return state;
        }
    }
}

/// Prepares a fork: waits until no task runs and all workers sleep. Waiting tasks remain waiting until the fork is
/// over.
pub fn before_fork() {
    if OWNER.load(Ordering::Relaxed) != process::id() || is_worker() {
        return;
    }
    let Some(mut state) = state() else { return };
    state.forks += 1;
    let end = Instant::now() + MAX_FORK_WAIT;
    while state.asleep.len() < state.workers {
        let progress = state.progress.clone();
        if progress.wait_until(&mut state, end) {
            tracing::warn!(
                "a process forks while work beside it goes on; its child may wait for locks for ever"
            );
            return;
        }
    }
}

/// Lets the workers continue after a fork, in the parent.
pub fn after_fork() {
    if OWNER.load(Ordering::Relaxed) != process::id() || is_worker() {
        return;
    }
    let Some(mut state) = state() else { return };
    state.forks = state.forks.saturating_sub(1);
    for _ in 0..state.ready.len() {
        state.wake();
    }
}
