//! The memory budget: the bound on the bytes that the block caches of a process hold together, and how the caches share
//! it.
//!
//! Each cache has a bound of its own. All of them together stay below the largest of these bounds, and below a share of
//! the memory of the system. A cache that needs space and holds less than an equal share makes the caches above their
//! share drop blocks without changes. Otherwise it evicts its own blocks.

use crate::chunk::system_memory;
use h5lake_ledger::locks::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes that each cache may always hold, whatever the other caches hold: their changes may wait for a flush for any
/// time.
const GUARANTEED_BYTES: usize = 4 << 20;
/// After this many additional bytes the free memory of the system is read again.
const LOOK_AGAIN_BYTES: usize = 32 << 20;
/// After the other caches could free nothing, they are asked again when this many additional bytes were claimed.
const ASK_AGAIN_BYTES: usize = 1 << 20;

/// Time for which the answer of the system is valid for a cache that joins: such a cache is empty, and programs open
/// many files.
const ANSWER_LASTS: Duration = Duration::from_millis(200);

/// A bound for several caches of blocks, shared by reference. It never waits for its lock, because a forked child may
/// have inherited the lock in the locked state.
pub struct MemoryBudget {
    /// Bytes of all caches.
    held: AtomicUsize,
    /// The largest bound of a cache, or the limit by the system if that is less.
    bound: AtomicUsize,
    /// Number of caches.
    count: AtomicUsize,
    /// Bytes that were claimed since the system was asked last.
    taken: AtomicUsize,
    /// Bytes that were ever claimed.
    ever_taken: AtomicUsize,
    /// The value of `ever_taken` from which on the other caches are asked again, after they could free nothing.
    vain_until: AtomicUsize,
    /// Bytes of dropped caches since [`take_freed`](Self::take_freed) last returned true.
    freed: AtomicUsize,
    /// Returns the limit by the system, given the bytes that the caches hold.
    ceiling: fn(usize) -> usize,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    caches: Vec<Member>,
    /// The time when the system was asked last, and its answer.
    answer: Option<(Instant, usize)>,
}

struct Member {
    limit: usize,
    cache: Weak<dyn GivesBack>,
}

/// A cache that another cache may ask to free memory.
pub(crate) trait GivesBack: Send + Sync {
    /// Drops blocks without changes until the cache holds no more than `keep` bytes. A locked cache does nothing.
    fn give_back(&self, keep: usize);
}

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBudget").field("held", &self.held).field("bound", &self.bound).finish()
    }
}

impl Default for MemoryBudget {
    /// Creates a budget that only the bounds of its caches limit.
    fn default() -> Self {
        Self::below(|_| usize::MAX)
    }
}

impl MemoryBudget {
    /// Creates a budget that stays below a share of the memory of the machine, or of the process's control group, and
    /// of its free memory.
    pub fn of_system() -> Self {
        Self::below(system_memory::allowance)
    }

