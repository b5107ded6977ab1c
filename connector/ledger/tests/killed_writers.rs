//! A writer that is killed leaves objects in a store, which the next writer of the same machine deletes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use h5lake_ledger::{Access, Ledger, Options, Replace, Writers};
use object_stores::dir::Sync;
use object_stores::{DirStore, ObjectStore, ObjectStoreExt};

const KEY: &str = "c.h5";
const LENGTH: usize = 200_000;

fn options(writers: Writers) -> Options {
    Options { writers, ..Options::default() }
}

fn store(dir: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(DirStore::open(dir, Sync::Process).unwrap())
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, writers: Writers) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, access, options(writers)).unwrap()
}

/// Stages a payload of its own under a key, and waits until it is in the store.
fn stage(store: &Arc<dyn ObjectStore>, l: &Ledger, key: &[u8]) {
    let before = bytes(store);
    let extent = l.write_payload(&vec![key[0]; LENGTH]).unwrap();
    l.put(key, extent.to_bytes()).unwrap();
    l.send_payloads().unwrap();
    while bytes(store) < before + LENGTH as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn bytes(store: &Arc<dyn ObjectStore>) -> u64 {
    store.list("", None).map(|meta| meta.unwrap().size).sum()
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn helper_is_killed_with_a_batch() {
    let store = store(std::env::var_os("H5LAKE_TEST_DIR").unwrap().as_ref());
    let writers = if std::env::var_os("H5LAKE_TEST_SHARED").is_some() { Writers::Many } else { Writers::One };
    let l = open(&store, Access::ReadWrite, writers);
    stage(&store, &l, b"committed");
    l.commit().unwrap();
    stage(&store, &l, b"uncommitted");
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn be_killed(dir: &Path, writers: Writers) {
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "helper_is_killed_with_a_batch", "--ignored"]).env("H5LAKE_TEST_DIR", dir);
    if writers == Writers::Many {
        other.env("H5LAKE_TEST_SHARED", "1");
    }
    assert!(!other.stdout(Stdio::null()).status().unwrap().success());
}

#[test]
fn the_next_writer_deletes_uncommitted_objects_of_a_killed_one() {
    for killed in [Writers::Many, Writers::One] {
        for next in [Writers::Many, Writers::One] {
            let dir = tempfile::tempdir().unwrap();
            let store = store(dir.path());
            Ledger::create_objects(store.clone(), KEY, Replace::Fail, options(Writers::One))
                .unwrap()
                .close()
                .unwrap();
            // The objects of a live writer stay.
            let alive = (killed == Writers::Many && next == Writers::Many).then(|| {
                let alive = open(&store, Access::ReadWrite, Writers::Many);
                stage(&store, &alive, b"alive");
                alive
            });
            be_killed(dir.path(), killed);
            let before = bytes(&store);
            let live = alive.iter().count() as u64 + 1;
            assert!(before >= (live + 1) * LENGTH as u64, "{killed:?}, {next:?}: {before}");
            open(&store, Access::ReadWrite, next).close().unwrap();
            let after = bytes(&store);
            let expected = live * LENGTH as u64;
            assert!(
                (expected..expected + 20_000).contains(&after),
                "{killed:?}, {next:?}: {before}, {after}"
            );
            if let Some(alive) = alive {
                alive.commit().unwrap();
                alive.close().unwrap();
            }
            let r = open(&store, Access::ReadOnly, Writers::One);
            assert!(r.get(b"committed").unwrap().is_some() && r.get(b"uncommitted").unwrap().is_none());
        }
    }
}
