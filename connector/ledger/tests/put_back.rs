//! An older head object is put back, for example from a backup, while handles are open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace, Writers};
use object_stores::{Key, ObjectStore, PutMode};

const KEY: &str = "c.h5";

fn open(store: &Arc<dyn ObjectStore>, access: Access, writers: Writers) -> Ledger {
    let options = Options { writers, retention: Some(Duration::from_secs(3600)), ..Options::default() };
    Ledger::open_objects(store.clone(), KEY, access, options).unwrap()
}

fn commit(l: &Ledger, step: u64) {
    l.put(format!("key {}", step % 7).as_bytes(), vec![step as u8; 300]).unwrap();
    l.put(b"step", step.to_be_bytes().to_vec()).unwrap();
    l.commit().unwrap();
}

fn content(l: &Ledger) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = l.scan_prefix(b"", None, usize::MAX).unwrap();
    all.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Creates a container, commits 20 steps, and returns the head object as it was after `kept` of them.
fn filled(store: &Arc<dyn ObjectStore>, kept: u64, writers: Writers) -> (Ledger, bytes::Bytes) {
    drop(Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default()).unwrap());
    let (l, mut head) = (open(store, Access::ReadWrite, writers), None);
    for step in 1..=20 {
        commit(&l, step);
        if step == kept {
            head = Some(store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes);
        }
    }
    (l, head.unwrap())
}

fn put_back(store: &Arc<dyn ObjectStore>, head: bytes::Bytes) {
    store.put(&Key::new(KEY).unwrap(), head.into(), PutMode::Overwrite).unwrap();
}

#[test]
fn a_concurrent_writer_with_a_vanished_version_cannot_commit() {
    for more in [0, 3, 9, 10, 11, 40] {
        let store = common::store();
        let (writer, head) = filled(&store, 10, Writers::Many);
        put_back(&store, head);
        let other = open(&store, Access::ReadWrite, Writers::Many);
        (101..101 + more).for_each(|step| commit(&other, step));
        let truth = content(&open(&store, Access::ReadOnly, Writers::One));
        writer.put(b"late", "change").unwrap();
        let error = writer.commit().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Broken { .. }), "{more} steps: {error}");
        assert!(error.to_string().contains("put back"), "{more} steps: {error}");
        writer.commit().unwrap_err();
        assert_eq!(content(&open(&store, Access::ReadOnly, Writers::One)), truth, "{more} steps");
    }
}

#[test]
fn a_reader_moves_to_the_versions_of_the_older_head() {
    for more in [1, 3, 9, 10, 11, 40] {
        let store = common::store();
        let (writer, head) = filled(&store, 10, Writers::One);
        let reader = open(&store, Access::ReadOnly, Writers::One);
        content(&reader);
        drop(writer);
        put_back(&store, head);
        let other = open(&store, Access::ReadWrite, Writers::One);
        (101..101 + more).for_each(|step| commit(&other, step));
        assert!(reader.refresh().unwrap(), "{more} steps");
        assert_eq!(content(&reader), content(&open(&store, Access::ReadOnly, Writers::One)), "{more} steps");
    }
}
