//! Finding real libhdf5 for the tests.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use h5lake_plugin_abi::MAX_LIBRARIES;

/// Shared libraries of HDF5: those named in `H5LAKE_TEST_LIBHDF5` (colon-separated), or what the project's
/// cache directory holds (the ones that Python wheels bundle, and HDF5 builds). Of the copies that several environments have of a
/// wheel's library, one is taken. If there are still more than a process may have, releases go before builds of the same release.
pub fn libraries() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("H5LAKE_TEST_LIBHDF5") {
        return std::env::split_paths(&named).collect();
    }
    let mut found = Vec::new();
    if let Some(cache) = cache_dir() {
        collect(&cache, 8, &mut found);
    }
    found.sort();
    let mut seen = HashSet::new();
    found.retain(|path| {
        seen.insert((path.file_name().map(OsStr::to_owned), path.metadata().map(|file| file.len()).ok()))
    });
    let mut builds = HashMap::<_, usize>::new();
    found.sort_by_cached_key(|path| {
        let build = builds.entry(release(path)).or_default();
        *build += 1;
        *build
    });
    found.truncate(MAX_LIBRARIES);
    found
}

/// What follows `.so.` in a library's name: releases of HDF5 differ in it.
fn release(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.split_once(".so.")?.1.to_owned())
}

/// `$H5LAKE_BUILD_CACHE`, by default `h5lake` in the user's cache directory.
fn cache_dir() -> Option<PathBuf> {
    let base = |name: &str| std::env::var_os(name).map(PathBuf::from);
    base("H5LAKE_BUILD_CACHE")
        .or_else(|| base("XDG_CACHE_HOME").map(|d| d.join("h5lake")))
        .or_else(|| base("HOME").map(|d| d.join(".cache/h5lake")))
}

fn collect(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
        let name = name.to_string_lossy();
        // A library that loads signed plugins alone does not load the tests' plugin.
        if kind.is_dir() && depth > 0 && !name.contains("-of-signed-") {
            collect(&entry.path(), depth - 1, found);
        } else if kind.is_file() && is_libhdf5(&name) {
            found.push(entry.path());
        }
    }
}

/// `libhdf5.so.310.5.1`, `libhdf5-9e18f0c6.so.320.0.0`; not `libhdf5_hl…`.
fn is_libhdf5(name: &str) -> bool {
    name.strip_prefix("libhdf5").is_some_and(|rest| rest.starts_with(['-', '.'])) && name.contains(".so")
}

/// Loads a libhdf5 in the given scope, as Python's import does in the local one, for ever; gives an address in it.
pub fn load(path: &Path, scope: libc::c_int) -> usize {
    load_companions(path);
    // SAFETY: libhdf5's initialisers may run.
    let handle = unsafe { libloading::os::unix::Library::open(Some(path), scope | libc::RTLD_NOW) }
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // SAFETY: the symbol is only taken as an address.
    let open = unsafe { handle.get::<*mut std::ffi::c_void>(b"H5open\0") }.unwrap().as_raw_ptr();
    std::mem::forget(handle);
    open as usize
}

/// Loads the other libraries in a wheel's folder: they lie beside libhdf5, where only the wheel's own modules
/// look for them.
fn load_companions(libhdf5: &Path) {
    let Some(dir) = libhdf5.parent().filter(|d| d.extension().is_some_and(|e| e == "libs")) else { return };
    let mut libraries: Vec<PathBuf> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    libraries.retain(|p| p.file_name().is_some_and(|n| !n.to_string_lossy().starts_with("libhdf5")));
    // One may need another: in as many rounds as there are libraries each finds what it needs.
    for _ in 0..libraries.len() {
        for library in &libraries {
            // SAFETY: initialisers of compression libraries may run.
            let loaded = unsafe {
                libloading::os::unix::Library::open(Some(library), libc::RTLD_LOCAL | libc::RTLD_NOW)
            };
            loaded.map(std::mem::forget).ok();
        }
    }
}
