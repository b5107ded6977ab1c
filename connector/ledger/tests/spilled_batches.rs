//! Staged changes in a store that take too much memory are spilled into pages before their commit, which one swap of
//! the manifest makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::hooked::{Hooked, When};
use h5lake_ledger::{
    Access, At, ErrorKind, Extent, Ledger, LockPolicy, Options, Replace, TagName, Tagging, Writers,
};
use object_stores::{FaultStore, Key, ObjectStore, ObjectStoreExt, Rule, Select, Timing};

const KEY: &str = "dir/c.h5";
const KEYS: u32 = 3_000;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn opts() -> Options {
    Options { spill_bytes: 20_000, ..Options::default() }
}

fn open(store: &Arc<dyn ObjectStore>, access: Access) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, opts()).unwrap()
}

fn reader_at(store: &Arc<dyn ObjectStore>, version: u64) -> Ledger {
    let at = Options { at: Some(At::Version(version)), ..opts() };
    Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, at).unwrap()
}

/// Puts, overwrites and deletes keys all over the map.
fn stage(l: &Ledger, model: &mut Model, round: u8) {
    for n in 0..KEYS {
        let key = format!("key {:08x}", n.wrapping_mul(2_654_435_761)).into_bytes();
        if n % 7 == u32::from(round) {
            l.delete(&key).unwrap();
            model.remove(&key);
            continue;
        }
        let value = vec![round; 40 + (n % 50) as usize];
        l.put(&key, value.clone()).unwrap();
        model.insert(key, value);
    }
}

