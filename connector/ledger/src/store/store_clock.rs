//! The store's clock, which dates objects. All processes share it, even if their own clocks differ.

use std::time::SystemTime;

use object_stores::{ErrorKind, Key, ObjectStore, PutMode, PutPayload};

use crate::clock;
use crate::codec::hex;
use crate::error::{Error, Result, store_error};
use crate::timekeeping::decided;

/// A day in microseconds.
pub(super) const DAY: u64 = 86_400_000_000;

/// Returns the time for a new version: the store's time, if that is known and differs from this process's clock; otherwise the time of this
/// process's clock.
pub(crate) fn version_time(store: &dyn ObjectStore) -> u64 {
    decided(store.clock().map(clock::since_1970))
}

/// Returns the day for the entry of a session or a copy.
pub(crate) fn today(store: &dyn ObjectStore) -> u64 {
    version_time(store) / DAY
}

/// Returns the store's time: the modification time of an object that is put and deleted again.
pub(crate) fn now(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<SystemTime> {
    let name = format!("{head}.lake/clock/{}", hex(&clock::random(target)?));
    let key = Key::new(name).map_err(|e| Error::invalid(target, e.to_string()))?;
    let put = || store.put(&key, PutPayload::from(b"now".to_vec()), PutMode::Overwrite);
    // The caller is about to delete old data or to write, so the store's reserve may be used.
    let done = put().or_else(|e| match e.kind() {
        ErrorKind::NoSpace if store.spend_reserve() => put(),
        _ => Err(e),
    });
    let read = done.and_then(|_| store.head(&key));
    // An object that remains takes three bytes.
    let deleted = store.delete(&key);
    if let Err(e) = deleted {
        tracing::debug!(error = %e, "an object that tells the time was not deleted");
    }
    read.map(|meta| meta.modified).map_err(|e| store_error(target, &e))
}
