//! What goes wrong around a commit that a head makes, and around a rollback while a commit is in doubt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::hooked::{Hooked, When};
use common::puts::{puts, timeout};
use h5lake_ledger::locks::Mutex;
use h5lake_ledger::verify::{Content, Verifier, Versions};
use h5lake_ledger::{
    Access, At, ErrorKind, Extent, Ledger, LockPolicy, Options, Replace, TagName, Tagging, Writers,
};
use object_stores::{
    Error, ErrorKind as StoreKind, Fault, FaultStore, Key, ObjectStore, ObjectStoreExt, Operation, PutMode,
    PutPayload, PutResult, Rule, Select, Timing,
};

const KEY: &str = "dir/c.h5";
const SPILL: u64 = 20_000;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Without a lock and a retention time, so that everything that can go goes.
fn opts() -> Options {
    Options {
        spill_bytes: SPILL,
        lock: LockPolicy::Off,
        retention: Some(Duration::ZERO),
        ..Options::default()
    }
}

/// By records, and by pages that are put before their commit.
fn ways() -> [Options; 2] {
    [Options { spill_bytes: 1 << 30, ..opts() }, opts()]
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, o: &Options) -> h5lake_ledger::Result<Ledger> {
    Ledger::open_objects(store.clone(), KEY, access, o.clone())
}

fn writer(store: &Arc<dyn ObjectStore>, o: &Options) -> Ledger {
    open(store, Access::ReadWrite, o).unwrap()
}

fn reader(store: &Arc<dyn ObjectStore>) -> Ledger {
    open(store, Access::ReadOnly, &Options::default()).unwrap()
}

fn stage(l: &Ledger, model: &mut Map, round: u8) {
    for n in 0..3000u32 {
        let (key, value) = (format!("key {n:05}").into_bytes(), vec![round; 40]);
        l.put(&key, value.clone()).unwrap();
        model.insert(key, value);
    }
}

fn content(l: &Ledger) -> Map {
    let all = l.scan_prefix(b"", None, usize::MAX).unwrap();
    let own = all.into_iter().filter(|(k, _)| k.starts_with(b"key") || k.starts_with(b"k"));
    own.map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

/// A container of one version and a base, with a history.
fn filled(store: &Arc<dyn ObjectStore>) -> Map {
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    l.put(b"key", "entry").unwrap();
    l.commit().unwrap();
    l.vacuum().unwrap();
    l.vacuum().unwrap();
    l.close().unwrap();
    content(&reader(store))
}

fn head(store: &Arc<dyn ObjectStore>) -> bytes::Bytes {
    store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes
}

fn listing(store: &Arc<dyn ObjectStore>, kind: &str) -> Vec<String> {
    store.list("dir/", None).map(|m| m.unwrap().key.to_string()).filter(|k| k.contains(kind)).collect()
}

/// A copy that was made object by object while a writer wrote: an old head, and all else new. What a reader sees of it is whole; a writer
/// goes on behind all of it, or is told that it cannot.
#[test]
fn a_copy_with_an_old_head_is_never_torn() {
    for o in ways() {
        let store = common::store();
        let first = filled(&store);
        let l = writer(&store, &Options { retention: Some(Duration::from_secs(600)), ..o.clone() });
        l.vacuum().unwrap();
        let old_head = head(&store);
        let mut model = first.clone();
        stage(&l, &mut model, 1);
        assert_eq!(l.commit().unwrap(), 2);
        l.put(b"key behind", "it").unwrap();
        model.insert(b"key behind".to_vec(), b"it".to_vec());
        assert_eq!(l.commit().unwrap(), 3);
        l.close().unwrap();
        store.put(&Key::new(KEY).unwrap(), old_head.into(), PutMode::Overwrite).unwrap();
        let shown = content(&reader(&store));
        assert!(shown == first || shown == model);
        match open(&store, Access::ReadWrite, &o) {
            Ok(w) => assert!(content(&w) == model),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }) && o.spill_bytes == SPILL, "{e}"),
        }
        assert!(content(&reader(&store)) == shown);
    }
}

