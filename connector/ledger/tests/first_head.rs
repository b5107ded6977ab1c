//! A new container in an object store whose first head is on its way while the program goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Probe, Replace, SyncPolicy};
use object_stores::{
    Call, ErrorKind as StoreError, FaultStore, Key, LatencyStore, ObjectStore, ObjectStoreExt, Pace, PutMode,
    Rule, Select, Timing, TraceStore, at_longer_latencies, round_trips,
};

const KEY: &str = "dir/name.h5";
/// The lease is put before the head.
const HEAD: u64 = 1;

fn create(store: &Arc<dyn ObjectStore>) -> Ledger {
    Ledger::create_objects(store.clone(), KEY, Replace::Atomically, Options::default()).unwrap()
}

fn open(store: &Arc<dyn ObjectStore>, access: Access) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, Options::default()).unwrap()
}

fn slow(inner: Arc<dyn ObjectStore>, time: Duration) -> Arc<dyn ObjectStore> {
    Arc::new(LatencyStore::new(inner, Pace { per_request: time, ..Pace::default() }))
}

fn objects(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    store.list("", None).map(|object| object.unwrap().key.to_string()).collect()
}

/// The calls of a create, and those of a first commit and a close.
fn calls_of_a_session(latency: Duration) -> [Vec<Call>; 2] {
    let trace = TraceStore::new(slow(common::store(), latency));
    let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
    trace.start_journal();
    let l = create(&store);
    // What is under way is not in the journal yet.
    let made = trace.take_journal();
    trace.start_journal();
    let extent = l.write_payload(&vec![7; 1 << 20]).unwrap();
    let mut value = Vec::new();
    extent.encode(&mut value);
    l.put(b"k", value).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    [made, trace.take_journal()]
}

#[test]
fn a_session_waits_for_the_head_at_its_first_commit() {
    // Of the create: the head that may be there, and the lease. Then a pack beside the head, the record, the close.
    let trips = |[made, then]: &[Vec<Call>; 2]| [round_trips(made), then.len(), round_trips(then)];
    let wanted = [1, 5, 3];
    let calls =
        at_longer_latencies(Duration::from_millis(30), |calls| trips(calls) == wanted, calls_of_a_session);
    assert_eq!(trips(&calls), wanted, "{calls:#?}");
}

/// What another handle of the process made is there for everybody in it.
#[test]
fn who_asks_for_it_in_the_same_process_waits() {
    // Who made it is slow, and the others are not.
    let store = common::store();
    // Of what is replaced or deleted nothing stays.
    let options = || Options { retention: Some(Duration::ZERO), ..Options::default() };
    let make = || {
        let slow = slow(store.clone(), Duration::from_millis(60));
        Ledger::create_objects(slow, KEY, Replace::Atomically, options()).unwrap()
    };
    let l = make();
    assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), Probe::Container);
    l.close().unwrap();
    let l = make();
    let r = open(&store, Access::ReadOnly);
    assert_eq!(r.version(), 0);
    let second = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, Options::default());
    assert!(matches!(second.unwrap_err().kind(), ErrorKind::Locked { .. }));
    l.close().unwrap();
    let l = make();
    let again = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, options());
    assert!(matches!(again.unwrap_err().kind(), ErrorKind::Locked { .. }));
    l.close().unwrap();
    Ledger::remove_objects(&store, KEY).unwrap();
    assert_eq!(objects(&store), [""; 0]);
}

#[test]
fn who_asks_whether_a_name_is_free_is_told_at_once() {
    let store = slow(common::store(), Duration::from_millis(20));
    let exclusive = || Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default());
    let began = Instant::now();
    let l = exclusive().unwrap();
    assert!(store.head_opt(&Key::new(KEY).unwrap()).unwrap().is_some());
    assert!(began.elapsed() >= Duration::from_millis(40), "it waits for the head");
    assert_eq!(*exclusive().unwrap_err().kind(), ErrorKind::AlreadyExists);
    l.close().unwrap();
}

/// Nothing is committed before the head is there, and nothing is lost when it comes at the second try.
#[test]
fn a_head_that_does_not_arrive_is_told_by_the_first_commit() {
    for timing in Timing::ALL {
        let inner = common::store();
        let faulty = FaultStore::new(inner.clone());
        faulty.inject(Rule::fail_nth(Select::Mutating, HEAD, timing, StoreError::Timeout));
        let l = create(&(Arc::new(faulty.clone()) as _));
        l.put(b"k", "value").unwrap();
        // It is the head, and not the record, that fails.
        while faulty.struck() == 0 {
            std::thread::yield_now();
        }
        let first = l.commit();
        match timing {
            // Its answer was lost, and the head is found.
            Timing::After => assert_eq!(first.unwrap(), 1),
            _ => {
                assert!(matches!(first.unwrap_err().kind(), ErrorKind::Store { .. }), "{timing:?}");
                assert_eq!(objects(&inner).len(), 1, "the lease only, {timing:?}");
                assert_eq!(l.commit().unwrap(), 1, "{timing:?}");
            }
        }
        l.close().unwrap();
        let r = open(&inner, Access::ReadOnly);
        assert_eq!(r.get(b"k").unwrap().unwrap(), "value", "{timing:?}");
    }
}

