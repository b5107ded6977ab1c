//! Below the folder of a store, a cache or a stage no symbolic link is followed: these modules use `beneath`, and no function that
//! takes a path, except for the folder itself, which the user names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Functions with a path.
const WITH_PATHS: [&str; 23] = [
    "fs::canonicalize",
    "fs::copy",
    "fs::create_dir",
    "fs::hard_link",
    "fs::metadata",
    "fs::read",
    "fs::remove_",
    "fs::rename",
    "fs::set_permissions",
    "fs::symlink_metadata",
    "fs::write",
    "File::create",
    "File::open",
    "File::options",
    "OpenOptions",
    "DirBuilder",
    "tempfile",
    "crate::open_regular",
    ".exists()",
    ".canonicalize()",
    ".read_dir()",
    ".symlink_metadata()",
    ".try_exists()",
];

/// Allowed uses: each concerns the folder that the user named, and no name below it.
const ALLOWED: [(&str, &str); 11] = [
    ("dir/files.rs", "match fs::metadata(path) {"),
    ("dir/files.rs", "Ok(found) if found.is_dir() => return Ok((fs::canonicalize(path)?, false)),"),
    (
        "dir/files.rs",
        "let above = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));",
    ),
    ("dir/files.rs", "let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();"),
    ("dir/files.rs", "fs::create_dir_all(path)?;"),
    ("dir/files.rs", "File::open(above.unwrap_or(Path::new(\".\")))?.sync_all()?;"),
    (
        "disk_cache/blocks.rs",
        "let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);",
    ),
    ("disk_cache/blocks.rs", "let shared = fs::canonicalize(path)?;"),
    ("staged/folder.rs", "DirBuilder::new().recursive(true).mode(0o700).create(dir)?;"),
    ("staged/folder.rs", "fs::canonicalize(dir)"),
    ("staged/leftovers.rs", "match std::fs::canonicalize(dir) {"),
];

/// The sources of a module, without its tests.
fn sources(of: &Path, found: &mut Vec<PathBuf>) {
    if of.is_file() {
        found.push(of.to_owned());
        return;
    }
    for entry in fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("tests") {
            sources(&path, found);
        }
    }
}

#[test]
fn no_path_below_a_folder_is_used() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for module in ["dir.rs", "dir", "disk_cache.rs", "disk_cache", "staged.rs", "staged"] {
        sources(&all.join(module), &mut found);
    }
    assert!(found.len() > 15, "{found:?}");
    let mut bad = Vec::new();
    for path in &found {
        let name = path.strip_prefix(&all).unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("\nmod tests {").next().unwrap();
        for line in code.lines().map(str::trim) {
            let is_use = line.starts_with("use ") || line.starts_with("//");
            let is_found = WITH_PATHS.iter().any(|call| line.contains(call));
            if is_found && !is_use && !ALLOWED.contains(&(name, line)) {
                bad.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(bad.is_empty(), "use crate::beneath for names below the folder:\n{}", bad.join("\n"));
}
