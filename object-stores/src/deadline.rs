//! Bounds the time of a caller's operation in remote stores, including all its requests and retries.
//!
//! A caller marks the beginning and the end of an operation ([`begin`]): one call of a library, one command. The first
//! request of the operation starts its [`Budget`]; all other requests of its thread share it. A request outside of an
//! operation, such as one from a helper thread, has a budget of its own, which the store's [`Patience`] bounds: time
//! that the operation spent in vain is not available to its helpers.
//!
//! The budget grows with the bytes that are transferred and with each answered request, so that neither a long transfer
//! nor a long sequence of requests times out. The budget never ends later than the timeout from now. So a store that
//! stops answering causes an error within the timeout, and so does a store that answers in a trickle.
//!
//! Time in which the caller waits for something other than the store, such as another process of its program, is not
//! charged to the store: [`wait_outside_store`] adds it to the budget.
//!
//! Within an operation, [`begin_within`] bounds a part that has to finish in time or be abandoned. Nothing prolongs
//! that bound.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The timeout if no setting gives another one.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(50);

/// The transfer rate, in bytes per second, that counts as progress; a slower transfer times out.
pub const MIN_BYTES_PER_SECOND: u64 = 256 << 10;
/// The time that an answered request adds to the budget: a request that takes no longer is progress, however few its
/// bytes.
const REQUEST_CREDIT: Duration = Duration::from_secs(1);

thread_local! {
    /// The number of this thread's operation; 0 without one. It has no destructor, because exit handlers use it.
    static OPERATION: Cell<u64> = const { Cell::new(0) };
    /// The bound of this thread's requests in addition to the operation's budget.
    static BOUND: Cell<Option<Bound>> = const { Cell::new(None) };
}

static NEXT: AtomicU64 = AtomicU64::new(1);
/// The budgets of the operations that have made requests, by the operation's number.
static BUDGETS: Mutex<Vec<(u64, Arc<Budget>)>> = Mutex::new(Vec::new());
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// The moment by which a part of an operation has to end, whatever its progress.
#[derive(Clone, Copy, Debug)]
struct Bound {
    until: Instant,
    /// The time from the begin of the bound to its end.
    longest: Duration,
}

impl Bound {
    /// Returns the bound that ends first: `outer`, or `longest` from now.
    fn tighter(outer: Option<Bound>, longest: Duration) -> Option<Bound> {
        let Some(until) = Instant::now().checked_add(longest) else { return outer };
        outer.filter(|outer| outer.until <= until).or(Some(Bound { until, longest }))
    }
}

