//! The newest log objects, while they are short: a closed head has a copy of them, which whoever opens the container reads with it.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use bytes::Bytes;

use crate::address::{Address, Location};

/// All log objects in a head together. The log of an array of 256 chunks has 80 KB.
const MAX_TAIL_BYTES: usize = 128 << 10;

/// Log objects by their versions.
#[derive(Debug, Default)]
pub(super) struct InlineLog {
    objects: BTreeMap<u64, Bytes>,
    length: usize,
}

impl InlineLog {
    /// Keeps a log object; when all that is kept becomes too long for a head, lets go of it.
    pub(super) fn add(&mut self, version: u64, object: Bytes) {
        self.length += object.len();
        self.objects.insert(version, object);
        if self.length > MAX_TAIL_BYTES {
            *self = Self::default();
        }
    }

    /// Lets go of what is in the base.
    pub(super) fn rebase(&mut self, base: u64) {
        self.objects = self.objects.split_off(&(base + 1));
        self.length = self.objects.values().map(Bytes::len).sum();
    }

    /// The log objects behind `base` up to `version`, if all of them are here; else none.
    pub(super) fn between(&self, base: u64, version: u64) -> Vec<Bytes> {
        let here =
            || self.objects.range((Excluded(base), Included(version))).map(|(_, object)| object.clone());
        if here().count() as u64 == version - base { here().collect() } else { Vec::new() }
    }

    /// A part of one of them.
    pub(super) fn part(&self, place: &Address, offset: u64, len: usize) -> Option<&[u8]> {
        let Location::Log(version) = place.location else { return None };
        let from = usize::try_from(place.offset.checked_add(offset)?).ok()?;
        self.objects.get(&version)?.get(from..from.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inline_log_is_complete_or_absent() {
        let mut tail = InlineLog::default();
        for version in 3..6 {
            tail.add(version, vec![version as u8; 10].into());
        }
        assert_eq!(tail.between(2, 5).len(), 3);
        assert_eq!(tail.between(5, 5).len(), 0);
        assert!(tail.between(1, 5).is_empty() && tail.between(2, 6).is_empty());
        let place = Address { location: Location::Log(4), offset: 4, length: 6 };
        assert_eq!(tail.part(&place, 1, 5), Some([4; 5].as_slice()));
        assert_eq!(tail.part(&place, 1, 6), None);
        tail.rebase(4);
        assert_eq!(tail.part(&place, 1, 5), None);
        assert_eq!(tail.between(4, 5), [Bytes::from(vec![5; 10])]);
        // One that is too long takes the others with it.
        tail.add(6, vec![0; MAX_TAIL_BYTES - 10].into());
        assert_eq!(tail.between(4, 6).len(), 2);
        tail.add(7, vec![0; 1].into());
        assert!(tail.between(4, 7).is_empty() && tail.objects.is_empty());
    }
}
