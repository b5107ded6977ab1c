//! What a container holds on to for the sake of little, and moving that elsewhere.
//!
//! The room of payloads comes back object by object in a store, and from the end in a file. One small payload that
//! lives on keeps megabytes around it. The ledger can move a payload, but values, which hold the extents, are opaque to
//! it: so it says which extents are worth moving, and the layer above goes through its values.

use crate::compaction_plan::{CompactionPlan, MAX_MOVED_PAYLOAD};
use crate::error::Result;
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::payload;

impl Ledger {
    /// Says which payloads are worth moving, because little else is in use around them. None, for one of many writers.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading.
    pub fn compaction_plan(&self) -> Result<CompactionPlan> {
        self.check_writable()?;
        if self.is_one_of_many() {
            return Ok(CompactionPlan::default());
        }
        self.storage().compaction_plan()
    }

    /// Bytes that lie dead in objects which live payloads keep, and bytes of those payloads, as far as that is known without
    /// a request; zeros when it is not, and in a file, whose free room is used again.
    pub fn fragmentation(&self) -> (u64, u64) {
        if self.is_one_of_many() { (0, 0) } else { self.storage().fragmentation() }
    }

    /// Writes a payload anew in a better place. The old one stays until it is given back with
    /// [`free_payload`](Ledger::free_payload). `None` if there is no better place.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`; those of reading: a damaged payload is not moved.
    pub fn move_payload(&self, e: &Extent) -> Result<Option<Extent>> {
        self.check_writable()?;
        let Some(length) = usize::try_from(e.len()).ok().filter(|n| *n as u64 <= MAX_MOVED_PAYLOAD) else {
            return Ok(None);
        };
        let mut data = vec![0; length];
        payload::read(self.storage(), e, 0, &mut data)?;
        let place = self.storage().write_before(e.place(), &data)?;
        Ok(place.map(|p| Extent::of(p, &data)))
    }
}
