//! Containers in an object store: crashes, lost answers, numbers of requests, reclamation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::work::{Map, content, data, work};
use h5lake_ledger::{Access, At, ErrorKind, Ledger, LockPolicy, Options, Probe, Replace};
use object_stores::{
    FaultStore, Key, ObjectStore, ObjectStoreExt, PutMode, Rule, Select, Timing, TraceStore,
};

const KEY: &str = "dir/name.h5";
const COMMITS: u64 = 14;

/// Options with frequent checkpoints, which retain nothing for readers that lag behind.
fn opts() -> Options {
    Options { checkpoint_bytes: 20_000, retention: Some(Duration::ZERO), ..Options::default() }
}

fn create(store: &Arc<dyn ObjectStore>, o: &Options) -> Ledger {
    Ledger::create_objects(store.clone(), KEY, Replace::Fail, o.clone()).unwrap()
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, o: &Options) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, o.clone()).unwrap()
}

/// Returns a store with a new container, and the same store behind faults that take effect from now on.
fn prepared() -> (Arc<dyn ObjectStore>, FaultStore, Ledger) {
    prepared_with(&opts())
}

fn prepared_with(opts: &Options) -> (Arc<dyn ObjectStore>, FaultStore, Ledger) {
    let inner: Arc<dyn ObjectStore> = common::store();
    let faulty = FaultStore::new(inner.clone());
    let l = create(&(Arc::new(faulty.clone()) as Arc<dyn ObjectStore>), opts);
    faulty.clear();
    (inner, faulty, l)
}

/// The options for commits by records, and for commits by pages that are put before the commit.
fn ways() -> [Options; 2] {
    [opts(), Options { spill_bytes: 600, ..opts() }]
}

fn check(store: &Arc<dyn ObjectStore>, done: u64, states: &[Map], what: &str) {
    let r = open(store, Access::ReadOnly, &opts());
    let v = r.version();
    assert!(v == done || v == done + 1, "{what}: version {v} after {done} commits");
    assert!(content(&r).unwrap() == states[v as usize], "{what}: version {v} has other content");
    let l = open(store, Access::ReadWrite, &opts());
    // A writer finds the same content. A further version without changes is accepted.
    assert!((v..=v + 1).contains(&l.version()) && content(&l).unwrap() == states[v as usize], "{what}");
    let (_, after, result) = work(&l, &states[v as usize], 6);
    result.unwrap_or_else(|e| panic!("{what}, going on: {e}"));
    l.close().unwrap();
    assert!(r.refresh().unwrap());
    assert!(content(&r).unwrap() == after[6], "{what}: other content after going on");
}

#[test]
fn a_crash_at_any_call_leaves_one_version_whole() {
    for way in ways() {
        let (_, counted, l) = prepared_with(&way);
        work(&l, &Map::new(), COMMITS).2.unwrap();
        drop(l);
        let total = counted.mutations();
        assert!(total > 20, "{total} calls are too few to prove much");
        for n in 0..total {
            for timing in Timing::ALL {
                let (inner, faulty, l) = prepared_with(&way);
                faulty.crash_at(n, timing);
                let (done, states, _) = work(&l, &Map::new(), COMMITS);
                drop(l);
                check(&inner, done, &states, &format!("crash at call {n} of {total}, {timing:?}"));
            }
        }
    }
}

#[test]
fn one_lost_answer_loses_no_data() {
    for way in ways() {
        let (_, counted, l) = prepared_with(&way);
        work(&l, &Map::new(), COMMITS).2.unwrap();
        drop(l);
        for n in 0..counted.mutations() {
            lose_an_answer(n, &way);
        }
    }
}

fn lose_an_answer(n: u64, way: &Options) {
    let (inner, faulty, l) = prepared_with(way);
    let kind = object_stores::ErrorKind::Timeout;
    faulty.inject(Rule::fail_nth(Select::Mutating, n, Timing::After, kind));
    let (done, states, result) = work(&l, &Map::new(), COMMITS);
    // The put of a commit is found by its nonce. A failure of another put fails the commit, which can be repeated.
    if let Err(e) = result {
        assert!(matches!(e.kind(), ErrorKind::Store { .. }), "call {n}: {e}");
        assert_eq!(l.commit().unwrap(), done + 1, "call {n}");
        assert!(content(&l).unwrap() == states[done as usize + 1], "call {n}");
        let again = open(&inner, Access::ReadOnly, &opts());
        assert!(content(&again).unwrap() == states[done as usize + 1], "call {n}");
    } else {
        drop(l);
        check(&inner, done, &states, &format!("answer {n} lost"));
    }
}

