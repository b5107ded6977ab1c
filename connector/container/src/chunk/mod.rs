//! Blocks of datasets: chunks, and stripes of contiguous datasets. From selections to runs of bytes, the cache of blocks, and how the
//! ledger keeps them. One unit: the cache stores blocks, and what is stored asks the cache.

pub(crate) mod admission;
pub(crate) mod block_store;
pub(crate) mod cache;
pub(crate) mod cached_block;
pub(crate) mod copy_runs;
pub(crate) mod fragments;
pub(crate) mod grid;
pub(crate) mod layout;
pub(crate) mod memory_budget;
pub(crate) mod number;
pub(crate) mod range_set;
pub(crate) mod read_set;
pub(crate) mod statistics;
pub(crate) mod system_memory;
mod written;
