//! Closed containers in an object store: an open finds the newest version in the head object, and no writer closes a
//! container over a commit of another writer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::work::{Chance, Map, content, work};
use h5lake_ledger::{Access, At, Error, ErrorKind, Ledger, LockPolicy, Options, Replace, Writers};
use object_stores::{FaultStore, Key, ObjectStore, Operation, PutMode, Rule, Select, Timing, TraceStore};

const KEY: &str = "dir/name.h5";

/// Options without a lock, so that a second writer can open the container: these tests must not depend on leases.
fn alone() -> Options {
    Options { lock: LockPolicy::Off, ..Options::default() }
}

fn many() -> Options {
    Options { writers: Writers::Many, ..Options::default() }
}

/// Returns a store in which a read takes a request, and its trace.
fn far() -> (Arc<dyn ObjectStore>, TraceStore) {
    let trace = TraceStore::new(common::store());
    (Arc::new(trace.clone()), trace)
}

fn create(store: &Arc<dyn ObjectStore>, o: &Options) -> Ledger {
    Ledger::create_objects(store.clone(), KEY, Replace::Fail, o.clone()).unwrap()
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, o: &Options) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, o.clone()).unwrap()
}

fn commit(l: &Ledger, key: &str) -> Result<Option<u64>, ErrorKind> {
    let kind = |e: Error| e.kind().clone();
    l.put(key.as_bytes(), "value").map_err(kind)?;
    if !l.is_shared() {
        return l.commit().map(Some).map_err(kind);
    }
    l.advance(&|_| false).map_err(kind)?;
    assert!(l.unmerged().is_empty());
    l.try_commit().map_err(kind)
}

fn seen(store: &Arc<dyn ObjectStore>) -> u64 {
    open(store, Access::ReadOnly, &Options::default()).version()
}

/// A failure of the clean-up after a commit is not a failure of the commit.
#[test]
fn a_close_that_fails_is_no_failure_of_what_is_committed() {
    for is_committed in [false, true] {
        let faulty = FaultStore::new(common::store());
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        let l = create(&store, &Options::default());
        commit(&l, "key").unwrap();
        let fails =
            Rule::fail_nth(Select::Mutating, 0, Timing::Before, object_stores::ErrorKind::PermissionDenied);
        faulty.inject(Rule { times: 1000, ..fails });
        let closed = if is_committed { l.close_committed() } else { l.close() };
        assert_eq!(closed.is_ok(), is_committed, "{closed:?}");
        faulty.clear();
        assert_eq!(seen(&store), 1);
    }
}

#[test]
fn a_closed_container_comes_with_its_head() {
    let (store, trace) = far();
    let l = create(&store, &Options::default());
    let (_, states, done) = work(&l, &Map::new(), 3);
    done.unwrap();
    trace.reset();
    l.close().unwrap();
    assert_eq!(trace.requests(), 2, "the head, and the lease");
    trace.reset();
    let r = open(&store, Access::ReadOnly, &Options::default());
    assert_eq!((r.version(), trace.requests()), (3, 1), "the head");
    assert!(content(&r).unwrap() == states[3]);
    let payloads = trace.requests() - 1;
    assert!(payloads <= 6, "{payloads} requests for payloads");
    assert!(!r.refresh().unwrap());

    // The next writer begins with the records in the head object, and reopens the container before its first commit.
    trace.reset();
    let l = open(&store, Access::ReadWrite, &Options::default());
    assert_eq!(trace.requests(), 2, "the lease, and the head");
    trace.reset();
    assert_eq!(commit(&l, "new"), Ok(Some(4)));
    assert_eq!(trace.count(Operation::Put).requests, 1, "the head");
    assert_eq!(commit(&l, "newer"), Ok(Some(5)));
    assert_eq!(trace.count(Operation::Put).requests, 2, "the head");
    assert_eq!(seen(&store), 5);
    assert!(r.refresh().unwrap());
    assert_eq!(r.version(), 5);
    l.close().unwrap();
    assert_eq!(seen(&store), 5);
}

/// A copy that was made object by object while a writer wrote may have an older head object. It is a complete version,
/// and a writer that continues from it gives its objects other names.
#[test]
fn a_writer_goes_on_behind_an_older_head() {
    let (store, _) = far();
    let key = Key::new(KEY).unwrap();
    let l = create(&store, &Options::default());
    commit(&l, "a").unwrap();
    l.close().unwrap();
    let closed = store.get(&key, None).unwrap().bytes;
    let l = open(&store, Access::ReadWrite, &Options::default());
    commit(&l, "b").unwrap();
    l.close().unwrap();
    store.put(&key, closed.into(), PutMode::Overwrite).unwrap();
    assert_eq!(seen(&store), 1);
    let l = open(&store, Access::ReadWrite, &Options::default());
    assert_eq!(l.version(), 1);
    assert_eq!(commit(&l, "c"), Ok(Some(2)));
    assert_eq!(seen(&store), 2);
}

