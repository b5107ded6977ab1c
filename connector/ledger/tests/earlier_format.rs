//! Containers of format 1, which no release made: opening and replacing one ends with the error that says how to convert it, and
//! changes nothing. Deleting one works.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use h5lake_ledger::{Access, Error, ErrorKind, Ledger, Options, Probe, Replace, Writers};
use object_stores::{
    DirStore, FaultStore, Key, LatencyStore, MemoryStore, ObjectStore, ObjectStoreExt, Pace, PutMode, dir,
};

const KEY: &str = "dir/a.h5";
const TEXT: &str = "was made by a build of h5lake before its first release (container format 1); this build reads format 2. \
                    With the build that made it, run 'h5lake export NAME NATIVE.h5', then 'h5lake import' here. \
                    'h5lake rm NAME' deletes it.";

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

fn assert_earlier_format(e: &Error) {
    assert_eq!(*e.kind(), ErrorKind::EarlierFormat { format: 1 }, "{e}");
    assert!(e.to_string().ends_with(TEXT), "{e}");
}

/// The key of an object of the container.
fn object_key() -> String {
    format!("{KEY}.lake/{}/an-object", "07".repeat(16))
}

fn put(store: &Arc<dyn ObjectStore>, key: &str, bytes: Vec<u8>) {
    store.put(&Key::new(key).unwrap(), bytes.into(), PutMode::Overwrite).unwrap();
}

/// Puts a container of format 1, with one object.
fn make(store: &Arc<dyn ObjectStore>) {
    put(store, KEY, sealed([first_bytes(), vec![3; 200]].concat()));
    put(store, &object_key(), vec![5; 1000]);
}

type NamedStore = (&'static str, Arc<dyn ObjectStore>);

/// Returns stores of each kind, each with a container of format 1. The folder is that of one of them.
fn stores() -> (tempfile::TempDir, [NamedStore; 4]) {
    let folder = tempfile::tempdir().unwrap();
    let memory = || -> Arc<dyn ObjectStore> { Arc::new(MemoryStore::new()) };
    let directory: Arc<dyn ObjectStore> =
        Arc::new(DirStore::open(folder.path(), dir::Sync::Process).unwrap());
    let stores: [(&str, Arc<dyn ObjectStore>); 4] = [
        ("memory", memory()),
        ("directory", directory),
        ("remote", Arc::new(LatencyStore::new(memory(), Pace::default()))),
        ("without conditions", Arc::new(common::without_conditions(FaultStore::new(memory())))),
    ];
    stores.iter().for_each(|(_, store)| make(store));
    (folder, stores)
}

#[test]
fn a_container_in_a_store_is_refused_and_stays_as_it_is() {
    let (_folder, stores) = stores();
    for (kind, store) in stores {
        let before = objects(&store);
        assert_eq!(before.len(), 2, "{kind}");
        for (access, options) in ways() {
            if kind == "without conditions" && options.writers == Writers::Many {
                continue;
            }
            assert_earlier_format(&Ledger::open_objects(store.clone(), KEY, access, options).unwrap_err());
            assert!(objects(&store) == before, "{kind}, {access:?}");
        }
        let replaced = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, Options::default());
        assert_earlier_format(&replaced.unwrap_err());
        assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), Probe::Container, "{kind}");
        assert!(objects(&store) == before, "{kind}");
    }
}

/// A writer of the build that made the container may have it open. The error is still that of the format.
#[test]
fn a_container_with_a_lease_is_refused_with_the_same_error() {
    let (_folder, stores) = stores();
    for (kind, store) in stores {
        let name = Key::new(KEY).unwrap();
        store.delete(&name).unwrap();
        let writer = Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default()).unwrap();
        make(&store);
        let before = objects(&store);
        assert_earlier_format(
            &Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, Options::default()).unwrap_err(),
        );
        assert!(objects(&store) == before, "{kind}");
        drop(writer);
    }
}

#[test]
fn a_container_in_a_store_is_deleted_with_its_objects() {
    let (_folder, stores) = stores();
    for (kind, store) in stores {
        let other_key = format!("{KEY}.lake/{}/an-object", "08".repeat(16));
        put(&store, &other_key, vec![5; 1000]);
        Ledger::remove_objects(&store, KEY).unwrap();
        assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), Probe::NotFound, "{kind}");
        let left = objects(&store);
        assert!(left.iter().all(|(key, _)| *key != object_key()), "{kind}");
        assert!(
            left.iter().any(|(key, _)| *key == other_key),
            "an object of another container is gone, {kind}"
        );
        let gone = Ledger::remove_objects(&store, KEY).unwrap_err();
        assert_eq!(*gone.kind(), ErrorKind::NotFound, "{kind}");
        // The name can be used again.
        let ledger = Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default()).unwrap();
        drop(ledger);
        Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, Options::default()).unwrap();
    }
}

/// A damaged id would lead to the objects of another container.
#[test]
fn a_container_with_damaged_first_bytes_is_not_deleted() {
    let (_folder, stores) = stores();
    for (kind, store) in stores {
        let mut head = store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes.to_vec();
        head[30] ^= 1;
        put(&store, KEY, head);
        let before = objects(&store);
        let refused = Ledger::remove_objects(&store, KEY).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Corrupt { .. }), "{kind}: {refused}");
        assert!(kind == "without conditions" || objects(&store) == before, "{kind}");
        assert!(before.iter().all(|object| objects(&store).contains(object)), "{kind}");
    }
}

#[test]
fn a_container_that_a_writer_has_open_is_not_deleted() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let open = Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default()).unwrap();
    make(&store);
    let refused = Ledger::remove_objects(&store, KEY).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
    assert!(objects(&store).iter().any(|(key, _)| *key == object_key()));
    drop(open);
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
        assert_earlier_format(&Ledger::open_file(&path, access, options).unwrap_err());
        stays();
    }
    assert_earlier_format(&Ledger::create_file(&path, Replace::Atomically, Options::default()).unwrap_err());
    assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::Container);
    stays();
    // This build can neither list nor restore a container of that format, so it does not promise to retain one.
    let retained = Options { retention: Some(Duration::from_secs(50)), ..Options::default() };
    let refused = Ledger::remove_file(&path, &retained).unwrap_err();
    assert!(refused.to_string().ends_with("set retention=0s to remove it at once"), "{refused}");
    stays();
    Ledger::remove_file(&path, &Options::default()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
