//! The number of requests of operations on a container in an object store, and the requests that a commit waits for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::hooked::{Hooked, When};
use h5lake_ledger::{Access, At, ErrorKind, Ledger, LockPolicy, Options, Replace, TagName, Tagging, Writers};
use object_stores::{
    Call, FaultStore, LatencyStore, MemoryStore, ObjectStore, Operation, Pace, Rule, Select, Timing,
    TraceStore, at_longer_latencies, round_trips,
};

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

fn is_segment(key: &str) -> bool {
    object_stores::Key::new(key).is_ok_and(|key| Ledger::is_immutable_object(&key))
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

/// The list of tags reads the tables once, however many tags there are.
#[test]
fn a_list_of_tags_reads_the_tables_once() {
    let (store, trace) = traced();
    let w = create(&store, &alone());
    let mut counts = Vec::new();
    for n in 0..40 {
        w.put(b"k", vec![u8::try_from(n).unwrap(); 4_000]).unwrap();
        w.commit().unwrap();
        w.tag(tag(n), None, Tagging::default()).unwrap();
        if n == 19 || n == 39 {
            let reader = open(&store, Access::ReadOnly, &alone());
            let (tags, calls) = asked(&trace, || reader.tags().unwrap());
            assert_eq!(tags.len(), n + 1);
            counts.push(calls.len());
        }
    }
    assert!(counts[1] <= counts[0].max(4), "{counts:?}");
}

/// A tag that another writer has deleted is missing, although this writer has observed it.
#[test]
fn a_tag_is_deleted_once() {
    let (store, _) = traced();
    let a = create(&store, &many());
    a.put(b"k", "v").unwrap();
    a.commit().unwrap();
    a.tag(tag(0), None, Tagging::default()).unwrap();
    let b = open(&store, Access::ReadWrite, &many());
    a.untag(tag(0)).unwrap();
    assert!(matches!(b.untag(tag(0)).unwrap_err().kind(), ErrorKind::NoSuchTag { .. }));
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

/// A swap for which a lock is not free is not sent again, because the store has already waited for the lock. The flush can be repeated.
#[test]
fn a_locked_store_is_not_asked_again() {
    let trace = TraceStore::new(Arc::new(MemoryStore::new()));
    let faulty = FaultStore::new(Arc::new(trace.clone()));
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let l = create(&store, &alone());
    l.put(b"k", "v").unwrap();
    let rule = Rule::fail_nth(Select::Mutating, 0, Timing::Before, object_stores::ErrorKind::Locked);
    faulty.inject(Rule { times: 2, ..rule });
    for _ in 0..2 {
        assert!(l.commit().unwrap_err().to_string().contains("locked"));
    }
    assert_eq!(l.commit().unwrap(), 1);
    assert_eq!(l.get(b"k").unwrap().unwrap().as_ref(), b"v");
}

/// Lets the held requests go, also after a failed assertion.
struct Hold(Arc<AtomicBool>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A small commit is one put of the head object. It does not wait for the segment of earlier records, which is put beside commits.
#[test]
fn a_small_commit_never_waits_for_a_segment() {
    let is_held = Arc::new(AtomicBool::new(true));
    let begun = Arc::new(AtomicUsize::new(0));
    let (held, count) = (is_held.clone(), begun.clone());
    let hook = move |when, key: &object_stores::Key| {
        if when == When::BeforePut && is_segment(key.as_str()) {
            count.fetch_add(1, Ordering::SeqCst);
            while held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    };
    let slow = Hooked { inner: Arc::new(MemoryStore::new()), hook: Box::new(hook) };
    let trace = TraceStore::new(Arc::new(LatencyStore::new(Arc::new(slow), Pace::default())));
    let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
    let l = create(&store, &alone());
    let hold = Hold(is_held);
    let mut n = 0u32;
    let mut commit = || {
        n += 1;
        l.put(format!("key-{n}").as_bytes(), vec![n as u8; 2000]).unwrap();
        let (version, calls) = asked(&trace, || l.commit().unwrap());
        let (segments, heads): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| is_segment(&call.key));
        assert_eq!(operations(&heads), [Operation::Put], "{n}: {heads:#?}");
        assert!(segments.iter().all(|call| call.operation == Operation::Put), "{segments:#?}");
        assert_eq!(version, u64::from(n));
        heads[0].bytes
    };
    // The records stay inline while the segment is late.
    let longest = (0..20).map(|_| commit()).max().unwrap();
    assert!(longest > 36_000, "{longest} bytes");
    while begun.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(hold);
    let mut shortest = longest;
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(20));
        shortest = shortest.min(commit());
    }
    assert!(shortest < 8_000, "no segment is named: {shortest} bytes");
    l.close().unwrap();
    let r = open(&store, Access::ReadOnly, &Options::default());
    for n in 1..=60u32 {
        assert_eq!(r.get(format!("key-{n}").as_bytes()).unwrap().unwrap(), vec![n as u8; 2000]);
    }
}

/// A commit waits for a segment if the inline records take too much of the manifest.
#[test]
fn a_commit_waits_for_a_segment_once_the_manifest_is_long() {
    let trace = TraceStore::new(Arc::new(LatencyStore::new(Arc::new(MemoryStore::new()), Pace::default())));
    let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
    let l = create(&store, &alone());
    for n in 0..40u32 {
        l.put(format!("key-{n}").as_bytes(), vec![n as u8; 50_000]).unwrap();
        let (_, calls) = asked(&trace, || l.commit().unwrap());
        let head = calls.iter().filter(|call| call.key == KEY && call.operation == Operation::Put);
        let longest = head.map(|call| call.bytes).max().unwrap();
        assert!(longest < 200_000, "{n}: a manifest of {longest} bytes");
    }
    l.close().unwrap();
    let r = open(&store, Access::ReadOnly, &Options::default());
    assert_eq!(r.get(b"key-39").unwrap().unwrap(), vec![39; 50_000]);
}

/// Segments that were put and are not named are deleted at the close: a reader needs all objects that are there.
#[test]
fn a_closed_container_has_no_unnamed_segment() {
    for commits in 1..24u32 {
        let (inner, trace) = traced();
        let store: Arc<dyn ObjectStore> = Arc::new(LatencyStore::new(inner, Pace::default()));
        let l = create(&store, &alone());
        for n in 0..commits {
            l.put(format!("key-{n}").as_bytes(), vec![n as u8; 3000]).unwrap();
            l.commit().unwrap();
        }
        l.close().unwrap();
        let all = store.list_page("dir/name.h5.lake/", None, 1000).unwrap().objects;
        let mut all: Vec<_> = all.iter().map(|meta| meta.key.as_str().to_owned()).collect();
        all.retain(|key| is_segment(key));
        let (r, calls) = asked(&trace, || open(&store, Access::ReadOnly, &Options::default()));
        let mut read: Vec<_> = calls.into_iter().map(|call| call.key).filter(|key| is_segment(key)).collect();
        read.sort_unstable();
        assert_eq!(read, all, "{commits} commits");
        assert_eq!(r.version(), u64::from(commits));
    }
}

/// A concurrent writer reserves numbers without a version: the first ones with the swap that adds its session, later ones with its commits.
#[test]
fn numbers_of_a_concurrent_writer_are_part_of_other_swaps() {
    let (store, trace) = traced();
    let a = create(&store, &many());
    let b = open(&store, Access::ReadWrite, &many());
    let (first, calls) = asked(&trace, || a.take_numbers(b"N", 32, 1).unwrap());
    assert_eq!((first, operations(&calls)), (1, vec![Operation::Put]), "{calls:#?}");
    let version = |a: &Ledger| {
        let r = open(&store, Access::ReadOnly, &Options::default());
        (a.version(), r.version())
    };
    assert_eq!(version(&a), (0, 0), "numbers are no version");
    a.put(b"a", a.write_payload(&[7; 5000]).unwrap().to_bytes()).unwrap();
    let (_, calls) = asked(&trace, || a.try_commit().unwrap().unwrap());
    assert_eq!(operations(&calls), [Operation::Put, Operation::Put], "the session is listed: {calls:#?}");
    let mut given: Vec<std::ops::Range<u64>> = Vec::new();
    given.push(first..first + 32);
    for count in [128, 512, 2048] {
        let (first, calls) = asked(&trace, || a.take_numbers(b"N", count, 1).unwrap());
        assert!(calls.is_empty(), "{calls:#?}");
        given.push(first..first + count);
        a.put(b"a", count.to_be_bytes().to_vec()).unwrap();
        let (_, calls) = asked(&trace, || a.try_commit().unwrap().unwrap());
        assert_eq!(operations(&calls), [Operation::Put], "{calls:#?}");
        let counter = u64::from_be_bytes(a.get(b"N").unwrap().unwrap().as_ref().try_into().unwrap());
        assert!(given.iter().all(|block| block.end <= counter), "{given:?}, {counter}");
    }
    assert_eq!(version(&a), (4, 4));
    let first = b.take_numbers(b"N", 32, 1).unwrap();
    given.push(first..first + 32);
    given.sort_by_key(|block| block.start);
    assert!(given.is_sorted_by(|a, b| a.end <= b.start), "{given:?}");
    // An exclusive writer continues after all reserved numbers.
    let e = open(&store, Access::ReadWrite, &alone());
    assert!(e.reserved_numbers() >= first + 32);
}

/// An exclusive writer gives numbers without a reservation, so that a concurrent writer's reservation ends it.
#[test]
fn reserved_numbers_end_an_exclusive_writer() {
    for by_pages in [false, true] {
        let (store, _) = traced();
        create(&store, &alone()).close().unwrap();
        let many = open(&store, Access::ReadWrite, &many());
        let o = if by_pages { Options { checkpoint_bytes: 1, ..alone() } } else { alone() };
        let e = open(&store, Access::ReadWrite, &o);
        many.take_numbers(b"N", 32, 1).unwrap();
        e.put(b"e", vec![7; if by_pages { 100_000 } else { 10 }]).unwrap();
        assert_eq!(*e.commit().unwrap_err().kind(), ErrorKind::Conflict);
        many.put(b"m", "1").unwrap();
        assert_eq!(many.commit().unwrap(), 1);
        // An exclusive writer that counts further before the reservation is seen by it.
        let e = open(&store, Access::ReadWrite, &o);
        let counted = e.reserved_numbers() + 10;
        e.put(b"N", counted.to_be_bytes().to_vec()).unwrap();
        e.commit().unwrap();
        assert!(many.take_numbers(b"N", 1000, 1).unwrap() >= counted);
    }
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

/// A list of versions reads the manifest again, and then all parts of the history and the newest records in parallel.
#[test]
fn a_list_of_versions_takes_few_round_trips() {
    const COMMITS: u64 = 1000;
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let retention = Some(Duration::from_secs(86_400));
    let l = create(&memory, &Options { checkpoint_records: 60, retention, ..alone() });
    for n in 1..=COMMITS {
        l.put(b"key", n.to_be_bytes().to_vec()).unwrap();
        l.commit().unwrap();
    }
    l.close().unwrap();
    let listed_at = |latency| {
        let pace = Pace { per_request: latency, ..Pace::default() };
        let trace = TraceStore::new(Arc::new(LatencyStore::new(memory.clone(), pace)));
        let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
        let r = open(&store, Access::ReadOnly, &Options::default());
        let (all, calls) = asked(&trace, || r.versions(usize::MAX).unwrap());
        assert_eq!(all.len() as u64, COMMITS);
        let (newest, of_newest) = asked(&trace, || r.versions(10).unwrap());
        assert_eq!(newest[..], all[..10]);
        assert!(of_newest.len() <= 3, "{of_newest:#?}");
        calls
    };
    let is_parallel = |calls: &Vec<Call>| round_trips(calls) <= 4;
    let calls = at_longer_latencies(Duration::from_millis(5), is_parallel, listed_at);
    assert!(calls.len() <= 20 && is_parallel(&calls), "{calls:#?}");
}

/// Returns a store with a container of `count` small values, which a checkpoint has put into pages.
fn filled(count: u32) -> (Arc<dyn ObjectStore>, TraceStore) {
    let trace = TraceStore::new(Arc::new(LatencyStore::new(Arc::new(MemoryStore::new()), Pace::default())));
    let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
    let l = create(&store, &alone());
    for n in 0..count {
        l.put(&n.to_be_bytes(), vec![n as u8; 100]).unwrap();
    }
    l.commit().unwrap();
    l.close().unwrap();
    (store, trace)
}

fn get_each(l: &Ledger, numbers: impl Iterator<Item = u32>) {
    for n in numbers {
        assert_eq!(l.get(&n.to_be_bytes()).unwrap().unwrap(), vec![n as u8; 100]);
    }
}

/// Many small reads, in any order, take few requests; a single one reads no more than it needs.
#[test]
fn leaves_are_read_ahead_once_several_were_missing() {
    const COUNT: u32 = 20_000;
    let (store, trace) = filled(COUNT);
    for step in [1, 7919] {
        let l = open(&store, Access::ReadOnly, &alone());
        let ((), calls) = asked(&trace, || get_each(&l, (0..COUNT).map(|n| n * step % COUNT)));
        assert!(calls.len() < 30, "step {step}: {}", calls.len());
    }
    // A walk in order takes few requests with a cache that is smaller than the container, too.
    let half = Options { cache_bytes: 1 << 20, ..alone() };
    let l = open(&store, Access::ReadOnly, &half);
    let ((), calls) = asked(&trace, || get_each(&l, 0..COUNT));
    assert!(calls.len() < 30, "{}", calls.len());
    let l = open(&store, Access::ReadOnly, &alone());
    let ((), calls) = asked(&trace, || get_each(&l, [COUNT / 2].into_iter()));
    let bytes: u64 = calls.iter().map(|call| call.bytes).sum();
    assert!(calls.len() <= 3 && bytes < 100_000, "{bytes} bytes: {calls:#?}");
    // A cache that cannot hold the leaves below one page evicts none of its pages for them.
    let small = Options { cache_bytes: 200_000, ..alone() };
    let l = open(&store, Access::ReadOnly, &small);
    let ((), calls) = asked(&trace, || get_each(&l, (0..200).map(|n| n * 7919 % COUNT)));
    let bytes: u64 = calls.iter().map(|call| call.bytes).sum();
    assert!(bytes < 200 * 40_000, "{bytes} bytes");
}
