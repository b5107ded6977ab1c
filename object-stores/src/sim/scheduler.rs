//! Which thread takes the next step.
//!
//! The thread that called [`Scheduler::run`] decides, when no thread of the run is in the middle of a step: each waits for its turn,
//! has ended, or sleeps in the kernel. What arrived meanwhile is taken in an order of its own, not in that of the arrivals, so that
//! threads which an actor starts side by side do not race.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::faults::Fate;
use super::{Chance, Faults};
use crate::{MemoryStore, Operation};

/// A thread sleeps if it was seen asleep so often, in looks that are so far apart.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_micros(400);
/// Steps of a run. One that takes more is endless.
const MAX_STEPS: u64 = 2_000_000;
/// Steps that are kept to be shown.
const SHOWN: usize = 80;

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thread, in the order in which threads took part; `None` for a request that was under way.
    pub thread: Option<usize>,
    /// What was asked for.
    pub operation: Operation,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// What became of it.
    pub fate: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { thread, operation, key, fate } = self;
        match thread {
            Some(thread) => write!(f, "{thread}: {operation} {key}: {fate}"),
            None => write!(f, "-: {operation} {key}: {fate}"),
        }
    }
}

/// A thread of a run.
struct Slot {
    /// The file that tells the kernel's state of the thread; unknown until the thread runs.
    status: Option<PathBuf>,
    state: SlotState,
}

enum SlotState {
    /// It has arrived with a request, or for the answer to one (without an operation), which may take its turn from a step on;
    /// unknown until the arrival was noted.
    Waiting {
        request: Option<(Operation, String)>,
        due: Option<u64>,
    },
    /// It is to go on.
    Called(Fate),
    Running,
    Ended,
}

/// A request that arrives after its caller was answered.
struct LateRequest {
    due: u64,
    operation: Operation,
    key: String,
    arrive: Box<Arrive>,
}

/// Takes effect; returns whether it succeeded.
pub(super) type Arrive = dyn FnOnce(&MemoryStore) -> bool + Send;

struct State {
    chance: Chance,
    step: u64,
    /// The number of the run that goes on.
    run: Option<u64>,
    slots: Vec<Slot>,
    late: Vec<LateRequest>,
    steps: Vec<Step>,
    has_failed: bool,
}

pub(super) struct Scheduler {
    seed: u64,
    faults: Faults,
    state: Mutex<State>,
    /// Something has changed for the thread that decides.
    arrived: Condvar,
    /// A thread was called.
    called: Condvar,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// A thread's part in a run. Dropped when the thread ends.
struct Ticket {
    scheduler: Arc<Scheduler>,
    run: u64,
    slot: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.scheduler.state.lock();
        if state.run == Some(self.run) {
            state.slots[self.slot].state = SlotState::Ended;
        }
        drop(state);
        self.scheduler.arrived.notify_all();
    }
}

thread_local! {
    static TICKET: RefCell<Option<Ticket>> = const { RefCell::new(None) };
}

