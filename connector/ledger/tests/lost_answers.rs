//! A request of a writer takes effect and its answer is lost, while another writer commits after each swap: no object that a manifest names
//! is deleted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::hooked::{Hooked, When};
use h5lake_ledger::{Access, At, Ledger, Options, Replace, TagName, Tagging, Writers};
use object_stores::{ErrorKind, FaultStore, Key, MemoryStore, ObjectStore, Rule, Select, Timing};

const KEY: &str = "c.h5";

fn many() -> Options {
    Options { writers: Writers::Many, checkpoint_bytes: 3000, ..Options::default() }
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, options: Options) -> h5lake_ledger::Result<Ledger> {
    Ledger::open_objects(store.clone(), KEY, access, options)
}

/// A store of the writer under test, in which another writer commits after each swap.
struct World {
    inner: Arc<dyn ObjectStore>,
    faulty: FaultStore,
    store: Arc<dyn ObjectStore>,
    /// The number of commits of the other writer.
    other_commits: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        drop(Ledger::create_objects(inner.clone(), KEY, Replace::Fail, many()).unwrap());
        let other = open(&inner, Access::ReadWrite, many()).unwrap();
        let (other_commits, is_inside) = (Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
        let count = other_commits.clone();
        let hook = move |when: When, key: &Key| {
            let is_swap = when == When::BehindPut && key.as_str() == KEY;
            if is_swap && !is_inside.swap(true, Ordering::SeqCst) {
                let n = count.fetch_add(1, Ordering::SeqCst) + 1;
                other.put(format!("other {n:03}").as_bytes(), vec![n as u8; 100]).unwrap();
                other.commit().unwrap();
                is_inside.store(false, Ordering::SeqCst);
            }
        };
        let faulty = FaultStore::new(Arc::new(Hooked { inner: inner.clone(), hook: Box::new(hook) }));
        Self { store: Arc::new(faulty.clone()), inner, faulty, other_commits }
    }

    /// Commits, tags and vacuums. Returns the keys that were committed for certain.
    fn work(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut acknowledged = BTreeMap::new();
        let Ok(l) = open(&self.store, Access::ReadWrite, many()) else { return acknowledged };
        for n in 0..30_u8 {
            let key = format!("own {n:02}").into_bytes();
            l.put(&key, vec![n; 400]).unwrap();
            if l.commit().is_ok() {
                // Everything that was staged before is committed, too.
                (0..=n).for_each(|n| {
                    acknowledged.insert(format!("own {n:02}").into_bytes(), vec![n; 400]);
                });
            }
        }
        let _may_fail = l.tag(TagName::new("tagged").unwrap(), None, Tagging::default());
        drop(l);
        let alone = Options { writers: Writers::One, ..many() };
        if let Ok(vacuum) = open(&self.store, Access::ReadWrite, alone) {
            let _may_fail = vacuum.vacuum();
        }
        acknowledged
    }

    fn check(&self, acknowledged: &BTreeMap<Vec<u8>, Vec<u8>>, case: &str) {
        let l =
            open(&self.inner, Access::ReadOnly, Options::default()).unwrap_or_else(|e| panic!("{case}: {e}"));
        for (key, value) in acknowledged {
            let found = l.get(key).unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(found.as_deref(), Some(&value[..]), "{case}: {}", String::from_utf8_lossy(key));
        }
        for n in 1..=self.other_commits.load(Ordering::SeqCst) {
            let found = l.get(format!("other {n:03}").as_bytes()).unwrap();
            assert_eq!(found, Some(vec![n as u8; 100].into()), "{case}: other {n}");
        }
        for tag in l.tags().unwrap_or_else(|e| panic!("{case}: {e}")) {
            let at = Options { at: Some(At::Tag(tag.name)), ..Options::default() };
            open(&self.inner, Access::ReadOnly, at).unwrap_or_else(|e| panic!("{case}: {e}"));
        }
        // Another writer can make a checkpoint of what it finds.
        let next = open(&self.inner, Access::ReadWrite, Options { writers: Writers::One, ..many() }).unwrap();
        next.put(b"next", "value").unwrap();
        next.commit().unwrap();
        next.vacuum().unwrap_or_else(|e| panic!("{case}: {e}"));
    }
}

#[test]
fn no_referenced_object_is_deleted_after_a_lost_answer() {
    let mut cases = 0;
    for times in [1, 2, 12] {
        for nth in 0.. {
            let world = World::new();
            let rule = Rule::fail_nth(Select::Mutating, nth, Timing::After, ErrorKind::Timeout);
            world.faulty.inject(Rule { times, ..rule });
            let acknowledged = world.work();
            let is_over = world.faulty.struck() == 0;
            world.faulty.clear();
            world.check(&acknowledged, &format!("answer {nth} lost, {times} times"));
            cases += 1;
            if is_over {
                break;
            }
        }
    }
    assert!(cases > 100, "{cases} cases");
}