/// Sessions of one commit each: records that do not fit into the head object need not be read one by one.
#[test]
fn many_sessions_leave_little_to_read() {
    let (store, trace) = far();
    create(&store, &Options::default()).close().unwrap();
    let (mut most, mut puts) = (0, 0);
    for n in 0..150u8 {
        let l = open(&store, Access::ReadWrite, &Options::default());
        let payload = l.write_payload(&[n; 4_500]).unwrap();
        l.put(b"key", [&[1], &payload.to_bytes()[..]].concat()).unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        puts += trace.count(Operation::Put).requests;
        trace.reset();
        let r = open(&store, Access::ReadOnly, &Options::default());
        assert_eq!(content(&r).unwrap()[&b"key"[..]], [n; 4_500]);
        most = most.max(trace.requests());
        trace.reset();
    }
    assert!(most <= 4, "{most} requests to open and read");
    assert!(puts <= 150 * 6, "{puts} puts of 150 sessions");
}

/// Records that are too long for the manifest are read from objects of their own.
#[test]
fn long_records_are_not_in_the_manifest() {
    let (store, _) = far();
    let l = create(&store, &Options::default());
    for n in 0..2 {
        l.put(format!("long-{n}").as_bytes(), vec![7; 80_000]).unwrap();
        l.commit().unwrap();
    }
    l.close().unwrap();
    let head = store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes;
    assert!(head.len() < 1000, "{} bytes", head.len());
    let r = open(&store, Access::ReadOnly, &Options::default());
    assert_eq!((r.version(), content(&r).unwrap().len()), (2, 2));
}

/// A session without changes does not put the head object.
#[test]
fn an_empty_commit_puts_no_manifest() {
    let (store, _) = far();
    let l = create(&store, &Options::default());
    commit(&l, "k").unwrap();
    l.close().unwrap();
    let head = || store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes;
    let before = head();
    open(&store, Access::ReadWrite, &Options::default()).close().unwrap();
    assert!(head() == before);
}

#[test]
fn a_close_does_not_overwrite_a_later_writer() {
    let (store, _) = far();
    let first = create(&store, &alone());
    assert_eq!(commit(&first, "a"), Ok(Some(1)));
    let second = open(&store, Access::ReadWrite, &alone());
    assert_eq!(commit(&second, "b"), Ok(Some(2)));
    first.close().unwrap();
    assert_eq!(seen(&store), 2);
    assert_eq!(commit(&second, "c"), Ok(Some(3)));
    assert_eq!(seen(&store), 3);
}

#[test]
fn a_commit_over_an_unknown_closed_manifest_is_refused() {
    let (store, _) = far();
    let first = create(&store, &alone());
    assert_eq!(commit(&first, "a"), Ok(Some(1)));
    let second = open(&store, Access::ReadWrite, &alone());
    first.close().unwrap();
    // The second writer knows the version that was closed, and puts a head object of its own before it commits.
    assert_eq!(commit(&second, "b"), Ok(Some(2)));
    assert_eq!(seen(&store), 2);

    let third = open(&store, Access::ReadWrite, &alone());
    assert_eq!(commit(&second, "c"), Ok(Some(3)));
    second.close().unwrap();
    assert_eq!(commit(&third, "d"), Err(ErrorKind::Conflict), "it does not know the version that was closed");
    assert_eq!(seen(&store), 3);
}

#[test]
fn a_shared_writer_reopens_a_closed_manifest() {
    let (store, _) = far();
    let one = create(&store, &alone());
    commit(&one, "a").unwrap();
    let other = open(&store, Access::ReadWrite, &many());
    assert_eq!(commit(&other, "b"), Ok(Some(2)));
    // The first writer closes without having seen the newest version.
    one.close().unwrap();
    assert_eq!(seen(&store), 2);
    let one = open(&store, Access::ReadWrite, &alone());
    assert_eq!(commit(&one, "c"), Ok(Some(3)));
    one.close().unwrap();
    assert_eq!(seen(&store), 3);
    assert_eq!(commit(&other, "d"), Ok(Some(4)));
    assert_eq!(seen(&store), 4);
    assert_eq!(other.take_numbers(b"n", 1, 1).unwrap(), 1);
    assert_eq!(seen(&store), 4, "numbers are no version");
}

