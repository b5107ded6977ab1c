//! The stores and containers that the tests use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]
#![allow(dead_code, reason = "each test uses its part")]

pub mod careless;
pub mod careless_requests;
pub mod digest_etags;
pub mod files;
pub mod hooked;
pub mod puts;
pub mod work;

use std::path::PathBuf;
use std::sync::Arc;

use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace, Result};
use object_stores::{FaultStore, Key, MemoryStore, ObjectStore, PrefixStore, Registry};
use tempfile::TempDir;

/// Returns a new, empty store: in memory, or a new prefix of the store with the URL in LEDGER_TEST_STORE.
pub fn store() -> Arc<dyn ObjectStore> {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let Ok(url) = std::env::var("LEDGER_TEST_STORE") else { return Arc::new(MemoryStore::new()) };
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let prefix = Key::new(format!("{}-{n}", std::process::id())).unwrap();
    Arc::new(PrefixStore::new(Registry::global().open(&url).unwrap(), prefix))
}

/// Returns the same store without conditional puts, as OpenStack Swift is. The time that puts take is limited, because
/// a store on this machine answers soon or never.
pub fn without_conditions(faults: FaultStore) -> FaultStore {
    #[cfg(feature = "conformance")]
    if std::env::var("LEDGER_TEST_STORE").map_or(true, |url| url.starts_with("file:")) {
        h5lake_ledger::register::conformance::expect_puts_within(std::time::Duration::from_millis(20));
    }
    faults.without_create().without_update()
}

/// Returns the seeds of simulated runs: the first `few`. LEDGER_TEST_SEEDS sets another number of seeds (`1000`), or a
/// range (`49..50`).
pub fn seeds(few: u64) -> std::ops::Range<u64> {
    let Ok(set) = std::env::var("LEDGER_TEST_SEEDS") else { return 0..few };
    let (first, end) = set.split_once("..").unwrap_or(("0", &set));
    first.parse().unwrap()..end.parse().unwrap()
}

/// Repeats an action until it succeeds, in a store that fails now and then.
pub fn again<T>(what: &str, act: impl FnMut() -> Result<T>) -> T {
    again_at_most(40, what, act)
}

/// Repeats an action until it succeeds. Each failure before must be the store's.
pub fn again_at_most<T>(attempts: usize, what: &str, mut act: impl FnMut() -> Result<T>) -> T {
    let mut failures = Vec::new();
    while failures.len() < attempts {
        match act() {
            Ok(done) => return done,
            Err(e) => {
                let is_of_store = matches!(e.kind(), ErrorKind::Store { .. } | ErrorKind::NoSpace { .. });
                assert!(is_of_store, "{what}: {e} ({:?})", e.kind());
                failures.push(e.to_string());
            }
        }
    }
    panic!("{what}: {failures:#?}")
}

/// A container that can be made and opened.
#[derive(Debug)]
pub enum Place {
    File(TempDir, PathBuf),
    Objects(Arc<dyn ObjectStore>, String),
}

impl Place {
    pub fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.h5");
        Place::File(dir, path)
    }

    pub fn objects() -> Self {
        Place::Objects(store(), "dir/c.h5".into())
    }

    pub fn create(&self, opts: &Options) -> Ledger {
        self.try_create(Replace::Atomically, opts).unwrap()
    }

    pub fn try_create(&self, replace: Replace, opts: &Options) -> Result<Ledger> {
        match self {
            Place::File(_, path) => Ledger::create_file(path, replace, opts.clone()),
            Place::Objects(store, key) => Ledger::create_objects(store.clone(), key, replace, opts.clone()),
        }
    }

    pub fn open(&self, access: Access, opts: &Options) -> Ledger {
        self.try_open(access, opts).unwrap()
    }

    pub fn try_open(&self, access: Access, opts: &Options) -> Result<Ledger> {
        match self {
            Place::File(_, path) => Ledger::open_file(path, access, opts.clone()),
            Place::Objects(store, key) => Ledger::open_objects(store.clone(), key, access, opts.clone()),
        }
    }
}

/// Returns the place in which threads run freely: a file or, with a store in LEDGER_TEST_STORE, that store. In memory
/// the simulated store takes the place of threads, because a seed reproduces its runs.
pub fn threaded_place() -> Place {
    places().swap_remove(0)
}

/// Returns a place of each kind. With a store in LEDGER_TEST_STORE only objects, because a run in memory tests the
/// file.
pub fn places() -> Vec<Place> {
    let in_memory = std::env::var_os("LEDGER_TEST_STORE").is_none();
    in_memory.then(Place::file).into_iter().chain([Place::objects()]).collect()
}
