//! A vacuum in a store beside a concurrent writer: all retained versions stay readable.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::hooked::{Hooked, When};
use h5lake_ledger::{Access, At, Ledger, LockPolicy, Options, Replace, TagName, Tagging, Writers};
use object_stores::{Key, ObjectStore};

const KEY: &str = "c.h5";
/// The number of commits before the vacuum: their records stay in the manifest.
const COMMITS: u64 = 6;

fn options() -> Options {
    Options { writers: Writers::Many, retention: Some(Duration::from_secs(3600)), ..Options::default() }
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, options: Options) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, options).unwrap()
}

fn commit(l: &Ledger, n: u64) {
    l.advance(&|_| false).unwrap();
    l.put(b"step", n.to_be_bytes().to_vec()).unwrap();
    l.put(format!("entry {n}").as_bytes(), vec![n as u8; 900]).unwrap();
    l.commit().unwrap();
}

/// Returns a store in which another writer makes the commits `numbers` before the nth swap, and a cell that is set when it has done so.
fn committed_before_the_swap(
    inner: &Arc<dyn ObjectStore>,
    other: &Arc<Ledger>,
    nth: u64,
    numbers: RangeInclusive<u64>,
) -> (Arc<dyn ObjectStore>, Arc<OnceLock<()>>) {
    let made = Arc::new(OnceLock::new());
    let (swaps, other, is_made) = (AtomicU64::new(0), other.clone(), made.clone());
    let hook = move |when: When, key: &Key| {
        let is_swap = when == When::BeforePut && key.as_str() == KEY;
        if is_swap && swaps.fetch_add(1, Ordering::SeqCst) == nth && is_made.set(()).is_ok() {
            numbers.clone().for_each(|n| commit(&other, n));
        }
    };
    (Arc::new(Hooked { inner: inner.clone(), hook: Box::new(hook) }), made)
}

/// Before the nth swap of a vacuum, another writer makes enough commits to move the records that the vacuum's
/// checkpoint covers into a segment of its own.
fn vacuum_overtaken(nth: u64) -> bool {
    let inner = common::store();
    drop(Ledger::create_objects(inner.clone(), KEY, Replace::Fail, options()).unwrap());
    let other = Arc::new(open(&inner, Access::ReadWrite, options()));
    (1..=COMMITS).for_each(|n| commit(&other, n));
    let (hooked, made) = committed_before_the_swap(&inner, &other, nth, COMMITS + 1..=COMMITS + 20);
    let alone = Options { writers: Writers::One, ..options() };
    let vacuum = open(&hooked, Access::ReadWrite, alone);
    // The vacuum may have to be repeated. It must harm nothing.
    let _done = vacuum.vacuum();
    drop(vacuum);
    commit(&other, 100);
    let newest = other.version();
    for version in 1..=newest {
        let at = Options { at: Some(At::Version(version)), ..Options::default() };
        let l = open(&inner, Access::ReadOnly, at);
        let step = l.get(b"step").unwrap_or_else(|e| panic!("swap {nth}, version {version}: {e}"));
        let entries = l.scan_prefix(b"entry", None, usize::MAX);
        let entries = entries.unwrap_or_else(|e| panic!("swap {nth}, version {version}: {e}"));
        assert_ne!(step.is_some(), entries.is_empty());
    }
    made.get().is_some()
}

#[test]
fn old_versions_survive_a_vacuum_that_other_writers_overtake() {
    let overtaken = (0..8).take_while(|nth| vacuum_overtaken(*nth)).count();
    assert!(overtaken > 1, "{overtaken}");
}

/// Opens a container while a vacuum deletes objects that the loaded manifest names: after the nth read of the opener.
fn opened_beside_a_vacuum(nth: u64, access: Access, writers: Writers) -> bool {
    let inner = common::store();
    let alone = Options { retention: Some(Duration::ZERO), lock: LockPolicy::Off, ..Options::default() };
    let other = Ledger::create_objects(inner.clone(), KEY, Replace::Fail, alone).unwrap();
    let fill = |l: &Ledger| {
        for n in 0..60_u8 {
            l.put(b"step", vec![n; 900]).unwrap();
            l.commit().unwrap();
        }
    };
    fill(&other);
    let (reads, is_inside) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let hook = {
        let (reads, is_inside) = (reads.clone(), is_inside.clone());
        move |when: When, _: &Key| {
            let is_read = when == When::BehindGet && !is_inside.load(Ordering::SeqCst);
            if is_read && reads.fetch_add(1, Ordering::SeqCst) == nth {
                is_inside.store(true, Ordering::SeqCst);
                fill(&other);
                other.vacuum().unwrap();
            }
        }
    };
    let hooked: Arc<dyn ObjectStore> = Arc::new(Hooked { inner: inner.clone(), hook: Box::new(hook) });
    let options = Options { writers, lock: LockPolicy::Off, ..Options::default() };
    let l = open(&hooked, access, options);
    assert_eq!(l.get(b"step").unwrap().unwrap(), vec![59; 900]);
    is_inside.load(Ordering::SeqCst)
}

#[test]
fn a_container_opens_beside_a_vacuum_that_reclaims_at_once() {
    for (access, writers) in [
        (Access::ReadOnly, Writers::One),
        (Access::ReadWrite, Writers::Many),
        (Access::ReadWrite, Writers::One),
    ] {
        let interrupted = (0..).take_while(|nth| opened_beside_a_vacuum(*nth, access, writers)).count();
        assert!(interrupted > 1, "{access:?} {writers:?}: {interrupted} reads");
    }
}

/// A vacuum reclaims the content of a long record that its checkpoint contains. Another writer commits before the nth swap of the vacuum, so
/// the line still names the record.
fn long_record_reclaimed(nth: u64) -> bool {
    let inner = common::store();
    let zero = Options { retention: Some(Duration::ZERO), ..options() };
    drop(Ledger::create_objects(inner.clone(), KEY, Replace::Fail, zero.clone()).unwrap());
    let other = Arc::new(open(&inner, Access::ReadWrite, zero.clone()));
    (1..=3).for_each(|n| commit(&other, n));
    (0..2000_u32).for_each(|n| other.put(format!("long {n:05}").as_bytes(), vec![7; 100]).unwrap());
    other.commit().unwrap();
    let (hooked, made) = committed_before_the_swap(&inner, &other, nth, 10..=11);
    let alone = Options { writers: Writers::One, ..zero };
    let vacuum = open(&hooked, Access::ReadWrite, alone.clone());
    let _may_be_overtaken = vacuum.vacuum();
    drop(vacuum);
    commit(&other, 100);
    let reader = open(&inner, Access::ReadOnly, Options::default());
    assert!(!reader.versions(1000).unwrap().is_empty());
    assert_eq!(reader.get(b"long 01999").unwrap().unwrap(), vec![7; 100]);
    let next = open(&inner, Access::ReadWrite, alone);
    next.tag(TagName::new("tagged").unwrap(), None, Tagging::default()).unwrap();
    next.vacuum().unwrap();
    assert_eq!(next.tags().unwrap().len(), 1);
    made.get().is_some()
}

#[test]
fn versions_and_tags_do_not_need_a_reclaimed_long_record() {
    let overtaken = (0..).take_while(|nth| long_record_reclaimed(*nth)).count();
    assert!(overtaken > 1, "the vacuum makes {overtaken} swaps");
}
