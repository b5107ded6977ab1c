//! The end of a program that uses stores in foreign libraries, before the static objects of those libraries are
//! destroyed.

use std::sync::OnceLock;

pub(crate) use h5lake_store_abi::is_over;

static BEFORE: OnceLock<fn()> = OnceLock::new();

/// Registers `close`, which is called when the program exits, before a foreign library that stores use ends: this is
/// the last moment at which open files in such a store can be committed and closed. If several functions are
/// registered, only the first one is called. It may be called more than once.
pub fn before_libraries_end(close: fn()) {
    BEFORE.get_or_init(|| close);
}

/// Closes open files with the registered function.
pub(crate) fn close_all() {
    if let Some(close) = BEFORE.get() {
        close();
    }
}
