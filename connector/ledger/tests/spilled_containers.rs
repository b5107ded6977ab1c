//! A container that is created as a whole, and a copy, are spilled into pages while they are made. One swap of the
//! manifest makes them visible.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use h5lake_ledger::{Access, EarlierTry, Error, Extent, Ledger, Options, Origin, Probe};
use object_stores::{
    DirStore, ErrorKind, FaultStore, ObjectStore, ObjectStoreExt, Rule, Select, Timing, dir,
};

const KEY: &str = "dir/c.h5";

fn payload_of(l: &Ledger, e: &Extent) -> Vec<u8> {
    let mut bytes = vec![0; e.len() as usize];
    l.read_payload(e, 0, &mut bytes).unwrap();
    bytes
}

fn payload(l: &Ledger, n: u32) -> Result<Bytes, Error> {
    Ok(l.write_payload(&vec![n as u8; if n.is_multiple_of(80) { 3_000 } else { 70_000 }])?.to_bytes())
}

/// Puts the entries of a copy, with large and small payloads.
fn fill(l: &Ledger, taken: u32) -> Result<(), Error> {
    for n in taken..600 {
        let key = format!("key {n:05}").into_bytes();
        let value = match n % 40 {
            0 => payload(l, n)?,
            _ => vec![n as u8; 60].into(),
        };
        l.put(&key, value.clone())?;
        l.note_copied(&key, &value, if n % 40 == 0 { 70_000 } else { 0 })?;
    }
    Ok(())
}

fn check_filled(store: &Arc<dyn ObjectStore>, what: &str) {
    let l = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
    let found = l.scan_prefix(b"", None, usize::MAX).unwrap();
    assert_eq!(found.len(), 600, "{what}");
    for (n, (_, value)) in found.iter().enumerate() {
        if n % 40 == 0 {
            let length = if n % 80 == 0 { 3_000 } else { 70_000 };
            assert_eq!(
                payload_of(&l, &Extent::decode(value).unwrap().0),
                vec![n as u8; length],
                "{what}: {n}"
            );
        } else {
            assert_eq!(*value, vec![n as u8; 60], "{what}: {n}");
        }
    }
}

/// Returns whether an attempt left a journal with which the next attempt can continue.
fn has_journal(store: &Arc<dyn ObjectStore>) -> bool {
    store.list("dir/", None).any(|meta| meta.unwrap().key.as_str().contains("/copy/"))
}

fn is_there(store: &Arc<dyn ObjectStore>) -> bool {
    Ledger::probe_objects(store.as_ref(), KEY).unwrap() == Probe::Container
}

/// A container that becomes visible when it is complete. Whatever fails, it exists as a whole or not at all.
#[test]
fn a_container_that_is_made_whole_is_not_kept_in_memory() {
    let o = Options { spill_bytes: 3_000, ..Options::default() };
    let make = |store: &Arc<dyn ObjectStore>| {
        Ledger::create_whole_objects(store.clone(), KEY, o.clone(), |l| fill(l, 0))
    };
    let counted = FaultStore::new(common::store());
    let store: Arc<dyn ObjectStore> = Arc::new(counted.clone());
    let made = make(&store).unwrap();
    assert_eq!(made.version(), 1);
    let calls = counted.mutations();
    made.put(b"more", "").unwrap();
    assert_eq!(made.commit().unwrap(), 2);
    made.delete(b"more").unwrap();
    made.commit().unwrap();
    made.close().unwrap();
    check_filled(&store, "without a fault");
    assert!(calls > 12, "{calls} calls are too few to prove much");
    let timeout = ErrorKind::Timeout;
    for n in 0..calls {
        for timing in Timing::ALL {
            for crashes in [false, true] {
                let inner = common::store();
                let faulty = FaultStore::new(inner.clone());
                match crashes {
                    true => faulty.crash_at(n, timing),
                    false => faulty.inject(Rule::fail_nth(Select::Mutating, n, timing, timeout)),
                }
                let what = format!("call {n} of {calls}, {timing:?}, crash: {crashes}");
                let done = make(&(Arc::new(faulty) as Arc<dyn ObjectStore>)).map(drop);
                assert!(is_there(&inner) || done.is_err(), "{what}");
                if !is_there(&inner) {
                    make(&inner).unwrap_or_else(|e| panic!("{what}: {e}")).close().unwrap();
                }
                check_filled(&inner, &what);
            }
        }
    }
}

/// A copy is spilled in the same way, and the next attempt continues with it if possible.
#[test]
fn a_copy_is_not_kept_in_memory() {
    let o = Options { spill_bytes: 3_000, journal_bytes: 100_000, ..Options::default() };
    let of = Origin { id: [7; 16], version: 1, time: 1 << 50, host: "node".into(), pid: 7 };
    let copy = |store: &Arc<dyn ObjectStore>| {
        Ledger::create_copy_objects(store.clone(), KEY, o.clone(), &of, |l, earlier| {
            let EarlierTry::Continues(values) = earlier else { return fill(l, 0) };
            for (n, (key, value)) in values.iter().enumerate() {
                let is_payload = n % 40 == 0;
                let value = match is_payload && !l.adopt_payload(&Extent::decode(value).unwrap().0)? {
                    true => payload(l, n as u32)?,
                    false => value.clone(),
                };
                l.put(key, value)?;
            }
            fill(l, values.len() as u32)
        })
    };
    let here = || {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> =
            Arc::new(DirStore::open(folder.path(), dir::Sync::Process).unwrap());
        (folder, store)
    };
    let (_folder, store) = here();
    let counted = FaultStore::new(store.clone());
    copy(&(Arc::new(counted.clone()) as Arc<dyn ObjectStore>)).unwrap().ledger.close().unwrap();
    check_filled(&store, "without a fault");
    assert!(!has_journal(&store));
    let (mut continued, calls) = (0, counted.mutations());
    for n in 0..calls {
        for timing in Timing::ALL {
            for crashes in [false, true] {
                let (_folder, inner) = here();
                let faulty = FaultStore::new(inner.clone());
                match crashes {
                    true => faulty.crash_at(n, timing),
                    false => faulty.inject(Rule::fail_nth(Select::Mutating, n, timing, ErrorKind::Timeout)),
                }
                let what = format!("call {n} of {calls}, {timing:?}, crash: {crashes}");
                let done = copy(&(Arc::new(faulty) as Arc<dyn ObjectStore>));
                assert!(is_there(&inner) || done.is_err(), "{what}");
                drop(done);
                if !is_there(&inner) {
                    continued += u32::from(has_journal(&inner));
                    copy(&inner).unwrap_or_else(|e| panic!("{what}: {e}")).ledger.close().unwrap();
                }
                check_filled(&inner, &what);
            }
        }
    }
    assert!(continued > 10, "{continued} tries left a journal");
}
