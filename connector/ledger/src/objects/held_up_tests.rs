//! Writers that are held up, asleep or idle while others commit, checkpoint and reclaim the records that they would have to follow:
//! what is reported as committed is there, and no number is given twice.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_stores::{
    Capabilities, Condition, GetResult, Key, ListPage, MemoryStore, ObjectMeta, ObjectStore, PutMode,
    PutPayload, PutResult, PutStream,
};

use crate::clock::wrong;
use crate::error::{ErrorKind, Result};
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::locks::Mutex;
use crate::options::{Access, Options, Replace, Writers};

const KEY: &str = "c.h5";
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

type Hook = Box<dyn FnOnce() + Send>;

/// A store that does something before the next record is put.
struct Hooked {
    inner: Arc<dyn ObjectStore>,
    before_record: Mutex<Option<Hook>>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl ObjectStore for Hooked {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
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
        if key.as_str().contains("/log/") {
            let hook = self.before_record.lock().take();
            hook.into_iter().for_each(|hook| hook());
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
}

struct World {
    store: Arc<MemoryStore>,
    hooked: Arc<Hooked>,
}

impl World {
    /// A container that many writers have written.
    fn new() -> Self {
        wrong::BY.set(0);
        let store = Arc::new(MemoryStore::new());
        let hooked = Arc::new(Hooked { inner: store.clone(), before_record: Mutex::default() });
        let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, options(0)).unwrap();
        l.put(b"begin", "it").unwrap();
        l.commit().unwrap();
        Self { store, hooked }
    }

    /// A writer that asked for a retention time of so many seconds.
    fn writer(&self, retention: u64) -> Ledger {
        Ledger::open_objects(self.hooked.clone(), KEY, Access::ReadWrite, options(retention)).unwrap()
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let l = Ledger::open_objects(self.store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
        l.get(key).unwrap().map(|v| v.to_vec())
    }
}

/// A checkpoint at each eighth commit.
fn options(retention: u64) -> Options {
    let retention = Some(Duration::from_secs(retention));
    Options { writers: Writers::Many, checkpoint_bytes: 0, retention, ..Options::default() }
}

fn commits(l: &Ledger, times: u64) {
    for n in 0..times {
        if l.is_one_of_many() {
            l.advance(&|_| false).unwrap();
        }
        l.put(b"other", format!("{n}")).unwrap();
        l.commit().unwrap();
    }
}

/// Commits, and reclaims the records of that as soon as any clock allows it.
fn commit_and_reclaim(l: &Ledger) {
    commits(l, 20);
    wrong::BY.set(wrong::BY.get() + HOUR);
    commits(l, 20);
}

/// What was reported is there; what is not there was not reported.
fn is_told(w: &World, key: &[u8], done: Result<u64>) -> bool {
    let is_there = w.value(key).is_some();
    if done.is_ok() {
        assert!(is_there, "a commit was reported and is not there");
    }
    done.is_ok()
}

#[test]
fn a_commit_over_records_that_another_writer_keeps_for_no_time_is_there() {
    let w = World::new();
    let (slow, fast) = (w.writer(3600), w.writer(0));
    commits(&fast, 30);
    slow.put(b"slow", "x").unwrap();
    let done = slow.commit();
    assert!(is_told(&w, b"slow", done), "records stay for the usual time");
    commits(&slow, 1);
}

#[test]
fn what_a_writer_asked_for_outlasts_the_heads_of_others() {
    let w = World::new();
    let (asked, other) = (w.writer(3600), w.writer(0));
    commits(&other, 20);
    commits(&asked, 100);
    let head = w.store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes;
    assert_eq!(super::manifest::Head::decode(&head, KEY).unwrap().retention, 3_600_000);
}

#[test]
fn a_commit_of_who_was_idle_for_long_is_there_or_told() {
    let w = World::new();
    let (idle, busy) = (w.writer(0), w.writer(0));
    idle.put(b"idle", "x").unwrap();
    commit_and_reclaim(&busy);
    let done = idle.try_commit().map(|done| done.unwrap_or(0));
    match done {
        Ok(0) => assert!(idle.commit().is_err() || w.value(b"idle").is_some()),
        done => assert!(!is_told(&w, b"idle", done)),
    }
}

#[test]
fn numbers_are_given_once_to_who_was_idle_for_long() {
    for looks_first in [false, true] {
        let w = World::new();
        let (idle, busy) = (w.writer(0), w.writer(0));
        assert_eq!(idle.take_numbers(b"n", 10, 1).unwrap(), 1);
        if looks_first {
            commits(&busy, 1);
            assert!(idle.has_unseen_commits().unwrap());
        }
        assert_eq!(busy.take_numbers(b"n", 10, 1).unwrap(), 11);
        commit_and_reclaim(&busy);
        match idle.take_numbers(b"n", 10, 1) {
            Ok(first) => assert_eq!(first, 21),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Gone), "{e}"),
        }
    }
}

