//! Containers that are replaced or deleted: readers can continue, and the containers can be restored within the
//! retention time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::work::{Map, content, work};
use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace, Writers};
use object_stores::{FaultStore, MemoryStore, ObjectStore, ObjectStoreExt, Registry, Timing};

const KEY: &str = "dir/name.h5";

fn directory() -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Registry::global().open(&format!("file://{}", dir.path().display())).unwrap();
    (dir, store)
}

fn opts() -> Options {
    Options { cache_bytes: 0, checkpoint_bytes: 20_000, ..Options::default() }
}

fn make(store: &Arc<dyn ObjectStore>, o: &Options, commits: u64) -> Map {
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, o.clone()).unwrap();
    let (_, states, done) = work(&l, &Map::new(), commits);
    done.unwrap();
    l.commit_to_close().unwrap();
    l.close().unwrap();
    states[commits as usize].clone()
}

fn open(store: &Arc<dyn ObjectStore>, access: Access) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, opts()).unwrap()
}

fn keys(store: &Arc<dyn ObjectStore>) -> usize {
    store.list("", None).count()
}

#[test]
fn readers_of_a_replaced_or_deleted_container_continue() {
    let (_dir, directory) = directory();
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    for store in [directory, memory] {
        let first = make(&store, &opts(), 12);
        let of_first = open(&store, Access::ReadOnly);
        let second = make(&store, &opts(), 3);
        let of_second = open(&store, Access::ReadOnly);
        assert!(content(&of_first).unwrap() == first);
        assert!(!of_first.refresh().unwrap(), "there is nothing newer of it");
        Ledger::remove_objects(&store, KEY).unwrap();
        let gone = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, opts()).unwrap_err();
        assert_eq!(*gone.kind(), ErrorKind::NotFound);
        assert!(content(&of_first).unwrap() == first);
        assert!(content(&of_second).unwrap() == second);
        drop((of_first, of_second));
        if !store.capabilities().persistent {
            assert_eq!(keys(&store), 1, "the head alone");
        }
    }
}

/// The manifest is read again after half of the retention time.
#[test]
fn a_refresh_after_a_replacement_finds_nothing_newer() {
    let (_dir, store) = directory();
    let o = Options { retention: Some(Duration::from_secs(4)), ..opts() };
    let first = make(&store, &o, 3);
    let reader = open(&store, Access::ReadOnly);
    make(&store, &o, 1);
    std::thread::sleep(Duration::from_millis(2100));
    assert!(!reader.refresh().unwrap());
    assert!(content(&reader).unwrap() == first);
}

#[test]
fn a_replaced_container_can_be_restored() {
    let (_dir, store) = directory();
    let listed = || Ledger::replaced_objects(store.as_ref(), KEY).unwrap();
    let first = make(&store, &opts(), 12);
    assert!(listed().is_empty());
    let second = make(&store, &opts(), 3);
    let replaced = listed();
    assert_eq!((replaced.len(), replaced[0].version, replaced[0].deleted), (1, 12, false));
    assert_eq!(replaced[0].until - replaced[0].time, 600_000_000, "ten minutes");
    Ledger::remove_objects(&store, KEY).unwrap();
    let all = listed();
    assert_eq!(all.iter().map(|r| (r.version, r.deleted)).collect::<Vec<_>>(), [(3, true), (12, false)]);
    // The last container is restored first, and then the one before replaces it.
    assert_eq!(Ledger::restore_objects(&store, KEY, "").unwrap().id, all[0].id);
    assert!(content(&open(&store, Access::ReadOnly)).unwrap() == second);
    Ledger::restore_objects(&store, KEY, &all[1].id[..12]).unwrap();
    let l = open(&store, Access::ReadWrite);
    assert!(content(&l).unwrap() == first);
    assert_eq!(listed().iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), [all[0].id.as_str()]);
    // The restored container continues from its last state, and cannot be replaced while it is written.
    let refused = Ledger::restore_objects(&store, KEY, "").unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
    work(&l, &first, 4).2.unwrap();
    l.close().unwrap();
    assert_eq!(open(&store, Access::ReadOnly).version(), 16);
    let none = Ledger::restore_objects(&store, KEY, "ffff").unwrap_err();
    assert_eq!(*none.kind(), ErrorKind::NotFound);
}

