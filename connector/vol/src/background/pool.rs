//! The threads that run tasks: few, started when they are first needed, and paused while the process forks.
//!
//! The state of all queues is behind one lock, which is held for moments and never while a task runs. At a fork every
//! worker is asleep: the child has none of them, and no lock is left to one.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use h5lake_ledger::locks::{Condvar, Mutex, MutexGuard};
use h5lake_ledger::process;

use crate::background::queue::{Queue, keep_untold};
use crate::background::task::{Task, Work};
use crate::error::SentError;

/// Tasks that wait or run in the whole process. One more is done by its caller.
const MAX_PENDING: usize = 1024;
/// Threads. A task that filters or uploads much has threads of its own for that.
const MAX_WORKERS: usize = 4;
/// How long a fork waits for tasks that run. Those of a store that does not answer end sooner.
const MAX_FORK_WAIT: Duration = Duration::from_secs(120);

static POOL: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::new()));
/// The process that last had a worker, or 0.
static OWNER: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// What waits in one queue.
struct Waiting {
    queue: Arc<Queue>,
    tasks: VecDeque<(Arc<Task>, Work)>,
    /// Why a task has failed whose store did not answer: those that waited behind it fail alike. Each would wait for the store again,
    /// and who waits for the queue for all of them.
    silence: Option<SentError>,
}

/// A task whose turn it is.
struct Turn {
    queue: Arc<Queue>,
    task: Arc<Task>,
    work: Work,
    /// Why it fails without being tried.
    silence: Option<SentError>,
}

struct State {
    /// Whose workers these are.
    process: u32,
    /// Queues with tasks, the one that runs included.
    queues: HashMap<u64, Waiting>,
    /// Queues with tasks of which none runs.
    ready: VecDeque<u64>,
    pending: usize,
    workers: usize,
    /// Workers that sleep. Who wakes one takes it out. They are parked one by one, and not at a condition variable: that would
    /// keep them in a list of all sleeping threads, where a forked child finds the stacks of threads that it does not have.
    asleep: Vec<Thread>,
    /// How many forks are under way.
    forks: usize,
    /// Told to those who wait for tasks to end, or for workers to sleep. Another one in each process.
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

    /// Wakes a worker, or starts one. Answers whether there is any.
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

    /// The next task of a queue of which none runs.
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

    /// A task of a queue has ended: the next one may run.
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

/// The state of this process. What a forked child got of its parent's is left as it is: nobody runs it, and the buffers that
/// it names are the parent's.
fn state() -> Option<MutexGuard<'static, State>> {
    let owner = OWNER.load(Ordering::Relaxed);
    let is_forked = owner != 0 && owner != process::id();
    // Of a parent with several threads, one may have had the lock when another forked.
    let mut state = if is_forked { lock_for_a_while()? } else { POOL.lock() };
    if state.process != process::id() {
        std::mem::forget(std::mem::replace(&mut *state, State::new()));
    }
    Some(state)
}

/// The lock, unless a thread has it that this process does not have. It is never held for long.
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

/// Whether one more task may wait.
pub(super) fn has_room() -> bool {
    state().is_some_and(|state| state.pending < MAX_PENDING)
}

/// Takes a task back that has not begun.
pub fn cancel(task: &Task) -> bool {
    let Some(mut state) = state() else { return false };
    let Some(waiting) = state.queues.get_mut(&task.queue) else { return false };
    let Some(at) = waiting.tasks.iter().position(|(other, _)| std::ptr::eq(&raw const **other, task)) else {
        return false;
    };
    let (queue, taken) = (waiting.queue.clone(), waiting.tasks.remove(at));
    drop(state);
    // What it holds may lock. Who waits for the queue waits until that is gone, too.
    drop(taken);
    task.cancel();
    if let Some(mut state) = self::state() {
        state.forget(&queue, task);
    }
    true
}

/// Waits until something holds that changes when a task ends.
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    wait(None, &mut holds);
}

/// As [`wait_until`], for some time at most. Answers whether it holds.
pub fn wait_for(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    // A time that no clock reaches has no end.
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

/// Whether this thread runs tasks. It never enters libhdf5.
pub fn is_worker() -> bool {
    IS_WORKER.get()
}

/// What a worker does until the process ends.
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

/// Runs a task, or has it fail like one before it. Answers why those behind it are to fail.
fn take(turn: Turn) -> Option<SentError> {
    let Turn { task, work, silence, .. } = turn;
    let failed = match silence {
        Some(why) => {
            // What it holds may lock.
            drop(work);
            task.fail(why.clone());
            Some(why)
        }
        None => task.run(work),
    };
    if failed.is_some() {
        keep_untold(&task);
    }
    failed.filter(|why| why.clone().into_error().is_of_silent_store())
}

/// Sleeps until somebody wakes this worker.
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

/// Before a fork: waits until no task runs and all workers sleep. Those that wait do so until the fork is over.
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

/// After a fork, in the parent: the workers go on.
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
