//! What a container holds on to for the sake of little, and moving that elsewhere.
//!
//! The room of payloads comes back object by object in a store, and from the end in a file. One small payload that
//! lives on keeps megabytes around it. The ledger can move a payload, but values, which hold the extents, are opaque to
//! it: so it says which extents are worth moving, and the layer above goes through its values.

use std::collections::HashSet;

use crate::error::Result;
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::payload;
use crate::place::Room;

/// Payloads longer than this stay where they are: they are no small rest, and would have to fit into memory.
const LONGEST: u64 = 64 << 20;

/// The places whose payloads are worth moving, as they were when this was asked for.
#[derive(Debug, Default)]
pub struct Sparse {
    /// Objects of which less than half is in use.
    pub(crate) rooms: HashSet<Room>,
    /// In a file: payloads from this byte on would fit into the free room before it.
    pub(crate) beyond: Option<u64>,
    /// Bytes that nobody uses and that come back if all is moved.
    pub(crate) garbage: u64,
}

impl Sparse {
    /// Whether there is nothing to move.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.beyond.is_none()
    }

    /// Bytes that come back at most.
    pub fn garbage(&self) -> u64 {
        self.garbage
    }

    /// Whether a payload is worth moving.
    pub fn holds(&self, e: &Extent) -> bool {
        if e.is_empty() || e.len() > LONGEST {
            return false;
        }
        match e.place().room {
            Room::File => self.beyond.is_some_and(|from| e.place().offset >= from),
            room => self.rooms.contains(&room),
        }
    }
}

impl Ledger {
    /// Says which payloads are worth moving, because little else is in use around them. None, for one of many writers.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading.
    pub fn sparse(&self) -> Result<Sparse> {
        self.check_writable()?;
        if self.is_one_of_many() {
            return Ok(Sparse::default());
        }
        self.space().sparse()
    }

    /// Bytes that lie dead in objects which live payloads keep, and bytes of those payloads, as far as that is known without
    /// a request; zeros when it is not, and in a file, whose free room is used again.
    pub fn waste(&self) -> (u64, u64) {
        if self.is_one_of_many() { (0, 0) } else { self.space().waste() }
    }

    /// Writes a payload anew in a better place. The old one stays until it is given back with
    /// [`free_payload`](Ledger::free_payload). `None` if there is no better place.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`; those of reading: a damaged payload is not moved.
    pub fn move_payload(&self, e: &Extent) -> Result<Option<Extent>> {
        self.check_writable()?;
        let Some(length) = usize::try_from(e.len()).ok().filter(|n| *n as u64 <= LONGEST) else {
            return Ok(None);
        };
        let mut data = vec![0; length];
        payload::read(self.space(), e, 0, &mut data)?;
        let place = self.space().write_before(e.place(), &data)?;
        Ok(place.map(|p| Extent::of(p, &data)))
    }
}
