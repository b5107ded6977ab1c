//! Tests of `h5lake check-store` with stores that honour the conditions of puts, and with faulty stores.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Compiles a store library from the sources of store-abi.
fn library(folder: &Path, source: &str) -> PathBuf {
    let file = folder.join("libstore.so");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store-abi");
    let mut compile = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    compile.args(["-std=c11", "-shared", "-fPIC", "-pthread", "-Iinclude", source, "-o"]).arg(&file);
    assert!(compile.current_dir(sources).status().unwrap().success());
    file
}

/// Runs the tool with store libraries. Returns its exit code and output.
fn tool(store_path: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_h5lake"));
    command.args(args).env("H5LAKE_STORE_PATH", store_path).env_remove("H5LAKE_STORE");
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

#[test]
fn a_store_that_keeps_all_passes() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "examples/log_store.c");
    let url = format!("logfile://{}/try.log", folder.path().display());
    // The variable accepts a folder of libraries as well as a library.
    let (code, said) = tool(folder.path(), &["check-store", &url]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("holds   create if absent") && said.contains("writers=many"), "{said}");
    assert!(
        said.contains("passed  of eight creators one wins") && said.contains(" passed, 0 failed"),
        "{said}"
    );
    let (code, said) =
        tool(folder.path(), &["check-store", "--json", &format!("file://{}/d", folder.path().display())]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["failed"], &report["create"]["holds"]), (0, &0.into(), &true.into()), "{said}");
    assert_eq!(
        (&report["nested_keys"], report["checks"].as_array().unwrap().len() > 30),
        (&false.into(), true)
    );
    // Only the marker file of the store remains.
    let left = std::fs::read_dir(folder.path().join("d")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name != ".object-store").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn broken_guarantees_of_a_store_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), "tests/faulty_store.c");
    for (fault, words) in [
        (
            "ignores-creates",
            "is not  create if absent: If-None-Match: the store library promises it, and lets several",
        ),
        (
            "ignores-updates",
            "is not  update if unchanged: If-Match: the store library promises it, and replaces",
        ),
        ("few-bytes", "faulty_store 1) breaks its interface: it gave"),
        ("unsorted", "out of the order of bytes"),
    ] {
        let (code, said) = tool(&library, &["check-store", &format!("faulty:{fault}/x")]);
        assert_eq!(code, 2, "{fault}: {said}");
        assert!(said.contains(words), "{fault}: {said}");
        let is_safe = !said.contains("do not store containers here");
        assert_eq!(is_safe, said.contains(" passed, 0 failed"), "{fault}: {said}");
        assert!(!said.contains("writers=many"), "{fault}: {said}");
    }
    let (code, said) = tool(&library, &["check-store", "faulty:ignores-creates/x"]);
    assert!(code == 2 && said.contains("one writer at a time"), "{said}");
}

#[test]
fn a_store_that_cannot_be_written_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    // No user can create a folder there, not even root.
    let (code, said) = tool(folder.path(), &["check-store", "file:///proc/h5lake"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the store cannot be used") && !said.contains("holds"), "{said}");
}

#[test]
fn a_library_that_crashes_or_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), "tests/faulty_store.c");
    let (code, said) = tool(&library, &["check-store", "faulty:crash/x"]);
    assert!(code == 1 && said.contains("signal 6"), "{code} {said}");
    let (code, said) = tool(&library, &["check-store", "faulty:open-99/x"]);
    assert!(code == 1 && said.contains("breaks its interface"), "{code} {said}");
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    let (code, said) = tool(&text, &["check-store", "mine:x"]);
    assert!(code == 1 && said.contains("text.so") && said.contains("'mine'"), "{code} {said}");
    let (code, said) = tool(Path::new("relative.so"), &["check-store", "mine:x"]);
    assert!(code == 1 && said.contains("H5LAKE_STORE_PATH takes absolute paths"), "{code} {said}");
}
