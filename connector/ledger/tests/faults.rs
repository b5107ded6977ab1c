//! Injects an error at every request of a commit, a checkpoint and a close in turn, before and after the request's
//! effect. Another attempt must succeed with all data, and no error may report damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::again_at_most;
use common::work::{Map, content, data};
use h5lake_ledger::{Access, Error, ErrorKind, Extent, Ledger, Options, Replace, Writers};
use object_stores::{
    Capabilities, Condition, FaultStore, GetResult, Key, ListPage, ObjectMeta, ObjectStore, ObjectStoreExt,
    Operation, PutMode, PutPayload, PutResult, PutStream, Rule, Select, Timing,
};
use object_stores::{ErrorKind as StoreKind, Fault};

const KEY: &str = "dir/name.h5";
const MAX_ATTEMPTS: usize = 8;
const KINDS: [StoreKind; 3] = [StoreKind::Io, StoreKind::Timeout, StoreKind::Unavailable];

/// Options with frequent checkpoints and a retention time of five seconds.
fn opts(writers: Writers) -> Options {
    Options {
        writers,
        checkpoint_bytes: 4_000,
        retention: Some(Duration::from_secs(5)),
        ..Options::default()
    }
}

fn is_store_failure(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Store { .. } | ErrorKind::NoSpace { .. })
}

fn again<T>(what: &str, act: impl FnMut() -> Result<T, Error>) -> T {
    again_at_most(MAX_ATTEMPTS, what, act)
}

/// Stages a payload under a key, and frees the payload that was there.
fn set(what: &str, l: &Ledger, model: &mut Map, key: &str, bytes: Vec<u8>) {
    let old = again(what, || l.get(key.as_bytes()));
    let new = again(what, || l.write_payload(&bytes));
    again(what, || l.put(key.as_bytes(), [&[1], &new.to_bytes()[..]].concat()));
    if let Some(old) = old {
        let old = Extent::decode(&old[1..]).unwrap().0;
        again(what, || l.free_payload(&old));
    }
    model.insert(key.into(), bytes);
}

fn put(what: &str, l: &Ledger, model: &mut Map, key: &str, bytes: &[u8]) {
    again(what, || l.put(key.as_bytes(), [&[0], bytes].concat()));
    model.insert(key.into(), bytes.to_vec());
}

const COMMITS: u64 = 4;

/// Runs an exclusive writer that spills its batches into pages before their commit.
fn alone_spilling(store: &Arc<dyn ObjectStore>, what: &str) -> Map {
    alone_with(store, what, Options { spill_bytes: 1_500, ..opts(Writers::One) })
}

fn alone(store: &Arc<dyn ObjectStore>, what: &str) -> Map {
    alone_with(store, what, opts(Writers::One))
}

/// Runs an exclusive writer: commits with a checkpoint among them, changes between the attempts, and a close. All of this is done twice.
fn alone_with(store: &Arc<dyn ObjectStore>, what: &str, o: Options) -> Map {
    let mut model = Map::new();
    let first = vec![(Bytes::from("first"), Bytes::from("\0entry"))];
    model.insert(b"first".to_vec(), b"entry".to_vec());
    let create =
        || Ledger::create_objects_holding(store.clone(), KEY, Replace::Atomically, o.clone(), first.clone());
    let mut l = again(what, create);
    for session in 0..2 {
        for n in session * COMMITS..(session + 1) * COMMITS {
            set(what, &l, &mut model, &format!("small-{}", n % 3), data(n, 900));
            if n % 2 == 0 {
                set(what, &l, &mut model, "large", data(n, 66_000 + n));
            }
            put(what, &l, &mut model, &format!("key-{n}"), &data(n, 2_000));
            let mut tries = 0;
            again(what, || {
                tries += 1;
                if tries > 1 {
                    // A program continues to change data between the attempts.
                    set(what, &l, &mut model, &format!("small-{}", n % 3), data(n + 50, 800));
                    put(what, &l, &mut model, "tries", &[tries, n as u8]);
                    put(what, &l, &mut model, &format!("key-{n}"), &data(n + u64::from(tries), 50));
                }
                l.commit()
            });
        }
        assert!(content_again(what, &l) == model, "{what}: the writer's own view");
        again(what, || l.commit_to_close());
        // The commits are durable even if the close fails.
        if let Err(e) = l.close() {
            assert!(is_store_failure(&e), "{what}: {e}");
        }
        l = again(what, || Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, o.clone()));
    }
    model
}

