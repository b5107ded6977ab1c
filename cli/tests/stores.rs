//! Tests of the tool with containers in a store: replaced containers are restored, and abandoned locks are removed.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::process::{Command, Output};
use std::sync::Arc;

use h5lake_ledger::{Access, Ledger, Options, Replace};
use object_stores::{ObjectStore, Registry};

struct Place {
    dir: tempfile::TempDir,
    store: Arc<dyn ObjectStore>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Registry::global().open(&format!("file://{}", dir.path().display())).unwrap();
        Self { dir, store }
    }

    fn make(&self, value: &'static str) {
        let l = Ledger::create_objects(self.store.clone(), "a.h5", Replace::Atomically, Options::default());
        let l = l.unwrap();
        // Every container must have this entry.
        l.put(b"C", vec![0x08, 2]).unwrap();
        l.put(b"k", value).unwrap();
        l.commit().unwrap();
        l.close().unwrap();
    }

    fn value(&self) -> String {
        let l = Ledger::open_objects(self.store.clone(), "a.h5", Access::ReadOnly, Options::default());
        String::from_utf8(l.unwrap().get(b"k").unwrap().unwrap().to_vec()).unwrap()
    }

    fn tool(&self, arguments: &[&str]) -> (Output, String) {
        let url = format!("file://{}/a.h5", self.dir.path().display());
        let mut tool = Command::new(env!("CARGO_BIN_EXE_h5lake"));
        let done = tool.arg(arguments[0]).arg(url).args(&arguments[1..]).output().unwrap();
        let text = [&done.stdout[..], &done.stderr[..]].concat();
        (done, String::from_utf8(text).unwrap())
    }
}

#[test]
fn replaced_and_deleted_containers_are_listed_and_restored() {
    let place = Place::new();
    place.make("one");
    assert!(!place.tool(&["versions"]).1.contains("restore"));
    place.make("two");
    let (listed, text) = place.tool(&["versions"]);
    assert!(listed.status.success() && text.contains("h5lake restore"), "{text}");
    let id = text.lines().last().unwrap().split_whitespace().next().unwrap().to_owned();
    let (done, text) = place.tool(&["restore", &id[..8]]);
    assert!(done.status.success(), "{text}");
    assert_eq!(place.value(), "one");
    Ledger::remove_objects(&place.store, "a.h5").unwrap();
    let (listed, text) = place.tool(&["versions"]);
    assert!(listed.status.success() && text.contains("(deleted)"), "{text}");
    let (done, text) = place.tool(&["restore"]);
    assert!(done.status.success(), "{text}");
    assert_eq!(place.value(), "one");
    let (done, text) = place.tool(&["restore", "ffff"]);
    assert!(!done.status.success() && text.contains("no such container"), "{text}");
}

#[test]
fn a_lock_is_broken_only_after_confirmation() {
    let place = Place::new();
    place.make("one");
    assert!(place.tool(&["unlock"]).1.contains("is not locked"));
    let open = || Ledger::open_objects(place.store.clone(), "a.h5", Access::ReadWrite, Options::default());
    let writer = open().unwrap();
    writer.put(b"k", "late").unwrap();
    let (asked, text) = place.tool(&["unlock"]);
    assert!(!asked.status.success(), "{text}");
    assert!(text.contains("lives and has it open for writing") && text.contains("loses"), "{text}");
    assert!(open().is_err());
    let (done, text) = place.tool(&["unlock", "--yes"]);
    assert!(done.status.success(), "{text}");
    // The next writer commits, and the writer that lost the lock gets an error.
    let next = open().unwrap();
    next.put(b"k", "next").unwrap();
    next.commit().unwrap();
    assert!(writer.commit().is_err());
    next.close().unwrap();
    assert_eq!(place.value(), "next");
}
