//! Blocks of datasets, that is chunks, and stripes of contiguous datasets: the mapping of selections to runs of bytes,
//! the block cache, and the storage of blocks in the ledger. These form one unit, because the cache stores blocks, and
//! reads of stored blocks use the cache.

pub(crate) mod admission;
pub(crate) mod block_store;
pub(crate) mod cache;
pub(crate) mod cached_block;
pub(crate) mod copy_runs;
pub(crate) mod fragments;
pub(crate) mod grid;
pub(crate) mod layout;
pub(crate) mod memory_budget;
pub(crate) mod range_set;
pub(crate) mod read_set;
pub(crate) mod statistics;
pub(crate) mod system_memory;
mod written;