fn content_again(what: &str, l: &Ledger) -> Map {
    again(what, || content(l))
}

/// Runs two concurrent writers in turn, each of which has its own keys, and both of which change a counter.
fn together(store: &Arc<dyn ObjectStore>, what: &str) -> Map {
    let mut model = Map::new();
    let o = opts(Writers::Many);
    let create = || Ledger::create_objects(store.clone(), KEY, Replace::Atomically, o.clone());
    let a = again(what, create);
    let b = again(what, || Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, o.clone()));
    let mut numbers = Vec::new();
    for n in 0..5u64 {
        for (name, l) in [("a", &a), ("b", &b)] {
            // Packs of both writers, and objects that one of them empties.
            set(what, l, &mut model, &format!("{name}-{}", n % 3), data(n, 3_000 + n));
            put(what, l, &mut model, &format!("{name}-key-{n}"), &data(n, 700));
            if n % 2 == 0 {
                let from = again(what, || l.take_numbers(b"N", 3, 1));
                numbers.extend(from..from + 3);
            }
            let mut tries = 0;
            again(what, || {
                tries += 1;
                if tries > 1 {
                    set(what, l, &mut model, &format!("{name}-{}", n % 3), data(n + 50, 2_000));
                    put(what, l, &mut model, &format!("{name}-tries"), &[tries, n as u8]);
                }
                l.commit()
            });
        }
    }
    let given = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), given, "{what}: a number was given twice");
    for l in [a, b] {
        if let Err(e) = l.close() {
            assert!(is_store_failure(&e), "{what}: {e}");
        }
    }
    model
}

/// Returns conditions for a commit that only changes of these keys conflict with.
fn conditions(keys: &[String]) -> Vec<Bytes> {
    keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect()
}

/// Runs two concurrent writers that commit in groups. One is disconnected while its commit is in the queue, so that the other writer leads
/// and includes the queued commit, or changes a key that it depends on.
fn in_groups(store: &Arc<dyn ObjectStore>, what: &str) -> Map {
    let mut model = Map::new();
    let o = opts(Writers::Many);
    let a = again(what, || Ledger::create_objects(store.clone(), KEY, Replace::Atomically, o.clone()));
    let cut_off = FaultStore::new(store.clone());
    let own: Arc<dyn ObjectStore> = Arc::new(cut_off.clone());
    let b = again(what, || Ledger::open_objects(own.clone(), KEY, Access::ReadWrite, o.clone()));
    for n in 0..6u64 {
        let names = [format!("b-{}", n % 3), format!("b-key-{n}")];
        again(what, || b.advance(&|_| false));
        set(what, &b, &mut model, &names[0], data(n, 3_000 + n));
        put(what, &b, &mut model, &names[1], &data(n, 700));
        // The commit is queued, and its writer receives no further answer.
        let timeout = Fault::Fail(Timing::Before, StoreKind::Timeout);
        let list = Select::One(Operation::List);
        cut_off.inject(Rule { select: list, skip: 0, times: 1, fault: timeout });
        match b.commit_in_group(&conditions(&names), &|_| false) {
            Ok(changes) => assert!(changes.is_none(), "{what}"),
            Err(e) => assert!(is_store_failure(&e), "{what}: {e}"),
        }
        cut_off.clear();

        // The leader changes the same key, in the same group or before it.
        let is_hindrance = n % 3 != 0;
        again(what, || a.advance(&|_| false));
        if n % 3 == 2 {
            put(what, &a, &mut model, &names[1], &data(n + 7, 30));
            again(what, || a.commit());
        }
        let key = if n % 3 == 1 { names[1].clone() } else { format!("a-{n}") };
        put(what, &a, &mut model, &key, &data(n + 9, 300));
        let own_key = conditions(std::slice::from_ref(&key));
        let grouped = again(what, || a.commit_in_group(&own_key, &|_| false));
        let version = grouped.map_or_else(|| again(what, || a.commit()), |(version, _)| version);
        if what == WITHOUT_ERRORS {
            let taken_in = again(what, || a.get(names[0].as_bytes())).is_some();
            assert_eq!(taken_in, n / 3 > 0 || !is_hindrance, "commit {n} of the other one");
            assert!(!is_hindrance || b.version() < version);
        }

        if is_hindrance {
            again(what, || b.advance(&|_| false));
            for (key, _) in b.unmerged() {
                put(what, &b, &mut model, std::str::from_utf8(&key).unwrap(), &data(n, 700));
                b.merged(&key);
            }
        }
        let last = format!("b-last-{n}");
        put(what, &b, &mut model, &last, &[n as u8]);
        again(what, || b.commit());
    }
    for l in [a, b] {
        if let Err(e) = l.close() {
            assert!(is_store_failure(&e), "{what}: {e}");
        }
    }
    model
}