    fn below(ceiling: fn(usize) -> usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            bound: AtomicUsize::new(usize::MAX),
            count: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            ever_taken: AtomicUsize::new(0),
            vain_until: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
            ceiling,
            members: Mutex::default(),
        }
    }

    /// Returns the bytes that all caches of the budget hold.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Returns the bytes that the caches may hold together.
    pub fn bound(&self) -> usize {
        self.bound.load(Ordering::Relaxed)
    }

    /// Returns whether caches of at least this many bytes were dropped since the last call that returned true.
    pub fn take_freed(&self, at_least: usize) -> bool {
        let enough = |freed| (freed >= at_least).then_some(0);
        self.freed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }

    /// Adds a cache, which other caches may ask to free memory from now on. If the list is locked, the cache is not
    /// added; it still counts and bounds its own bytes.
    pub(crate) fn join<C: GivesBack + 'static>(&self, limit: usize, cache: &Arc<C>) {
        if let Some(mut members) = self.members.try_lock() {
            let cache: Weak<C> = Arc::downgrade(cache);
            members.caches.push(Member { limit, cache });
            members.answer = members.answer.filter(|(asked, _)| asked.elapsed() < ANSWER_LASTS);
            self.look_again(&mut members);
        }
    }

    /// Removes dropped caches, and asks the system for its limit unless a valid answer is present.
    fn look_again(&self, members: &mut Members) {
        members.caches.retain(|m| m.cache.strong_count() > 0);
        self.count.store(members.caches.len(), Ordering::Relaxed);
        self.taken.store(0, Ordering::Relaxed);
        let largest = members.caches.iter().map(|m| m.limit).max().unwrap_or(0);
        let ask = || (Instant::now(), (self.ceiling)(self.held()));
        let (_, allowed) = *members.answer.get_or_insert_with(ask);
        self.bound.store(largest.min(allowed), Ordering::Relaxed);
    }

    /// Removes dropped caches, and asks the system for a new limit.
    fn ask_again(&self, members: &mut Members) {
        members.answer = None;
        self.look_again(members);
    }

    /// Returns an equal share of the bound.
    fn share(&self) -> usize {
        self.bound() / self.count.load(Ordering::Relaxed).max(1)
    }

    /// Makes caches with more than their share drop blocks without changes. Locked caches are skipped.
    fn shrink_other_caches(&self) {
        let Some(mut members) = self.members.try_lock() else { return };
        self.ask_again(&mut members);
        let caches: Vec<_> = members.caches.iter().filter_map(|m| m.cache.upgrade()).collect();
        drop(members);
        let (share, before) = (self.share(), self.held());
        for cache in caches {
            // The asking cache is locked, and therefore skipped.
            cache.give_back(share);
        }
        if self.held() >= before {
            let again = self.ever_taken.load(Ordering::Relaxed).wrapping_add(ASK_AGAIN_BYTES);
            self.vain_until.store(again, Ordering::Relaxed);
        }
    }

    /// Returns by how many bytes `more` bytes would exceed the bound.
    fn excess_of_all(&self, more: usize) -> usize {
        (self.held() + more).saturating_sub(self.bound())
    }
}

/// The bytes that one cache holds of a budget. Dropping the claim frees them.
pub(crate) struct Claim {
    budget: Arc<MemoryBudget>,
    limit: usize,
    bytes: usize,
}

