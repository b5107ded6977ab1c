//! The parts of a writer's state that belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::append_reservation::AppendReservations;
use super::checkpoint_commit::KeptPages;
use super::end_of_file::Unused;
use crate::file::free_space::ReclaimRule;
use crate::file::space_delta::Pairs;
use crate::tags::Held;

/// What the next commit takes and gives back, by offset.
#[derive(Debug, Default)]
pub(in crate::file) struct StagedExtents {
    /// Written since the last commit.
    pub(in crate::file) fresh: BTreeMap<u64, u64>,
    /// What will not be in use after the next.
    pub(in crate::file) freed: BTreeMap<u64, u64>,
}

/// The same for the checkpoint being made.
#[derive(Debug, Default)]
pub(in crate::file) struct StagedCheckpoint {
    pub(in crate::file) fresh: BTreeMap<u64, u64>,
    pub(super) freed: Pairs,
    /// What was written, and did without, for the base that the next commit is to be.
    pub(super) kept: KeptPages,
}

/// Where new extents go, and how far the file may grow for them.
#[derive(Debug, Default)]
pub(in crate::file) struct Growth {
    /// Room behind what appends, kept for its next payload.
    pub(super) reservations: AppendReservations,
    /// Room at the end of the file that nothing uses.
    pub(super) unused: Unused,
    /// Where what is written is to end, while that is gathered.
    pub(in crate::file) below: Option<u64>,
    /// The file is known to be this long.
    pub(super) reached: u64,
    /// Of what the disk had left when it was asked last, what may be taken until it is asked again.
    pub(super) disk_left: u64,
    /// A write found no room, and none behind the end found any since: what the file has is used before it grows.
    pub(in crate::file) is_full: bool,
    /// Where it was lengthened since.
    pub(in crate::file) lengthened_at: Option<u64>,
}

/// When freed extents may be used again.
#[derive(Debug)]
pub(in crate::file) struct Reclaim {
    pub(in crate::file) rule: ReclaimRule,
    /// For the heads to come; see [`Slot`](crate::file::superblock::Slot).
    pub(in crate::file) retention: u64,
    /// The sequence before which no version is whole, once it is read.
    pub(in crate::file) horizon: Option<u64>,
    /// The readers' pins were asked for in vain since this sequence. It is not worth asking again before the next.
    pub(super) asked_at: Option<u64>,
    /// Bytes that went out of use while this one wrote.
    pub(in crate::file) freed: u64,
    /// Forks of this process when it began to write.
    pub(in crate::file) forks: u64,
}

/// What a writer knows of tags.
#[derive(Debug, Default)]
pub(in crate::file) struct KnownTags {
    /// The head says that there may be some.
    pub(in crate::file) may_exist: bool,
    /// The room that they hold.
    pub(in crate::file) held: Arc<Held>,
    /// The newest version of another writer that changed tags.
    pub(in crate::file) changed: u64,
}