/// Checks the content that a new process finds, and that it can continue.
fn check(inner: &Arc<dyn ObjectStore>, model: &Map, what: &str) {
    let found = |access| {
        let l = Ledger::open_objects(inner.clone(), KEY, access, opts(Writers::One));
        let l = l.unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut map = Map::new();
        for (k, v) in l.scan_prefix(b"", None, usize::MAX).unwrap() {
            if k != b"N"[..] {
                map.insert(k.to_vec(), v.to_vec());
            }
        }
        (l, map.len())
    };
    let compare = |l: &Ledger| {
        for (key, bytes) in model {
            let v = l.get(key).unwrap().unwrap_or_else(|| panic!("{what}: {key:?} is lost"));
            let stored = match v[0] {
                0 => v[1..].to_vec(),
                _ => {
                    let e = Extent::decode(&v[1..]).unwrap().0;
                    let mut buf = vec![0; e.len() as usize];
                    l.read_payload(&e, 0, &mut buf).unwrap_or_else(|e| panic!("{what}: {e}"));
                    buf
                }
            };
            assert!(stored == *bytes, "{what}: {:?} has another value", String::from_utf8_lossy(key));
        }
    };
    let (reader, keys) = found(Access::ReadOnly);
    assert_eq!(keys, model.len(), "{what}");
    compare(&reader);
    let (writer, _) = found(Access::ReadWrite);
    writer.vacuum().unwrap_or_else(|e| panic!("{what}: {e}"));
    writer.put(b"after", "\0").unwrap();
    writer.commit().unwrap();
    compare(&writer);
    writer.close().unwrap();
}

type Scenario = fn(&Arc<dyn ObjectStore>, &str) -> Map;

const WITHOUT_ERRORS: &str = "without errors";

/// Returns the range of the calls of a scenario in which errors are injected.
fn calls(scenario: Scenario) -> Range<u64> {
    let faulty = FaultStore::new(common::store());
    scenario(&(Arc::new(faulty.clone()) as Arc<dyn ObjectStore>), WITHOUT_ERRORS);
    0..faulty.calls(Select::Any)
}

/// The number of points of each kind that are tested, evenly spread. All points are tested if LEDGER_TEST_ALL_POINTS is
/// set.
const SAMPLE: usize = 40;

fn sampled<T: Copy>(points: &[T]) -> Vec<T> {
    if points.len() <= SAMPLE || std::env::var_os("LEDGER_TEST_ALL_POINTS").is_some() {
        return points.to_vec();
    }
    (0..SAMPLE).map(|n| points[n * points.len() / SAMPLE]).collect()
}

fn at_each_call(scenario: Scenario, times: u64, kinds: &[StoreKind], timings: &[Timing]) {
    let calls = calls(scenario);
    assert!(calls.end > 50, "{calls:?} are too few to prove much");
    let points: Vec<_> = calls
        .flat_map(|n| kinds.iter().map(move |kind| (n, *kind)))
        .flat_map(|(n, kind)| timings.iter().map(move |timing| (n, kind, *timing)))
        .collect();
    let points = sampled(&points);
    println!("{} points", points.len());
    let next = AtomicU64::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while let Some((n, kind, timing)) = points.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let what = format!("call {n}, {kind:?} {timing:?} x{times}");
                    let inner: Arc<dyn ObjectStore> = common::store();
                    let faulty = FaultStore::new(inner.clone());
                    let fault = Fault::Fail(*timing, *kind);
                    faulty.inject(Rule { select: Select::Any, skip: *n, times, fault });
                    let model = scenario(&(Arc::new(faulty.clone()) as Arc<dyn ObjectStore>), &what);
                    check(&inner, &model, &what);
                }
            });
        }
    });
}

#[test]
fn one_error_at_any_request_of_a_lone_writer_costs_a_retry_at_most() {
    at_each_call(alone, 1, &KINDS[..1], &[Timing::Before, Timing::After]);
    at_each_call(alone_spilling, 1, &KINDS[..1], &[Timing::Before, Timing::After]);
}

