//! Where tests keep their containers.
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

use h5lake_ledger::{Access, Ledger, Options, Replace, Result};
use object_stores::{Key, MemoryStore, ObjectStore, PrefixStore, Registry};
use tempfile::TempDir;

/// A new, empty store: in memory, or a new prefix of the store whose URL is in LEDGER_TEST_STORE.
pub fn store() -> Arc<dyn ObjectStore> {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let Ok(url) = std::env::var("LEDGER_TEST_STORE") else { return Arc::new(MemoryStore::new()) };
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let prefix = Key::new(format!("{}-{n}", std::process::id())).unwrap();
    Arc::new(PrefixStore::new(Registry::global().open(&url).unwrap(), prefix))
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

/// A place of each kind. With a store in LEDGER_TEST_STORE objects alone: a run in memory has the file.
pub fn places() -> Vec<Place> {
    let in_memory = std::env::var_os("LEDGER_TEST_STORE").is_none();
    in_memory.then(Place::file).into_iter().chain([Place::objects()]).collect()
}
