//! Checks the order of the crate's layers, and where `unsafe` is allowed: the list in `lib.rs` documents both.

use std::fs;
use std::path::{Path, PathBuf};

/// All layers, each of which may import those behind it.
const ORDER: [&str; 19] = [
    "vol",
    "cross_copy",
    "reading",
    "operations",
    "handles",
    "transfer",
    "session",
    "native",
    "hdf5",
    "background",
    "names",
    "trust",
    "pointer",
    "schemes",
    "config",
    "log",
    "statistics",
    "error",
    "thread_state",
];

/// The folders that may have `unsafe` blocks.
const UNSAFE: [&str; 5] = ["cross_copy", "handles", "hdf5", "transfer/memory", "vol"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns all files of the crate with their paths in it, except this one.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![(path.strip_prefix(source()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())],
    });
    found.filter(|(path, _)| path != Path::new("layers.rs")).collect()
}

fn place(layer: &str) -> usize {
    ORDER.iter().position(|name| *name == layer).unwrap_or_else(|| panic!("{layer} is no layer of the list"))
}

#[test]
fn layers_import_those_below_them() {
    let mut upward = Vec::new();
    for (path, text) in files(&source()).iter().filter(|(path, _)| path != Path::new("lib.rs")) {
        let first = Path::new(path.components().next().unwrap().as_os_str()).with_extension("");
        let own = place(first.to_str().unwrap());
        let names = text.split("crate::").skip(1);
        let named = names.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
        let found = named.filter(|layer| !layer.is_empty() && place(layer) < own);
        upward.extend(found.map(|layer| format!("{} imports {layer}", path.display())));
    }
    assert_eq!(upward, [""; 0]);
}

#[test]
fn unsafe_is_allowed_in_its_folders_alone() {
    let allows = |text: &str| text.contains("allow(unsafe_code)");
    let mut layers: Vec<_> = files(&source()).into_iter().filter(|(_, text)| allows(text)).collect();
    layers.sort();
    let expected = UNSAFE.map(|layer| Path::new(layer).join("mod.rs"));
    assert_eq!(layers.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), expected);
}
