//! The names of a container's objects.
//!
//! ```text
//! NAME                                  the head object: the manifest
//! NAME.lake/CONTAINER/SESSION-NUMBER    pages, payloads, segments and long records; each name is used once
//! NAME.lake/CONTAINER/queue/…           commits that wait for a leader
//! NAME.lake/CONTAINER/manifest/SEQUENCE copies of manifests, in case the head object is damaged
//! NAME.lake/CONTAINER/copy/…            the journal of a copy in progress
//! NAME.lake/lease                       the lease of the exclusive writer
//! NAME.lake/clock/…                     temporary objects that show the store's time
//! NAME.lake/head/…                      numbered manifests of a store without conditional puts
//! NAME.lake/replaced/CONTAINER-SEQUENCE the tombstone of a container that was replaced or deleted, and is retained for its retention time
//! ```

use object_stores::Key;

use crate::address::{Address, Location};
use crate::codec::hex;
use crate::core::ids::{ContainerId, ObjectId, SessionId};
use crate::error::{Error, Result, store_error};

/// The names of one container's objects.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) head: Key,
    /// The prefix of the keys of all other objects, without the slash at its end.
    pub(crate) lake: Key,
}

impl Names {
    pub(crate) fn new(head: Key, id: ContainerId, target: &str) -> Result<Self> {
        let lake = head.append(format!(".lake/{}", hex(&id.0))).map_err(|e| store_error(target, &e))?;
        Ok(Self { head, lake })
    }

    /// Returns the key of an object below the container's id.
    pub(crate) fn key(&self, name: &str, target: &str) -> Result<Key> {
        self.lake.join(name).map_err(|e| Error::invalid(target, e.to_string()))
    }

    pub(crate) fn object(&self, object: ObjectId, target: &str) -> Result<Key> {
        self.key(&object_name(object), target)
    }

    /// Returns the key of the object at a location.
    ///
    /// # Errors
    /// `Corrupt` for a location that is not an object of a store.
    pub(crate) fn object_key(&self, location: &Location, target: &str) -> Result<Key> {
        let place = Address { location: *location, offset: 0, length: 0 };
        let object = ObjectId::of(&place).ok_or_else(|| {
            Error::corrupt(target, "place", "a place in a file or a source, in an object store")
        })?;
        self.object(object, target)
    }

    /// Returns the prefix of the keys of queued commits.
    pub(crate) fn queue(&self) -> String {
        format!("{}/queue/", self.lake)
    }
}

/// Returns the name of an object below its container's id.
pub(crate) fn object_name(object: ObjectId) -> String {
    format!("{:016x}-{:x}", object.session.0, object.number)
}

/// Parses the name of an object below a container's id. Returns `None` for any other name.
pub(crate) fn object_of(name: &str) -> Option<ObjectId> {
    let (session, number) = name.split_once('-')?;
    let parse = |text: &str| u64::from_str_radix(text, 16).ok();
    let object = ObjectId { session: SessionId(parse(session)?), number: parse(number)? };
    (object_name(object) == name).then_some(object)
}

/// Returns whether a part of a key is the id of a container.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

/// Returns whether a key is that of an object that never changes: `….lake/CONTAINER/SESSION-NUMBER`.
pub(crate) fn is_immutable(key: &Key) -> bool {
    let mut segments = key.as_str().rsplit('/');
    let mut next = || segments.next().unwrap_or_default();
    object_of(next()).is_some() && is_id(next()) && next().ends_with(".lake")
}

/// Returns the key of an object that belongs to the name and not to one container: `HEAD.lake/REST`.
pub(crate) fn beside(head: &Key, name: &str, target: &str) -> Result<Key> {
    head.append(format!(".lake/{name}")).map_err(|e| Error::invalid(target, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_parsed_as_they_are_made() {
        for (session, number) in [(0, 1), (u64::MAX, 0x1f), (7, u64::MAX)] {
            let object = ObjectId { session: SessionId(session), number };
            assert_eq!(object_of(&object_name(object)), Some(object));
            let key = Key::new(format!("a/b.h5.lake/{}/{}", "0a".repeat(16), object_name(object))).unwrap();
            assert!(is_immutable(&key), "{key}");
        }
        for other in [
            "",
            "-",
            "1-2",
            "000000000000000g-1",
            "0000000000000001-",
            "0000000000000001-01",
            "000000000000000A-1",
        ] {
            assert_eq!(object_of(other), None, "{other}");
        }
        for other in ["b.h5.lake/queue/0000000000000001-1", "b.h5", "0000000000000001-1"] {
            assert!(!is_immutable(&Key::new(other).unwrap()), "{other}");
        }
    }
}