#[test]
fn a_container_replaced_long_ago_is_swept() {
    let (_dir, store) = directory();
    let o = Options { retention: Some(Duration::from_millis(300)), ..opts() };
    make(&store, &o, 5);
    make(&store, &o, 1);
    assert_eq!(Ledger::replaced_objects(store.as_ref(), KEY).unwrap().len(), 1);
    std::thread::sleep(Duration::from_millis(400));
    // The next creation, which retains the container that it replaces, removes the earlier one;
    make(&store, &o, 1);
    assert_eq!(Ledger::replaced_objects(store.as_ref(), KEY).unwrap().len(), 1);
    std::thread::sleep(Duration::from_millis(400));
    // a vacuum removes it;
    open(&store, Access::ReadWrite).vacuum().unwrap();
    assert!(Ledger::replaced_objects(store.as_ref(), KEY).unwrap().is_empty());
    // and, if no container is left, by a removal of expired containers of the name.
    Ledger::remove_objects(&store, KEY).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    Ledger::sweep_replaced_objects(&store, KEY).unwrap();
    assert_eq!(keys(&store), 1, "the head alone");
    // Without retention, containers are removed at once.
    let o = Options { retention: Some(Duration::ZERO), ..opts() };
    make(&store, &o, 5);
    Ledger::remove_objects(&store, KEY).unwrap();
    assert_eq!(keys(&store), 1, "the head alone");
}

/// A process dies at any moment of a replacement. The name leads to the complete old container or to the complete new
/// one, and the old one can be restored.
#[test]
fn a_replacement_that_is_cut_off_loses_nothing() {
    for n in 0..12 {
        for timing in Timing::ALL {
            let (_dir, inner) = directory();
            let first = make(&inner, &opts(), 4);
            let old = open(&inner, Access::ReadOnly);
            let faulty = FaultStore::new(inner.clone());
            faulty.crash_at(n, timing);
            let entries = vec![(Bytes::from("new"), Bytes::from("\0x"))];
            let store: Arc<dyn ObjectStore> = Arc::new(faulty);
            drop(Ledger::create_objects_holding(store, KEY, Replace::Atomically, opts(), entries));
            let what = format!("call {n}, {timing:?}");
            assert!(content(&old).unwrap() == first, "{what}");
            let l = open(&inner, Access::ReadOnly);
            let id = l.identity().id;
            if content(&l).unwrap() != first {
                assert_eq!(l.get(b"new").unwrap().unwrap(), "\0x", "{what}");
                Ledger::restore_objects(&inner, KEY, "").unwrap();
                assert!(content(&open(&inner, Access::ReadOnly)).unwrap() == first, "{what}");
            } else {
                assert_eq!(id, old.identity().id, "{what}");
                assert!(Ledger::replaced_objects(inner.as_ref(), KEY).unwrap().is_empty(), "{what}");
            }
            drop(open(&inner, Access::ReadWrite));
        }
    }
}

/// With several writers, a writer that commits to a replaced container gets an error, and the restored container has
/// all commits.
#[test]
fn a_container_of_shared_writers_can_be_restored() {
    let (_dir, store) = directory();
    let o = Options { writers: Writers::Many, ..opts() };
    let first = make(&store, &o, 6);
    let a = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, o.clone()).unwrap();
    make(&store, &o, 1);
    a.put(b"k", "\0late").unwrap();
    assert!(matches!(a.commit().unwrap_err().kind(), ErrorKind::Broken { .. }));
    drop(a);
    Ledger::restore_objects(&store, KEY, "").unwrap();
    assert!(content(&open(&store, Access::ReadOnly)).unwrap() == first);
    let l = open(&store, Access::ReadWrite);
    work(&l, &first, 2).2.unwrap();
}