/// For every order in which writers of both kinds open, commit and close, an open finds every commit that was reported as
/// committed.
#[test]
fn an_open_shows_every_commit() {
    let remote = std::env::var_os("LEDGER_TEST_STORE").is_some();
    for seed in 0..if remote { 10 } else { 400 } {
        let (store, _) = far();
        let mut chance = Chance::new(seed);
        let first = create(&store, &alone());
        let (mut committed, mut keys) = (commit(&first, "first").unwrap().unwrap(), BTreeMap::new());
        keys.insert(b"first".to_vec(), ());
        let mut writers = vec![first];
        let mut log = String::new();
        for n in 0..40 {
            let which = chance.below(writers.len().max(1) as u64) as usize;
            let what = if writers.is_empty() { chance.below(2) } else { chance.below(7) };
            let folds = Options { checkpoint_records: 4, ..alone() };
            match what {
                0 => writers.push(open(&store, Access::ReadWrite, &folds)),
                1 => writers.push(open(
                    &store,
                    Access::ReadWrite,
                    &Options { checkpoint_records: 5, ..many() },
                )),
                2 => writers.swap_remove(which).close().unwrap_or(()),
                3 if writers[which].is_shared() => {
                    writers[which].take_numbers(b"numbers", 1, 1).unwrap();
                }
                _ => {
                    let key = format!("{n}");
                    // A writer that has not seen another writer's commit gets an error, and stops.
                    match commit(&writers[which], &key) {
                        Ok(version) => {
                            committed = version.expect("nobody else is at work");
                            keys.insert(key.into_bytes(), ());
                        }
                        Err(_) => writers.swap_remove(which).let_go(),
                    }
                }
            }
            log.push_str(&format!("{what}:{which} v{committed}\n"));
            let r = open(&store, Access::ReadOnly, &Options::default());
            assert_eq!(r.version(), committed, "seed {seed}, step {n}\n{log}");
            let mut there: Vec<_> = r.scan_prefix(b"", None, usize::MAX).unwrap();
            // A writer's next commit raises the counter of numbers.
            there.retain(|(key, _)| key.as_ref() != b"numbers");
            assert!(
                there.iter().map(|(k, _)| k.to_vec()).eq(keys.keys().cloned()),
                "seed {seed}, step {n}\n{log}"
            );
        }
    }
}

/// If the outcome of a commit is unknown, a checkpoint of the version before would be newer than a commit that did take
/// effect. The extents that the commit freed would then be deleted, while the version before seems complete.
#[test]
fn a_writer_with_an_unknown_outcome_makes_no_checkpoint() {
    let faulty = FaultStore::new(common::store());
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let retention = Duration::from_millis(1_000);
    let o = Options { retention: Some(retention), checkpoint_bytes: 100, ..Options::default() };
    let l = create(&store, &Options { checkpoint_bytes: 1 << 20, ..o.clone() });
    let payload = l.write_payload(&[7; 300_000]).unwrap();
    l.put(b"k", [&[1], &payload.to_bytes()[..]].concat()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let l = open(&store, Access::ReadWrite, &o);
    l.put(b"k", "\0value").unwrap();
    l.free_payload(&payload).unwrap();
    let kind = object_stores::ErrorKind::Timeout;
    faulty.inject(Rule::fail_nth(Select::Mutating, 0, Timing::After, kind));
    faulty.inject(Rule::fail_nth(Select::Reading, 0, Timing::Before, kind));
    l.commit().unwrap_err();
    assert!(l.is_outcome_unknown());
    faulty.clear();
    l.close().unwrap();
    let next = open(&store, Access::ReadWrite, &o);
    assert_eq!(next.version(), 2, "the commit arrived");
    // The next checkpoint is younger than the retention time when the extents that the commit freed are older than it.
    for _ in 0..2 {
        std::thread::sleep(retention * 6 / 10);
        next.put(b"more", vec![0; 200]).unwrap();
        next.commit().unwrap();
    }
    next.close().unwrap();
    let before = Options { at: Some(At::Version(1)), ..o };
    // The version is complete, or not retained.
    match Ledger::open_objects(store, KEY, Access::ReadOnly, before) {
        Err(e) => assert!(matches!(e.kind(), ErrorKind::NoSuchVersion { .. }), "{e}"),
        Ok(l) => assert_eq!(content(&l).unwrap()[&b"k"[..]], [7; 300_000]),
    }
}

/// A failed commit may be in the store all the same. The next writer must then see this version.
#[test]
fn a_writer_with_an_unknown_outcome_does_not_close_the_manifest() {
    for timing in Timing::ALL {
        let faulty = FaultStore::new(common::store());
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        let l = create(&store, &Options::default());
        commit(&l, "a").unwrap();
        faulty.inject(Rule::fail_nth(Select::Mutating, 0, timing, object_stores::ErrorKind::Timeout));
        faulty.inject(Rule::fail_nth(Select::Reading, 0, Timing::Before, object_stores::ErrorKind::Timeout));
        commit(&l, "b").unwrap_err();
        faulty.clear();
        l.close().unwrap();
        let arrived = u64::from(timing == Timing::After);
        assert_eq!(seen(&store), 1 + arrived, "{timing:?}");
        let next = open(&store, Access::ReadWrite, &Options::default());
        assert_eq!(commit(&next, "c"), Ok(Some(2 + arrived)), "{timing:?}");
        next.close().unwrap();
        assert_eq!(seen(&store), 2 + arrived, "{timing:?}");
    }
}