#[test]
fn a_creation_that_crashes_leaves_the_old_container_or_the_new_one() {
    for n in 0..8 {
        for timing in Timing::ALL {
            let inner: Arc<dyn ObjectStore> = common::store();
            let l = create(&inner, &opts());
            l.put(b"old", "1").unwrap();
            l.commit().unwrap();
            l.close().unwrap();
            let faulty = FaultStore::new(inner.clone());
            faulty.crash_at(n, timing);
            drop(Ledger::create_objects(Arc::new(faulty), KEY, Replace::Atomically, opts()));
            let r = open(&inner, Access::ReadOnly, &opts());
            let old = r.get(b"old").unwrap().is_some();
            assert_eq!(old, r.version() == 1, "call {n}, {timing:?}");
            drop(open(&inner, Access::ReadWrite, &opts()));
        }
    }
}

#[test]
fn two_writers_cannot_both_commit_one_version() {
    let store: Arc<dyn ObjectStore> = common::store();
    let o = Options { lock: LockPolicy::Off, ..opts() };
    let a = create(&store, &o);
    let b = open(&store, Access::ReadWrite, &o);
    a.put(b"k", "a").unwrap();
    b.put(b"k", "b").unwrap();
    assert_eq!(a.commit().unwrap(), 1);
    assert_eq!(*b.commit().unwrap_err().kind(), ErrorKind::Conflict);
    let r = open(&store, Access::ReadOnly, &o);
    assert_eq!(r.get(b"k").unwrap().unwrap(), "a");
}

#[test]
fn the_error_of_a_second_writer_names_the_holder() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = create(&store, &Options::default());
    let refused = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, Options::default());
    match refused.unwrap_err().kind() {
        ErrorKind::Locked { holder: Some(h), .. } => assert_eq!(h.pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    let refused = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, Options::default());
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::Locked { .. }));
    assert!(matches!(Ledger::remove_objects(&store, KEY).unwrap_err().kind(), ErrorKind::Locked { .. }));
    l.close().unwrap();
    drop(open(&store, Access::ReadWrite, &Options::default()));
}

#[test]
fn requests_are_few() {
    let trace = TraceStore::new(common::store());
    let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
    let l = create(&store, &Options::default());
    l.put(b"k", "v").unwrap();
    l.commit().unwrap();
    trace.reset();
    l.put(b"small", vec![7; 4096]).unwrap();
    l.commit().unwrap();
    assert_eq!(trace.requests(), 1, "a flush without payloads is one put");
    trace.reset();
    let e = l.write_payload(&[7; 4096]).unwrap();
    l.put(b"chunk", e.to_bytes()).unwrap();
    l.commit().unwrap();
    assert_eq!(trace.requests(), 2, "the payloads, and the head");
    trace.reset();
    let e = l.write_payload(&[8; 4096]).unwrap();
    l.put(b"another", e.to_bytes()).unwrap();
    l.commit().unwrap();
    assert_eq!(trace.requests(), 2, "the payloads, and the head");
    let r = open(&store, Access::ReadOnly, &Options::default());
    trace.reset();
    assert!(!r.refresh().unwrap());
    assert_eq!(trace.requests(), 1, "no news is one get");
    for n in 0..2000u32 {
        l.put(format!("key-{n:06}").as_bytes(), vec![n as u8; 100]).unwrap();
        if n % 20 == 0 {
            l.commit().unwrap();
        }
    }
    l.close().unwrap();
    trace.reset();
    let r = open(&store, Access::ReadOnly, &Options::default());
    assert!(r.get(b"key-000100").unwrap().is_some());
    let (requests, bytes) = (trace.requests(), trace.sum(|_| true).bytes);
    // The head object, the segments of records, and two pages.
    assert!(requests <= 40, "{requests} requests for a cold open");
    println!("cold open of 2,000 keys: {requests} requests, {bytes} bytes");
}