/// The request that checks the outcome of a failed request fails, too.
#[test]
fn errors_in_a_row_at_any_request_of_a_lone_writer_cost_retries_at_most() {
    at_each_call(alone, 2, &KINDS[1..2], &[Timing::Before, Timing::After]);
    at_each_call(alone, 3, &KINDS[2..], &[Timing::Before, Timing::After]);
    at_each_call(alone_spilling, 2, &KINDS[1..2], &[Timing::Before, Timing::After]);
    at_each_call(alone_spilling, 3, &KINDS[2..], &[Timing::Before, Timing::After]);
}

#[test]
fn a_full_store_costs_retries_at_most() {
    at_each_call(alone, 2, &[StoreKind::NoSpace], &[Timing::Before]);
    at_each_call(alone_spilling, 2, &[StoreKind::NoSpace], &[Timing::Before]);
    at_each_call(together, 2, &[StoreKind::NoSpace], &[Timing::Before]);
}

#[test]
fn one_error_at_any_request_of_many_writers_costs_a_retry_at_most() {
    at_each_call(together, 1, &KINDS[..1], &[Timing::Before, Timing::After]);
}

#[test]
fn errors_in_a_row_at_any_request_of_many_writers_cost_retries_at_most() {
    at_each_call(together, 2, &KINDS[1..2], &[Timing::Before, Timing::After]);
    at_each_call(together, 4, &KINDS[2..], &[Timing::Before, Timing::After]);
}

#[test]
fn one_error_at_any_request_of_commits_in_groups_costs_a_retry_at_most() {
    at_each_call(in_groups, 1, &KINDS[..1], &[Timing::Before, Timing::After]);
}

#[test]
fn errors_in_a_row_at_any_request_of_commits_in_groups_cost_retries_at_most() {
    at_each_call(in_groups, 2, &KINDS[1..2], &[Timing::Before, Timing::After]);
    at_each_call(in_groups, 4, &KINDS[2..], &[Timing::Before, Timing::After]);
}

/// A store that calls a function before each put.
struct Asking<F> {
    inner: Arc<dyn ObjectStore>,
    /// Returns the reason why a put of this many bytes is refused.
    refuse: F,
    reserve: AtomicU64,
}

impl<F> std::fmt::Debug for Asking<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asking")
    }
}

impl<F> Asking<F>
where
    F: Fn(&Key, &PutMode, u64, u64) -> Option<StoreKind> + Send + Sync + 'static,
{
    fn over(inner: &Arc<dyn ObjectStore>, reserve: u64, refuse: F) -> Arc<dyn ObjectStore> {
        Arc::new(Asking { inner: inner.clone(), refuse, reserve: AtomicU64::new(reserve) })
    }
}

/// Returns a store that refuses to replace a head object although its etag matches, as S3 does for two concurrent puts.
/// It refuses `refused` of every three puts.
fn refusing(inner: &Arc<dyn ObjectStore>, refused: u64) -> Arc<dyn ObjectStore> {
    let calls = AtomicU64::new(0);
    Asking::over(inner, 0, move |key, mode, _, _| {
        let is_head = *mode != PutMode::Overwrite && key.as_str() == KEY;
        let strikes = is_head && calls.fetch_add(1, Ordering::Relaxed) % 3 < refused;
        let kind =
            if *mode == PutMode::Create { StoreKind::AlreadyExists } else { StoreKind::PreconditionFailed };
        strikes.then_some(kind)
    })
}

