//! Which payloads are worth moving, so that the space around them comes back.

use std::collections::HashSet;
use std::sync::Arc;

use crate::address::Location;
use crate::extent::Extent;
use crate::tags::Held;

/// Payloads longer than this stay where they are: they are no small rest, and would have to fit into memory.
pub(crate) const MAX_MOVED_PAYLOAD: u64 = 64 << 20;

/// The places whose payloads are worth moving, as they were when this was asked for.
#[derive(Debug, Default)]
pub struct CompactionPlan {
    /// Objects of which less than half is in use.
    pub(crate) locations: HashSet<Location>,
    /// In a file: payloads from this byte on would fit into the free room before it.
    pub(crate) beyond: Option<u64>,
    /// Payloads from this byte on may go in parts before it: a little behind that end, where holes are not too short for them.
    pub(crate) parts_before: Option<u64>,
    /// Bytes that nobody uses and that come back if all is moved.
    pub(crate) garbage: u64,
    /// What tags hold: its room does not come back, and programs outside may have references to it.
    pub(crate) held: Arc<Held>,
}

impl CompactionPlan {
    /// Whether there is nothing to move.
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty() && self.beyond.is_none()
    }

    /// Bytes that come back at most.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    /// Whether a payload is worth moving.
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