fn content(l: &Ledger) -> Model {
    let all = l.scan_prefix(b"", None, usize::MAX).unwrap();
    all.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

/// Returns the names and sizes of the container's objects.
fn objects(store: &Arc<dyn ObjectStore>) -> Vec<(String, u64)> {
    let all = store.list("dir/", None).map(|meta| meta.unwrap());
    let all = all.filter(|meta| Ledger::is_immutable_object(&meta.key));
    all.map(|meta| (meta.key.to_string(), meta.size)).collect()
}

/// Creates a container of one version, which is a record.
fn filled(store: &Arc<dyn ObjectStore>) -> Model {
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    l.put(b"first", "entry").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    content(&open(store, Access::ReadOnly))
}

fn unlocked() -> Options {
    Options { lock: LockPolicy::Off, ..opts() }
}

fn writer(store: Arc<dyn ObjectStore>) -> Ledger {
    Ledger::open_objects(store, KEY, Access::ReadWrite, unlocked()).unwrap()
}

fn payload_of(l: &Ledger, e: &Extent) -> Vec<u8> {
    let mut bytes = vec![0; e.len() as usize];
    l.read_payload(e, 0, &mut bytes).unwrap();
    bytes
}

/// Returns a store that calls a function directly before the first put of the head object after `is_armed` is set.
fn at_the_swap(
    inner: &Arc<dyn ObjectStore>,
    what: impl Fn(&FaultStore) + Send + Sync + 'static,
) -> (Arc<dyn ObjectStore>, FaultStore, Arc<AtomicBool>) {
    let (faults, is_armed) = (FaultStore::new(inner.clone()), Arc::new(AtomicBool::new(false)));
    let (beneath, armed) = (faults.clone(), is_armed.clone());
    let hook = move |when: When, key: &Key| {
        if when == When::BeforePut && key.as_str() == KEY && armed.swap(false, Ordering::SeqCst) {
            what(&beneath);
        }
    };
    let hooked = Hooked { inner: Arc::new(faults.clone()), hook: Box::new(hook) };
    (Arc::new(hooked), faults, is_armed)
}

#[test]
fn a_batch_goes_into_pages_and_a_swap_commits_it() {
    let store = common::store();
    let first = filled(&store);
    let reader = open(&store, Access::ReadOnly);
    let l = open(&store, Access::ReadWrite);
    let before = objects(&store).len();
    let mut model = first.clone();
    stage(&l, &mut model, 1);
    assert!(objects(&store).len() > before, "pages are there before the commit");
    assert!(!reader.refresh().unwrap() && content(&reader) == first);
    assert!(content(&l) == model);
    assert_eq!(l.commit().unwrap(), 2);
    assert!(reader.refresh().unwrap() && content(&reader) == model);
    stage(&l, &mut model, 3);
    assert_eq!(l.commit().unwrap(), 3);
    l.close().unwrap();
    assert!(reader.refresh().unwrap() && content(&reader) == model);
    assert!(content(&reader_at(&store, 1)) == first);
}

/// The answer to the swap is lost, and so is the answer to the following read. The next commit determines the outcome,
/// and makes the version with the changes staged by then.
#[test]
fn a_swap_of_unknown_outcome_is_settled_by_the_next_commit() {
    for timing in [Timing::Before, Timing::After] {
        for gives_up in [false, true] {
            let inner = common::store();
            let first = filled(&inner);
            let timeout = object_stores::ErrorKind::Timeout;
            let (store, faults, is_armed) = at_the_swap(&inner, move |faults| {
                faults.inject(Rule::fail_nth(Select::Mutating, 0, timing, timeout));
                faults
                    .inject(Rule { times: 9, ..Rule::fail_nth(Select::Reading, 0, Timing::Before, timeout) });
            });
            let l = writer(store);
            let mut model = first.clone();
            stage(&l, &mut model, 1);
            is_armed.store(true, Ordering::SeqCst);
            l.commit().unwrap_err();
            assert!(l.is_outcome_unknown());
            faults.clear();
            let second = model.clone();
            l.put(b"since", "the doubt").unwrap();
            model.insert(b"since".to_vec(), b"the doubt".to_vec());
            assert!(content(&l) == model);
            if gives_up {
                l.rollback().unwrap();
                l.put(b"first", "after all").unwrap();
            }
            let is_there = timing == Timing::After;
            let made = l.commit().unwrap();
            let shown = content(&l);
            match (gives_up, is_there) {
                (false, _) => assert!(shown == model),
                (true, true) => {
                    let mut expected = second.clone();
                    expected.insert(b"first".to_vec(), b"after all".to_vec());
                    assert!(shown == expected);
                }
                (true, false) => assert!(shown.len() == first.len() || shown.len() == second.len()),
            }
            assert!(content(&open(&inner, Access::ReadOnly)) == shown);
            if is_there {
                assert_eq!(made, 3);
                assert!(content(&reader_at(&inner, 2)) == second);
            }
            l.vacuum().unwrap();
            l.close().unwrap();
            assert!(content(&open(&inner, Access::ReadOnly)) == shown);
        }
    }
}

/// The answer to the swap is lost, and reads succeed, so the outcome is known at once.
#[test]
fn a_swap_with_a_lost_answer_is_found() {
    let inner = common::store();
    let mut model = filled(&inner);
    let timeout = object_stores::ErrorKind::Timeout;
    let (store, _, is_armed) = at_the_swap(&inner, move |faults| {
        faults.inject(Rule::fail_nth(Select::Mutating, 0, Timing::After, timeout));
    });
    let l = writer(store);
    stage(&l, &mut model, 1);
    is_armed.store(true, Ordering::SeqCst);
    assert_eq!(l.commit().unwrap(), 2);
    assert!(content(&open(&inner, Access::ReadOnly)) == model);
}

/// Another writer commits before the swap. Its commit stands, and the first writer gets an error.
#[test]
fn one_of_two_writers_gets_a_conflict() {
    for commits in [false, true] {
        let inner = common::store();
        let first = filled(&inner);
        let other: Arc<OnceLock<Ledger>> = Arc::default();
        let (other_writer, shared) = (other.clone(), inner.clone());
        let (store, _, is_armed) = at_the_swap(&inner, move |_| {
            let l = other_writer.get_or_init(|| writer(shared.clone()));
            l.put(b"other", "of another").unwrap();
            if commits {
                l.commit().unwrap();
            }
        });
        let l = writer(store);
        stage(&l, &mut first.clone(), 1);
        is_armed.store(true, Ordering::SeqCst);
        let done = l.commit();
        if !commits {
            assert_eq!(done.unwrap(), 2);
            let e = other.get().unwrap().commit().unwrap_err();
            assert_eq!(*e.kind(), ErrorKind::Conflict, "{e}");
            continue;
        }
        assert_eq!(*done.unwrap_err().kind(), ErrorKind::Conflict);
        drop(l);
        let mut expected = first.clone();
        expected.insert(b"other".to_vec(), b"of another".to_vec());
        assert!(content(&open(&inner, Access::ReadOnly)) == expected);
    }
}

/// A vacuum by another writer expels the writer and deletes its pages, because no manifest names them.
#[test]
fn pages_that_were_swept_are_not_committed() {
    for lock in [LockPolicy::Off, LockPolicy::default()] {
        let inner = common::store();
        let first = filled(&inner);
        let shared = inner.clone();
        let (store, _, is_armed) = at_the_swap(&inner, move |_| {
            if let Some(found) = Ledger::lock_holder(shared.as_ref(), KEY).unwrap() {
                Ledger::break_lock(shared.as_ref(), KEY, &found).unwrap();
            }
            let b = Ledger::open_objects(shared.clone(), KEY, Access::ReadWrite, opts()).unwrap();
            b.vacuum().unwrap();
            b.close().unwrap();
        });
        let a = Ledger::open_objects(store, KEY, Access::ReadWrite, Options { lock, ..opts() }).unwrap();
        let mut model = first.clone();
        stage(&a, &mut model, 1);
        is_armed.store(true, Ordering::SeqCst);
        let error = a.commit().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Broken { .. } | ErrorKind::Conflict), "{error}");
        drop(a);
        assert!(content(&open(&inner, Access::ReadOnly)) == first);
    }
}

