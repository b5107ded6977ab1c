//! The memory of this process's block caches, and its way back to the system.

use std::sync::{Arc, LazyLock};

use h5lake_container::MemoryBudget;
use h5lake_ledger::buffers;

use crate::hdf5::allocator;

/// The allocator is asked to give memory back once so many bytes of caches were freed: asking costs some milliseconds.
const MIN_FREED_BYTES: usize = 8 << 20;

/// The same of buffers that were kept for use again.
const MIN_POOLED_BYTES: usize = 4 << 20;

static BUDGET: LazyLock<Arc<MemoryBudget>> = LazyLock::new(|| Arc::new(MemoryBudget::of_system()));

/// What the block caches of this process share.
pub fn budget() -> Arc<MemoryBudget> {
    BUDGET.clone()
}

/// Gives freed memory back to the system when it is dropped. The last field of what holds a container.
pub struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        // What caches freed may be in the pool of buffers, and comes out of it with the last container.
        let pooled = if BUDGET.held() == 0 { buffers::forget() } else { 0 };
        if BUDGET.take_freed(MIN_FREED_BYTES) || pooled >= MIN_POOLED_BYTES {
            allocator::trim();
        }
    }
}
