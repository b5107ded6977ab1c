//! Groups of a writer's state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::append_reservation::AppendReservations;
use super::checkpoint_commit::KeptPages;
use super::end_of_file::Unused;
use crate::file::free_space::ReclaimRule;
use crate::file::space_delta::Pairs;
use crate::tags::Held;

/// The extents that the next commit allocates and frees, by offset.
#[derive(Debug, Default)]
pub(in crate::file) struct StagedExtents {
    /// Extents that were written since the last commit.
    pub(in crate::file) fresh: BTreeMap<u64, u64>,
    /// The offsets of those extents in `fresh` that another writer wrote, in space that it has reserved.
    pub(in crate::file) accepted: BTreeSet<u64>,
    /// Extents that the next commit frees.
    pub(in crate::file) freed: BTreeMap<u64, u64>,
}

/// The extents of the checkpoint in progress.
#[derive(Debug, Default)]
pub(in crate::file) struct StagedCheckpoint {
    pub(in crate::file) fresh: BTreeMap<u64, u64>,
    pub(super) freed: Pairs,
    /// Pages that were written and freed for the checkpoint that the next commit publishes.
    pub(super) kept: KeptPages,
}

/// The placement of new extents, and the growth of the file.
#[derive(Debug, Default)]
pub(in crate::file) struct Growth {
    /// Space that is reserved after growing payloads.
    pub(super) reservations: AppendReservations,
    /// Space at the end of the file that is not used.
    pub(super) unused: Unused,
    /// During compaction, the limit before which new extents are placed.
    pub(in crate::file) below: Option<u64>,
    /// A length that the file is known to have.
    pub(super) reached: u64,
    /// The number of bytes that may be allocated before the free space of the disk is queried again.
    pub(super) disk_left: u64,
    /// True if a write failed for lack of space, and no write beyond the end has succeeded since. Then the present length
    /// of the file is used before the file grows.
    pub(in crate::file) is_full: bool,
    /// The offset at which the file was lengthened since.
    pub(in crate::file) lengthened_at: Option<u64>,
}

/// The rules and the state of reclaiming freed extents.
#[derive(Debug)]
pub(in crate::file) struct Reclaim {
    pub(in crate::file) rule: ReclaimRule,
    /// The retention time for the coming slots; see [`Slot`](crate::file::superblock::Slot).
    pub(in crate::file) retention: u64,
    /// The reclaim horizon, once it has been read.
    pub(in crate::file) horizon: Option<u64>,
    /// The sequence at which pins were tested without success. They are not tested again before the next sequence.
    pub(super) asked_at: Option<u64>,
    /// Bytes that were freed since this writer began.
    pub(in crate::file) freed: u64,
    /// The number of forks of this process when the writer began.
    pub(in crate::file) forks: u64,
}

/// The writer's knowledge of tags.
#[derive(Debug, Default)]
pub(in crate::file) struct KnownTags {
    /// True if the superblock says that there may be tags.
    pub(in crate::file) may_exist: bool,
    /// The space that tags hold.
    pub(in crate::file) held: Arc<Held>,
    /// The newest version of another writer that changed tags.
    pub(in crate::file) changed: u64,
}
