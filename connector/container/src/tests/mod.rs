//! Tests of the whole crate, over containers in a file and in a store in memory.

mod appends;
mod attributes;
mod branch_conflicts;
mod branch_heaps;
mod branches;
mod checks;
mod chunk_decoder;
mod chunk_positions;
mod chunk_statistics;
mod compaction;
mod conflicts;
mod damage;
mod datasets;
mod doubt;
mod far;
mod filters;
mod foreign;
mod gone;
mod group_commits;
mod groups;
mod heap_and_copy;
mod heap_bounds;
mod heap_merges;
mod interrupted;
mod joined;
mod kept_blobs;
mod killed;
mod leaks;
mod lending;
mod loss;
mod many;
mod memory_budget;
mod merge_faults;
mod merge_work;
mod names;
mod offers;
mod orders;
mod overtaken;
mod own_readers;
mod parts;
mod publications;
mod records_version;
mod reference_lists;
mod resizes;
mod scattered;
mod settled_branches;
mod sharing;
mod source;
mod statistics;
mod storage_use;
mod together;
mod unlocked;

use crate::testing::*;
use crate::*;
use bytes::Bytes;
use h5lake_records::{keys, record};
use object_stores::MemoryStore;
use prost::Message;
use std::sync::Arc;

/// Returns all keys of the container.
pub(crate) fn keys_of(c: &Container) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    c.each(&[], |k, _| {
        out.push(k.to_vec());
        Ok(())
    })
    .unwrap();
    out
}