impl<F> ObjectStore for Asking<F>
where
    F: Fn(&Key, &PutMode, u64, u64) -> Option<StoreKind> + Send + Sync + 'static,
{
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { near: false, remote: true, ..self.inner.capabilities() }
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> object_stores::Result<GetResult> {
        self.inner.get(key, range)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> object_stores::Result<ObjectMeta> {
        self.inner.get_into(key, offset, buf)
    }

    fn head(&self, key: &Key) -> object_stores::Result<ObjectMeta> {
        self.inner.head(key)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> object_stores::Result<PutResult> {
        let (length, reserve) = (payload.len(), self.reserve.load(Ordering::Relaxed));
        if let Some(kind) = (self.refuse)(key, &mode, length, reserve) {
            return Err(object_stores::Error::new(kind, Operation::Put).at(key));
        }
        self.inner.put(key, payload, mode)
    }

    fn put_stream(&self, key: &Key) -> object_stores::Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> object_stores::Result<ListPage> {
        self.inner.list_page(prefix, after, limit)
    }

    fn delete(&self, key: &Key) -> object_stores::Result<()> {
        self.inner.delete(key)
    }

    fn spend_reserve(&self) -> bool {
        self.reserve.swap(0, Ordering::Relaxed) > 0
    }
}

#[test]
fn a_creation_that_is_refused_without_reason_is_tried_again() {
    for scenario in [alone as Scenario, together] {
        let inner: Arc<dyn ObjectStore> = common::store();
        let store = refusing(&inner, 2);
        let model = scenario(&store, "refused");
        check(&inner, &model, "refused");
    }
}

/// A put that is always refused must be reported as a failure of the store, and not as an existing container.
#[test]
fn a_permanent_refusal_is_reported_as_a_store_error() {
    let inner: Arc<dyn ObjectStore> = common::store();
    drop(Ledger::create_objects(inner.clone(), KEY, Replace::Fail, opts(Writers::Many)).unwrap());
    let store = refusing(&inner, 3);
    let l = Ledger::open_objects(store, KEY, Access::ReadWrite, opts(Writers::Many)).unwrap();
    l.put(b"k", "v").unwrap();
    let e = l.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Store { .. }), "{e}");
    assert!(e.errno() != Some(17), "{e}");
}

/// A creation of an unchanged container either has made the container or reports an error.
#[test]
fn a_creation_that_says_ok_has_made_the_container() {
    let inner: Arc<dyn ObjectStore> = common::store();
    let faulty = FaultStore::new(inner.clone());
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    faulty.inject(Rule {
        times: 100,
        ..Rule::fail_nth(Select::One(Operation::Put), 0, Timing::Before, StoreKind::Unavailable)
    });
    let create = || Ledger::create_objects(store.clone(), KEY, Replace::Atomically, opts(Writers::One));
    let e = create().unwrap_err();
    assert!(is_store_failure(&e), "{e}");
    faulty.clear();
    let l = create().unwrap();
    l.commit_to_close().unwrap();
    assert!(Ledger::open_objects(inner, KEY, Access::ReadOnly, opts(Writers::One)).is_ok());
}

/// The content of a full store can be deleted, and a vacuum frees the space.
#[test]
fn a_full_store_takes_deletes_and_gives_space_back() {
    const ROOM: u64 = 2 << 20;
    let inner: Arc<dyn ObjectStore> = common::store();
    let below = inner.clone();
    let full = Asking::over(&inner, 256 << 10, move |_, _, length, reserve| {
        let used = below.list("", None).map(|m| m.unwrap().size).sum::<u64>();
        (used + length + reserve > ROOM).then_some(StoreKind::NoSpace)
    });
    let o = Options { retention: Some(Duration::ZERO), ..opts(Writers::One) };
    let l = Ledger::create_objects(full.clone(), KEY, Replace::Fail, o.clone()).unwrap();
    let mut kept = Vec::new();
    let error = loop {
        let n = kept.len() as u64;
        // Payloads that were not committed are freed.
        let e = l.write_payload(&data(n, 100_000)).unwrap();
        l.put(&n.to_be_bytes(), e.to_bytes()).unwrap();
        match l.commit() {
            Ok(_) => kept.push(e),
            Err(e) => break e,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
    l.rollback().unwrap();
    assert!(kept.len() > 10, "{}", kept.len());
    // The store has no free space left, not even for a small record.
    let filler = Key::new("filler").unwrap();
    let used = inner.list("", None).map(|m| m.unwrap().size).sum::<u64>();
    inner.put(&filler, vec![0; (ROOM - (256 << 10) - used) as usize].into(), PutMode::Create).unwrap();
    l.put(b"small", "x").unwrap();
    assert!(
        matches!(l.commit().unwrap_err().kind(), ErrorKind::NoSpace { .. }),
        "the reserve is not for this"
    );
    l.rollback().unwrap();
    for (n, e) in kept.iter().enumerate().skip(1) {
        l.free_payload(e).unwrap();
        l.delete(&(n as u64).to_be_bytes()).unwrap();
    }
    let before = l.size().unwrap();
    l.commit().unwrap();
    l.vacuum().unwrap();
    let after = l.size().unwrap();
    assert!(after + 500_000 < before, "{before} {after}");
    let e = l.write_payload(&data(7, 300_000)).unwrap();
    l.put(b"again", e.to_bytes()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    assert!(Ledger::open_objects(full, KEY, Access::ReadWrite, o).is_ok());
}
