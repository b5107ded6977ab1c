//! How long the caller's operation may take in remote stores, all its requests and tries together.
//!
//! A caller marks the begin and the end of an operation ([`begin`]): one call of a library, one command. The first
//! request of the operation starts its [`Budget`]; all others of its thread share it. A request without an operation around
//! it, as a helper thread makes them, has a budget of its own, which the [`Patience`] with the store bounds: what the
//! operation used up in vain is not there for its helpers.
//!
//! The budget grows with the bytes that are transferred and with each request that is answered, so that a long
//! transfer and a long row of requests are no timeout. It never reaches further than the timeout from now. A store that
//! stops to answer is an error within the timeout, and so is one whose answers trickle.
//!
//! Time in which the caller waits for others than the store, as for another process of its program, is no time of the
//! store's: [`wait_for_others`] adds it.
//!
//! Within an operation, [`begin_within`] bounds what has to arrive in time or not at all. Nothing prolongs that bound.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The timeout where no setting says another one.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(50);

/// Bytes a second that are progress: what is slower is not waited for.
pub const MIN_BYTES_PER_SECOND: u64 = 256 << 10;
/// What an answered request adds to the budget: one that takes no longer is progress, however few its bytes.
const REQUEST_CREDIT: Duration = Duration::from_secs(1);

thread_local! {
    /// The number of this thread's operation; 0 without one. It has no destructor: exit handlers use it.
    static OPERATION: Cell<u64> = const { Cell::new(0) };
    /// What bounds this thread's requests beside the operation's budget.
    static BOUND: Cell<Option<Bound>> = const { Cell::new(None) };
}

static NEXT: AtomicU64 = AtomicU64::new(1);
/// The budgets of operations that made requests.
static BUDGETS: Mutex<Vec<(u64, Arc<Budget>)>> = Mutex::new(Vec::new());
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A moment by which all is over, whatever the progress.
#[derive(Clone, Copy, Debug)]
struct Bound {
    until: Instant,
    /// How long that was when it began.
    longest: Duration,
}

impl Bound {
    /// The one that ends first: the one around, or so much time from now on.
    fn tighter(outer: Option<Bound>, longest: Duration) -> Option<Bound> {
        let Some(until) = Instant::now().checked_add(longest) else { return outer };
        outer.filter(|outer| outer.until <= until).or(Some(Bound { until, longest }))
    }
}

/// An operation under way in this thread, or a part of one. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the operation ends when this is dropped"]
pub struct TimedOperation {
    /// 0 within an operation that goes on.
    number: u64,
    /// What bounded this thread's requests before.
    outer: Option<Bound>,
    /// It belongs to this thread.
    thread: PhantomData<*const ()>,
}

/// Begins an operation, unless this thread is within one already.
pub fn begin() -> TimedOperation {
    let number = match OPERATION.get() {
        0 => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            OPERATION.set(number);
            number
        }
        _ => 0,
    };
    TimedOperation { number, outer: BOUND.get(), thread: PhantomData }
}

/// Begins an operation, or a part of the one that this thread is within, that is over after so much time from now on at most:
/// whatever the store's timeout is, and whatever progress there is.
pub fn begin_within(longest: Duration) -> TimedOperation {
    let operation = begin();
    BOUND.set(Bound::tighter(operation.outer, longest));
    operation
}

/// Runs what waits for others than the store. This thread's operation gets as long again for its requests, if it has begun
/// with them; its bounded parts do not.
pub fn wait_for_others<T>(wait: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = wait();
    let number = OPERATION.get();
    if number != 0 && STARTED.load(Ordering::Relaxed) > 0 {
        let budgets = BUDGETS.lock();
        if let Some((_, budget)) = budgets.iter().find(|(of, _)| *of == number) {
            budget.prolong(begun.elapsed());
        }
    }
    done
}

impl Drop for TimedOperation {
    fn drop(&mut self) {
        BOUND.set(self.outer);
        if self.number == 0 {
            return;
        }
        OPERATION.set(0);
        if STARTED.load(Ordering::Relaxed) > 0 {
            let mut budgets = BUDGETS.lock();
            budgets.retain(|(number, _)| *number != self.number);
            STARTED.store(budgets.len(), Ordering::Relaxed);
        }
    }
}

/// The budget that this thread's next request has. `timeout` says how long that of its operation is if it starts now.
pub fn budget(timeout: impl FnOnce() -> Duration) -> Arc<Budget> {
    let whole = whole_budget(timeout);
    match BOUND.get() {
        Some(bound) => Arc::new(Budget { shared: whole.shared.clone(), bound: Some(bound) }),
        None => whole,
    }
}

