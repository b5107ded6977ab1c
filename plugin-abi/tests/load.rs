//! One plugin file, loaded by several libhdf5 of one process, binds to each of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // all of this is a test

mod common;

use std::ffi::{CString, c_uint, c_void};
use std::path::PathBuf;

use h5lake_plugin_abi::bindings::*;
use h5lake_plugin_abi::{BindError, Hdf5, library_at};

/// The example plugin, in a folder with nothing else: HDF5 opens every library of a plugin folder.
fn plugin_folder() -> tempfile::TempDir {
    let exe = std::env::current_exe().expect("a test has a path");
    let built = exe.parent().and_then(|deps| deps.parent()).expect("target folder");
    let plugin: PathBuf = built.join("examples/libprobe_plugin.so");
    assert!(plugin.exists(), "{} is missing: cargo test builds it with the examples", plugin.display());
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::copy(&plugin, folder.path().join("libprobe_plugin.so")).expect("the plugin can be copied");
    folder
}

/// The messages on the error stack of `lib`, innermost first.
fn messages(lib: &Hdf5) -> Vec<String> {
    unsafe extern "C" fn collect(_: c_uint, error: *const H5E_error2_t, data: *mut c_void) -> herr_t {
        // SAFETY: HDF5 passes a filled struct, and the vector that the walk was given.
        unsafe {
            let text = std::ffi::CStr::from_ptr((*error).desc).to_string_lossy().into_owned();
            (*data.cast::<Vec<String>>()).push(text);
        }
        0
    }
    let mut found: Vec<String> = Vec::new();
    // SAFETY: the callback gets the vector, which outlives the walk.
    unsafe { (lib.H5Ewalk2)(H5E_DEFAULT, H5E_WALK_UPWARD, Some(collect), (&raw mut found).cast()) };
    found
}

/// Opens a file through the plugin in `lib` and gives the error messages.
fn open_with_probe(lib: &Hdf5, folder: &std::path::Path) -> Vec<String> {
    let folder = CString::new(folder.to_str().expect("a temporary folder has a plain name")).expect("no NUL");
    // SAFETY: plain calls with ids that the library gave; each is closed once.
    unsafe {
        (lib.H5open)();
        (lib.H5Eset_auto2)(H5E_DEFAULT, None, std::ptr::null_mut());
        assert_eq!((lib.H5PLprepend)(folder.as_ptr()), 0);
        let connector = (lib.H5VLregister_connector_by_name)(c"probe".as_ptr(), H5P_DEFAULT);
        assert!(connector > 0, "{lib:?} does not load the plugin: {:?}", messages(lib));
        let fapl = (lib.H5Pcreate)(lib.H5P_CLS_FILE_ACCESS_ID_g());
        assert_eq!((lib.H5Pset_vol)(fapl, connector, std::ptr::null()), 0);
        let file = (lib.H5Fopen)(c"no-such-file".as_ptr(), H5F_ACC_RDONLY, fapl);
        assert!(file < 0, "the probe opens nothing");
        let text = messages(lib);
        (lib.H5Pclose)(fapl);
        (lib.H5VLunregister_connector)(connector);
        text
    }
}

#[test]
fn one_plugin_serves_every_library_of_the_process() {
    let paths = common::libraries();
    if paths.is_empty() {
        eprintln!("skipped: no libhdf5 in the cache directory, and H5LAKE_TEST_LIBHDF5 is not set");
        return;
    }
    let folder = plugin_folder();
    let mut libs: Vec<&'static Hdf5> = Vec::new();
    for path in &paths {
        match library_at(common::load(path, libc::RTLD_LOCAL)) {
            Ok(lib) => libs.push(lib),
            Err(BindError::TooOld { .. }) => {}
            Err(e) => panic!("{e}"),
        }
    }
    // The second round comes after H5close, which unloads plugins and starts the library anew.
    for round in 0..2 {
        for (slot, lib) in libs.iter().enumerate() {
            let (major, minor, release) = lib.version;
            let wanted = format!("probe: slot {slot}, HDF5 {major}.{minor}.{release}, errno = 2");
            let found = open_with_probe(lib, folder.path());
            assert!(found.contains(&wanted), "round {round}, {lib:?}: {found:?}");
            // SAFETY: no id of this library is used afterwards.
            unsafe { (lib.H5close)() };
        }
    }
}
