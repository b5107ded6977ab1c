//! Deletes, sweeps and restores containers of a store while other processes do the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use common::digest_etags::DigestEtags;
use common::hooked::{Hooked, When};
use h5lake_ledger::locks::Mutex;
use h5lake_ledger::{Access, ErrorKind, Ledger, LockPolicy, Options, Replace, Writers};
use object_stores::{FaultStore, Key, ObjectStore, Registry};

const KEY: &str = "c.h5";

fn directory() -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Registry::global().open(&format!("file://{}", dir.path().display())).unwrap();
    (dir, store)
}

fn make(store: &Arc<dyn ObjectStore>, value: &'static str, retention: Duration) -> h5lake_ledger::Result<()> {
    let o = Options { retention: Some(retention), ..Options::default() };
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, o)?;
    let payload = l.write_payload(&[value.as_bytes()[0]; 100_000])?;
    l.put(b"payload", payload.to_bytes())?;
    l.put(b"k", value)?;
    l.commit_to_close()?;
    l.close()
}

fn value(store: &Arc<dyn ObjectStore>) -> Option<String> {
    let l = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, Options::default()).ok()?;
    let payload = h5lake_ledger::Extent::decode(&l.get(b"payload").unwrap().unwrap()).unwrap().0;
    let mut bytes = vec![0; 100_000];
    l.read_payload(&payload, 0, &mut bytes).unwrap();
    let value = String::from_utf8(l.get(b"k").unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(bytes, [value.as_bytes()[0]; 100_000]);
    Some(value)
}

/// Checks a store after a call with this result, and whether another call after it succeeded.
type Check<'a> = &'a dyn Fn(&Arc<dyn ObjectStore>, h5lake_ledger::Result<()>, bool);