/// The budget of the operation that this thread works for.
fn whole_budget(timeout: impl FnOnce() -> Duration) -> Arc<Budget> {
    let number = OPERATION.get();
    if number == 0 {
        return Arc::new(Budget::new(timeout()));
    }
    let mut budgets = BUDGETS.lock();
    if let Some((_, budget)) = budgets.iter().find(|(of, _)| *of == number) {
        return budget.clone();
    }
    let budget = Arc::new(Budget::new(timeout()));
    budgets.push((number, budget.clone()));
    STARTED.store(budgets.len(), Ordering::Relaxed);
    budget
}

/// The time that an operation has left, or a bounded part of it.
#[derive(Debug)]
pub struct Budget {
    shared: Arc<Shared>,
    bound: Option<Bound>,
}

/// What an operation and its bounded parts have together.
#[derive(Debug)]
struct Shared {
    began: Instant,
    timeout: Duration,
    /// Nanoseconds after the begin.
    ends: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the last try that failed met.
    last: Option<String>,
    /// Since when connections break.
    breaking: Option<Instant>,
    /// Until when lost time is counted.
    charged: Option<Instant>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Budget {
    /// A budget that starts now.
    pub fn new(timeout: Duration) -> Budget {
        let shared = Shared {
            began: Instant::now(),
            timeout,
            ends: AtomicU64::new(nanoseconds(timeout)),
            state: Mutex::default(),
        };
        Budget { shared: Arc::new(shared), bound: None }
    }

    /// What it was at its begin.
    pub fn timeout(&self) -> Duration {
        self.bound.map_or(self.shared.timeout, |bound| bound.longest.min(self.shared.timeout))
    }

    /// When it is used up, unless there is progress until then.
    pub fn ends(&self) -> Instant {
        let ends = self.shared.began + Duration::from_nanos(self.shared.ends.load(Ordering::Relaxed));
        self.bound.map_or(ends, |bound| bound.until.min(ends))
    }

    /// What is left of it.
    pub fn remaining(&self) -> Duration {
        self.ends().saturating_duration_since(Instant::now())
    }

    /// Bytes were transferred.
    pub fn progressed(&self, bytes: usize) {
        self.prolong(Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / MIN_BYTES_PER_SECOND));
    }

    /// A request was answered whole.
    pub fn answered(&self) {
        self.prolong(REQUEST_CREDIT);
    }

    fn prolong(&self, more: Duration) {
        let most = nanoseconds(self.shared.began.elapsed() + self.shared.timeout);
        let longer = |ends: u64| {
            let longer = ends.saturating_add(nanoseconds(more)).min(most);
            (longer > ends).then_some(longer)
        };
        let _at_its_most = self.shared.ends.fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer);
    }

    /// A request was answered, and its answer came whole.
    pub fn succeeded(&self) {
        let mut state = self.shared.state.lock();
        state.breaking = None;
        state.last = None;
    }

    /// The store answered `why` instead of what it was asked for: it is there, and may be tried again.
    pub fn refused(&self, why: String) {
        let mut state = self.shared.state.lock();
        state.breaking = None;
        state.last = Some(why);
    }

    /// A connection broke or was not made, `why`; says since when none comes to an answer.
    pub fn broke(&self, why: String) -> Instant {
        let mut state = self.shared.state.lock();
        state.last = Some(why);
        *state.breaking.get_or_insert_with(Instant::now)
    }

    /// What the last try that failed met, if none succeeded since.
    pub fn last_failure(&self) -> Option<String> {
        self.shared.state.lock().last.clone()
    }

    /// The time since `since`, in which nothing came of a request; what was counted before is not counted again.
    pub fn charge(&self, since: Instant) -> Duration {
        let now = Instant::now();
        let from = self.shared.state.lock().charged.replace(now).map_or(since, |until| until.max(since));
        now.saturating_duration_since(from)
    }
}

/// What is left of the patience with one store. Operations that follow one another while nothing succeeds share one
/// timeout: a flush, the close behind it and the tries of the exit.
#[derive(Debug)]
pub struct Patience {
    timeout: Duration,
    state: Mutex<Option<(Duration, Instant)>>,
}

/// Each operation has so long, whatever the ones before it used up.
const MIN_OPERATION_TIME: Duration = Duration::from_secs(2);

impl Patience {
    /// Patience for so long.
    pub fn new(timeout: Duration) -> Patience {
        Patience { timeout, state: Mutex::default() }
    }

    /// What an operation that begins now may use.
    pub fn left(&self) -> Duration {
        match *self.state.lock() {
            // It was a while ago: the store may be there again.
            Some((spent, at)) if at.elapsed() < self.timeout => {
                self.timeout.saturating_sub(spent).max(MIN_OPERATION_TIME.min(self.timeout))
            }
            _ => self.timeout,
        }
    }