/// An operation in progress in this thread, or a part of one. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the operation ends when this is dropped"]
pub struct TimedOperation {
    /// The operation's number; 0 if this is a part of an operation that continues afterwards.
    number: u64,
    /// The bound of this thread's requests before this operation.
    outer: Option<Bound>,
    /// Prevents the value from being sent to another thread, because the operation belongs to this one.
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

/// Begins an operation, or a part of this thread's operation, that ends after `longest` from now at the latest,
/// whatever the store's timeout and progress.
pub fn begin_within(longest: Duration) -> TimedOperation {
    let operation = begin();
    BOUND.set(Bound::tighter(operation.outer, longest));
    operation
}

/// Runs `wait`, which waits for something other than the store, and adds the time to the budget of this thread's
/// operation, if the operation has made requests. The bounds of its parts are not prolonged.
pub fn wait_outside_store<T>(wait: impl FnOnce() -> T) -> T {
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

/// Returns the budget of this thread's next request. `timeout` returns the length of the operation's budget if it
/// starts now.
pub fn budget(timeout: impl FnOnce() -> Duration) -> Arc<Budget> {
    let whole = whole_budget(timeout);
    match BOUND.get() {
        Some(bound) => Arc::new(Budget { shared: whole.shared.clone(), bound: Some(bound) }),
        None => whole,
    }
}

/// Returns the budget of this thread's operation, without the bound of a part.
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

/// The time that is left for an operation, or for a bounded part of it.
#[derive(Debug)]
pub struct Budget {
    shared: Arc<Shared>,
    bound: Option<Bound>,
}

/// The state that an operation and its bounded parts share.
#[derive(Debug)]
struct Shared {
    began: Instant,
    timeout: Duration,
    /// The end, in nanoseconds after `began`.
    ends: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The error of the last failed try.
    last: Option<String>,
    /// The time since which connections have been breaking.
    breaking: Option<Instant>,
    /// The time up to which lost time has been charged.
    charged: Option<Instant>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Budget {
    /// Returns a budget that starts now.
    pub fn new(timeout: Duration) -> Budget {
        let shared = Shared {
            began: Instant::now(),
            timeout,
            ends: AtomicU64::new(nanoseconds(timeout)),
            state: Mutex::default(),
        };
        Budget { shared: Arc::new(shared), bound: None }
    }

    /// Returns the length of the budget when it began.
    pub fn timeout(&self) -> Duration {
        self.bound.map_or(self.shared.timeout, |bound| bound.longest.min(self.shared.timeout))
    }

    /// Returns when the budget ends, unless progress prolongs it.
    pub fn ends(&self) -> Instant {
        let ends = self.shared.began + Duration::from_nanos(self.shared.ends.load(Ordering::Relaxed));
        self.bound.map_or(ends, |bound| bound.until.min(ends))
    }

    /// Returns the time that is left.
    pub fn remaining(&self) -> Duration {
        self.ends().saturating_duration_since(Instant::now())
    }

    /// Records that bytes were transferred.
    pub fn progressed(&self, bytes: usize) {
        self.prolong(Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / MIN_BYTES_PER_SECOND));
    }

    /// Records that a request was answered completely.
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

    /// Records that an answer arrived completely, or enough of it to prove that the connection works. Clears the last
    /// failure.
    pub fn succeeded(&self) {
        let mut state = self.shared.state.lock();
        state.breaking = None;
        state.last = None;
    }

    /// Records that the store answered with the error `why`. The store can be reached, so the request may be retried.
    pub fn refused(&self, why: String) {
        let mut state = self.shared.state.lock();
        state.breaking = None;
        state.last = Some(why);
    }

    /// Records that a connection broke or could not be made because of `why`. Returns the time since which no
    /// connection has led to an answer.
    pub fn broke(&self, why: String) -> Instant {
        let mut state = self.shared.state.lock();
        state.last = Some(why);
        *state.breaking.get_or_insert_with(Instant::now)
    }

    /// Returns the error of the last failed try, if no request has succeeded since.
    pub fn last_failure(&self) -> Option<String> {
        self.shared.state.lock().last.clone()
    }

    /// Returns the time since `since`, in which no request succeeded, without the time that an earlier call returned
    /// already.
    pub fn charge(&self, since: Instant) -> Duration {
        let now = Instant::now();
        let from = self.shared.state.lock().charged.replace(now).map_or(since, |until| until.max(since));
        now.saturating_duration_since(from)
    }
}

/// The patience that is left with one store. Consecutive operations share one timeout while no request succeeds: for
/// example a flush, the close that follows, and the retries at exit.
#[derive(Debug)]
pub struct Patience {
    timeout: Duration,
    state: Mutex<Option<(Duration, Instant)>>,
}

/// The least time that each operation has, however much the operations before it used up.
const MIN_OPERATION_TIME: Duration = Duration::from_secs(2);

impl Patience {
    /// Returns the full patience of `timeout`.
    pub fn new(timeout: Duration) -> Patience {
        Patience { timeout, state: Mutex::default() }
    }

    /// Returns the time that an operation may use if it begins now.
    pub fn left(&self) -> Duration {
        match *self.state.lock() {
            // The last failure is longer ago than the timeout: the store may be available again.
            Some((spent, at)) if at.elapsed() < self.timeout => {
                self.timeout.saturating_sub(spent).max(MIN_OPERATION_TIME.min(self.timeout))
            }
            _ => self.timeout,
        }
    }

    /// Records that a request succeeded: the full patience is available again.
    pub fn restore(&self) {
        let mut state = self.state.lock();
        if state.is_some() {
            *state = None;
        }
    }

    /// Records that no request succeeded for `time`.
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
            // Nested guards do this.
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
            // Progress never prolongs a part. The failure belongs to the whole operation.
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
    fn waits_outside_the_store_are_not_charged() {
        let wait = Duration::from_millis(50);
        let _operation = begin();
        let before = budget(|| LONG).ends();
        wait_outside_store(|| std::thread::sleep(wait));
        let budget = budget(|| LONG);
        assert!(budget.ends() >= before + wait && budget.remaining() <= LONG);
        // The wait belongs to another thread, which has no operation.
        let other = std::thread::spawn(move || wait_outside_store(|| std::thread::sleep(wait)));
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
