//! Tags in a store, while another of many writers commits and reclaims between the tag's commit and its confirmation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use h5lake_ledger::{Access, At, ErrorKind, Ledger, Options, Replace, TagName, Tagging, Writers};
use object_stores::{
    Capabilities, Condition, GetResult, Key, ListPage, MemoryStore, ObjectMeta, ObjectStore, PutMode,
    PutPayload, PutResult, PutStream, Result,
};

/// A store that does something behind each of the next records that are put.
struct Hooked {
    inner: Arc<dyn ObjectStore>,
    left: AtomicU32,
    hook: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        self.inner.get(key, range)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.inner.get_into(key, offset, buf)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.inner.head(key)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let put = self.inner.put(key, payload, mode)?;
        let less = |left: u32| left.checked_sub(1);
        if key.as_str().contains("/log/")
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        {
            (self.hook)();
        }
        Ok(put)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.inner.list_page(prefix, after, limit)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key)
    }
}

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

/// Two writers; the other one overwrites behind so many of the first one's next records.
fn two(times: u32) -> (Arc<Hooked>, Ledger) {
    let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let first = Ledger::create_objects(inner.clone(), "c", Replace::Fail, options()).unwrap();
    overwrite(&first, 3);
    let other = Ledger::open_objects(inner.clone(), "c", Access::ReadWrite, options()).unwrap();
    let hook = Box::new(move || reclaim(&other));
    drop(first);
    let store = Arc::new(Hooked { inner, left: AtomicU32::new(0), hook });
    let tagger = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, options()).unwrap();
    store.left.store(times, Ordering::SeqCst);
    (store, tagger)
}

/// The other one knew the tag, so the version that it had is whole; or there is a newer one to tag.
#[test]
fn a_tag_that_another_overtook_is_made_again() {
    for times in [1, 2, 7] {
        let (store, l) = two(times);
        let tag = l.tag(name(), None, Tagging::default()).unwrap();
        assert!(store.left.load(Ordering::SeqCst) < times, "nobody came between");
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
    let (_store, l) = two(u32::MAX);
    let e = l.tag(name(), None, Tagging::default()).unwrap_err();
    assert_eq!(*e.kind(), ErrorKind::Conflict, "{e}");
    assert!(l.tags().unwrap().is_empty());
}

/// A version that was reclaimed is not kept, and that is what is said.
#[test]
fn a_version_that_was_reclaimed_is_told() {
    let (_store, l) = two(1);
    let version = l.version();
    let e = l.tag(name(), Some(At::Version(version - 1)), Tagging::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NoSuchVersion { .. }), "{e}");
    assert!(l.tags().unwrap().is_empty());
}