impl Scheduler {
    pub(super) fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let state = State {
            chance: Chance::new(seed),
            step: 0,
            run: None,
            slots: Vec::new(),
            late: Vec::new(),
            steps: Vec::new(),
            has_failed: false,
        };
        let (arrived, called) = (Condvar::new(), Condvar::new());
        Arc::new(Scheduler { seed, faults, state: Mutex::new(state), arrived, called })
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.state.lock().steps.clone()
    }

    pub(super) fn run<T: Send, F: FnOnce() -> T + Send>(
        self: &Arc<Self>,
        objects: &MemoryStore,
        actors: Vec<F>,
    ) -> Vec<T> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let count = actors.len();
        {
            let mut state = self.state.lock();
            assert!(state.run.is_none(), "a simulated store has one run at a time");
            (state.run, state.has_failed) = (Some(run), false);
            let waiting = || SlotState::Waiting { request: None, due: None };
            state.slots = (0..count).map(|_| Slot { status: None, state: waiting() }).collect();
        }
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = actors
                .into_iter()
                .enumerate()
                .map(|(slot, actor)| {
                    let ticket = Ticket { scheduler: self.clone(), run, slot };
                    scope.spawn(move || act(ticket, actor))
                })
                .collect();
            self.decide(objects, count);
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(Err)).collect()
        });
        self.state.lock().run = None;
        // A thread that comes too late finds nobody who decides.
        self.called.notify_all();
        let mut done = Vec::new();
        let mut causes = Vec::new();
        for answer in answers {
            match answer {
                Ok(answer) => done.push(answer),
                Err(cause) => causes.push(cause),
            }
        }
        if causes.is_empty() {
            return done;
        }
        self.show();
        // The first cause, and not what it did to others.
        match causes.into_iter().find(|cause| !cause.is::<Abandoned>()) {
            Some(cause) => resume_unwind(cause),
            None => panic!("the run has no end: it takes more than {MAX_STEPS} steps"),
        }
    }

    /// Shows how to get this run again, and how it ended.
    fn show(&self) {
        let state = self.state.lock();
        eprintln!("the simulated store: seed {}, {:?}, {} steps", self.seed, self.faults, state.step);
        for step in &state.steps[state.steps.len().saturating_sub(SHOWN)..] {
            eprintln!("  {step}");
        }
    }

    /// Decides until the actors have ended, which have the first slots.
    fn decide(&self, objects: &MemoryStore, actors: usize) {
        let mut state = self.state.lock();
        loop {
            self.wait_for_quiet(&mut state);
            let is_over = state.slots[..actors].iter().all(|slot| matches!(slot.state, SlotState::Ended));
            if is_over && !state.slots.iter().any(|slot| matches!(slot.state, SlotState::Waiting { .. })) {
                break;
            }
            state.note_arrivals();
            state.step += 1;
            state.has_failed |= state.step > MAX_STEPS;
            match state.choose() {
                Some(Chosen::Thread(slot)) => self.call(&mut state, slot),
                Some(Chosen::Late(n)) => state.deliver(n, objects),
                // Those that are left sleep, and go on by themselves.
                None => drop(self.arrived.wait_for(&mut state, BETWEEN_LOOKS)),
            }
        }
        // What is under way arrives, or does not.
        while !state.late.is_empty() {
            match state.chance.below(2) {
                0 => state.deliver(0, objects),
                _ => drop(state.late.remove(0)),
            }
        }
    }

    fn call(&self, state: &mut State, slot: usize) {
        let waited = std::mem::replace(&mut state.slots[slot].state, SlotState::Running);
        let fate = match waited {
            SlotState::Waiting { request: Some((operation, key)), .. } => {
                let fate = self.faults.draw(operation, &mut state.chance);
                let fate_name = fate.name().to_owned();
                state.steps.push(Step { thread: Some(slot), operation, key, fate: fate_name });
                fate
            }
            _ => Fate::Passed { is_slow: false },
        };
        state.slots[slot].state = SlotState::Called(fate);
        self.called.notify_all();
    }

    /// Waits until no thread is in the middle of a step.
    fn wait_for_quiet(&self, state: &mut MutexGuard<'_, State>) {
        let mut asleep = 0;
        loop {
            if state.busy().next().is_none() || asleep == LOOKS {
                return;
            }
            let has_changed = !self.arrived.wait_for(state, BETWEEN_LOOKS).timed_out();
            asleep = if !has_changed && state.busy().all(Slot::sleeps) { asleep + 1 } else { 0 };
        }
    }

    /// Waits for a request's turn. Returns what becomes of it; nothing outside of a run.
    pub(super) fn turn(self: &Arc<Self>, operation: Operation, key: &str) -> Option<Fate> {
        self.wait(Some((operation, key.to_owned())))
    }

    /// The answer to a request is on its way. If it is slow, other requests take their turn before.
    pub(super) fn answer(self: &Arc<Self>, is_slow: bool) {
        if is_slow {
            self.wait(None);
        }
    }

    fn wait(self: &Arc<Self>, request: Option<(Operation, String)>) -> Option<Fate> {
        let mut state = self.state.lock();
        let run = state.run?;
        let slot = TICKET.with_borrow_mut(|ticket| match ticket {
            Some(ticket) if ticket.run == run => ticket.slot,
            _ => {
                state.slots.push(Slot { status: status(), state: SlotState::Running });
                let new = Ticket { scheduler: self.clone(), run, slot: state.slots.len() - 1 };
                let slot = new.slot;
                // One of an earlier run says nothing any more.
                std::mem::forget(ticket.replace(new));
                slot
            }
        });
        state.slots[slot].state = SlotState::Waiting { request, due: None };
        Some(self.wait_for_call(state, slot))
    }

    fn wait_for_call(&self, mut state: MutexGuard<'_, State>, slot: usize) -> Fate {
        self.arrived.notify_all();
        loop {
            if state.run.is_none() {
                return Fate::Passed { is_slow: false };
            }
            if let SlotState::Called(fate) = state.slots[slot].state {
                state.slots[slot].state = SlotState::Running;
                if state.has_failed {
                    drop(state);
                    resume_unwind(Box::new(Abandoned));
                }
                return fate;
            }
            self.called.wait(&mut state);
        }
    }

    pub(super) fn send_late(&self, operation: Operation, key: &str, arrive: Box<Arrive>) {
        let mut state = self.state.lock();
        let due = state.step + 1 + state.delay();
        state.late.push(LateRequest { due, operation, key: key.to_owned(), arrive });
    }
}