/// Another writer vacuums between the first page and the commit: with a lock that was broken meanwhile, or without any.
#[test]
fn pages_that_were_swept_are_not_committed() {
    for lock in [LockPolicy::Off, LockPolicy::default()] {
        let inner = common::store();
        let first = filled(&inner);
        let o = Options { lock, ..opts() };
        let (is_armed, shared, other) = (Arc::new(AtomicBool::new(false)), inner.clone(), o.clone());
        let armed = is_armed.clone();
        let hook = move |when: When, key: &Key| {
            if when == When::BeforePut
                && key.as_str().contains("/log/")
                && armed.swap(false, Ordering::SeqCst)
            {
                if let Some(found) = Ledger::lock_holder(shared.as_ref(), KEY).unwrap() {
                    Ledger::break_lock(shared.as_ref(), KEY, &found).unwrap();
                }
                let b = writer(&shared, &other);
                b.vacuum().unwrap();
                b.close().unwrap();
            }
        };
        let store: Arc<dyn ObjectStore> = Arc::new(Hooked { inner: inner.clone(), hook: Box::new(hook) });
        let a = writer(&store, &o);
        let mut model = first.clone();
        stage(&a, &mut model, 1);
        is_armed.store(true, Ordering::SeqCst);
        assert_eq!(*a.commit().unwrap_err().kind(), ErrorKind::Conflict);
        drop(a);
        assert!(content(&reader(&inner)) == first);
    }
}

/// A head that a writer puts before its first commit says nothing that is not so any more: which table there is, and that there are tags.
#[test]
fn the_first_head_of_a_session_takes_nothing_back() {
    for o in ways() {
        for tags in [false, true] {
            let store = common::store();
            let first = filled(&store);
            let a = writer(&store, &o);
            let b = writer(&store, &o);
            match tags {
                true => drop(b.tag(TagName::new("kept").unwrap(), None, Tagging::default()).unwrap()),
                false => drop(b.vacuum().unwrap()),
            }
            std::mem::forget(b);
            let mut model = first.clone();
            for n in 0..3000u32 {
                let value = vec![2; 40];
                a.put(format!("key {n:05}").as_bytes(), value.clone()).unwrap();
                model.insert(format!("key {n:05}").into_bytes(), value);
            }
            let done = a.commit();
            drop(a);
            let shown = content(&reader(&store));
            assert!(shown == if done.is_ok() { model } else { first.clone() });
            let c = writer(&store, &o);
            c.put(b"key", "other").unwrap();
            c.commit().unwrap();
            c.vacuum().unwrap();
            c.versions(usize::MAX).unwrap();
            c.close().unwrap();
            if tags {
                let at = Options { at: Some(At::Tag(TagName::new("kept").unwrap())), ..opts() };
                assert!(content(&open(&store, Access::ReadOnly, &at).unwrap()) == first);
            }
        }
    }
}

#[test]
fn damage_is_told_as_damage_whatever_is_asked_for() {
    let store = common::store();
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    l.put(b"key", "entry").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let log = listing(&store, "/log/");
    store.delete(&Key::new(&log[0]).unwrap()).unwrap();
    for retention in [None, Some(Duration::from_secs(77))] {
        let o = Options { retention, ..opts() };
        let e = open(&store, Access::ReadWrite, &o).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }), "{e}");
    }
}

/// The store's client puts the head a second time by itself. Its first try had its effect, and another writer came between.
#[test]
fn a_commit_that_is_there_is_not_told_as_a_conflict() {
    for vacuums in [false, true] {
        let inner = common::store();
        let first = filled(&inner);
        let (shared, seen) = (inner.clone(), AtomicBool::new(false));
        let others: Arc<Mutex<Vec<Ledger>>> = Arc::default();
        let kept = others.clone();
        let on_put = move |inner: &dyn ObjectStore, key: &Key, payload: &PutPayload, mode: &PutMode| {
            if key.as_str().contains("/log/") {
                seen.store(true, Ordering::SeqCst);
            }
            if key.as_str() != KEY || !seen.swap(false, Ordering::SeqCst) {
                return None;
            }
            inner.put(key, payload.clone(), mode.clone()).unwrap();
            let b = writer(&shared, &opts());
            stage(&b, &mut Map::new(), 9);
            if vacuums {
                assert_eq!(b.commit().unwrap(), 3);
                b.vacuum().unwrap();
            }
            kept.lock().push(b);
            Some(inner.put(key, payload.clone(), mode.clone()))
        };
        let a = writer(&puts(&inner, &Arc::default(), Box::new(on_put)), &opts());
        let mut model = first.clone();
        stage(&a, &mut model, 1);
        match a.commit() {
            Ok(version) => assert!(version == 2 && !vacuums),
            Err(e) => assert!(vacuums && matches!(e.kind(), ErrorKind::Broken { .. }), "{e}"),
        }
    }
}