#[test]
fn obsolete_objects_are_deleted() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = create(&store, &opts());
    let mut sizes = Vec::new();
    let mut old: Option<h5lake_ledger::Extent> = None;
    for n in 0..200u64 {
        let e = l.write_payload(&data(n, 300_000)).unwrap();
        if let Some(old) = old.replace(e.clone()) {
            l.free_payload(&old).unwrap();
        }
        l.put(b"chunk", e.to_bytes()).unwrap();
        l.put(format!("key-{}", n % 10).as_bytes(), data(n, 2000)).unwrap();
        l.commit().unwrap();
        sizes.push(l.size().unwrap());
    }
    let most = *sizes.iter().max().unwrap();
    assert!(most < 30 * 300_000, "{most} bytes for a live payload of 300,000");
    l.close().unwrap();
    let objects = store.list("", None).count();
    assert!(objects < 80, "{objects} objects");
}

#[test]
fn an_overtaken_reader_gets_an_error_and_can_refresh() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = create(&store, &opts());
    let (_, states, _) = work(&l, &Map::new(), 3);
    let r = open(&store, Access::ReadOnly, &Options { cache_bytes: 0, ..opts() });
    assert!(content(&r).unwrap() == states[3]);
    let (_, states, _) = work(&l, &states[3], 40);
    match content(&r) {
        Ok(c) => assert!(c == states[0], "a snapshot changed"),
        Err(e) => assert_eq!(*e.kind(), ErrorKind::Gone, "{e}"),
    }
    assert!(r.refresh().unwrap());
    assert!(content(&r).unwrap() == states[40]);
}

/// Opening reads segments and the root page. Opening an old version also reads the history.
#[test]
fn an_open_that_misses_an_object_ends_with_an_error() {
    let (store, _, l) = prepared();
    let (done, ..) = work(&l, &Map::new(), 2 * COMMITS);
    assert_eq!(done, 2 * COMMITS);
    // The container is not closed, as after the death of its writer.
    std::mem::forget(l);
    let keys: Vec<Key> = store.list("", None).map(|found| found.unwrap().key).collect();
    let missing: Vec<&Key> = keys.iter().filter(|key| Ledger::is_immutable_object(key)).collect();
    assert!(!missing.is_empty());
    missing.iter().for_each(|key| store.delete(key).unwrap());
    for at in [None, Some(At::Version(1)), Some(At::Version(done))] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let store = store.clone();
        std::thread::spawn(move || {
            let opened = Ledger::open_objects(store, KEY, Access::ReadOnly, Options { at, ..opts() });
            let _ = sender.send(opened.and_then(|l| content(&l)).map(drop));
        });
        let opened = receiver.recv_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(opened.is_err(), "{at:?}");
    }
}

#[test]
fn changed_bytes_are_seen() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = create(&store, &Options { checkpoint_bytes: 60_000, ..Options::default() });
    let (_, states, _) = work(&l, &Map::new(), 10);
    drop(l);
    let all: Vec<Key> = store.list("", None).map(|m| m.unwrap().key).collect();
    let mut seen = 0;
    for key in all {
        let good = store.get(&key, None).unwrap().bytes;
        for at in (0..good.len()).step_by(1.max(good.len() / 40)) {
            let mut bad = good.to_vec();
            bad[at] ^= 4;
            store.put(&key, bad.into(), PutMode::Overwrite).unwrap();
            let opened = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, Options::default());
            match opened.and_then(|l| content(&l)) {
                Ok(c) => assert!(c == states[10], "{key:?} byte {at}"),
                Err(_) => seen += 1,
            }
        }
        store.put(&key, good.into(), PutMode::Overwrite).unwrap();
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn bytes_that_are_replaced_in_memory_are_looked_at_again() {
    let store: Arc<dyn ObjectStore> = Arc::new(object_stores::MemoryStore::new());
    let l = create(&store, &opts());
    let data: Vec<u8> = (0..300_000u32).map(|i| (i * 7) as u8).collect();
    let e = l.write_payload(&data).unwrap();
    l.put(b"e", e.to_bytes()).unwrap();
    l.commit().unwrap();
    let reader = open(&store, Access::ReadOnly, &opts());
    let pack = store.list("", None).map(|m| m.unwrap()).find(|m| m.size >= 300_000).unwrap().key;
    let good = store.get(&pack, None).unwrap().bytes;
    let read = |l: &Ledger, at: usize| {
        let mut one = [0];
        let mut viewed = 0;
        let read = l.read_payload(&e, at as u64, &mut one);
        let view = l.view_payload(&e, at as u64..at as u64 + 1, |bytes| viewed = bytes[0]);
        assert_eq!(read.is_ok(), view.is_ok());
        read.map(|()| {
            assert_eq!(one[0], viewed);
            one[0]
        })
    };
    for (n, l) in [&l, &reader, &l, &reader].into_iter().enumerate() {
        let at = 70_000 + n * 20_000;
        assert_eq!(read(l, at).unwrap(), data[at]);
        assert_eq!(read(l, at).unwrap(), data[at]);
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        store.put(&pack, bad.into(), PutMode::Overwrite).unwrap();
        for _ in 0..2 {
            assert!(matches!(read(l, at + 1).unwrap_err().kind(), ErrorKind::Corrupt { .. }));
        }
        assert_eq!(read(l, 5).unwrap(), data[5], "another block is whole");
        store.put(&pack, good.clone().into(), PutMode::Overwrite).unwrap();
        assert_eq!(read(l, at + 1).unwrap(), data[at + 1]);
    }
}

