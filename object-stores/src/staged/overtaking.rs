//! Whether another writer went on with the container while a queue waited.
//!
//! A record is created once, and its name is its place in the order. While the other's record of that name is there, the put fails. A
//! base deletes the records that it took in. Then the name is free again, and only the head tells that it was given.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::IsPast;
use crate::Key;

/// How long a look at the head holds: nobody else writes so soon after this writer had the lock.
const LOOK_HOLDS: Duration = Duration::from_secs(10);

/// When the head was looked at last.
#[derive(Debug)]
pub(super) struct Overtaking {
    head: Option<Key>,
    pub(super) is_past: IsPast,
    looked: Mutex<Option<Instant>>,
}

impl Overtaking {
    /// Of a writer that has just begun.
    pub(super) fn while_alive(head: &str, is_past: IsPast) -> Self {
        Self { head: Key::new(head).ok(), is_past, looked: Mutex::new(Some(Instant::now())) }
    }

    /// Of what a writer left.
    pub(super) fn of_leftover(head: &str, is_past: IsPast) -> Self {
        Self { head: Key::new(head).ok(), is_past, looked: Mutex::new(None) }
    }

    /// The key of the head, if it was not looked at lately.
    pub(super) fn head_to_look_at(&self) -> Option<Key> {
        let is_known = self.looked.lock().is_some_and(|looked| looked.elapsed() < LOOK_HOLDS);
        self.head.clone().filter(|_| !is_known)
    }

    /// The head was looked at.
    pub(super) fn looked(&self) {
        *self.looked.lock() = Some(Instant::now());
    }
}
