//! Checks the order of the crate's rooms, and where `unsafe` is allowed: the list in `lib.rs` says both.

use std::fs;
use std::path::{Path, PathBuf};

/// All rooms, each of which may import those behind it.
const ORDER: [&str; 14] = [
    "vol",
    "cross_copy",
    "operations",
    "handles",
    "transfer",
    "session",
    "native",
    "hdf5",
    "names",
    "trust",
    "pointer",
    "config",
    "error",
    "thread_state",
];

/// The rooms that may have `unsafe` blocks.
const UNSAFE: [&str; 5] = ["cross_copy", "handles", "hdf5", "transfer/memory", "vol"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of the crate with their paths in it, but for this one.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![(path.strip_prefix(source()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())],
    });
    found.filter(|(path, _)| path != Path::new("rooms.rs")).collect()
}

fn place(room: &str) -> usize {
    ORDER.iter().position(|name| *name == room).unwrap_or_else(|| panic!("{room} is no room of the list"))
}

#[test]
fn rooms_import_those_below_them() {
    let mut upward = Vec::new();
    for (path, text) in files(&source()).iter().filter(|(path, _)| path != Path::new("lib.rs")) {
        let first = Path::new(path.components().next().unwrap().as_os_str()).with_extension("");
        let own = place(first.to_str().unwrap());
        let names = text.split("crate::").skip(1);
        let named = names.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
        let found = named.filter(|room| !room.is_empty() && place(room) < own);
        upward.extend(found.map(|room| format!("{} imports {room}", path.display())));
    }
    assert_eq!(upward, [""; 0]);
}

#[test]
fn unsafe_is_allowed_in_its_rooms_alone() {
    let allows = |text: &str| text.contains("allow(unsafe_code)");
    let mut rooms: Vec<_> = files(&source()).into_iter().filter(|(_, text)| allows(text)).collect();
    rooms.sort();
    let expected = UNSAFE.map(|room| Path::new(room).join("mod.rs"));
    assert_eq!(rooms.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), expected);
}