#[test]
fn objects_of_other_programs_are_kept() {
    let store: Arc<dyn ObjectStore> = common::store();
    assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), Probe::NotFound);
    let key = Key::new(KEY).unwrap();
    for (bytes, probe) in [("", Probe::Other), ("text", Probe::Other), ("\u{89}", Probe::Other)] {
        store.put(&key, bytes.into(), PutMode::Overwrite).unwrap();
        assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), probe);
        let e = Ledger::remove_objects(&store, KEY).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NotAContainer { .. }), "{e}");
        let e = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, opts()).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NotAContainer { .. }), "{e}");
        for replace in [Replace::Fail, Replace::IfAbsent] {
            let e = Ledger::create_objects(store.clone(), KEY, replace, opts()).unwrap_err();
            assert_eq!((e.kind(), e.errno()), (&ErrorKind::AlreadyExists, Some(17)));
        }
        if !bytes.is_empty() {
            let e = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, opts()).unwrap_err();
            assert!(matches!(e.kind(), ErrorKind::NotAContainer { .. }), "{e}");
        }
        assert_eq!(store.get(&key, None).unwrap().bytes, bytes);
    }
    // An empty object contains no data.
    store.put(&key, "".into(), PutMode::Overwrite).unwrap();
    drop(Ledger::create_objects(store.clone(), KEY, Replace::Atomically, opts()).unwrap());
    assert_eq!(Ledger::probe_objects(store.as_ref(), KEY).unwrap(), Probe::Container);
    Ledger::remove_objects(&store, KEY).unwrap();
    // The head object says that no container exists.
    assert_eq!(store.list("", None).count(), 1);
    let e = Ledger::open_objects(store, KEY, Access::ReadOnly, opts()).unwrap_err();
    assert_eq!((e.kind(), e.errno()), (&ErrorKind::NotFound, Some(2)));
}

#[test]
fn a_container_is_created_only_under_a_free_name() {
    let store: Arc<dyn ObjectStore> = common::store();
    let make = || Ledger::create_objects(store.clone(), KEY, Replace::IfAbsent, opts());
    let l = make().unwrap();
    l.put(b"k", "1").unwrap();
    l.commit().unwrap();
    let e = make().unwrap_err();
    assert_eq!((e.kind(), e.errno()), (&ErrorKind::AlreadyExists, Some(17)));
    l.close().unwrap();
    assert_eq!(make().unwrap_err().errno(), Some(17));
    let l = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, opts()).unwrap();
    assert_eq!(l.get(b"k").unwrap().unwrap(), "1");
}

#[test]
fn stores_without_conditions_serve_one_writer() {
    let inner: Arc<dyn ObjectStore> = common::store();
    let store: Arc<dyn ObjectStore> = Arc::new(common::without_conditions(FaultStore::new(inner)));
    let l = create(&store, &opts());
    let (_, states, result) = work(&l, &Map::new(), 20);
    result.unwrap();
    assert!(Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, opts()).is_err());
    drop(l);
    assert!(content(&open(&store, Access::ReadWrite, &opts())).unwrap() == states[20]);
}

