//! The store's clock, by which it says when an object was put: it is one for all processes, whatever theirs say.

use std::time::SystemTime;

use object_stores::{ErrorKind, Key, ObjectStore, PutMode, PutPayload};

use crate::clock;
use crate::codec::hex;
use crate::error::{Error, Result, store_error};
use crate::timekeeping::decided;

/// The time that a version gets: the store's, where that is known and this process's clock differs from it.
pub(crate) fn version_time(store: &dyn ObjectStore) -> u64 {
    decided(store.clock().map(clock::since_1970))
}

/// What time it is in the store: when an object was put that is put now, and deleted again.
pub(crate) fn now(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<SystemTime> {
    let name = format!("{head}.lake/clock/{}", hex(&clock::random(target)?));
    let key = Key::new(name).map_err(|e| Error::invalid(target, e.to_string()))?;
    let put = || store.put(&key, PutPayload::from(b"now".to_vec()), PutMode::Overwrite);
    // Who asks for the time is about to delete what is old, or to write.
    let done = put().or_else(|e| match e.kind() {
        ErrorKind::NoSpace if store.spend_reserve() => put(),
        _ => Err(e),
    });
    let read = done.and_then(|_| store.head(&key));
    // Left behind it takes three bytes.
    let deleted = store.delete(&key);
    if let Err(e) = deleted {
        tracing::debug!(error = %e, "an object that tells the time was not deleted");
    }
    read.map(|meta| meta.modified).map_err(|e| store_error(target, &e))
}
