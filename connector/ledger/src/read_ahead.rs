//! Decides when the leaves beside a requested leaf are read with it.
//!
//! In a store each read takes a round trip, and neighbouring pages mostly lie in one object, in which they are read by one request. So a
//! program that reads many small objects, in whatever order, should not wait for each leaf. A program that reads one object should not
//! load leaves that it does not need.

use lru::LruCache;

use crate::address::PageRef;

/// The number of branch pages, and of walks in order, that are remembered.
const MAX_REMEMBERED: usize = 64;
/// The number of missing leaves in order, or below one branch page in any order, after which further leaves are read with them.
const MISSES: u32 = 3;

/// The leaves to read with a missing leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    None,
    /// The next leaves.
    Following,
    /// The leaves on both sides.
    Around,
}

/// The leaves that were requested and missing. Branch pages are named by their first child.
#[derive(Debug)]
pub(crate) struct Misses {
    /// The number of misses below a branch page.
    of_branch: LruCache<PageRef, u32>,
    /// The length of a walk in order, by the leaf that it would reach next: a branch page and the number of the child.
    walks: LruCache<(PageRef, usize), u32>,
}

impl Default for Misses {
    fn default() -> Self {
        Self { of_branch: LruCache::unbounded(), walks: LruCache::unbounded() }
    }
}

impl Misses {
    /// Counts the missing leaf `n` below `branch`. `window` is the number of leaves that may be read at once. If the cache is full,
    /// `has_space` is false: then leaves are read ahead only for a walk in order, because random reads of a large container would evict
    /// each other's leaves.
    pub(crate) fn count(&mut self, branch: PageRef, n: usize, window: usize, has_space: bool) -> Extra {
        let walked = self.walks.pop(&(branch, n)).map_or(1, |length| length.saturating_add(1));
        let misses = self.of_branch.get_or_insert_mut(branch, || 0);
        *misses += 1;
        let extra = match (walked >= MISSES, *misses >= MISSES && has_space) {
            (true, _) => Extra::Following,
            (false, true) => Extra::Around,
            (false, false) => Extra::None,
        };
        if extra == Extra::Around {
            *misses = 0;
        }
        let next = if extra == Extra::Following { n + window } else { n + 1 };
        self.walks.put((branch, next), walked);
        while self.of_branch.len() > MAX_REMEMBERED {
            self.of_branch.pop_lru();
        }
        while self.walks.len() > MAX_REMEMBERED {
            self.walks.pop_lru();
        }
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    const WINDOW: usize = 10;

    fn branch(n: u64) -> PageRef {
        PageRef { place: Address::file(n, 1), crc: 0 }
    }

    #[test]
    fn walks_in_order_read_the_following_leaves() {
        let mut misses = Misses::default();
        let mut miss = |n| misses.count(branch(1), n, WINDOW, false);
        // Two walks at the same time.
        for n in [0, 100, 1, 101] {
            assert_eq!(miss(n), Extra::None, "{n}");
        }
        assert_eq!([miss(2), miss(102)], [Extra::Following; 2]);
        assert_eq!([miss(12), miss(112), miss(22)], [Extra::Following; 3], "the leaf after the window");
        assert_eq!([miss(33), miss(31), miss(29)], [Extra::None; 3], "another order");
    }

    #[test]
    fn scattered_reads_load_all_leaves_while_the_cache_has_space() {
        let mut misses = Misses::default();
        let mut miss = |at, n, has_space| misses.count(branch(at), n, WINDOW, has_space);
        assert_eq!([miss(1, 5, true), miss(2, 5, true), miss(1, 50, true)], [Extra::None; 3]);
        assert_eq!(miss(1, 20, true), Extra::Around);
        assert_eq!([miss(1, 70, true), miss(1, 60, true)], [Extra::None; 2]);
        assert_eq!([miss(1, 30, false), miss(1, 10, false)], [Extra::None; 2]);
        assert_eq!(miss(1, 40, true), Extra::Around);
    }

    #[test]
    fn memory_is_bounded() {
        let mut misses = Misses::default();
        for n in 0..1000 {
            misses.count(branch(n), 0, WINDOW, true);
        }
        assert_eq!((misses.of_branch.len(), misses.walks.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
