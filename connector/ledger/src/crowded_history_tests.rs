//! Containers with a history of the maximum number of checkpoints, under a retention time. The maximum is a sixteenth
//! of its normal value in tests.

use std::sync::Arc;
use std::time::Duration;

use object_stores::MemoryStore;

use crate::Ledger;
use crate::options::{Access, At, Options, Replace, Writers};

const COMMITS: u64 = 1200;

/// Options with which each record triggers a checkpoint.
fn options(writers: Writers) -> Options {
    let retention = Some(Duration::from_secs(3600));
    // Less than a record, and so much that a log of a crowded history has ten records.
    Options { retention, checkpoint_bytes: 100, writers, ..Options::default() }
}

/// Commits many versions in several sessions, and checks that all of them are retained.
fn check(open: &dyn Fn(Access, Options) -> Ledger, writers: Writers) {
    for session in 0..COMMITS / 100 {
        let ledger = open(Access::ReadWrite, options(writers));
        for n in session * 100..(session + 1) * 100 {
            ledger.put(b"n", n.to_be_bytes().to_vec()).unwrap();
            ledger.commit().unwrap();
        }
    }
    let kept = open(Access::ReadOnly, Options::default()).versions(usize::MAX).unwrap();
    assert!(kept.len() as u64 >= COMMITS, "{writers:?}: {} of {COMMITS} versions", kept.len());
    for version in kept.iter().step_by(97) {
        let at = Some(At::Version(version.number));
        let old = open(Access::ReadOnly, Options { at, ..Options::default() });
        let first = kept.len() as u64 - COMMITS + 1;
        assert_eq!(old.get(b"n").unwrap().unwrap(), (version.number - first).to_be_bytes()[..]);
    }
}

#[test]
fn a_file_keeps_every_version_for_the_retention_time() {
    for writers in [Writers::One, Writers::Many] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        drop(Ledger::create_file(&path, Replace::Fail, options(writers)).unwrap());
        let open = |access, opts| Ledger::open_file(&path, access, opts).unwrap();
        check(&open, writers);
    }
}

#[test]
fn a_store_keeps_every_version_for_the_retention_time() {
    for writers in [Writers::One, Writers::Many] {
        let store = Arc::new(MemoryStore::new());
        drop(Ledger::create_objects(store.clone(), "a", Replace::Fail, options(writers)).unwrap());
        let open = |access, opts| Ledger::open_objects(store.clone(), "a", access, opts).unwrap();
        check(&open, writers);
    }
}
