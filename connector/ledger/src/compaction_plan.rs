//! The plan of a compaction: the payloads that are worth moving because the space around them then becomes reclaimable.

use std::collections::HashSet;
use std::sync::Arc;

use crate::address::Location;
use crate::extent::Extent;
use crate::tags::Held;

/// The maximum length of payloads that are moved. Longer payloads dominate the space around them, and would have to fit
/// into memory.
pub(crate) const MAX_MOVED_PAYLOAD: u64 = 64 << 20;

/// The locations of payloads that were worth moving when the plan was made.
#[derive(Debug, Default)]
pub struct CompactionPlan {
    /// Objects of which less than half is in use.
    pub(crate) locations: HashSet<Location>,
    /// The offset in a file from which on payloads would fit into the free space before it.
    pub(crate) beyond: Option<u64>,
    /// Payloads from this offset on may be moved in parts before it. It is a little after `beyond`, where the holes are
    /// long enough for the parts.
    pub(crate) parts_before: Option<u64>,
    /// Unused bytes that become reclaimable if all these payloads are moved.
    pub(crate) garbage: u64,
    /// The space that tags retain. It is not reclaimed, and programs outside may have references to it.
    pub(crate) held: Arc<Held>,
}

impl CompactionPlan {
    /// Returns whether there is nothing to move.
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty() && self.beyond.is_none()
    }

    /// Returns the maximum number of bytes that the compaction reclaims.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    /// Returns whether a payload is worth moving.
    pub fn holds(&self, e: &Extent) -> bool {
        if e.is_empty() || e.len() > MAX_MOVED_PAYLOAD {
            return false;
        }
        match e.place().location {
            Location::File => {
                self.beyond.is_some_and(|from| e.place().offset >= from)
                    && !self.held.touches(e.place().offset, e.len())
            }
            location => self.locations.contains(&location) && !self.held.has(&location),
        }
    }
}
