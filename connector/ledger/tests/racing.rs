//! A writer opens a container while other processes put new containers in its place.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace, SyncPolicy};

fn replace_again_and_again(path: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match Ledger::create_file(path, Replace::Atomically, Options::default()) {
            Ok(l) => drop(l),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Locked { .. }), "{e}"),
        }
    }
}

/// A commit to a file that has already lost its name would be lost.
#[test]
fn a_writer_has_the_file_that_has_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    let stop = AtomicBool::new(false);
    let (mut opened, mut unnamed) = (0, 0);
    std::thread::scope(|s| {
        s.spawn(|| replace_again_and_again(&path, &stop));
        let start = Instant::now();
        while opened < 1000 && start.elapsed() < Duration::from_secs(3) {
            let Ok(l) = Ledger::open_file(&path, Access::ReadWrite, Options::default()) else { continue };
            opened += 1;
            let there = std::fs::metadata(&path).unwrap();
            unnamed += u32::from(l.identity().file != Some((there.dev(), there.ino())));
            drop(l);
            // The pause gives the other thread a turn.
            std::thread::sleep(Duration::from_micros(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(unnamed == 0, "{unnamed} of {opened} writers have a file without a name");
}

/// An open finds the old container or the new one, complete.
#[test]
fn readers_find_a_whole_container_while_it_is_replaced() {
    for sync in [SyncPolicy::Process, SyncPolicy::Commit] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let opts = || Options { sync, ..Options::default() };
        let root = [(Bytes::from_static(b"root"), Bytes::from_static(b"1"))];
        let create = |replace| Ledger::create_file_holding(&path, replace, opts(), &root);
        create(Replace::Fail).unwrap();
        let stop = AtomicBool::new(false);
        let creator = || {
            while !stop.load(Ordering::Relaxed) {
                create(Replace::Atomically).map(drop).unwrap();
            }
        };
        std::thread::scope(|s| {
            s.spawn(creator);
            let start = Instant::now();
            let mut failed = Vec::new();
            while start.elapsed() < Duration::from_millis(700) {
                match Ledger::open_file(&path, Access::ReadOnly, opts()) {
                    Ok(l) => assert!(l.get(b"root").unwrap().is_some()),
                    Err(e) => failed.push(e.to_string()),
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(failed.is_empty(), "{sync:?}: {}: {}", failed.len(), failed[0]);
        });
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside");
    }
}

/// If two processes create concurrently, one gets the file, and the other gets the error that it is locked.
#[test]
fn one_of_two_creators_has_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = dir.path().join(format!("{round}.h5"));
        let create = || Ledger::create_file(&path, Replace::Atomically, Options::default());
        let (a, b) = std::thread::scope(|s| {
            let other = s.spawn(create);
            (create(), other.join().unwrap())
        });
        let refused = match (a, b) {
            (Ok(_), Err(e)) | (Err(e), Ok(_)) => e,
            (a, b) => panic!("{a:?} {b:?}"),
        };
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 50, "nothing is left beside");
}
