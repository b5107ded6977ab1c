//! Tags in a store, while another of many writers commits and reclaims between the tag's commit and its confirmation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::hooked::{Hooked, When};
use h5lake_ledger::{Access, At, ErrorKind, Ledger, Options, Replace, TagName, Tagging, Writers};
use object_stores::{Key, MemoryStore, ObjectStore};

const RETENTION: Duration = Duration::from_millis(100);

/// Checkpoints at each eighth commit.
fn options() -> Options {
    Options { writers: Writers::Many, retention: Some(RETENTION), checkpoint_bytes: 0, ..Options::default() }
}

/// Reclaims what it wrote and replaced itself, by one checkpoint.
fn reclaim(l: &Ledger) {
    overwrite(l, 2);
    while !(l.version() + 1).is_multiple_of(8) {
        overwrite(l, 1);
    }
    std::thread::sleep(RETENTION + RETENTION / 2);
    overwrite(l, 1);
}

/// Replaces a payload, so many times.
fn overwrite(l: &Ledger, times: u64) {
    for n in 0..times {
        let old = l.get(b"payload").unwrap().map(|v| h5lake_ledger::Extent::decode(&v[1..]).unwrap().0);
        let mut value = vec![1];
        l.write_payload(&common::work::data(n, 100_000)).unwrap().encode(&mut value);
        l.put(b"payload", value).unwrap();
        old.iter().for_each(|old| l.free_payload(old).unwrap());
        l.commit().unwrap();
    }
}

fn name() -> TagName {
    TagName::new("paper").unwrap()
}

/// Two writers; the other one overwrites behind so many of the first one's next records. How often it may still do so.
fn two(times: u32) -> (Arc<Hooked>, Arc<AtomicU32>, Ledger) {
    let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let first = Ledger::create_objects(inner.clone(), "c", Replace::Fail, options()).unwrap();
    overwrite(&first, 3);
    let other = Ledger::open_objects(inner.clone(), "c", Access::ReadWrite, options()).unwrap();
    let left = Arc::new(AtomicU32::new(0));
    let counted = left.clone();
    let hook = Box::new(move |when: When, key: &Key| {
        let less = |left: u32| left.checked_sub(1);
        if when == When::BehindPut
            && key.as_str().contains("/log/")
            && counted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        {
            reclaim(&other);
        }
    });
    drop(first);
    let store = Arc::new(Hooked { inner, hook });
    let tagger = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, options()).unwrap();
    left.store(times, Ordering::SeqCst);
    (store, left, tagger)
}

/// The other one knew the tag, so the version that it had is whole; or there is a newer one to tag.
#[test]
fn a_tag_that_another_overtook_is_made_again() {
    for times in [1, 2, 7] {
        let (store, left, l) = two(times);
        let tag = l.tag(name(), None, Tagging::default()).unwrap();
        assert!(left.load(Ordering::SeqCst) < times, "nobody came between");
        let version = tag.version.unwrap().number;
        overwrite(&l, 20);
        let at = Options { at: Some(At::Tag(name())), ..options() };
        let tagged = Ledger::open_objects(store, "c", Access::ReadOnly, at).unwrap();
        assert_eq!(tagged.version(), version);
        common::work::content(&tagged).unwrap();
    }
}

/// Others who are faster each time are told as what they are.
#[test]
fn a_tag_that_is_overtaken_each_time_is_a_conflict() {
    let (_store, _left, l) = two(u32::MAX);
    let e = l.tag(name(), None, Tagging::default()).unwrap_err();
    assert_eq!(*e.kind(), ErrorKind::Conflict, "{e}");
    assert!(l.tags().unwrap().is_empty());
}

/// A version that was reclaimed is not kept, and that is what is said.
#[test]
fn a_version_that_was_reclaimed_is_told() {
    let (_store, _left, l) = two(1);
    let version = l.version();
    let e = l.tag(name(), Some(At::Version(version - 1)), Tagging::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NoSuchVersion { .. }), "{e}");
    assert!(l.tags().unwrap().is_empty());
}
