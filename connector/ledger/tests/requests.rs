//! The number of requests of operations on a container in an object store, and the requests that a commit waits for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use h5lake_ledger::{Access, At, Ledger, LockPolicy, Options, Replace, TagName, Tagging, Writers};
use object_stores::{Call, MemoryStore, ObjectStore, Operation, TraceStore};

const KEY: &str = "dir/name.h5";

fn alone() -> Options {
    Options { lock: LockPolicy::Off, ..Options::default() }
}

fn many() -> Options {
    Options { writers: Writers::Many, ..Options::default() }
}

fn traced() -> (Arc<dyn ObjectStore>, TraceStore) {
    let trace = TraceStore::new(Arc::new(MemoryStore::new()));
    (Arc::new(trace.clone()), trace)
}

fn create(store: &Arc<dyn ObjectStore>, o: &Options) -> Ledger {
    Ledger::create_objects(store.clone(), KEY, Replace::Fail, o.clone()).unwrap()
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, o: &Options) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, o.clone()).unwrap()
}

/// Returns the requests that `work` sent to the store.
fn asked<T>(trace: &TraceStore, work: impl FnOnce() -> T) -> (T, Vec<Call>) {
    trace.start_journal();
    let done = work();
    (done, trace.take_journal())
}

fn operations(calls: &[Call]) -> Vec<Operation> {
    calls.iter().map(|call| call.operation).collect()
}

fn tag(n: usize) -> TagName {
    TagName::new(&format!("a-tag-with-a-rather-long-name-{n:04}")).unwrap()
}

/// A tag is one swap, and one read of the references page at most.
#[test]
fn a_tag_reads_the_references_page_once() {
    let (store, trace) = traced();
    let l = create(&store, &alone());
    l.put(b"k", "v").unwrap();
    l.commit().unwrap();
    for n in 0..40 {
        l.tag(tag(n), None, Tagging::default()).unwrap();
    }
    let w = open(&store, Access::ReadWrite, &alone());
    let (_, calls) = asked(&trace, || w.tag(tag(40), None, Tagging::default()).unwrap());
    assert_eq!(operations(&calls), [Operation::Get, Operation::Put], "{calls:#?}");
    let (_, calls) = asked(&trace, || w.tag(tag(41), None, Tagging::default()).unwrap());
    assert_eq!(operations(&calls), [Operation::Put], "the page is known: {calls:#?}");
    let w = open(&store, Access::ReadWrite, &alone());
    let ((), calls) = asked(&trace, || w.untag(tag(0)).unwrap());
    assert_eq!(operations(&calls), [Operation::Get, Operation::Put], "{calls:#?}");
    assert_eq!(w.tags().unwrap().len(), 41);
}

/// A commit that lost a race loads the manifest once: this settles the swap, and shows the remote commits.
#[test]
fn a_lost_race_costs_a_load_and_a_swap() {
    let (store, trace) = traced();
    let a = create(&store, &many());
    let b = open(&store, Access::ReadWrite, &many());
    a.put(b"a", "1").unwrap();
    a.commit().unwrap();
    b.put(b"b", "1").unwrap();
    let ((), calls) = asked(&trace, || {
        assert_eq!(b.try_commit().unwrap(), None);
        let changes = b.advance_after_loss(&|_| false).unwrap();
        assert_eq!(changes.iter().map(|change| change.key.as_ref()).collect::<Vec<_>>(), [b"a"]);
        assert_eq!(b.try_commit().unwrap(), Some(2));
    });
    assert_eq!(operations(&calls), [Operation::Put, Operation::Get, Operation::Put], "{calls:#?}");
    // An ordinary advance always reads the newest version.
    a.put(b"a", "2").unwrap();
    a.commit().unwrap();
    assert_eq!(b.advance(&|_| false).unwrap().len(), 1);
    assert_eq!(b.get(b"a").unwrap().unwrap().as_ref(), b"2");
}

/// Opening an old version reads the manifest, the part of the history that contains the version, and a page of its root.
#[test]
fn an_old_version_is_few_requests() {
    let commits: u64 = std::env::var("COMMITS").map_or(1000, |n| n.parse().unwrap());
    let (store, trace) = traced();
    let retention = Some(Duration::from_secs(86_400));
    let l = create(&store, &Options { checkpoint_records: commits / 40, retention, ..alone() });
    for n in 1..=commits {
        l.put(format!("key-{:03}", n % 50).as_bytes(), n.to_be_bytes().to_vec()).unwrap();
        l.commit().unwrap();
    }
    l.close().unwrap();
    for version in [1, commits / 3, commits / 2, commits - 3, commits] {
        let ((), calls) = asked(&trace, || {
            let o = Options { at: Some(At::Version(version)), ..Options::default() };
            let r = open(&store, Access::ReadOnly, &o);
            let key = format!("key-{:03}", version % 50);
            assert_eq!(r.get(key.as_bytes()).unwrap().unwrap(), version.to_be_bytes()[..]);
            assert_eq!(r.version(), version);
        });
        println!("version {version} of {commits}: {} requests", calls.len());
        assert!(calls.len() <= 3, "version {version}: {calls:#?}");
    }
}
