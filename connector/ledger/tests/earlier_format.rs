//! Containers of format 1, which no release made: opening and replacing one ends with the error that says how to convert it, and
//! changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::sync::Arc;

use h5lake_ledger::{Access, Error, ErrorKind, Ledger, Options, Probe, Replace, Writers};
use object_stores::{Key, MemoryStore, ObjectStore, ObjectStoreExt, PutMode};

const KEY: &str = "dir/a.h5";
const TEXT: &str = "was made by a build of h5lake before its first release (container format 1); this build reads format 2. \
                    With the build that made it, run 'h5lake export NAME NATIVE.h5', then 'h5lake import' here.";

/// Returns bytes followed by their checksum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc_fast::crc32_iscsi(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Returns the first 64 bytes of a container of format 1. They have the same layout in every format (docs/format.md, "File layout").
fn first_bytes() -> Vec<u8> {
    let mut bytes = b"\x89HDF\r\n\x1a\n\x4Ch5lake\0".to_vec();
    bytes.extend_from_slice(&1u32.to_le_bytes());
    // No features.
    bytes.extend_from_slice(&[0; 8]);
    // The container's id, the length of a user block, and the time of creation.
    bytes.extend_from_slice(&[7; 16]);
    bytes.extend_from_slice(&0u64.to_le_bytes());
    bytes.extend_from_slice(&1_700_000_000_000_000u64.to_le_bytes());
    sealed(bytes)
}

/// Returns all objects of a store with their bytes.
fn objects(store: &Arc<dyn ObjectStore>) -> Vec<(String, Vec<u8>)> {
    let all = store.list("", None);
    all.map(|found| {
        let key = found.unwrap().key;
        let bytes = store.get(&key, None).unwrap().bytes;
        (key.to_string(), bytes.to_vec())
    })
    .collect()
}

/// Returns the ways to open a container.
fn ways() -> [(Access, Options); 3] {
    let shared = Options { writers: Writers::Many, ..Options::default() };
    [
        (Access::ReadOnly, Options::default()),
        (Access::ReadWrite, Options::default()),
        (Access::ReadWrite, shared),
    ]
}

fn is_told(e: &Error) {
    assert_eq!(*e.kind(), ErrorKind::EarlierFormat { format: 1 }, "{e}");
    assert!(e.to_string().ends_with(TEXT), "{e}");
}

#[test]
fn a_container_in_a_store_is_refused_and_stays_as_it_is() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let put = |key: &str, bytes: Vec<u8>| {
        store.put(&Key::new(key).unwrap(), bytes.into(), PutMode::Overwrite).unwrap();
    };
    put(KEY, sealed([first_bytes(), vec![3; 200]].concat()));
    put(&format!("{KEY}.lake/{}/an-object", "07".repeat(16)), vec![5; 1000]);
    let before = objects(&store);
    assert_eq!(before.len(), 2);
    for (access, options) in ways() {
        is_told(&Ledger::open_objects(store.clone(), KEY, access, options).unwrap_err());
        assert!(objects(&store) == before, "{access:?}");
    }
    let replaced = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, Options::default());
    is_told(&replaced.unwrap_err());
    assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), Probe::Container);
    assert!(objects(&store) == before);
}

#[test]
fn a_file_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let mut bytes = first_bytes();
    bytes.resize(4608, 0);
    // The magic bytes of a commit slot.
    bytes[512..516].copy_from_slice(b"h5lS");
    bytes.extend_from_slice(&[5; 1000]);
    fs::write(&path, &bytes).unwrap();
    let stays = || {
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "another file is beside the container");
    };
    for (access, options) in ways() {
        is_told(&Ledger::open_file(&path, access, options).unwrap_err());
        stays();
    }
    is_told(&Ledger::create_file(&path, Replace::Atomically, Options::default()).unwrap_err());
    assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::Container);
    stays();
}
