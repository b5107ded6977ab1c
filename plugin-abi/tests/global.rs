//! Another libhdf5 in the process's global scope does not answer for the one that calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // all of this is a test

mod common;

use h5lake_plugin_abi::bindings::*;
use h5lake_plugin_abi::library_at;

#[test]
fn a_library_made_global_later_does_not_lend_its_ids() {
    let paths = common::libraries();
    let [first, .., last] = paths.as_slice() else {
        eprintln!("skipped: fewer than two libhdf5 in the cache directory or in H5LAKE_TEST_LIBHDF5");
        return;
    };
    let own = common::load(first, libc::RTLD_LOCAL);
    common::load(last, libc::RTLD_GLOBAL);
    let own = library_at(own).unwrap();
    // SAFETY: no arguments; an id is checked by the library.
    unsafe {
        // The other is not started, so ids read from it would mean nothing.
        (own.H5open)();
        assert_eq!((own.H5Tget_class)(own.H5T_NATIVE_INT_g()), H5T_INTEGER, "{own:?} reads from {last:?}");
    }
}