/// Runs `call` on a store where `other` interrupts it once, at the nth request, for each n.
fn at_each_request(
    prepare: &dyn Fn(&Arc<dyn ObjectStore>),
    call: &dyn Fn(&Arc<dyn ObjectStore>) -> h5lake_ledger::Result<()>,
    other: fn(&Arc<dyn ObjectStore>) -> bool,
    check: Check<'_>,
) {
    for n in 0.. {
        let (_dir, inner) = directory();
        prepare(&inner);
        let (at, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, flag, beneath) = (at.clone(), done.clone(), inner.clone());
        let hook = Box::new(move |_: When, _: &Key| {
            if count.fetch_add(1, Ordering::SeqCst) == n {
                flag.store(1 + usize::from(other(&beneath)), Ordering::SeqCst);
            }
        });
        let store: Arc<dyn ObjectStore> = Arc::new(Hooked { inner: inner.clone(), hook });
        let result = call(&store);
        check(&inner, result, done.load(Ordering::SeqCst) == 2);
        if at.load(Ordering::SeqCst) <= n {
            assert!(n > 5, "{n} requests");
            return;
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_deletion_affects_no_other_container() {
    at_each_request(
        &|store| make(store, "old", HOUR).unwrap(),
        &|store| Ledger::remove_objects(store, KEY),
        |store| make(store, "new", HOUR).is_ok(),
        &|store, removed, is_replaced| {
            // The container that replaced the deleted one exists, or is retained as the deleted one.
            let kept = || Ledger::replaced_objects(store.as_ref(), KEY).unwrap();
            if is_replaced && value(store).is_none() {
                let newest = kept().into_iter().next().expect("the new one is kept");
                Ledger::restore_objects(store, KEY, &newest.id).unwrap();
                assert_eq!(value(store).as_deref(), Some("new"), "{removed:?}");
            } else {
                assert_eq!(value(store).as_deref(), is_replaced.then_some("new"), "{removed:?}");
            }
        },
    );
}

#[test]
fn a_restored_container_is_not_swept() {
    at_each_request(
        &|store| {
            make(store, "old", Duration::from_millis(200)).unwrap();
            Ledger::remove_objects(store, KEY).unwrap();
            std::thread::sleep(Duration::from_millis(250));
        },
        &|store| Ledger::sweep_replaced_objects(store, KEY),
        |store| Ledger::restore_objects(store, KEY, "").is_ok(),
        &|store, swept, is_restored| {
            swept.unwrap();
            assert_eq!(value(store).as_deref(), is_restored.then_some("old"));
        },
    );
}

/// Returns a store in which a concurrent writer, which has the container open, commits after the first tombstone was put.
fn committed_after_the_tombstone(inner: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    let o = Options { writers: Writers::Many, ..Options::default() };
    let writer = Ledger::open_objects(inner.clone(), KEY, Access::ReadWrite, o).unwrap();
    let is_first = AtomicBool::new(true);
    let hook = move |when: When, key: &Key| {
        let is_tombstone = when == When::BehindPut && key.as_str().contains("/replaced/");
        if is_tombstone && is_first.swap(false, Ordering::SeqCst) {
            writer.put(b"late", "committed").unwrap();
            writer.commit().unwrap();
        }
    };
    Arc::new(Hooked { inner: inner.clone(), hook: Box::new(hook) })
}

fn late(store: &Arc<dyn ObjectStore>) -> Option<Bytes> {
    let l = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
    l.get(b"late").unwrap()
}

/// A commit that succeeds between the tombstone of a deletion and the deletion itself is in the container when it is restored.
#[test]
fn a_restored_container_has_each_commit_before_its_deletion() {
    let (_dir, store) = directory();
    make(&store, "a", Duration::from_secs(60)).unwrap();
    Ledger::remove_objects(&committed_after_the_tombstone(&store), KEY).unwrap();
    assert!(value(&store).is_none());
    Ledger::restore_objects(&store, KEY, "").unwrap();
    assert_eq!(late(&store).unwrap(), "committed");
}

#[test]
fn a_container_that_a_restoration_replaces_retains_each_commit() {
    let (_dir, store) = directory();
    make(&store, "a", Duration::from_secs(60)).unwrap();
    make(&store, "b", Duration::from_secs(60)).unwrap();
    Ledger::restore_objects(&committed_after_the_tombstone(&store), KEY, "").unwrap();
    assert_eq!((value(&store).as_deref(), late(&store)), (Some("a"), None));
    Ledger::restore_objects(&store, KEY, "").unwrap();
    assert_eq!((value(&store).as_deref(), late(&store).unwrap()), (Some("b"), "committed".into()));
}

/// A copy does not replace a container that another process created while the copy was made.
#[test]
fn a_copy_never_replaces_a_container_that_appeared_meanwhile() {
    let (_dir, store) = directory();
    let copy = |to: &Ledger| {
        to.put(b"k", "copy")?;
        let o = Options { lock: LockPolicy::Off, ..Options::default() };
        let other = Ledger::create_objects(store.clone(), KEY, Replace::Fail, o)?;
        other.put(b"late", "committed")?;
        other.commit()?;
        other.close()
    };
    let copied = Ledger::create_whole_objects(store.clone(), KEY, Options::default(), copy);
    assert_eq!(*copied.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(late(&store).unwrap(), "committed");
}

/// Makes a container, deletes it, and waits until it may be swept.
fn make_and_expire(store: &Arc<dyn ObjectStore>) {
    make(store, "old", Duration::from_millis(200)).unwrap();
    Ledger::remove_objects(store, KEY).unwrap();
    std::thread::sleep(Duration::from_millis(250));
}

/// Restores a container beside a sweep that has seen that no head object exists, and continues before the head object
/// is put.
fn restored_before_a_sweep_goes_on(store: &Arc<dyn ObjectStore>) -> h5lake_ledger::Result<()> {
    make_and_expire(store);
    let ((looks, looked), (goes, may_go), (ends, ended)) = (channel(), channel(), channel());
    let (is_first, may_go, ended) = (AtomicBool::new(true), Mutex::new(may_go), Mutex::new(ended));
    let sweeps = move |when: When, key: &Key| {
        let is_look = when == When::BehindGet && key.as_str() == KEY;
        if is_look && is_first.swap(false, Ordering::SeqCst) {
            looks.send(()).unwrap();
            // The restoration may end without putting a head object.
            let _ended = may_go.lock().recv();
        }
    };
    let restores = move |when: When, key: &Key| {
        // The head object is put once, or a second time to undo the restoration.
        if when == When::BeforePut && key.as_str() == KEY && goes.send(()).is_ok() {
            ended.lock().recv().unwrap();
        }
    };
    let sweeper: Arc<dyn ObjectStore> = Arc::new(Hooked { inner: store.clone(), hook: Box::new(sweeps) });
    let restorer: Arc<dyn ObjectStore> = Arc::new(Hooked { inner: store.clone(), hook: Box::new(restores) });
    let sweeping = std::thread::spawn(move || {
        let swept = Ledger::sweep_replaced_objects(&sweeper, KEY);
        // No thread listens to the channel from here on.
        drop(sweeper);
        let _nobody_waits = ends.send(());
        swept
    });
    looked.recv().unwrap();
    let restored = Ledger::restore_objects(&restorer, KEY, "").map(drop);
    // If the sweep never read the head object, it would wait for ever without this.
    drop(restorer);
    sweeping.join().unwrap().unwrap();
    restored
}

fn without_conditions(inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(common::without_conditions(FaultStore::new(inner)))
}

/// One of the two succeeds, and both report the outcome correctly.
#[test]
fn a_restoration_during_a_sweep_reports_the_correct_outcome() {
    let digests = |inner| -> Arc<dyn ObjectStore> { Arc::new(DigestEtags::new(inner)) };
    for of in [digests, without_conditions] {
        let (_dir, inner) = directory();
        let store = of(inner);
        let restored = restored_before_a_sweep_goes_on(&store);
        assert_eq!(value(&store).as_deref(), restored.is_ok().then_some("old"), "{restored:?}");
    }
}

#[test]
fn a_sweep_looks_again() {
    let digests = |inner| -> Arc<dyn ObjectStore> { Arc::new(DigestEtags::new(inner)) };
    for of in [digests, without_conditions] {
        for looks in 0..2 {
            let (_dir, inner) = directory();
            let store = of(inner);
            make_and_expire(&store);
            let (seen, beneath) = (AtomicU32::new(0), store.clone());
            let is_restored = Arc::new(AtomicBool::new(false));
            let restored_flag = is_restored.clone();
            let restores = move |when: When, key: &Key| {
                let is_look = when == When::BehindGet && key.as_str() == KEY;
                if is_look && seen.fetch_add(1, Ordering::SeqCst) == looks {
                    let restored = Ledger::restore_objects(&beneath, KEY, "").is_ok();
                    restored_flag.store(restored, Ordering::SeqCst);
                }
            };
            let sweeper: Arc<dyn ObjectStore> =
                Arc::new(Hooked { inner: store.clone(), hook: Box::new(restores) });
            Ledger::sweep_replaced_objects(&sweeper, KEY).unwrap();
            let is_restored = is_restored.load(Ordering::SeqCst);
            assert_eq!(value(&store).as_deref(), is_restored.then_some("old"), "after {looks} looks");
        }
    }
}

#[test]
fn a_lock_that_another_has_by_now_is_not_taken_away() {
    let (_dir, store) = directory();
    make(&store, "old", HOUR).unwrap();
    let open = || Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, Options::default()).unwrap();
    let first = open();
    let shown = Ledger::lock_holder(store.as_ref(), KEY).unwrap().unwrap();
    first.close().unwrap();
    let second = open();
    let refused = Ledger::break_lock(store.as_ref(), KEY, &shown).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
    let shown = Ledger::lock_holder(store.as_ref(), KEY).unwrap().unwrap();
    Ledger::break_lock(store.as_ref(), KEY, &shown).unwrap();
    Ledger::break_lock(store.as_ref(), KEY, &shown).unwrap();
    drop(second);
}
