//! Two kinds of container under one path: a file, and the head object of a container in objects. Each is recognized as
//! what it is.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Probe, Replace, Result};
use object_stores::dir::Sync;
use object_stores::{DirStore, ObjectStore};

fn is_wrong_storage<T>(done: Result<T>, word: &str) {
    let error = done.err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::WrongStorage { .. }), "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

fn opts() -> Options {
    Options::default()
}

/// Removes the features from a superblock, and updates its checksum.
fn without_features(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[20..24].fill(0);
    let sum = crc_fast::crc32_iscsi(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_is_no_head_of_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(DirStore::open(dir.path(), Sync::Process).unwrap());
    let path = dir.path().join("a.h5");
    for commits in 0..4 {
        for is_bare in [false, true] {
            let l = Ledger::create_file(&path, Replace::Atomically, opts()).unwrap();
            for n in 0..commits {
                l.put(b"k", vec![n]).unwrap();
                l.commit().unwrap();
            }
            l.close().unwrap();
            if is_bare {
                without_features(&path);
            }
            let before = fs::read(&path).unwrap();
            assert_eq!(Ledger::probe_objects(&*store, "a.h5").unwrap(), Probe::WrongStorage);
            for access in [Access::ReadOnly, Access::ReadWrite] {
                is_wrong_storage(Ledger::open_objects(store.clone(), "a.h5", access, opts()), "local path");
            }
            let replaced = Ledger::create_objects(store.clone(), "a.h5", Replace::Atomically, opts());
            is_wrong_storage(replaced, "local path");
            is_wrong_storage(Ledger::remove_objects(&store, "a.h5"), "local path");
            assert_eq!(fs::read(&path).unwrap(), before);
            assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::Container);
            Ledger::open_file(&path, Access::ReadWrite, opts()).unwrap();
        }
    }
}

#[test]
fn a_head_of_a_store_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(DirStore::open(dir.path(), Sync::Process).unwrap());
    let path = dir.path().join("50%.h5");
    for value in [1, 600, 5_000] {
        for close in [false, true] {
            let l = Ledger::create_objects(store.clone(), "50%.h5", Replace::Atomically, opts()).unwrap();
            // The head object of a closed container contains the last records, whatever their content is.
            l.put(b"k", vec![7; value]).unwrap();
            l.commit().unwrap();
            if close {
                l.close().unwrap();
            } else {
                drop(l);
            }
            let before = fs::read(&path).unwrap();
            let url = format!("open it as file://{}/50%25.h5", dir.path().display());
            assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::WrongStorage);
            for access in [Access::ReadOnly, Access::ReadWrite] {
                is_wrong_storage(Ledger::open_file(&path, access, opts()), &url);
            }
            is_wrong_storage(Ledger::create_file(&path, Replace::Atomically, opts()), &url);
            is_wrong_storage(Ledger::remove_file(&path, &opts()), &url);
            assert_eq!(fs::read(&path).unwrap(), before);
            assert_eq!(Ledger::probe_objects(&*store, "50%.h5").unwrap(), Probe::Container);
            let l = Ledger::open_objects(store.clone(), "50%.h5", Access::ReadOnly, opts()).unwrap();
            assert_eq!(l.get(b"k").unwrap().unwrap().len(), value);
        }
    }
}

#[test]
fn a_damaged_file_is_still_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    Ledger::create_file(&path, Replace::Fail, opts()).unwrap().close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[512..].fill(0);
    for length in [16, 64, 516, bytes.len()] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = Ledger::open_file(&path, Access::ReadOnly, opts()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{length}: {error}");
        drop(Ledger::create_file(&path, Replace::Atomically, opts()).unwrap());
    }
}
