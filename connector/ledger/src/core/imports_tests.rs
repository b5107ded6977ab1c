//! Checks that the core imports codec, checksum and address alone, and names no clock, store or random source.

use std::fs;
use std::path::Path;

/// Modules of the crate that the core may import. `signatures` has three constants.
const ALLOWED: [&str; 5] = ["address", "checksum", "codec", "core", "signatures"];
/// Names that would make the core depend on something other than its arguments.
const FORBIDDEN: [&str; 8] =
    ["Instant", "SystemTime", "rand::", "getrandom", "std::fs", "std::net", "std::thread", "std::env"];

fn sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let named = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    named
        .filter(|(name, _)| !name.ends_with("_tests.rs"))
        .map(|(n, p)| (n, fs::read_to_string(p).unwrap()))
        .collect()
}

fn imported(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::")
        .skip(1)
        .map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

#[test]
fn the_core_imports_codec_checksum_and_address() {
    for (name, text) in sources() {
        let disallowed: Vec<&str> = imported(&text).filter(|module| !ALLOWED.contains(module)).collect();
        assert!(disallowed.is_empty(), "{name} imports {disallowed:?}");
        for line in text.lines().filter(|line| line.starts_with("use ")) {
            let root = line["use ".len()..].split("::").next().unwrap();
            assert!(["crate", "super", "std", "bytes"].contains(&root), "{name}: {line}");
        }
    }
}

#[test]
fn the_core_has_no_clock_no_store_and_no_chance() {
    for (name, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let found = FORBIDDEN.iter().find(|name| line.contains(**name));
            assert!(found.is_none(), "{name}: {line}");
        }
    }
}
