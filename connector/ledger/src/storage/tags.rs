//! Tags: what holds room, and the way to a tagged version.

use crate::address::Location;
use crate::error::{Error, Result};
use crate::options::At;
use crate::storage::StorageReads;
use crate::tags::{Held, TagEntry, TagName, Tagging};

/// The part of [`Storage`](super::Storage) for tags.
pub(crate) trait StorageTags: StorageReads {
    /// Whether there may be tags. Where there are none, nobody looks for them.
    fn may_have_tags(&self) -> bool;

    /// From now on tags hold this room, as the map of `version` says. A writer calls it before anything can be reclaimed.
    fn hold(&self, held: Held, version: u64);

    /// Makes ready to tag a version: the way to it, and the room that it may need; the caller adds the times. `None` if the version is
    /// not kept. From then on this writer reclaims nothing until [`hold`](Self::hold) is called.
    fn prepare_tag(&self, version: u64) -> Result<Option<TagEntry>>;

    /// Whether tags are references in the storage, and not entries of the map.
    fn has_references(&self) -> bool {
        false
    }

    /// All references, by name.
    fn references(&self) -> Result<Vec<(TagName, TagEntry)>> {
        Ok(Vec::new())
    }

    /// Makes a reference to a version, the newest one for `None`. When this returns, the version is held.
    fn refer(&self, _: &TagName, _: Option<At>, _: Tagging) -> Result<(TagName, TagEntry)> {
        Err(Error::invalid(self.target(), "tags are entries of the map here"))
    }

    /// Removes references. Those that are not there are passed over.
    fn remove_references(&self, _: &[TagName]) -> Result<()> {
        Ok(())
    }

    /// The objects that the version of a reference may use, with their bytes; and the bytes that only references keep from being
    /// reclaimed.
    fn held_by_reference(&self, _: &TagName) -> Result<(Vec<(Location, u64)>, u64)> {
        Ok((Vec::new(), 0))
    }

    /// What time it is for versions and tags: microseconds since 1970, by the storage's clock where that is at hand.
    fn present(&self) -> Result<u64>;

    /// Bytes that nothing but tags needs.
    fn held_bytes(&self) -> Result<u64>;
}