/// The store refuses the swap, so its outcome is known.
#[test]
fn changes_after_a_refused_swap_are_committed() {
    for gives_up in [false, true] {
        let inner = common::store();
        let first = filled(&inner);
        let full = object_stores::ErrorKind::NoSpace;
        let (store, faults, is_armed) = at_the_swap(&inner, move |faults| {
            let refused = Rule::fail_nth(Select::Mutating, 0, Timing::Before, full);
            faults.inject(Rule { times: 9, ..refused });
        });
        let l = writer(store);
        let mut model = first.clone();
        let payload = l.write_payload(&[5; 3_000]).unwrap();
        l.put(b"payload", [&[1], &payload.to_bytes()[..]].concat()).unwrap();
        stage(&l, &mut model, 1);
        is_armed.store(true, Ordering::SeqCst);
        let e = l.commit().unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NoSpace { .. }) && !l.is_outcome_unknown(), "{e}");
        faults.clear();
        if gives_up {
            l.rollback().unwrap();
            model = first.clone();
        } else {
            assert_eq!(payload_of(&l, &payload), [5; 3_000]);
        }
        let second = l.write_payload(&[6; 3_000]).unwrap();
        l.put(b"second", [&[1], &second.to_bytes()[..]].concat()).unwrap();
        assert_eq!(l.commit().unwrap(), 2);
        assert_eq!(payload_of(&l, &second), [6; 3_000]);
        l.put(b"more", "behind it").unwrap();
        assert_eq!(l.commit().unwrap(), 3);
        l.vacuum().unwrap();
        l.close().unwrap();
        let r = open(&inner, Access::ReadOnly);
        let mut shown = content(&r);
        assert_eq!(shown.remove(&b"payload"[..]).is_some(), !gives_up);
        assert_eq!(payload_of(&r, &second), [6; 3_000]);
        if !gives_up {
            assert_eq!(payload_of(&r, &payload), [5; 3_000]);
        }
        assert!(shown.remove(&b"second"[..]).is_some() && shown.remove(&b"more"[..]).is_some());
        assert!(shown == model);
        assert!(content(&reader_at(&inner, 1)) == first);
    }
}

