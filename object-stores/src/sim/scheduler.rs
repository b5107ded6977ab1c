//! Decides which thread of a simulation takes the next step.
//!
//! The thread that called [`Scheduler::run`] decides once no thread of the run is in the middle of a step: each thread
//! waits for its turn, has ended, or sleeps in the kernel. Requests that arrived meanwhile are sorted before they get
//! their turns, so that the order in which they arrived does not matter and threads that an actor starts side by side
//! do not race.

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

/// The number of consecutive checks in which a thread has to be asleep before it counts as sleeping, and the time
/// between the checks.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_micros(400);
/// The maximum number of steps of a run. A run with more steps is considered endless.
const MAX_STEPS: u64 = 2_000_000;
/// The number of last steps that a failed run shows.
const SHOWN: usize = 80;

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thread, numbered in the order in which threads joined the run; `None` for a request that was delivered late.
    pub thread: Option<usize>,
    /// The requested operation.
    pub operation: Operation,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// The outcome of the request.
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
    /// The file in `/proc` with the kernel's state of the thread; unknown until the thread runs.
    status: Option<PathBuf>,
    state: SlotState,
}

enum SlotState {
    /// The thread has arrived with a request, or for the answer to a request (without an operation). It may take its
    /// turn from step `due` on, which is unknown until the arrival was noted.
    Waiting {
        request: Option<(Operation, String)>,
        due: Option<u64>,
    },
    /// The thread may continue.
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

/// Lets a late request take effect; returns whether it succeeded.
pub(super) type Arrive = dyn FnOnce(&MemoryStore) -> bool + Send;

struct State {
    chance: Chance,
    step: u64,
    /// The number of the current run.
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
    /// Notified when something has changed for the thread that decides.
    arrived: Condvar,
    /// Notified when a thread was called.
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

/// A thread's membership in a run. Dropped when the thread ends.
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
        // A thread that arrives after the run must not wait for a decision.
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
        // The first cause is reported, not the panics that it caused in other actors.
        match causes.into_iter().find(|cause| !cause.is::<Abandoned>()) {
            Some(cause) => resume_unwind(cause),
            None => panic!("the run has no end: it takes more than {MAX_STEPS} steps"),
        }
    }

    /// Prints how to reproduce this run, and its last steps.
    fn show(&self) {
        let state = self.state.lock();
        eprintln!("the simulated store: seed {}, {:?}, {} steps", self.seed, self.faults, state.step);
        for step in &state.steps[state.steps.len().saturating_sub(SHOWN)..] {
            eprintln!("  {step}");
        }
    }

    /// Decides until the actors have ended. The actors have the first slots.
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
                // The remaining threads sleep in the kernel, and continue by themselves.
                None => drop(self.arrived.wait_for(&mut state, BETWEEN_LOOKS)),
            }
        }
        // A request that is still in flight arrives, or is lost.
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

    /// Waits for a request's turn. Returns the fate of the request; `None` outside of a run.
    pub(super) fn turn(self: &Arc<Self>, operation: Operation, key: &str) -> Option<Fate> {
        self.wait(Some((operation, key.to_owned())))
    }

    /// Returns the answer to the caller. If the answer is slow, other requests take their turns first.
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
                // A ticket of an earlier run must not mark a slot of this one as ended.
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

/// The panic payload of an actor that ends because another one has failed.
struct Abandoned;

/// Runs an actor in its thread.
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
    /// A late request, by its index.
    Late(usize),
}

impl State {
    /// Returns the threads that may be in the middle of a step.
    fn busy(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| matches!(slot.state, SlotState::Called(_) | SlotState::Running))
    }

    /// Gives each thread that has arrived the step from which on it may take its turn.
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

    /// Draws the number of steps that a request waits at least: usually few, and sometimes so many that all other
    /// requests overtake it.
    fn delay(&mut self) -> u64 {
        match self.chance.below(20) {
            0 => self.chance.below(300),
            1..5 => self.chance.below(20),
            _ => self.chance.below(3),
        }
    }

    /// Chooses the next step; returns `None` if no thread waits.
    fn choose(&mut self) -> Option<Chosen> {
        let waiting = self.slots.iter().enumerate().filter_map(|(n, slot)| match slot.state {
            SlotState::Waiting { due: Some(due), .. } => Some((due, Chosen::Thread(n))),
            _ => None,
        });
        let late = self.late.iter().enumerate().map(|(n, late)| (late.due, Chosen::Late(n)));
        let mut all: Vec<(u64, Chosen)> = waiting.chain(late).collect();
        // Late requests alone make no step, because no thread could see their effect.
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
        // The state follows the thread's name, which may contain any characters.
        text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['S', 'Z', 'X']))
    }
}

/// Returns the calling thread's status file.
fn status() -> Option<PathBuf> {
    let task = std::fs::read_link("/proc/thread-self").ok()?;
    Some(PathBuf::from("/proc").join(task).join("stat"))
}