/// Payloads of 60 MiB in one commit: packs are put while other packs are filled, and can be read at any time.
#[test]
fn long_writes_stream_in_packs_and_survive_failures() {
    for failing in [None, Some(0u64), Some(3), Some(6)] {
        let (inner, faulty, l) = prepared();
        if let Some(n) = failing {
            let kind = object_stores::ErrorKind::Unavailable;
            // The fault is injected six times in a row, because a single failure is repaired by the retry inside.
            let rule = Rule::fail_nth(Select::Mutating, n, Timing::Before, kind);
            faulty.inject(Rule { times: 6, ..rule });
        }
        let mut all = Vec::new();
        for n in 0..20u64 {
            let bytes = data(n, 3 << 20);
            let e = match l.write_payload(&bytes) {
                Ok(e) => e,
                Err(e) => {
                    assert!(failing.is_some(), "{e}");
                    l.write_payload(&bytes).unwrap_or_else(|_| l.write_payload(&bytes).unwrap())
                }
            };
            l.put(format!("{n:02}").as_bytes(), e.to_bytes()).unwrap();
            all.push((e, bytes));
            let (e, bytes) = &all[all.len() / 2];
            let mut buf = vec![0; 1000];
            l.read_payload(e, 5000, &mut buf).unwrap();
            assert!(buf == bytes[5000..6000]);
        }
        let mut tries = 0;
        while let Err(e) = l.commit() {
            tries += 1;
            assert!(failing.is_some() && tries < 8, "{e}");
        }
        let r = open(&inner, Access::ReadOnly, &opts());
        for (e, bytes) in &all {
            let mut buf = vec![0; bytes.len()];
            r.read_payload(e, 0, &mut buf).unwrap();
            assert!(buf == *bytes);
        }
        let packs =
            inner.list("", None).filter(|m| Ledger::is_immutable_object(&m.as_ref().unwrap().key)).count();
        // Two payloads fit in a pack. A checkpoint has an object of pages, one of tables and a segment.
        assert!(packs <= 14, "{packs} packs");
    }
}

#[test]
fn readers_in_threads_see_whole_versions_while_a_writer_writes() {
    let store: Arc<dyn ObjectStore> = common::store();
    // Checkpoints are frequent and their garbage is deleted quickly, but not before a reader has refreshed.
    let o = Options { retention: Some(Duration::from_secs(2)), ..opts() };
    let l = create(&store, &o);
    let commit = |n: u64| {
        for k in 0..10 {
            if let Some(v) = l.get(format!("p{k}").as_bytes()).unwrap() {
                l.free_payload(&h5lake_ledger::Extent::decode(&v).unwrap().0).unwrap();
            }
            let e = l.write_payload(&data(n, if k == 9 { 70_000 } else { 1000 + k })).unwrap();
            l.put(format!("p{k}").as_bytes(), e.to_bytes()).unwrap();
            l.put(format!("n{k}").as_bytes(), n.to_le_bytes().to_vec()).unwrap();
        }
        assert_eq!(l.commit().unwrap(), n);
    };
    commit(1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|s| {
        for id in 0..3 {
            let (store, stop, o) = (&store, &stop, &o);
            s.spawn(move || {
                let mut r = open(store, Access::ReadOnly, o);
                let mut last = 0;
                while !stop.load(order) {
                    let v = r.version();
                    assert!(v >= last);
                    last = v;
                    for (k, n) in r.scan_prefix(b"n", None, 100).unwrap() {
                        assert_eq!(n, v.to_le_bytes()[..], "{k:?}");
                    }
                    for (k, e) in r.scan_prefix(b"p", None, 100).unwrap() {
                        let e = h5lake_ledger::Extent::decode(&e).unwrap().0;
                        let mut buf = vec![0; e.len() as usize];
                        r.read_payload(&e, 0, &mut buf).unwrap_or_else(|e| panic!("{k:?} of {v}: {e}"));
                        assert!(buf == data(v, e.len()), "{k:?}");
                    }
                    if id == 0 {
                        r = open(store, Access::ReadOnly, o);
                    } else {
                        r.refresh().unwrap();
                    }
                }
                last
            });
        }
        for n in 2..200 {
            commit(n);
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, order);
    });
}

