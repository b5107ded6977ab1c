//! What is staged in a store and takes too much memory goes into pages before its commit, which a head makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::hooked::{Hooked, When};
use h5lake_ledger::{
    Access, At, ErrorKind, Extent, Ledger, LockPolicy, Options, Replace, TagName, Tagging, Writers,
};
use object_stores::{Fault, FaultStore, Key, ObjectStore, ObjectStoreExt, Operation, Rule, Select, Timing};

const KEY: &str = "dir/c.h5";
const KEYS: u32 = 3_000;
const HEAD_FEATURES_AT: usize = 20;
const INTENTS: u8 = 8;

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

/// Puts, overwrites and deletes all over the map.
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

/// The objects of a kind: names and sizes.
fn objects(store: &Arc<dyn ObjectStore>, kind: &str) -> Vec<(String, u64)> {
    let all = store.list("dir/", None).map(|meta| meta.unwrap());
    all.filter(|meta| meta.key.as_str().contains(kind))
        .map(|meta| (meta.key.to_string(), meta.size))
        .collect()
}

fn head_features(store: &Arc<dyn ObjectStore>) -> u8 {
    store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes[HEAD_FEATURES_AT]
}

/// A container of one version, which is a record.
fn filled(store: &Arc<dyn ObjectStore>) -> Model {
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    l.put(b"first", "entry").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    content(&open(store, Access::ReadOnly))
}

#[test]
fn a_batch_goes_into_pages_and_a_head_commits_it() {
    let store = common::store();
    let first = filled(&store);
    assert_eq!(head_features(&store) & INTENTS, 0);
    let mut model = first.clone();
    let l = open(&store, Access::ReadWrite);
    let reader = open(&store, Access::ReadOnly);
    stage(&l, &mut model, 1);
    assert!(!objects(&store, "/page/").is_empty(), "nothing was put before the commit");
    assert!(content(&l) == model && content(&reader) == first);
    assert!(content(&open(&store, Access::ReadOnly)) == first, "somebody sees what is not committed");
    assert_eq!(l.commit().unwrap(), 2);
    let log = objects(&store, "/log/");
    assert!(log.iter().all(|(_, size)| *size < 10_000), "the batch is in a record: {log:?}");
    assert_eq!(head_features(&store) & INTENTS, INTENTS);
    assert!(reader.refresh().unwrap() && content(&reader) == model);
    let second = model.clone();
    stage(&l, &mut model, 2);
    l.commit().unwrap();
    l.close().unwrap();
    for (version, expected) in [(1, &first), (2, &second), (3, &model)] {
        assert!(content(&reader_at(&store, version)) == *expected, "version {version}");
    }
}

/// A store, and the same for a writer at whose put of the intent of version 2 something happens.
fn at_the_intent(
    inner: &Arc<dyn ObjectStore>,
    at: When,
    then: impl Fn(&FaultStore) + Send + Sync + 'static,
) -> FaultStore {
    let behind: Arc<OnceLock<FaultStore>> = Arc::default();
    let (faults, intent) = (behind.clone(), format!("/log/{:016x}", 2));
    let hook = move |when: When, key: &Key| {
        if when == at && key.as_str().ends_with(&intent) {
            then(faults.get().unwrap());
        }
    };
    let hooked = Arc::new(Hooked { inner: inner.clone(), hook: Box::new(hook) });
    behind.get_or_init(|| FaultStore::new(hooked)).clone()
}

