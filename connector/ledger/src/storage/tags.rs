//! Tags: the space that they hold, and access to tagged versions.

use crate::address::Location;
use crate::error::{Error, Result};
use crate::options::At;
use crate::storage::StorageReads;
use crate::tags::{Held, TagEntry, TagName, Tagging};

/// The part of [`Storage`](super::Storage) for tags.
pub(crate) trait StorageTags: StorageReads {
    /// Returns whether the map may contain tags. If not, the ledger does not search for them.
    fn may_have_tags(&self) -> bool;

    /// Sets the space that tags hold, according to the map of `version`. A writer calls this before anything can be reclaimed.
    fn hold(&self, held: Held, version: u64);

    /// Prepares a tag of a version: the pointers that lead to the version, and the space that it may need. The caller adds the times.
    /// Returns `None` if the version is not retained. Afterwards this writer reclaims nothing until [`hold`](Self::hold) is called.
    fn prepare_tag(&self, version: u64) -> Result<Option<TagEntry>>;

    /// Returns whether tags are references in the storage, and not entries of the map.
    fn has_references(&self) -> bool {
        false
    }

    /// Returns all references of the newest version, or those that this handle has observed, sorted by name.
    fn references(&self, _newest: bool) -> Result<Vec<(TagName, TagEntry)>> {
        Ok(Vec::new())
    }

    /// Makes a reference to a version; `None` is the newest version. When this returns, the version is held.
    fn refer(&self, _: &TagName, _: Option<At>, _: Tagging) -> Result<(TagName, TagEntry)> {
        Err(Error::invalid(self.target(), "tags are entries of the map here"))
    }

    /// Removes references. Names without a reference are ignored.
    fn remove_references(&self, _: &[TagName]) -> Result<()> {
        Ok(())
    }

    /// Returns the objects that the version of a reference may use, with their bytes, and the number of bytes that the version needs
    /// although the newest version no longer uses them.
    fn held_by_reference(&self, _: &TagName) -> Result<(Vec<(Location, u64)>, u64)> {
        Ok((Vec::new(), 0))
    }

    /// Returns the time for versions and tags, in microseconds since 1970. It is the time of the storage's clock, if that is available.
    fn present(&self) -> Result<u64>;

    /// Returns the number of bytes that only tags need.
    fn held_bytes(&self) -> Result<u64>;
}