/// Tables and histories that cannot be read: what needs none of them is committed.
#[test]
fn a_damaged_table_keeps_no_batch_from_being_committed() {
    for o in ways() {
        let inner = common::store();
        let first = filled(&inner);
        let mut gone = false;
        for page in listing(&inner, "/page/") {
            let key = Key::new(&page).unwrap();
            let bytes = inner.get(&key, None).unwrap().bytes;
            inner.delete(&key).unwrap();
            let shown = reader(&inner).scan_prefix(b"", None, usize::MAX);
            if shown.is_ok() {
                gone = true;
                break;
            }
            inner.put(&key, bytes.into(), PutMode::Overwrite).unwrap();
        }
        assert!(gone);
        let l = writer(&inner, &o);
        let mut model = first.clone();
        stage(&l, &mut model, 1);
        assert_eq!(l.commit().unwrap(), 2);
        assert!(content(&l) == model);
    }
}

/// The answer to a checkpoint's head is lost. A vacuum that puts no head, because a batch is spilled, deletes nothing that this one
/// names.
#[test]
fn a_vacuum_while_pages_wait_spares_what_the_head_names() {
    let inner = common::store();
    let first = filled(&inner);
    let (is_lost, is_blind) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (lost, blind) = (is_lost.clone(), is_blind.clone());
    let on_put = move |inner: &dyn ObjectStore, key: &Key, payload: &PutPayload, mode: &PutMode| {
        if key.as_str() != KEY || !lost.swap(false, Ordering::SeqCst) {
            return None;
        }
        inner.put(key, payload.clone(), mode.clone()).unwrap();
        blind.store(true, Ordering::SeqCst);
        Some(Err(timeout(Operation::Put, key)))
    };
    let l = writer(&puts(&inner, &is_blind, Box::new(on_put)), &opts());
    l.vacuum().unwrap();
    stage(&l, &mut first.clone(), 1);
    l.rollback().unwrap();
    is_lost.store(true, Ordering::SeqCst);
    l.vacuum().unwrap_err();
    is_blind.store(false, Ordering::SeqCst);
    stage(&l, &mut first.clone(), 2);
    l.vacuum().unwrap();
    std::mem::forget(l);
    reader(&inner).versions(usize::MAX).unwrap();
    assert_eq!(damage(&inner), 0);
}

/// A store whose puts tell no etag: a head that comes late replaces no later one.
#[test]
fn a_late_head_replaces_nothing_where_puts_tell_no_etag() {
    for o in ways() {
        let inner = common::store();
        let first = filled(&inner);
        let (is_late, stash) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (late, stashed) = (is_late.clone(), stash.clone());
        let on_put = move |inner: &dyn ObjectStore, key: &Key, payload: &PutPayload, mode: &PutMode| {
            if key.as_str() == KEY && late.swap(false, Ordering::SeqCst) {
                stashed.lock().push((key.clone(), payload.clone(), mode.clone()));
                return Some(Err(timeout(Operation::Put, key)));
            }
            Some(inner.put(key, payload.clone(), mode.clone()).map(|_| PutResult { etag: None }))
        };
        let l = writer(&puts(&inner, &Arc::default(), Box::new(on_put)), &o);
        let mut model = first.clone();
        stage(&l, &mut model, 2);
        assert_eq!(l.commit().unwrap(), 2);
        is_late.store(true, Ordering::SeqCst);
        l.vacuum().unwrap_err();
        stage(&l, &mut model, 3);
        assert_eq!(l.commit().unwrap(), 3);
        for (key, payload, mode) in stash.lock().drain(..) {
            let _it_may_be_refused = inner.put(&key, payload, mode);
        }
        let r = reader(&inner);
        assert!(r.version() == 3 && content(&r) == model);
    }
}

