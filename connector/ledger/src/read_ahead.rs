//! Decides when the leaves beside a requested leaf are read with it.
//!
//! In a store each read takes a round trip, and neighbouring pages mostly lie in one object, in which they are read by one request. So a
//! program that reads many small objects, in whatever order, should not wait for each leaf. A program that reads one object should not
//! load leaves that it does not need.

use lru::LruCache;

use crate::address::PageRef;

/// The number of branch pages whose misses are counted.
const MAX_BRANCHES: usize = 64;
/// The number of leaves below one branch page that were missing when they were requested, after which its other leaves are read, too.
const MISSES: u32 = 3;
/// The same if the cache is full: other pages are evicted then, so random reads of a large container must not cause it.
const MISSES_IF_FULL: u32 = 16;

/// The numbers of leaves that were requested and missing, by the branch page above them.
#[derive(Debug)]
pub(crate) struct Misses(LruCache<PageRef, u32>);

impl Default for Misses {
    fn default() -> Self {
        Self(LruCache::unbounded())
    }
}

impl Misses {
    /// Counts a missing leaf below `branch`. Returns whether the other leaves below it should be read, too.
    pub(crate) fn count(&mut self, branch: PageRef, is_full: bool) -> bool {
        let misses = self.0.get_or_insert_mut(branch, || 0);
        *misses += 1;
        let reads_all = *misses >= if is_full { MISSES_IF_FULL } else { MISSES };
        if reads_all {
            *misses = 0;
        }
        while self.0.len() > MAX_BRANCHES {
            self.0.pop_lru();
        }
        reads_all
    }
}
