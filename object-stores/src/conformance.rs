//! The conformance suite that every store and every wrapper passes.
//!
//! A store's own tests call [`run`] with a closure that makes a new, empty store. A failed check panics and names the
//! check. The suite also checks what a store's [`Capabilities`](crate::Capabilities) exclude, and each
//! [`Condition`](crate::Condition) that it does not honour: the store has to refuse these puts with
//! [`ErrorKind::Unsupported`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite reports by panicking, like every test"
)]

mod changes;
pub mod lending;
mod names;
mod objects;
mod order;
mod races;
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::{Error, ErrorKind, Key, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Result};

/// A store under test, shared by threads.
pub type Shared = Arc<dyn ObjectStore>;

/// A check: its name, and a function that checks a new, empty store.
pub type Check = (&'static str, fn(&Shared));

/// Returns every check of the suite.
pub fn checks() -> Vec<Check> {
    [
        objects::CHECKS,
        changes::CHECKS,
        names::CHECKS,
        lending::CHECKS,
        streams::CHECKS,
        order::CHECKS,
        races::CHECKS,
    ]
    .concat()
}

/// Runs every check, each on a new store of `fresh`, which has to be empty.
///
/// # Panics
/// At the first check that the store does not pass.
pub fn run(fresh: impl Fn() -> Shared) {
    for (name, check) in checks() {
        let store = fresh();
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| check(&store))) {
            eprintln!("conformance: {} fails '{name}'", store.name());
            resume_unwind(cause);
        }
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn put(store: &Shared, at: &str, bytes: &[u8]) {
    store.put(&key(at), PutPayload::copy_from(bytes), PutMode::Overwrite).unwrap();
}

fn content(store: &Shared, at: &str) -> Option<Vec<u8>> {
    store.get_opt(&key(at), None).unwrap().map(|got| got.bytes.to_vec())
}

fn listed(store: &Shared, prefix: &str, after: Option<&str>) -> Vec<String> {
    store.list(prefix, after).map(|meta| meta.unwrap().key.to_string()).collect()
}

/// Returns the error's kind. Asserts that the error names the store and the key.
fn kind<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    let error: Error = answer.expect_err("the store should have refused");
    assert!(error.store().is_some(), "the error names no store: {error}");
    assert!(error.key().is_some(), "the error names no key: {error}");
    error.kind()
}

/// Returns bytes without a period, so that a shifted or repeated block is noticed.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