#[test]
fn a_head_that_does_not_arrive_is_told_by_the_close() {
    for kind in [StoreError::Timeout, StoreError::PermissionDenied] {
        let inner = common::store();
        let faulty = FaultStore::new(inner.clone());
        let entries = vec![(b"root".as_slice().into(), b"group".as_slice().into())];
        // The first record is put, too.
        faulty.inject(Rule::fail_nth(Select::Mutating, HEAD + 1, Timing::Before, kind));
        let store = Arc::new(faulty.clone());
        let l = Ledger::create_objects_holding(store, KEY, Replace::Atomically, Options::default(), entries);
        let told = l.unwrap().close().unwrap_err();
        assert_eq!(faulty.struck(), 1, "{told}");
        let left = objects(&inner);
        // A head that may come needs its record.
        let record = usize::from(kind.is_ambiguous());
        assert_eq!(left.len(), record, "{left:?}");
        assert!(left.iter().all(|name| name.contains("/log/")), "{left:?}");
    }
}

/// The head of a container that is replaced is replaced if it is still the one that was looked at.
#[test]
fn a_head_that_changed_meanwhile_is_a_conflict() {
    // A machine that is busy may be late with the other's object; then it replaces a container that was committed.
    let is_conflict = |told: &Option<ErrorKind>| *told == Some(ErrorKind::Conflict);
    let told = at_longer_latencies(Duration::from_millis(50), is_conflict, replaced_meanwhile);
    assert_eq!(told, Some(ErrorKind::Conflict));
}

/// What a commit is told if another program puts an object between the create's look at the head and its own put.
fn replaced_meanwhile(latency: Duration) -> Option<ErrorKind> {
    let inner = common::store();
    let l = create(&inner);
    l.put(b"old", "1").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let key = Key::new(KEY).unwrap();
    let before = objects(&inner);
    let l = create(&slow(inner.clone(), latency));
    let other = b"another program's object";
    inner.put(&key, bytes::Bytes::from_static(other).into(), PutMode::Overwrite).unwrap();
    l.put(b"new", "2").unwrap();
    let told = l.commit().err().map(|error| error.kind().clone());
    drop(l);
    if told.is_some() {
        assert_eq!(inner.get(&key, None).unwrap().bytes, other.as_slice());
        assert!(before.iter().all(|name| objects(&inner).contains(name)), "what was there stays");
    }
    told
}

#[test]
fn what_a_killed_creator_left_is_replaced_while_nothing_is_in_it() {
    let mut left = 0;
    for n in 0..8 {
        for timing in Timing::ALL {
            let inner: Arc<dyn ObjectStore> = common::store();
            let faulty = FaultStore::new(inner.clone());
            faulty.crash_at(n, timing);
            // Its head is there when it returns.
            let at_once = Options { sync: SyncPolicy::Commit, ..Options::default() };
            drop(Ledger::create_objects(Arc::new(faulty), KEY, Replace::IfAbsent, at_once));
            let is_locked = objects(&inner).iter().any(|key| key.ends_with("/lock"));
            if !is_locked && Ledger::probe_objects(inner.as_ref(), KEY).unwrap() == Probe::Container {
                continue; // It was not killed before its end gave the lease back.
            }
            left += u32::from(Ledger::probe_objects(inner.as_ref(), KEY).unwrap() == Probe::Container);
            let l =
                Ledger::create_objects(inner.clone(), KEY, Replace::IfAbsent, Options::default()).unwrap();
            // While it is open, and once something is committed, it stays.
            let again = || Ledger::create_objects(inner.clone(), KEY, Replace::IfAbsent, Options::default());
            assert_eq!(again().unwrap_err().kind(), &ErrorKind::AlreadyExists, "call {n}, {timing:?}");
            l.put(b"k", "1").unwrap();
            l.commit().unwrap();
            // A writer that is killed now leaves data.
            drop(l);
            assert_eq!(again().unwrap_err().kind(), &ErrorKind::AlreadyExists, "call {n}, {timing:?}");
            assert_eq!(open(&inner, Access::ReadOnly).get(b"k").unwrap().unwrap(), "1");
        }
    }
    assert!(left > 0, "no crash left a container");
}