/// Why an actor ends when another one has failed.
struct Abandoned;

/// What an actor's thread does.
fn act<T>(ticket: Ticket, actor: impl FnOnce() -> T) -> thread::Result<T> {
    let (scheduler, slot) = (ticket.scheduler.clone(), ticket.slot);
    TICKET.set(Some(ticket));
    let mut state = scheduler.state.lock();
    state.slots[slot].status = status();
    let answer = catch_unwind(AssertUnwindSafe(|| {
        scheduler.wait_for_call(state, slot);
        actor()
    }));
    if answer.is_err() {
        scheduler.state.lock().has_failed = true;
    }
    drop(TICKET.take());
    answer
}

enum Chosen {
    Thread(usize),
    /// A late request, by its place.
    Late(usize),
}

impl State {
    /// Threads that may be in the middle of a step.
    fn busy(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| matches!(slot.state, SlotState::Called(_) | SlotState::Running))
    }

    /// Gives each thread that has arrived a step from which on it may take its turn.
    fn note_arrivals(&mut self) {
        let mut new = Vec::new();
        for (slot, found) in self.slots.iter().enumerate() {
            if let SlotState::Waiting { request, due: None } = &found.state {
                new.push((request.clone(), slot));
            }
        }
        new.sort();
        for (_, slot) in new {
            let from = self.step + self.delay();
            if let SlotState::Waiting { due, .. } = &mut self.slots[slot].state {
                *due = Some(from);
            }
        }
    }

    /// Steps that a request waits at least: mostly few, and sometimes so many that all others go far ahead.
    fn delay(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.chance.below(300),
            1..5 => self.chance.below(20),
            _ => self.chance.below(3),
        }
    }

    /// Chooses what comes next; nothing if nobody waits.
    fn choose(&mut self) -> Option<Chosen> {
        let waiting = self.slots.iter().enumerate().filter_map(|(n, slot)| match slot.state {
            SlotState::Waiting { due: Some(due), .. } => Some((due, Chosen::Thread(n))),
            _ => None,
        });
        let late = self.late.iter().enumerate().map(|(n, late)| (late.due, Chosen::Late(n)));
        let mut all: Vec<(u64, Chosen)> = waiting.chain(late).collect();
        // Late requests alone make no step: nobody is there to see them.
        if !all.iter().any(|(_, chosen)| matches!(chosen, Chosen::Thread(_))) {
            return None;
        }
        let first = all.iter().map(|(due, _)| *due).min()?;
        self.step = self.step.max(first);
        all.retain(|(due, _)| *due <= self.step);
        let n = self.chance.below(all.len() as u64) as usize;
        Some(all.swap_remove(n).1)
    }

    fn deliver(&mut self, n: usize, objects: &MemoryStore) {
        let LateRequest { operation, key, arrive, .. } = self.late.remove(n);
        let fate = if arrive(objects) { "arrived late" } else { "arrived late, and was refused" };
        self.steps.push(Step { thread: None, operation, key, fate: fate.to_owned() });
    }
}

impl Slot {
    /// Returns whether the thread sleeps in the kernel, or is gone.
    fn sleeps(&self) -> bool {
        let Some(status) = &self.status else { return false };
        let Ok(text) = std::fs::read_to_string(status) else { return true };
        // The state stands behind the thread's name, which may have any characters.
        text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['S', 'Z', 'X']))
    }
}

/// The calling thread's status file.
fn status() -> Option<PathBuf> {
    let task = std::fs::read_link("/proc/thread-self").ok()?;
    Some(PathBuf::from("/proc").join(task).join("stat"))
}