    /// A request succeeded.
    pub fn restore(&self) {
        let mut state = self.state.lock();
        if state.is_some() {
            *state = None;
        }
    }

    /// Nothing succeeded for so long.
    pub fn spend(&self, time: Duration) {
        let mut state = self.state.lock();
        let spent =
            state.filter(|(_, at)| at.elapsed() < self.timeout).map_or(Duration::ZERO, |(spent, _)| spent);
        *state = Some((spent + time, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn requests_of_one_operation_share_a_budget() {
        let alone = budget(|| LONG);
        let operation = begin();
        let first = budget(|| LONG);
        {
            let _within = begin();
            assert!(Arc::ptr_eq(&first, &budget(|| LONG)));
        }
        assert!(Arc::ptr_eq(&first, &budget(|| LONG)) && !Arc::ptr_eq(&first, &alone));
        drop(operation);
        let _next = begin();
        assert!(!Arc::ptr_eq(&first, &budget(|| LONG)));
    }

    #[test]
    fn a_helpers_operation_is_no_longer_than_it_says() {
        let short = Duration::from_secs(3);
        let operation = begin_within(short);
        assert_eq!(budget(|| LONG).timeout(), short);
        drop(operation);
        let _next = begin();
        assert_eq!(budget(|| LONG).timeout(), LONG);
    }

    #[test]
    fn a_part_of_an_operation_is_no_longer_than_it_says() {
        let (short, shorter) = (Duration::from_secs(3), Duration::from_secs(1));
        let _operation = begin();
        let whole = budget(|| LONG);
        {
            let _part = begin_within(short);
            // As guards do that stand within each other.
            let _within = begin();
            let part = budget(|| LONG);
            assert!(part.timeout() == short && part.remaining() <= short);
            {
                let _longer = begin_within(LONG);
                assert!(budget(|| LONG).remaining() <= short);
                let _shorter = begin_within(shorter);
                assert!(budget(|| LONG).remaining() <= shorter);
            }
            assert!(budget(|| LONG).remaining() > shorter);
            // No progress prolongs a part. What failed is the operation's.
            part.progressed(1 << 30);
            part.answered();
            assert!(part.remaining() <= short);
            part.refused("busy".to_owned());
        }
        assert!(Arc::ptr_eq(&whole, &budget(|| LONG)) && whole.remaining() > short);
        assert_eq!(whole.last_failure().as_deref(), Some("busy"));
    }

    #[test]
    fn a_part_is_no_longer_than_its_operation() {
        let _operation = begin();
        let short = Duration::from_secs(3);
        let _part = begin_within(LONG);
        let part = budget(|| short);
        assert!(part.timeout() == short && part.remaining() <= short);
    }

    #[test]
    fn transfers_prolong_a_budget_and_trickles_do_not() {
        let budget = Budget::new(Duration::from_secs(10));
        let before = budget.ends();
        (0..1000).for_each(|_| budget.progressed(1));
        assert!(budget.ends() - before < Duration::from_millis(10));
        std::thread::sleep(Duration::from_millis(20));
        budget.progressed(1 << 30);
        assert!(budget.ends() > before && budget.remaining() <= Duration::from_secs(10));
    }

    #[test]
    fn waiting_for_others_takes_nothing_of_a_budget() {
        let wait = Duration::from_millis(50);
        let _operation = begin();
        let before = budget(|| LONG).ends();
        wait_for_others(|| std::thread::sleep(wait));
        let budget = budget(|| LONG);
        assert!(budget.ends() >= before + wait && budget.remaining() <= LONG);
        // It belongs to another thread's operation, or to none.
        let other = std::thread::spawn(move || wait_for_others(|| std::thread::sleep(wait)));
        let before = budget.ends();
        other.join().unwrap();
        assert_eq!(budget.ends(), before);
    }

    #[test]
    fn operations_that_fail_one_after_the_other_share_the_patience() {
        let patience = Patience::new(Duration::from_secs(50));
        assert_eq!(patience.left(), Duration::from_secs(50));
        patience.spend(Duration::from_secs(30));
        assert_eq!(patience.left(), Duration::from_secs(20));
        patience.spend(Duration::from_secs(40));
        assert_eq!(patience.left(), MIN_OPERATION_TIME);
        patience.restore();
        assert_eq!(patience.left(), Duration::from_secs(50));
        assert_eq!(Patience::new(Duration::from_secs(1)).left(), Duration::from_secs(1));
    }

    #[test]
    fn time_is_charged_once() {
        let (budget, begun) = (Budget::new(LONG), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        assert!(budget.charge(begun) >= Duration::from_millis(50));
        assert!(budget.charge(begun) < Duration::from_millis(50));
    }
}