impl Claim {
    /// Creates an empty claim of at most `limit` bytes.
    pub(crate) fn new(budget: Arc<MemoryBudget>, limit: usize) -> Self {
        Self { budget, limit, bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the cache's own bound.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the bytes that the cache may hold if no other cache needs space.
    pub(crate) fn available(&self) -> usize {
        self.limit.min(self.budget.bound())
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.budget.ever_taken.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes must leave this cache before `more` bytes fit. If this cache has less than its share, the
    /// other caches are asked to free memory first.
    pub(crate) fn excess(&self, more: usize) -> usize {
        let budget = &self.budget;
        if budget.taken.load(Ordering::Relaxed) > LOOK_AGAIN_BYTES
            && let Some(mut members) = budget.members.try_lock()
        {
            budget.ask_again(&mut members);
        }
        let excess = self.excess_now(more);
        if excess > 0 && self.bytes + more <= self.limit.min(budget.share()) {
            budget.shrink_other_caches();
            return self.excess_now(more);
        }
        excess
    }

    /// Returns the size to which blocks without changes must be reduced in a small cache before `more` bytes fit. The
    /// guaranteed bytes are for changes alone; otherwise many open files would hold a multiple of the bound. Other
    /// caches with more than their share are asked to free memory first.
    pub(crate) fn clean_bound(&self, more: usize) -> Option<usize> {
        let budget = &self.budget;
        if self.bytes + more > GUARANTEED_BYTES || budget.excess_of_all(more) == 0 {
            return None;
        }
        let ever = budget.ever_taken.load(Ordering::Relaxed);
        if ever.wrapping_sub(budget.vain_until.load(Ordering::Relaxed)) < usize::MAX / 2 {
            budget.shrink_other_caches();
        }
        let excess = budget.excess_of_all(more);
        (excess > 0).then(|| self.bytes.saturating_sub(excess))
    }

    fn excess_now(&self, more: usize) -> usize {
        let wanted = self.bytes + more;
        let of_all = self.budget.excess_of_all(more);
        let of_its_own = wanted.saturating_sub(self.limit);
        of_its_own.max(of_all.min(wanted.saturating_sub(GUARANTEED_BYTES)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.freed.fetch_add(self.bytes, Ordering::Relaxed);
        self.subtract(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::admission::Latency;
    use crate::chunk::cache::BlockCache;
    use h5lake_ledger::Writers;

    fn cache(budget: &Arc<MemoryBudget>, limit: usize) -> Arc<Mutex<BlockCache>> {
        let cache = BlockCache::new(Claim::new(budget.clone(), limit), Latency::Far, Writers::One);
        let cache = Arc::new(Mutex::new(cache));
        budget.join(limit, &cache);
        cache
    }

    #[test]
    fn the_largest_bound_applies_until_its_cache_is_dropped() {
        let budget = Arc::new(MemoryBudget::default());
        let _small = cache(&budget, 10 << 20);
        let large = cache(&budget, 30 << 20);
        assert_eq!((budget.bound(), budget.share()), (30 << 20, 15 << 20));
        drop(large);
        let _another = cache(&budget, 20 << 20);
        assert_eq!((budget.bound(), budget.share()), (20 << 20, 10 << 20));
    }

    #[test]
    fn available_system_memory_bounds_all_caches() {
        let budget = Arc::new(MemoryBudget::below(|held| held + (5 << 20)));
        let _one = cache(&budget, 30 << 20);
        assert_eq!(budget.bound(), 5 << 20);
    }

    #[test]
    fn files_opened_in_succession_query_the_system_once() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let budget = Arc::new(MemoryBudget::below(|_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            5 << 20
        }));
        let begun = Instant::now();
        let _caches: Vec<_> = (0..100).map(|_| cache(&budget, 30 << 20)).collect();
        let most = 1 + begun.elapsed().as_millis() / ANSWER_LASTS.as_millis();
        assert!(ASKED.load(Ordering::Relaxed) as u128 <= most);
        let before = ASKED.load(Ordering::Relaxed);
        let mut filled = Claim::new(budget.clone(), 30 << 20);
        filled.add(LOOK_AGAIN_BYTES + 1);
        filled.excess(0);
        assert!(ASKED.load(Ordering::Relaxed) > before, "it was filled meanwhile");
    }

    #[test]
    fn a_small_cache_exceeds_the_bound_only_by_its_changes() {
        let budget = Arc::new(MemoryBudget::default());
        let _member = cache(&budget, 20 << 20);
        let (mut one, mut other) =
            (Claim::new(budget.clone(), 20 << 20), Claim::new(budget.clone(), 20 << 20));
        one.add(19 << 20);
        other.add(1 << 20);
        assert_eq!(other.clean_bound(0), None, "the bound is reached and not passed");
        assert_eq!(other.clean_bound(1 << 19), Some(1 << 19));
        assert_eq!(other.clean_bound(3 << 20), Some(0));
        assert_eq!(other.excess(3 << 20), 0, "changes stay");
        assert_eq!(other.clean_bound(4 << 20), None, "what is larger gives way by itself");
        // Caches that could free nothing are asked again after some more bytes were claimed.
        let again = budget.vain_until.load(Ordering::Relaxed);
        assert!(again > budget.ever_taken.load(Ordering::Relaxed));
        other.add(ASK_AGAIN_BYTES);
        other.clean_bound(1);
        assert!(budget.vain_until.load(Ordering::Relaxed) > again);
    }

    #[test]
    fn a_claim_is_released_and_counts_evictions() {
        let budget = Arc::new(MemoryBudget::default());
        let _member = cache(&budget, 20 << 20);
        let mut one = Claim::new(budget.clone(), 20 << 20);
        let mut other = Claim::new(budget.clone(), 20 << 20);
        one.add(15 << 20);
        other.add(4 << 20);
        assert_eq!((one.excess(1 << 20), one.excess(3 << 20)), (0, 2 << 20));
        // The guaranteed bytes need no memory from other caches.
        assert_eq!(Claim::new(budget.clone(), 20 << 20).excess(4 << 20), 0);
        one.subtract(5 << 20);
        assert_eq!(budget.held(), 14 << 20);
        drop((one, other));
        assert_eq!(budget.held(), 0);
        assert!(!budget.take_freed(15 << 20));
        assert!(budget.take_freed(14 << 20) && !budget.take_freed(1));
    }
}
