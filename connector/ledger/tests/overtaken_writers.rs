//! Writers of a store beside other writers that reclaim obsolete space at once, so that objects that the first writers
//! know are gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::puts::{OnPut, puts, timeout};
use common::work::{content, data};
use h5lake_ledger::{
    Access, At, ErrorKind, Extent, Ledger, LockPolicy, Options, Replace, Result, Settled, Writers,
};
use object_stores::dir::Sync;
use object_stores::{
    DirStore, ErrorKind as StoreKind, Fault, FaultStore, MemoryStore, ObjectStore, Operation, Rule, Select,
    Timing,
};
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

/// Runs a vacuum as the command-line tool does, while other writers have the container open.
fn vacuum(store: &Arc<dyn ObjectStore>, retention: Duration) {
    let alone = options(Writers::One, retention);
    let l = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, alone).unwrap();
    l.vacuum().unwrap();
}

fn payload_at(l: &Ledger, key: &[u8]) -> Option<Extent> {
    l.get(key).unwrap().map(|v| Extent::decode(&v[1..]).unwrap().0)
}

/// Stages the replacement of a payload under a key.
fn replace(l: &Ledger, key: &[u8], old: Option<&Extent>, n: u64) -> Result<()> {
    let mut value = vec![1];
    l.write_payload(&data(n, 100_000))?.encode(&mut value);
    l.put(key, value)?;
    old.map_or(Ok(()), |old| l.free_payload(old))
}

/// Replaces a payload `times` times, each time in a commit of its own.
fn overwrite(l: &Ledger, key: &[u8], times: u64) {
    for n in 0..times {
        replace(l, key, payload_at(l, key).as_ref(), n).unwrap();
        l.commit().unwrap();
    }
}

/// A concurrent writer commits after an exclusive writer, such as a vacuum, has read the version and before it makes a checkpoint of that
/// version. Later that version is listed if it is complete, and only then.
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
    // The first vacuum takes the time of the newest record for the present time.
    (0..2).for_each(|_| vacuum(&store, RETENTION));
    let reader = Ledger::open_objects(store.clone(), "c", Access::ReadOnly, many.clone()).unwrap();
    for version in reader.versions(usize::MAX).unwrap() {
        let at = Options { at: Some(At::Version(version.number)), ..many.clone() };
        let found = Ledger::open_objects(store.clone(), "c", Access::ReadOnly, at).and_then(|l| content(&l));
        assert!(found.is_ok(), "version {}: {}", version.number, found.unwrap_err());
    }
}

/// The space table that a concurrent writer knows is reclaimed before the writer reads it. The writer can continue.
#[test]
fn a_space_table_reclaimed_by_another_writer_is_not_needed() {
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

/// Changes staged on a version that other writers reclaimed may need that version. A missing object is reported as
/// reclaimed, and not as damage.
#[test]
fn an_object_reclaimed_by_another_writer_is_reported_as_gone() {
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
    let error = second.read_payload(&old, 0, &mut bytes).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Gone, "{error}");
    second.rollback().unwrap();
}

/// A writer receives no answer to its commit, and is away while another writer makes thousands of commits and many
/// checkpoints. It still learns that its commit took effect, and reads what changed meanwhile.
#[test]
fn a_writer_that_was_away_for_thousands_of_commits_learns_the_outcome() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let opts = Options { writers: Writers::Many, checkpoint_bytes: 32 << 10, ..Options::default() };
    let busy = Ledger::create_objects(store.clone(), "c", Replace::Fail, opts.clone()).unwrap();
    let cut_off = FaultStore::new(store);
    let away = Ledger::open_objects(Arc::new(cut_off.clone()), "c", Access::ReadWrite, opts.clone()).unwrap();
    away.put(b"away", "made").unwrap();
    let timeouts = |select, skip, timing| Rule {
        select,
        skip,
        times: u64::MAX,
        fault: Fault::Fail(timing, StoreKind::Timeout),
    };
    cut_off.inject(timeouts(Select::Mutating, 0, Timing::After));
    // A commit begins with a poll.
    cut_off.inject(timeouts(Select::Reading, 1, Timing::Before));
    away.commit().unwrap_err();
    assert!(away.is_outcome_unknown());
    for n in 0..3000_u64 {
        busy.advance(&|_| false).unwrap();
        busy.put(&(n % 100).to_be_bytes(), data(n, 500)).unwrap();
        busy.commit().unwrap();
    }
    cut_off.clear();
    assert_eq!(away.settle_commit().unwrap(), Some(Settled::Committed));
    assert_eq!(away.advance(&|_| true).unwrap().len(), 100);
    assert_eq!(away.version(), busy.version());
}

/// A commit of unknown outcome may be in the container, so its writer deletes none of the objects of the commit.
#[test]
fn a_commit_of_unknown_outcome_retains_its_objects() {
    let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let (is_unanswered, is_blind) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (unanswered, blind) = (is_unanswered.clone(), is_blind.clone());
    // The swap takes effect, but neither its answer nor that of any later read arrives.
    let lose_answer: Box<OnPut> = Box::new(move |store, key, payload, mode| {
        let is_swap = key.as_str() == "c" && unanswered.load(Ordering::SeqCst);
        is_swap.then(|| {
            blind.store(true, Ordering::SeqCst);
            store.put(key, payload.clone(), mode.clone())?;
            Err(timeout(Operation::Put, key))
        })
    });
    let faulty = puts(&inner, &is_blind, lose_answer);
    let many = Options { checkpoint_bytes: 20_000, ..options(Writers::Many, Duration::from_secs(600)) };
    let one = Ledger::create_objects(faulty, "c", Replace::Fail, many.clone()).unwrap();
    replace(&one, b"payload", None, 1).unwrap();
    is_unanswered.store(true, Ordering::SeqCst);
    assert!(one.try_commit().is_err() && one.is_outcome_unknown());
    // Another writer commits so much that the record of the lost commit leaves the line: a checkpoint of eight of these records puts a
    // segment of 480,000 bytes.
    let other = Ledger::open_objects(inner.clone(), "c", Access::ReadWrite, many).unwrap();
    for n in 0..1000u32 {
        other.put(&(n % 100).to_be_bytes(), [&[0], &vec![n as u8; 60_000][..]].concat()).unwrap();
        other.commit().unwrap();
    }
    other.close().unwrap();
    is_unanswered.store(false, Ordering::SeqCst);
    is_blind.store(false, Ordering::SeqCst);
    let e = one.try_commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { .. }), "{e}");
    let _the_same_error = one.close();
    let r = Ledger::open_objects(inner, "c", Access::ReadOnly, Options::default()).unwrap();
    assert_eq!(content(&r).unwrap()[&b"payload"[..]], data(1, 100_000));
}