#[test]
fn overwriting_much_in_few_commits_is_tidied_too() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = create(&store, &Options { retention: Some(Duration::ZERO), ..Options::default() });
    let bytes = data(1, 4 << 20);
    let mut old: Option<h5lake_ledger::Extent> = None;
    let mut most = 0;
    for _ in 0..60 {
        let e = l.write_payload(&bytes).unwrap();
        if let Some(old) = old.replace(e.clone()) {
            l.free_payload(&old).unwrap();
        }
        l.put(b"chunk", e.to_bytes()).unwrap();
        l.commit().unwrap();
        most = most.max(l.size().unwrap());
    }
    // The number of commits is too small for a long log, so only the bytes that became unused can have triggered a
    // checkpoint.
    assert!(most < 100 << 20, "{most} bytes");
}

#[test]
fn a_vacuum_deletes_only_orphaned_objects() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = create(&store, &opts());
    let states = work(&l, &Map::new(), 10).1;
    let orphan = Key::new(format!("{KEY}.lake/{}/{}-1", hex(&l.identity().id), "ab".repeat(8))).unwrap();
    store.put(&orphan, vec![1; 100_000].into(), PutMode::Overwrite).unwrap();
    let freed = l.vacuum().unwrap();
    // The table that the checkpoint wrote takes a little of the freed space.
    assert!(freed >= 90_000, "{freed}");
    assert!(store.head(&orphan).is_err());
    // A payload that was written and not committed is not an orphan.
    let e = l.write_payload(&data(5, 9 << 20)).unwrap();
    let more = l.write_payload(&data(6, 1 << 20)).unwrap();
    l.vacuum().unwrap();
    l.put(b"zz", [&[1], &e.to_bytes()[..]].concat()).unwrap();
    l.put(b"zzz", [&[1], &more.to_bytes()[..]].concat()).unwrap();
    l.commit().unwrap();
    l.vacuum().unwrap();
    let mut expect = states[10].clone();
    expect.insert(b"zz".to_vec(), data(5, 9 << 20));
    expect.insert(b"zzz".to_vec(), data(6, 1 << 20));
    assert!(content(&l).unwrap() == expect);
    l.close().unwrap();
    assert!(content(&open(&store, Access::ReadWrite, &opts())).unwrap() == expect);
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn payloads_overwritten_before_a_commit_take_no_space() {
    for length in [5_000, 60_000, 100_000, 3_000_000] {
        let store = common::store();
        let l = create(&store, &opts());
        let kept: Vec<_> =
            (0..3u8).map(|n| (n, l.write_payload(&vec![n + 100; length / 2]).unwrap())).collect();
        let mut now = l.write_payload(&vec![0; length]).unwrap();
        for n in 1..=100u8 {
            let next = l.write_payload(&vec![n; length - usize::from(n)]).unwrap();
            l.free_payload(&now).unwrap();
            now = next;
            let mut read = vec![0; now.len() as usize];
            l.read_payload(&now, 0, &mut read).unwrap();
            assert!(read.iter().all(|b| *b == n));
        }
        l.put(b"now", now.to_bytes()).unwrap();
        for (n, e) in &kept {
            l.put(&[*n], e.to_bytes()).unwrap();
        }
        l.commit().unwrap();
        // Two generations may have to exist at the same time, and full packs are put.
        let bytes: u64 = store.list("", None).map(|o| o.unwrap().size).sum();
        let most = (length as u64 * 5).max(length as u64 * 4 + (16 << 20) * u64::from(length > 1_000_000));
        assert!(bytes < most + 10_000, "{bytes} bytes for {length}");
        l.close().unwrap();
        let r = open(&store, Access::ReadOnly, &opts());
        let stored = |key: &[u8]| h5lake_ledger::Extent::decode(&r.get(key).unwrap().unwrap()).unwrap().0;
        for (key, n, len) in
            [(&b"now"[..], 100, length - 100), (&[0], 100, length / 2), (&[2], 102, length / 2)]
        {
            let mut read = vec![0; len];
            r.read_payload(&stored(key), 0, &mut read).unwrap();
            assert!(read.iter().all(|b| *b == n));
        }
    }
}