/// Each refused head leaves a table and a history. They go with the next one; what a late try may name does not go before.
#[test]
fn what_refused_heads_name_goes_with_the_next_one() {
    let inner = common::store();
    let first = filled(&inner);
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let stash = Arc::new(Mutex::new(Vec::new()));
    let stashed = stash.clone();
    let on_put = move |_: &dyn ObjectStore, key: &Key, payload: &PutPayload, mode: &PutMode| {
        let refuses = key.as_str() == KEY && full.load(Ordering::SeqCst);
        if refuses {
            stashed.lock().push((key.clone(), payload.clone(), mode.clone()));
        }
        refuses.then(|| Err(Error::new(StoreKind::NoSpace, Operation::Put).at(key)))
    };
    let l = writer(&puts(&inner, &Arc::default(), Box::new(on_put)), &opts());
    stage(&l, &mut first.clone(), 2);
    l.commit().unwrap();
    l.vacuum().unwrap();
    let mut model = content(&l);
    stage(&l, &mut model, 3);
    let before = listing(&inner, "/page/").len();
    is_full.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert!(matches!(l.commit().unwrap_err().kind(), ErrorKind::NoSpace { .. }));
    }
    is_full.store(false, Ordering::SeqCst);
    l.commit().unwrap();
    l.vacuum().unwrap();
    let pages = listing(&inner, "/page/").len();
    assert!(pages <= before + 1, "{pages} page objects, and {before} before");
    assert!(content(&reader(&inner)) == model);
    // A try that comes late, behind a rollback.
    stage(&l, &mut model, 4);
    is_full.store(true, Ordering::SeqCst);
    stash.lock().clear();
    l.commit().unwrap_err();
    l.rollback().unwrap();
    l.vacuum().unwrap();
    let late = stash.lock().remove(0);
    inner.put(&late.0, late.1, late.2).unwrap();
    drop(l);
    assert!(content(&reader(&inner)) == model);
}

struct Plain;

impl Content for Plain {
    fn payloads(&self, key: &[u8], value: &bytes::Bytes) -> std::result::Result<Vec<Extent>, String> {
        match key {
            b"kp" | b"kq" if value.len() > 10 => {
                Extent::decode(value).map(|e| vec![e.0]).map_err(|e| e.to_string())
            }
            _ => Ok(Vec::new()),
        }
    }
}

fn damage(store: &Arc<dyn ObjectStore>) -> u64 {
    let mut v = Verifier::open_objects(store, KEY, &opts()).unwrap().unwrap();
    v.check(&Plain, Versions::All, &mut |_| ()).unwrap();
    assert!(v.findings.damaged == 0, "{:#?}", v.findings.list);
    v.findings.damaged
}

/// A rollback while a commit is in doubt that gives a payload back; then that payload is given back anew. It counts once.
#[test]
fn what_is_given_back_twice_around_a_rollback_counts_once() {
    for o in ways() {
        let inner = common::store();
        let (is_armed, is_blind) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (armed, blind, by_head) = (is_armed.clone(), is_blind.clone(), o.spill_bytes == SPILL);
        let seen = AtomicBool::new(false);
        let on_put = move |inner: &dyn ObjectStore, key: &Key, payload: &PutPayload, mode: &PutMode| {
            let is_log = key.as_str().contains("/log/");
            let is_it = if by_head { key.as_str() == KEY && seen.load(Ordering::SeqCst) } else { is_log };
            seen.fetch_or(is_log && armed.load(Ordering::SeqCst), Ordering::SeqCst);
            if !is_it || !armed.swap(false, Ordering::SeqCst) {
                return None;
            }
            inner.put(key, payload.clone(), mode.clone()).unwrap();
            blind.store(true, Ordering::SeqCst);
            Some(Err(timeout(Operation::Put, key)))
        };
        let store = puts(&inner, &is_blind, Box::new(on_put));
        let l = Ledger::create_objects(store, KEY, Replace::Fail, o.clone()).unwrap();
        let e = l.put_payloads(&[vec![1u8; 100_000].into(), vec![2u8; 100_000].into()]).unwrap();
        l.put(b"kp", e[0].to_bytes()).unwrap();
        l.put(b"kq", e[1].to_bytes()).unwrap();
        l.commit().unwrap();
        l.vacuum().unwrap();
        l.put(b"kp", "plain").unwrap();
        l.free_payload(&e[0]).unwrap();
        stage(&l, &mut Map::new(), 1);
        is_armed.store(true, Ordering::SeqCst);
        l.commit().unwrap_err();
        assert!(l.is_in_doubt());
        is_blind.store(false, Ordering::SeqCst);
        l.rollback().unwrap();
        assert_eq!(l.get(b"kp").unwrap().unwrap(), e[0].to_bytes());
        l.put(b"kp", "again").unwrap();
        l.free_payload(&e[0]).unwrap();
        assert_eq!(l.commit().unwrap(), 3);
        l.vacuum().unwrap();
        l.close().unwrap();
        writer(&inner, &o).vacuum().unwrap();
        let mut bytes = vec![0; 100_000];
        reader(&inner).read_payload(&e[1], 0, &mut bytes).unwrap();
        assert!(bytes == vec![2; 100_000] && damage(&inner) == 0);
    }
}