/// A tag retains its version when a later root does not use the objects that the version needs.
#[test]
fn tags_hold_objects_that_a_new_root_omits() {
    let store = common::store();
    let mut model = filled(&store);
    let o = Options { retention: Some(Duration::ZERO), ..opts() };
    let l = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, o.clone()).unwrap();
    stage(&l, &mut model, 1);
    l.commit().unwrap();
    let tagged = model.clone();
    l.tag(TagName::new("kept").unwrap(), None, Tagging::default()).unwrap();
    l.close().unwrap();
    for round in 2..5 {
        let l = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, o.clone()).unwrap();
        stage(&l, &mut model, round);
        l.commit().unwrap();
        l.close().unwrap();
    }
    let at = Options { at: Some(At::Tag(TagName::new("kept").unwrap())), ..o };
    let r = Ledger::open_objects(store, KEY, Access::ReadOnly, at).unwrap();
    assert!(content(&r) == tagged);
}

#[test]
fn a_rollback_deletes_spilled_objects() {
    let store = common::store();
    let first = filled(&store);
    let l = open(&store, Access::ReadWrite);
    let before = objects(&store);
    stage(&l, &mut first.clone(), 1);
    assert!(objects(&store).len() > before.len());
    l.rollback().unwrap();
    assert_eq!(objects(&store), before);
    assert!(content(&l) == first);
    assert_eq!(l.commit().unwrap(), 1);
}

/// Pages that later pages replace before the commit are freed.
#[test]
fn a_long_batch_keeps_the_space_of_one() {
    let store = common::store();
    let mut model = filled(&store);
    let l = Ledger::open_objects(
        store.clone(),
        KEY,
        Access::ReadWrite,
        Options { retention: Some(Duration::ZERO), ..opts() },
    )
    .unwrap();
    let bytes = || objects(&store).iter().map(|(_, size)| size).sum::<u64>();
    stage(&l, &mut model, 1);
    let once = bytes();
    (2..6).for_each(|round| stage(&l, &mut model, round));
    assert!(bytes() <= 3 * once, "{} bytes, and {once} after the first round", bytes());
    l.commit().unwrap();
    l.put(b"again", "").unwrap();
    l.commit().unwrap();
    l.vacuum().unwrap();
    let live = bytes();
    assert!(live <= 2 * once, "{live} bytes stay, and {once} after the first round");
}

/// Concurrent writers observe each other's changes in records.
#[test]
fn batches_of_shared_writers_are_records() {
    let store = common::store();
    let mut model = filled(&store);
    let many = Options { writers: Writers::Many, ..opts() };
    let one_of_many = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, many).unwrap();
    stage(&one_of_many, &mut model, 1);
    assert!(objects(&store).is_empty());
    one_of_many.commit().unwrap();
    one_of_many.close().unwrap();
    assert!(content(&open(&store, Access::ReadOnly)) == model);
}

/// An exclusive writer without a lock does not know of concurrent writers beside it. A commit in pages does not list the changed keys, so
/// the concurrent writers get an error that they cannot continue.
#[test]
fn shared_writers_during_a_spilled_batch_get_an_error() {
    let store = common::store();
    let mut model = filled(&store);
    let alone = writer(store.clone());
    let many = Options { writers: Writers::Many, ..unlocked() };
    let one_of_many = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, many).unwrap();
    one_of_many.put(b"first", "of many").unwrap();
    stage(&alone, &mut model, 1);
    assert_eq!(alone.commit().unwrap(), 2);
    assert_eq!(*one_of_many.advance(&|_| false).unwrap_err().kind(), ErrorKind::Gone);
    assert!(content(&open(&store, Access::ReadOnly)) == model);
}
