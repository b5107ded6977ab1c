//! Tags: what holds room, and the way to a tagged version.

use crate::error::Result;
use crate::storage::StorageReads;
use crate::tags::{Held, TagEntry};

/// The part of [`Storage`](super::Storage) for tags.
pub(crate) trait StorageTags: StorageReads {
    /// Whether there may be tags. Where there are none, nobody looks for them.
    fn may_have_tags(&self) -> bool;

    /// From now on tags hold this room, as the map of `version` says. A writer calls it before anything can be reclaimed.
    fn hold(&self, held: Held, version: u64);

    /// The next look for what others committed is to find their newest base, too.
    fn look_for_base(&self) {}

    /// Makes ready to tag a version: the way to it, and the room that it may need; the caller adds the times. `None` if the version is not kept. From then
    /// on older builds refuse the container, and this writer reclaims nothing until [`hold`](Self::hold) is called.
    fn prepare_tag(&self, version: u64) -> Result<Option<TagEntry>>;

    /// After the commit of a tag as `version`: whether no other writer reclaimed the tagged version meanwhile.
    fn confirm_tag(&self, _entry: &TagEntry, _version: u64) -> Result<bool> {
        Ok(true)
    }

    /// What time it is for versions and tags: microseconds since 1970, by the storage's clock where that is at hand.
    fn present(&self) -> Result<u64>;

    /// Bytes that nothing but tags needs.
    fn held_bytes(&self) -> Result<u64>;
}
