//! The memory of this process's block caches, and its return to the system.

use std::sync::{Arc, LazyLock};

use h5lake_container::MemoryBudget;
use h5lake_ledger::buffers;

use crate::hdf5::allocator;

/// The bytes of freed caches from which on the allocator returns memory to the system: doing so costs some
/// milliseconds.
const MIN_FREED_BYTES: usize = 8 << 20;

/// The bytes of freed pooled buffers from which on the allocator returns memory to the system.
const MIN_POOLED_BYTES: usize = 4 << 20;

static BUDGET: LazyLock<Arc<MemoryBudget>> = LazyLock::new(|| Arc::new(MemoryBudget::of_system()));

/// Returns the budget that the block caches of this process share.
pub fn budget() -> Arc<MemoryBudget> {
    BUDGET.clone()
}

/// Returns freed memory to the system when it is dropped. It must be the last field of a structure that holds a
/// container.
pub struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        // Buffers freed by caches may be in the pool, which is emptied with the last container.
        let pooled = if BUDGET.held() == 0 { buffers::forget() } else { 0 };
        if BUDGET.take_freed(MIN_FREED_BYTES) || pooled >= MIN_POOLED_BYTES {
            allocator::trim();
        }
    }
}
