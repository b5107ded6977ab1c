//! The header of an object: its kind, its link count and its times.

use crate::record::{ATTRIBUTES_INDEXED, ATTRIBUTES_TRACKED, HeaderRecord, TIMES_TRACKED};
use crate::{CreationOrder, Error, ObjectId, ObjectKind, Result};
use bytes::Bytes;

/// Returns the present time in seconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() as i64)
}

impl HeaderRecord {
    /// Creates a header without links. `times` is the creation time of the object, if its times are tracked.
    pub fn new(order: CreationOrder, times: Option<i64>, properties: &Bytes) -> Self {
        let mut h = Self { creation_properties: properties.clone(), ..Self::default() };
        for (on, flag) in [
            (order.tracked, ATTRIBUTES_TRACKED),
            (order.indexed, ATTRIBUTES_INDEXED),
            (times.is_some(), TIMES_TRACKED),
        ] {
            h.flags |= if on { flag } else { 0 };
        }
        if let Some(now) = times {
            (h.birth, h.access, h.modify, h.change) = (now, now, now, now);
        }
        h
    }

    /// Returns the kind of the object.
    pub fn kind(&self) -> ObjectKind {
        if self.group.is_some() {
            ObjectKind::Group
        } else if self.dataset.is_some() {
            ObjectKind::Dataset
        } else {
            ObjectKind::Datatype
        }
    }

    /// Returns the committed type that a dataset uses.
    pub fn committed_type(&self) -> Option<u64> {
        self.dataset.as_ref()?.datatype.as_ref()?.committed
    }

    /// Returns the link count changed by `delta`, or an error if it would leave its range.
    pub fn may_get_links(&self, id: ObjectId, delta: i32) -> Result<u32> {
        let old = self.link_count;
        old.checked_add_signed(delta).ok_or_else(|| {
            Error::invalid(format!("the link count {old} of object {:#x} cannot change by {delta}", id.0))
        })
    }

    /// Records a change of the metadata in the times, as `H5O_touch` does.
    pub fn touch(&mut self) {
        if self.flags & TIMES_TRACKED != 0 {
            (self.access, self.change) = (now(), now());
        }
    }

    /// Returns the times as native files of the default format report them: objects with tracked attribute order have
    /// new headers with all four times; other objects report only the time of the last change, and only if they are
    /// datasets.
    pub fn times(&self) -> [i64; 4] {
        if self.flags & TIMES_TRACKED == 0 {
            [0; 4]
        } else if self.flags & ATTRIBUTES_TRACKED != 0 {
            [self.access, self.modify, self.change, self.birth]
        } else if self.dataset.is_some() {
            [0, 0, self.change, 0]
        } else {
            [0; 4]
        }
    }
}
