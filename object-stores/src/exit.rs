//! The end of a program that uses stores in foreign libraries, before those libraries' static objects are gone.

use std::sync::OnceLock;

pub(crate) use h5lake_store_abi::is_over;

static BEFORE: OnceLock<fn()> = OnceLock::new();

/// Has `close` called when the program exits, before a foreign library that stores use ends: the last moment at which what is open
/// in such a store can be committed and closed. Of several functions the first counts. It may be called more than once.
pub fn before_libraries_end(close: fn()) {
    BEFORE.get_or_init(|| close);
}

/// Closes what is open.
pub(crate) fn close_all() {
    if let Some(close) = BEFORE.get() {
        close();
    }
}
