//! Salvage of a container in a store with a damaged head object.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;

use common::work::{Map, content, work};
use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace};
use object_stores::{Key, ObjectStore, ObjectStoreExt, PutMode};

const KEY: &str = "dir/name.h5";

fn opts() -> Options {
    Options { checkpoint_bytes: 30_000, ..Options::default() }
}

fn open(store: &Arc<dyn ObjectStore>, access: Access, salvage: bool) -> h5lake_ledger::Result<Ledger> {
    Ledger::open_objects(store.clone(), KEY, access, Options { salvage, ..opts() })
}

fn damage(store: &Arc<dyn ObjectStore>) {
    let key = Key::new(KEY).unwrap();
    let mut bytes = store.get(&key, None).unwrap().bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    store.put(&key, bytes.into(), PutMode::Overwrite).unwrap();
}

#[test]
fn a_container_with_a_damaged_head_is_shown_as_it_was() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    let (done, states, result) = work(&l, &Map::new(), 40);
    result.unwrap();
    l.close().unwrap();
    assert!(content(&open(&store, Access::ReadOnly, true).unwrap()).unwrap() == states[done as usize]);
    damage(&store);
    let error = open(&store, Access::ReadOnly, false).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
    let shown = open(&store, Access::ReadOnly, true).unwrap();
    let version = shown.version();
    assert!((1..=done).contains(&version), "{version} of {done}");
    assert!(content(&shown).unwrap() == states[version as usize]);
    assert!(!shown.refresh().unwrap());
    assert!(open(&store, Access::ReadWrite, true).is_err(), "nothing is written over damage");
}

/// Two copies are retained, however many checkpoints there are.
#[test]
fn few_copies_stay() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    work(&l, &Map::new(), 60).2.unwrap();
    l.close().unwrap();
    let copies =
        store.list("", None).filter(|meta| meta.as_ref().unwrap().key.as_str().contains("/manifest/"));
    assert_eq!(copies.count(), 2);
}

/// A container of a few records is in its head object alone; salvage does not guess.
#[test]
fn damage_without_a_manifest_copy_is_reported() {
    let store: Arc<dyn ObjectStore> = common::store();
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts()).unwrap();
    l.put(b"k", "v").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    damage(&store);
    let error = open(&store, Access::ReadOnly, true).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
}
