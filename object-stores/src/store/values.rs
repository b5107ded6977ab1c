//! The values that stores take and return.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::Key;

/// The version of an object's content: opaque, given by the store, compared for equality only.
///
/// Two versions of one key never have the same etag unless their content is the same (S3's etags
/// may be digests of the content), so a successful [`PutMode::Update`] replaced exactly the content
/// that the etag was read with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Etag(Arc<str>);

impl Etag {
    /// Returns the etag with this text, which a store gave.
    pub fn new(text: impl AsRef<str>) -> Self {
        Etag(Arc::from(text.as_ref()))
    }

    /// The etag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the etag is weak (RFC 9110, section 8.8.1): equal weak etags say only that the contents mean the
    /// same. Web servers send weak etags.
    pub fn is_weak(&self) -> bool {
        self.0.starts_with("W/")
    }

    /// Returns whether `found` equals this etag and proves that the content is unchanged. Equal weak etags prove
    /// nothing.
    pub fn is_still(&self, found: Option<&Etag>) -> bool {
        !self.is_weak() && found == Some(self)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The metadata of an object, which a store returns without reading the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's key.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// The time of the last put, by the store's clock; whole seconds in some stores.
    pub modified: SystemTime,
    /// Its version; `None` if the store does not honour [`Condition::Update`], or in a listing of a service that does not list
    /// versions.
    pub etag: Option<Etag>,
}

impl ObjectMeta {
    /// Returns whether both describe the same version of an object. Strong etags are compared alone. If a store gives
    /// no etag, or a weak one, length and modification time have to be equal too.
    pub fn is_same_version(&self, other: &ObjectMeta) -> bool {
        let is_exact = self.etag.as_ref().is_some_and(|etag| !etag.is_weak());
        self.etag == other.etag && (is_exact || (self.size == other.size && self.modified == other.modified))
    }
}

/// The answer to [`ObjectStore::get`](crate::ObjectStore::get).
#[derive(Clone, Debug)]
pub struct GetResult {
    /// The metadata of the object that the bytes are from: `meta.size` is the whole object's.
    pub meta: ObjectMeta,
    /// The requested bytes.
    pub bytes: Bytes,
}

/// The condition under which [`ObjectStore::put`](crate::ObjectStore::put) takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// No condition: creates or replaces the object.
    Overwrite,
    /// The put takes effect if there is no object under the key (HTTP `If-None-Match: *`). Exactly one of several
    /// racing creators, in any number of processes, wins; every other one gets [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists). A remote
    /// store repeats a request if the answer is lost, and may then return this error to the winner too. A caller that
    /// has to know puts content that only it can have written, and reads the object back.
    Create,
    /// The put takes effect if the object under the key has this etag (HTTP `If-Match`). Exactly one of several racing
    /// updates from the same etag wins; every other one gets [`ErrorKind::PreconditionFailed`](crate::ErrorKind::PreconditionFailed), and so does an update
    /// of a key that has no object.
    Update(Etag),
}

/// The answer to a put that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    /// The new object's version; `None` only if the store does not honour [`Condition::Update`].
    pub etag: Option<Etag>,
}

/// The condition of a put, which not every store honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The condition of [`PutMode::Create`].
    Create,
    /// The condition of [`PutMode::Update`].
    Update,
}

impl Condition {
    /// Returns the HTTP header that expresses this condition.
    pub fn header(self) -> &'static str {
        match self {
            Condition::Create => "If-None-Match",
            Condition::Update => "If-Match",
        }
    }
}

/// The properties in which stores differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `a` and `a/b` can both be objects. If not, the second one put answers
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub nested_keys: bool,
    /// Objects outlive the process.
    pub persistent: bool,
    /// Objects are in this process's memory: [`get`](crate::ObjectStore::get) returns the very bytes that were put, not a copy
    /// that may be damaged. Parallel requests and caching gain nothing.
    pub near: bool,
    /// Each request is a network round trip, so that it is worth a thread to do other work meanwhile.
    pub remote: bool,
    /// The store keeps the pieces of a [`PutPayload`](crate::PutPayload) themselves. If this is false, the store releases the pieces soon
    /// after the put returns, successfully or not, so that borrowed memory can be lent to the put.
    pub keeps_pieces: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects of the page, in key order.
    pub objects: Vec<ObjectMeta>,
    /// True if there may be objects after the last one of the page. A page with `more` is never empty.
    pub more: bool,
}
