//! Stores for the tests of the tool, and containers in them.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use h5lake_ledger::{Extent, Ledger};
use object_stores::registry::Registry;
use object_stores::{Key, ObjectStore, ObjectStoreExt, PutMode};
use serde_json::Value;
use tempfile::TempDir;

/// Runs the tool. Returns its exit code and output.
pub fn tool(args: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_h5lake")).args(args).env_remove("H5LAKE_STORE").output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// Runs the tool, which must succeed. Returns its output as JSON.
pub fn json(args: &[&str]) -> Value {
    let (code, said) = tool(args);
    assert_eq!(code, 0, "{args:?}: {said}");
    serde_json::from_str(&said).unwrap()
}

/// Sets the modification time of a sample's native file to the time in its container, because a checkout does not preserve times.
pub fn settle(sample: &Path) {
    if let Ok(native) = File::options().write(true).open(sample.join("native.h5")) {
        native.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800)).unwrap();
    }
}

/// The id of the root group.
const ROOT: u64 = (1 << 62) + (1 << 12);

/// Commits a root group and a heap segment with a payload of sevens.
pub fn fill(ledger: &Ledger) -> Extent {
    let extent = ledger.write_payload(&[7; 100_000]).unwrap();
    let encoded = extent.to_bytes();
    let key = [&b"H"[..], &ROOT.to_be_bytes(), &[0; 4]].concat();
    let piece = [&[0x10, 0xa0, 0x8d, 0x06, 0x22, encoded.len() as u8][..], &encoded].concat();
    let value = [&[0x0a, piece.len() as u8][..], &piece, &[0x20, 0xa0, 0x8d, 0x06]].concat();
    ledger.put(b"C", vec![0x08, 2]).unwrap();
    ledger.put(&[&b"O"[..], &ROOT.to_be_bytes()].concat(), vec![0x08, 1, 0x5a, 0]).unwrap();
    ledger.put(&key, value).unwrap();
    ledger.commit().unwrap();
    extent
}

/// A new, empty store: a directory, or a prefix in the store with the URL in LEDGER_TEST_STORE.
#[derive(Debug)]
pub struct Store {
    pub url: String,
    pub store: Arc<dyn ObjectStore>,
    _dir: TempDir,
}

impl Store {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::tempdir().unwrap();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let url = match std::env::var("LEDGER_TEST_STORE") {
            Ok(url) => format!("{url}/tool-{}-{n}", std::process::id()),
            Err(_) => format!("file://{}", dir.path().display()),
        };
        let store = Registry::global().open(&url).unwrap();
        Self { url, store, _dir: dir }
    }

    pub fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Returns all objects with their bytes, sorted by key.
    pub fn objects(&self) -> Vec<(Key, Vec<u8>)> {
        let keys: Vec<Key> = self.store.list("", None).map(|meta| meta.unwrap().key).collect();
        let bytes = |key: &Key| self.store.get_whole(key, 1 << 30).unwrap().bytes.to_vec();
        keys.into_iter().map(|key| (key.clone(), bytes(&key))).collect()
    }

    /// Returns the only immutable object with its bytes.
    pub fn pack(&self) -> (Key, Vec<u8>) {
        let mut packs: Vec<_> =
            self.objects().into_iter().filter(|(key, _)| Ledger::is_immutable_object(key)).collect();
        assert_eq!(packs.len(), 1);
        packs.remove(0)
    }

    pub fn put(&self, key: &Key, bytes: &[u8]) {
        self.store.put(key, bytes.to_vec().into(), PutMode::Overwrite).unwrap();
    }
}