/// It looks from time to time, while others commit and reclaim all the time.
#[test]
fn numbers_are_given_once_to_a_long_batch() {
    let w = World::new();
    let (batch, busy) = (w.writer(600), w.writer(600));
    batch.put(b"staged", "x").unwrap();
    let mut next = 1;
    for _ in 0..30 {
        wrong::BY.set(wrong::BY.get() + 4 * SECOND);
        assert_eq!(batch.take_numbers(b"n", 10, 1).unwrap(), next);
        commits(&busy, 9);
        assert_eq!(busy.take_numbers(b"n", 10, 1).unwrap(), next + 10);
        next += 20;
    }
    assert!(is_told(&w, b"staged", batch.commit()));
    assert_eq!(batch.get(b"n").unwrap().unwrap()[..], next.to_be_bytes());
}

#[test]
fn a_commit_that_is_held_up_between_look_and_record_is_there_or_told() {
    for numbers in [false, true] {
        let w = World::new();
        let (slow, other) = (w.writer(0), w.writer(0));
        slow.put(b"slow", "x").unwrap();
        *w.hooked.before_record.lock() = Some(Box::new(move || commit_and_reclaim(&other)));
        match numbers {
            true => assert!(slow.take_numbers(b"n", 1, 1).is_err()),
            false => assert!(!is_told(&w, b"slow", slow.commit()), "its record was reclaimed"),
        }
        let e = slow.put(b"slow", "y").unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("held up")), "{e}");
    }
}

#[test]
fn a_single_writer_keeps_the_records_of_many() {
    let w = World::new();
    let slow = w.writer(3600);
    for _ in 0..2 {
        let alone = Options { writers: Writers::One, ..options(0) };
        let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone).unwrap();
        commits(&l, 9);
        l.vacuum().unwrap();
        l.close().unwrap();
    }
    slow.put(b"slow", "x").unwrap();
    assert!(is_told(&w, b"slow", slow.commit()), "records stay for the usual time");
}

#[test]
fn a_vacuum_leaves_what_one_of_many_has_put_and_not_committed() {
    let w = World::new();
    let slow = w.writer(3600);
    let payload = vec![7; 300_000];
    let mut value = Vec::new();
    slow.write_payload(&payload).unwrap().encode(&mut value);
    slow.send_payloads().unwrap();
    for _ in 0..2 {
        let alone = Options { writers: Writers::One, ..options(0) };
        let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone).unwrap();
        commits(&l, 1);
        l.vacuum().unwrap();
        l.close().unwrap();
    }
    slow.put(b"slow", value).unwrap();
    slow.commit().unwrap();
    let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
    let stored = l.get(b"slow").unwrap().unwrap();
    let mut read = vec![0; payload.len()];
    l.read_payload(&Extent::decode(&stored).unwrap().0, 0, &mut read).unwrap();
    assert!(read == payload);
}

#[test]
fn who_has_not_flushed_for_days_is_told_that_a_vacuum_took_what_it_put() {
    let w = World::new();
    let slow = w.writer(3600);
    let mut value = Vec::new();
    slow.write_payload(&vec![7; 300_000]).unwrap().encode(&mut value);
    slow.send_payloads().unwrap();
    slow.put(b"slow", value).unwrap();
    let key = |meta: &ObjectMeta| meta.key.as_str().contains("/pack/").then(|| meta.key.clone());
    let packs: Vec<Key> = w.store.list_page("", None, 1000).unwrap().objects.iter().filter_map(key).collect();
    assert!(!packs.is_empty());
    packs.iter().for_each(|key| w.store.delete(key).unwrap());
    wrong::BY.set(30 * HOUR);
    let e = slow.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("vacuum")), "{e}");
    assert_eq!(w.value(b"slow"), None);
}

/// A single writer whose lease ended while its record was on its way.
#[test]
fn a_commit_of_a_single_writer_that_is_held_up_is_there_or_told() {
    let w = World::new();
    let alone = || Options { writers: Writers::One, lock: crate::options::LockPolicy::Off, ..options(0) };
    let key = "alone.h5";
    let l = Ledger::create_objects(w.store.clone(), key, Replace::Fail, alone()).unwrap();
    commits(&l, 1);
    l.close().unwrap();
    let slow = Ledger::open_objects(w.hooked.clone(), key, Access::ReadWrite, alone()).unwrap();
    let other = Ledger::open_objects(w.store.clone(), key, Access::ReadWrite, alone()).unwrap();
    slow.put(b"slow", "x").unwrap();
    *w.hooked.before_record.lock() = Some(Box::new(move || commit_and_reclaim(&other)));
    let done = slow.commit();
    let l = Ledger::open_objects(w.store.clone(), key, Access::ReadOnly, Options::default()).unwrap();
    assert!(done.is_err() || l.get(b"slow").unwrap().is_some());
    assert!(done.is_err());
}
