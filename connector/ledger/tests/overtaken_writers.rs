//! Writers of a store beside others that reclaim at once what is obsolete: what they know of the container is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::work::{content, data};
use h5lake_ledger::{Access, At, ErrorKind, Extent, Ledger, LockPolicy, Options, Replace, Result, Writers};
use object_stores::dir::Sync;
use object_stores::{DirStore, ObjectStore};
use tempfile::TempDir;

fn options(writers: Writers, retention: Duration) -> Options {
    let lock = LockPolicy::Off;
    Options {
        writers,
        retention: Some(retention),
        lock,
        checkpoint_bytes: 0,
        cache_bytes: 0,
        ..Options::default()
    }
}

fn store() -> (TempDir, Arc<dyn ObjectStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(DirStore::open(dir.path(), Sync::Process).unwrap());
    (dir, store)
}

/// As the tool does it, beside others.
fn vacuum(store: &Arc<dyn ObjectStore>, retention: Duration) {
    let alone = options(Writers::One, retention);
    let l = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, alone).unwrap();
    l.vacuum().unwrap();
}

fn payload_at(l: &Ledger, key: &[u8]) -> Option<Extent> {
    l.get(key).unwrap().map(|v| Extent::decode(&v[1..]).unwrap().0)
}

/// Stages that a payload under a key is replaced.
fn replace(l: &Ledger, key: &[u8], old: Option<&Extent>, n: u64) -> Result<()> {
    let mut value = vec![1];
    l.write_payload(&data(n, 100_000))?.encode(&mut value);
    l.put(key, value)?;
    old.map_or(Ok(()), |old| l.free_payload(old))
}

/// Replaces a payload in a commit of its own, so many times.
fn overwrite(l: &Ledger, key: &[u8], times: u64) {
    for n in 0..times {
        replace(l, key, payload_at(l, key).as_ref(), n).unwrap();
        l.commit().unwrap();
    }
}

/// One of many commits after a single writer, as a vacuum is, looked, and before it makes a base of the version that it saw. Later that
/// version is listed if it is whole, and only then.
#[test]
fn a_base_that_a_commit_overtakes_is_not_listed_for_too_long() {
    const RETENTION: Duration = Duration::from_millis(800);
    let (_dir, store) = store();
    let many = options(Writers::Many, RETENTION);
    let writer = Ledger::create_objects(store.clone(), "c", Replace::Fail, many.clone()).unwrap();
    overwrite(&writer, b"payload", 3);
    let alone = options(Writers::One, RETENTION);
    let alone = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, alone).unwrap();
    overwrite(&writer, b"payload", 1);
    std::thread::sleep(RETENTION / 2);
    alone.vacuum().unwrap();
    drop(alone);
    std::thread::sleep(RETENTION * 3 / 4);
    // The first one takes the newest record's time for the present.
    (0..2).for_each(|_| vacuum(&store, RETENTION));
    let reader = Ledger::open_objects(store.clone(), "c", Access::ReadOnly, many.clone()).unwrap();
    for version in reader.versions(usize::MAX).unwrap() {
        let at = Options { at: Some(At::Version(version.number)), ..many.clone() };
        let found = Ledger::open_objects(store.clone(), "c", Access::ReadOnly, at).and_then(|l| content(&l));
        assert!(found.is_ok(), "version {}: {}", version.number, found.unwrap_err());
    }
}

/// The room table that one of many knows is reclaimed before it looks at it. It goes on.
#[test]
fn a_room_table_that_others_reclaimed_is_not_needed() {
    let (_dir, store) = store();
    let opts = options(Writers::Many, Duration::ZERO);
    let first = Ledger::create_objects(store.clone(), "c", Replace::Fail, opts.clone()).unwrap();
    overwrite(&first, b"a", 3);
    overwrite(&first, b"b", 1);
    vacuum(&store, Duration::ZERO);
    let second = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, opts.clone()).unwrap();
    for n in 0..3 {
        let old = payload_at(&second, b"b");
        overwrite(&first, b"a", 3);
        vacuum(&store, Duration::ZERO);
        vacuum(&store, Duration::ZERO);
        replace(&second, b"b", old.as_ref(), 10 + n).unwrap();
        second.advance(&|_| false).unwrap();
        second.commit().unwrap();
        first.advance(&|_| false).unwrap();
    }
    let found = content(&Ledger::open_objects(store, "c", Access::ReadOnly, opts).unwrap()).unwrap();
    assert_eq!(found[&b"b"[..]], data(12, 100_000));
}

/// What is staged on a version that others reclaimed may need it. What is missing is told as that, and not as damage.
#[test]
fn what_others_reclaimed_is_told_as_that() {
    let (_dir, store) = store();
    let opts = options(Writers::Many, Duration::ZERO);
    let first = Ledger::create_objects(store.clone(), "c", Replace::Fail, opts.clone()).unwrap();
    overwrite(&first, b"a", 3);
    let second = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, opts).unwrap();
    let old = payload_at(&second, b"a").unwrap();
    second.put(b"staged", "something").unwrap();
    overwrite(&first, b"a", 3);
    vacuum(&store, Duration::ZERO);
    vacuum(&store, Duration::ZERO);
    second.advance(&|_| false).unwrap();
    let mut bytes = vec![0; old.len() as usize];
    let told = second.read_payload(&old, 0, &mut bytes).unwrap_err();
    assert_eq!(*told.kind(), ErrorKind::Gone, "{told}");
    second.rollback().unwrap();
}