/// One of many writers rolls back while a commit is in doubt that gives a payload back, and that commit is not made: the payload is
/// in use.
#[test]
fn what_a_commit_gave_back_that_was_rolled_back_stays() {
    let inner = common::store();
    let faulty = FaultStore::new(inner.clone());
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let many = Options { writers: Writers::Many, ..opts() };
    let a = Ledger::create_objects(store, KEY, Replace::Fail, many.clone()).unwrap();
    let e = a.put_payloads(&[vec![1u8; 100_000].into()]).unwrap();
    a.put(b"kp", e[0].to_bytes()).unwrap();
    a.commit().unwrap();
    a.put(b"kp", "plain").unwrap();
    a.free_payload(&e[0]).unwrap();
    let fault = Fault::Fail(Timing::Before, StoreKind::Timeout);
    faulty.inject(Rule { select: Select::One(Operation::Put), skip: 0, times: u64::MAX, fault });
    a.commit().unwrap_err();
    faulty.clear();
    assert!(a.is_in_doubt());
    a.rollback().unwrap();
    let b = writer(&inner, &many);
    b.put(b"kb", "b").unwrap();
    b.commit().unwrap();
    a.put(b"ka", "a").unwrap();
    a.commit().unwrap();
    assert_eq!(a.get(b"kp").unwrap().unwrap(), e[0].to_bytes());
    a.close().unwrap();
    b.close().unwrap();
    assert_eq!(damage(&inner), 0);
    let one = writer(&inner, &opts());
    one.vacuum().unwrap();
    one.close().unwrap();
    let mut bytes = vec![0; 100_000];
    reader(&inner).read_payload(&e[0], 0, &mut bytes).unwrap();
    assert!(bytes == vec![1; 100_000]);
}

/// A void intent is not older than the base before it: the close of a writer with an intent makes no checkpoint.
#[test]
fn no_base_is_made_behind_an_intent() {
    let inner = common::store();
    let first = filled(&inner);
    let (is_full, seen) = (Arc::new(AtomicBool::new(true)), AtomicBool::new(false));
    let full = is_full.clone();
    let on_put = move |_: &dyn ObjectStore, key: &Key, _: &PutPayload, _: &PutMode| {
        let is_head = key.as_str() == KEY && seen.load(Ordering::SeqCst) && full.load(Ordering::SeqCst);
        seen.fetch_or(key.as_str().ends_with(&format!("/log/{:016x}", 3)), Ordering::SeqCst);
        is_head.then(|| Err(Error::new(StoreKind::NoSpace, Operation::Put).at(key)))
    };
    let l = writer(&puts(&inner, &Arc::default(), Box::new(on_put)), &Options { retention: None, ..opts() });
    l.put(b"key more", "").unwrap();
    assert_eq!(l.commit().unwrap(), 2);
    stage(&l, &mut first.clone(), 1);
    l.commit().unwrap_err();
    is_full.store(false, Ordering::SeqCst);
    l.rollback().unwrap();
    l.vacuum().unwrap();
    l.close().unwrap();
    let next = writer(&inner, &opts());
    assert_eq!(next.version(), 3);
    let versions = next.versions(usize::MAX).unwrap();
    assert_eq!(versions.iter().map(|v| v.number).collect::<Vec<_>>(), [3, 2, 1][..versions.len()]);
    assert!(versions.windows(2).all(|pair| pair[0].time >= pair[1].time));
}

/// An older base that no version needs any more is not looked for.
#[test]
fn a_base_without_a_whole_version_is_no_damage() {
    let store = common::store();
    let o = Options { retention: Some(Duration::from_millis(20)), ..Options::default() };
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, o).unwrap();
    let e = l.write_payload(&[1; 3000]).unwrap();
    l.put(b"kp", e.to_bytes()).unwrap();
    l.commit().unwrap();
    l.vacuum().unwrap();
    l.put(b"k", "2").unwrap();
    l.commit().unwrap();
    l.delete(b"kp").unwrap();
    l.free_payload(&e).unwrap();
    l.commit().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    l.vacuum().unwrap();
    l.close().unwrap();
    assert_eq!(damage(&store), 0);
}
