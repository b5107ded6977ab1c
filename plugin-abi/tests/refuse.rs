//! Libraries that the connector cannot serve are refused with an error that says why.
//!
//! The libraries are made here by the C compiler that Rust links with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // all of this is a test

use std::ffi::c_void;
use std::process::Command;

use h5lake_plugin_abi::bindings::*;
use h5lake_plugin_abi::{BindError, Hdf5, RefusedClass, library, library_at, plugin_info, refusals};
use libloading::os::unix::Library;

/// Compiles `source` as a shared library, loads it and gives its path and the address of `H5open` in it.
fn made_of(folder: &tempfile::TempDir, name: &str, source: &str) -> (String, usize) {
    let (c, so) = (folder.path().join(format!("{name}.c")), folder.path().join(format!("{name}.so")));
    std::fs::write(&c, source).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let done = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&so, &c]).status().unwrap();
    assert!(done.success());
    // SAFETY: the library has no initialisers.
    let handle = unsafe { Library::open(Some(&so), libc::RTLD_LOCAL | libc::RTLD_NOW) }.unwrap();
    // SAFETY: the symbol is only taken as an address.
    let address = unsafe { handle.get::<*mut c_void>(b"H5open\0") }.unwrap().as_raw_ptr() as usize;
    std::mem::forget(handle);
    (so.display().to_string(), address)
}

/// A libhdf5 that has a version and nothing more.
fn with_version(text: &str) -> String {
    format!(
        "char H5_lib_vers_info_g[] = \"{text}\"; int H5open(void) {{ return 0; }} int H5get_libversion(void) {{ return 0; }}"
    )
}

#[test]
fn an_old_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (library, address) = made_of(&folder, "old", &with_version("HDF5 library version: 1.12.3"));
    let expected = BindError::TooOld { library: library.clone(), version: "1.12.3".to_owned() };
    assert_eq!(library_at(address).err(), Some(expected.clone()));
    assert_eq!(
        expected.to_string(),
        format!("{library} has HDF5 1.12.3: the connector needs 1.14.0 or newer")
    );
}

#[test]
fn a_library_with_mangled_names_is_bound_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let source = with_version("HDF5 library version: 1.14.6");
    let mangled = source.replace("H5_lib", "vtkhdf5_H5_lib").replace("H5get", "vtkhdf5_H5get");
    let (path, address) = made_of(&folder, "mangled", &mangled);
    let Some(BindError::MissingSymbol { library: named, version, .. }) = library_at(address).err() else {
        panic!("a library without functions was bound, or its version was not found")
    };
    assert_eq!((named, version.as_str()), (path, "1.14.6"));
}

#[test]
fn a_missing_function_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, address) = made_of(&folder, "bare", &with_version("HDF5 library version: 1.14.6"));
    let Some(BindError::MissingSymbol { library: named, version, symbol }) = library_at(address).err() else {
        panic!("a library without functions was bound")
    };
    assert_eq!((named, version.as_str()), (path, "1.14.6"));
    assert!(symbol.starts_with("H5"), "{symbol}");
    assert!(library(0).is_none(), "a refusal takes no slot");
}

#[test]
fn a_version_that_cannot_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (library, address) = made_of(&folder, "odd", &with_version("a library of our own"));
    let text = "a library of our own".to_owned();
    assert_eq!(library_at(address).err(), Some(BindError::UnreadableVersion { library, text }));
}

#[test]
fn a_library_that_hides_its_symbols_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (library, address) = made_of(&folder, "hidden", "int H5open(void) { return 0; }");
    assert_eq!(library_at(address).err(), Some(BindError::NotExported { library }));
}

#[test]
fn an_old_library_is_known_by_its_text_where_it_hides_its_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let source = with_version("HDF5 library version: 1.12.2").replace("char H5_lib", "static char H5_lib");
    let source = source
        .replace("int H5get", "static int H5get")
        .replace("{ return 0; }", "{ return H5_lib_vers_info_g[9]; }");
    let (library, address) = made_of(&folder, "old_and_hidden", &source);
    assert_eq!(library_at(address).err(), Some(BindError::TooOld { library, version: "1.12.2".to_owned() }));
}

#[test]
fn a_library_that_cannot_be_served_gets_a_class_that_opens_nothing() {
    static REFUSED: RefusedClass = RefusedClass::new(c"test", 500);
    fn never(_: &'static Hdf5) -> *const H5VL_class_t {
        panic!("a library without functions was bound")
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, address) = made_of(&folder, "silent", &with_version("HDF5 library version: 2.0.0"));
    let class = plugin_info(address, never, &REFUSED).cast::<H5VL_class_t>();
    assert!(!class.is_null(), "HDF5 would go on without the connector and write native files");
    // SAFETY: the class is a constant of this program, and its functions get what HDF5 would pass.
    unsafe {
        let open = (*class).file_cls.open.unwrap();
        assert!(open(c"f".as_ptr(), 0, 0, 0, std::ptr::null_mut()).is_null());
        let mut accessible = true;
        let mut args: H5VL_file_specific_args_t = std::mem::zeroed();
        args.op_type = H5VL_FILE_IS_ACCESSIBLE;
        args.args.is_accessible.accessible = &raw mut accessible;
        let specific = (*class).file_cls.specific.unwrap();
        assert_eq!(specific(std::ptr::null_mut(), &raw mut args, 0, std::ptr::null_mut()), 0);
        assert!(!accessible, "a native file would be taken from the native connector");
    }
    assert!(refusals().iter().any(|r| matches!(r, BindError::MissingSymbol { .. })));

    let (_, address) = made_of(&folder, "ancient", &with_version("HDF5 library version: 1.12.2"));
    let class = plugin_info(address, never, &REFUSED).cast::<H5VL_class_t>();
    // SAFETY: as above. 1.12 reads these three fields first: its struct begins with them, too.
    let (version, name, open) = unsafe { ((*class).version, (*class).name, (*class).file_cls.open) };
    assert!(version > 2 && open.is_none(), "its class struct is another one: it must not take ours");
    // SAFETY: the name is the one that the class was made with.
    assert_eq!(unsafe { std::ffi::CStr::from_ptr(name) }, c"test");
}