fn fails(faults: &FaultStore, select: Select, timing: Timing, kind: object_stores::ErrorKind) {
    faults.inject(Rule { select, skip: 0, times: u64::MAX, fault: Fault::Fail(timing, kind) });
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

fn numbers(store: &Arc<dyn ObjectStore>) -> Vec<u64> {
    open(store, Access::ReadOnly).versions(usize::MAX).unwrap().iter().map(|v| v.number).collect()
}

/// Until a head makes the commit, nobody sees more than before. Who writes next keeps it from being made.
#[test]
fn an_intent_alone_commits_nothing() {
    for (lock, closes) in [(LockPolicy::Off, false), (LockPolicy::Off, true), (LockPolicy::default(), true)] {
        let inner = common::store();
        let first = filled(&inner);
        let io = object_stores::ErrorKind::Io;
        let faulty = at_the_intent(&inner, When::BehindPut, move |faults| {
            fails(faults, Select::Mutating, Timing::Before, io)
        });
        let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
        let alone = Options { lock, ..opts() };
        let l = Ledger::open_objects(store, KEY, Access::ReadWrite, alone.clone()).unwrap();
        let reader = open(&inner, Access::ReadOnly);
        stage(&l, &mut first.clone(), 1);
        l.commit().unwrap_err();
        assert_eq!(objects(&inner, "/log/").len(), 2);
        assert!(!reader.refresh().unwrap() && content(&reader) == first);
        assert!(content(&open(&inner, Access::ReadOnly)) == first);
        assert_eq!(numbers(&inner), [1]);
        if closes {
            faulty.clear();
            drop(l);
        } else {
            std::mem::forget(l);
        }
        assert!(content(&open(&inner, Access::ReadOnly)) == first);
        let next = Ledger::open_objects(inner.clone(), KEY, Access::ReadWrite, alone).unwrap();
        assert!(content(&next) == first);
        // The intent is an empty version now.
        assert_eq!((next.version(), numbers(&inner)), (2, vec![2, 1]));
        assert!(reader.refresh().unwrap() && content(&reader) == first);
        let mut model = first.clone();
        next.put(b"more", "behind it").unwrap();
        model.insert(b"more".to_vec(), b"behind it".to_vec());
        assert_eq!(next.commit().unwrap(), 3);
        assert!(reader.refresh().unwrap() && content(&reader) == model);
        next.vacuum().unwrap();
        stage(&next, &mut model, 3);
        assert_eq!(next.commit().unwrap(), 4);
        next.close().unwrap();
        assert!(reader.refresh().unwrap() && content(&reader) == model);
        assert!(content(&reader_at(&inner, 1)) == first && content(&reader_at(&inner, 2)) == first);
        assert_eq!(numbers(&inner), [4, 3, 2, 1]);
    }
}

/// The answer to the head is lost: the next try finds out, and makes the version with what was staged by then.
#[test]
fn a_head_in_doubt_is_put_again_and_no_other() {
    for timing in Timing::ALL {
        for gives_up in [false, true] {
            let inner = common::store();
            let first = filled(&inner);
            let timeout = object_stores::ErrorKind::Timeout;
            let faulty = at_the_intent(&inner, When::BehindPut, move |faults| {
                fails(faults, Select::One(Operation::Put), timing, timeout);
                fails(faults, Select::Reading, Timing::Before, timeout);
            });
            let l = writer(Arc::new(faulty.clone()));
            let mut model = first.clone();
            stage(&l, &mut model, 1);
            // Its head cannot be made ready without a read: that is behind the first failure.
            l.commit().unwrap_err();
            let is_in_doubt = l.is_in_doubt();
            faulty.clear();
            let second = model.clone();
            l.put(b"since", "the doubt").unwrap();
            model.insert(b"since".to_vec(), b"the doubt".to_vec());
            assert!(content(&l) == model);
            if gives_up {
                l.rollback().unwrap();
                l.put(b"first", "after all").unwrap();
            }
            let made = l.commit().unwrap();
            let shown = content(&l);
            if gives_up && is_in_doubt {
                let mut expected = second.clone();
                expected.insert(b"first".to_vec(), b"after all".to_vec());
                assert!(made == 3 && shown == expected);
            } else if gives_up {
                assert_eq!((made, shown.len()), (2, first.len()));
            } else {
                assert_eq!(made, if is_in_doubt { 3 } else { 2 });
                assert!(shown == model);
            }
            assert!(content(&open(&inner, Access::ReadOnly)) == shown);
            if is_in_doubt {
                assert!(content(&reader_at(&inner, 2)) == second);
            }
            l.vacuum().unwrap();
            l.close().unwrap();
            assert!(content(&open(&inner, Access::ReadOnly)) == shown);
        }
    }
}

/// The head of a commit is put, and its answer is lost; reads go on. So it is found at once.
#[test]
fn a_head_whose_answer_is_lost_is_found() {
    let inner = common::store();
    let mut model = filled(&inner);
    let timeout = object_stores::ErrorKind::Timeout;
    let faulty = at_the_intent(&inner, When::BehindPut, move |faults| {
        // Behind the history and the room table.
        faults.inject(Rule::fail_nth(Select::One(Operation::Put), 1, Timing::After, timeout));
    });
    let l = writer(Arc::new(faulty));
    stage(&l, &mut model, 1);
    assert_eq!(l.commit().unwrap(), 2);
    assert!(content(&open(&inner, Access::ReadOnly)) == model);
}

/// While the head of a commit is in doubt, its writer closes: no other head of its may replace one that arrives.
#[test]
fn a_close_in_doubt_puts_no_head() {
    for timing in Timing::ALL {
        let inner = common::store();
        let first = filled(&inner);
        let timeout = object_stores::ErrorKind::Timeout;
        let faulty = at_the_intent(&inner, When::BehindPut, move |faults| {
            faults.inject(Rule {
                select: Select::One(Operation::Put),
                skip: 1,
                times: u64::MAX,
                fault: Fault::Fail(timing, timeout),
            });
            faults.inject(Rule {
                select: Select::Reading,
                skip: 1,
                times: u64::MAX,
                fault: Fault::Fail(Timing::Before, timeout),
            });
        });
        let l = writer(Arc::new(faulty.clone()));
        let mut model = first.clone();
        stage(&l, &mut model, 1);
        l.commit().unwrap_err();
        faulty.clear();
        assert!(l.is_in_doubt(), "{timing:?}");
        l.put(b"more", "").unwrap();
        l.close().unwrap();
        let (expected, version) = match timing {
            Timing::Before | Timing::During => (&first, 1),
            Timing::After => (&model, 2),
        };
        let r = open(&inner, Access::ReadOnly);
        assert!(r.version() == version && content(&r) == *expected, "{timing:?}");
        let next = writer(inner.clone());
        assert!(next.version() == 2 && content(&next) == *expected, "{timing:?}");
    }
}

/// Another writer comes between the intent and the head, or before the intent: what it committed stands, and the first one is told.
#[test]
fn of_two_writers_one_is_told_of_a_conflict() {
    for at in [When::BeforePut, When::BehindPut] {
        for commits in [false, true] {
            let inner = common::store();
            let first = filled(&inner);
            let other: Arc<OnceLock<Ledger>> = Arc::default();
            let (others, shared) = (other.clone(), inner.clone());
            let faulty = at_the_intent(&inner, at, move |_| {
                let l = others.get_or_init(|| writer(shared.clone()));
                l.put(b"other", "of another").unwrap();
                if commits {
                    l.commit().unwrap();
                }
            });
            let l = writer(Arc::new(faulty));
            stage(&l, &mut first.clone(), 1);
            let done = l.commit();
            if at == When::BeforePut && !commits {
                assert_eq!(done.unwrap(), 2);
                let e = other.get().unwrap().commit().unwrap_err();
                assert_eq!(*e.kind(), ErrorKind::Conflict, "{e}");
                continue;
            }
            assert_eq!(*done.unwrap_err().kind(), ErrorKind::Conflict);
            other.get().unwrap().commit().unwrap();
            drop(l);
            let mut expected = first.clone();
            expected.insert(b"other".to_vec(), b"of another".to_vec());
            assert!(content(&open(&inner, Access::ReadOnly)) == expected, "{at:?}, {commits}");
        }
    }
}

/// A store refuses the head. Nothing is in doubt then; the number stays kept for what is committed next, be that little.
#[test]
fn what_follows_a_refused_head_is_committed() {
    for gives_up in [false, true] {
        let inner = common::store();
        let first = filled(&inner);
        let full = object_stores::ErrorKind::NoSpace;
        let faulty = at_the_intent(&inner, When::BehindPut, move |faults| {
            fails(faults, Select::One(Operation::Put), Timing::Before, full);
        });
        let l = writer(Arc::new(faulty.clone()));
        let mut model = first.clone();
        let payload = l.write_payload(&[5; 3_000]).unwrap();
        l.put(b"payload", [&[1], &payload.to_bytes()[..]].concat()).unwrap();
        stage(&l, &mut model, 1);
        let e = l.commit().unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NoSpace { .. }) && !l.is_in_doubt(), "{e}");
        faulty.clear();
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

/// A tag keeps its version when a commit by a head is the one that would delete what it needs.
#[test]
fn tags_keep_what_a_head_would_delete() {
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
fn a_rollback_deletes_what_was_put() {
    let store = common::store();
    let first = filled(&store);
    let l = open(&store, Access::ReadWrite);
    let before = objects(&store, "");
    stage(&l, &mut first.clone(), 1);
    assert!(!objects(&store, "/page/").is_empty());
    l.rollback().unwrap();
    assert_eq!(objects(&store, ""), before);
    assert!(content(&l) == first);
    assert_eq!(l.commit().unwrap(), 1);
}

/// Pages that later ones replace before the commit do not stay.
#[test]
fn a_long_batch_keeps_the_room_of_one() {
    let store = common::store();
    let mut model = filled(&store);
    let l = Ledger::open_objects(
        store.clone(),
        KEY,
        Access::ReadWrite,
        Options { retention: Some(Duration::ZERO), ..opts() },
    )
    .unwrap();
    let bytes = || objects(&store, "/page/").iter().map(|(_, size)| size).sum::<u64>();
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

/// Many writers tell one another by records what they changed.
#[test]
fn where_many_write_or_wrote_batches_are_records() {
    let store = common::store();
    let mut model = filled(&store);
    let many = Options { writers: Writers::Many, ..opts() };
    let one_of_many = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, many).unwrap();
    stage(&one_of_many, &mut model, 1);
    assert!(objects(&store, "/page/").is_empty());
    one_of_many.commit().unwrap();
    one_of_many.close().unwrap();
    let l = open(&store, Access::ReadWrite);
    let pages = objects(&store, "/page/").len();
    stage(&l, &mut model, 2);
    assert_eq!(objects(&store, "/page/").len(), pages);
    l.commit().unwrap();
    assert!(content(&l) == model);
}

/// Many come beside a single writer before its batch is large: it sees them by the head, and its batch is a record.
#[test]
fn a_batch_beside_many_writers_is_a_record() {
    let store = common::store();
    let mut model = filled(&store);
    let alone = writer(store.clone());
    alone.put(b"fence", "").unwrap();
    alone.commit().unwrap();
    let many = Options { writers: Writers::Many, ..unlocked() };
    let one_of_many = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, many).unwrap();
    one_of_many.put(b"first", "of many").unwrap();
    stage(&alone, &mut model, 1);
    assert_eq!(alone.commit().unwrap(), 3);
    one_of_many.advance(&|_| false).unwrap();
    assert_eq!(one_of_many.commit().unwrap(), 4);
    model.extend([(b"first".to_vec(), b"of many".to_vec()), (b"fence".to_vec(), Vec::new())]);
    assert!(content(&open(&store, Access::ReadOnly)) == model);
}

/// Many come between a single writer's look at the head and its intent, or between that and its head.
#[test]
fn many_writers_void_an_intent() {
    for at in [When::BeforePut, When::BehindPut] {
        for queues in [false, true] {
            let inner = common::store();
            let first = filled(&inner);
            let many = Options { writers: Writers::Many, ..unlocked() };
            let other: Arc<OnceLock<Ledger>> = Arc::default();
            let (others, shared) = (other.clone(), inner.clone());
            let open_many =
                move || Ledger::open_objects(shared.clone(), KEY, Access::ReadWrite, many.clone()).unwrap();
            let faulty = at_the_intent(&inner, at, move |_| {
                others.get_or_init(&open_many).put(b"other", "of many").unwrap();
            });
            let l = writer(Arc::new(faulty));
            stage(&l, &mut first.clone(), 1);
            assert_eq!(*l.commit().unwrap_err().kind(), ErrorKind::Conflict);
            drop(l);
            let other = other.get().unwrap();
            let mut expected = first.clone();
            if queues {
                // It finds the intent when it looks for news.
                other.advance(&|_| false).unwrap();
            }
            assert_eq!(other.commit().unwrap(), 3, "{at:?}");
            expected.insert(b"other".to_vec(), b"of many".to_vec());
            let r = open(&inner, Access::ReadOnly);
            assert!(r.version() == 3 && content(&r) == expected && content(other) == expected, "{at:?}");
        }
    }
}
