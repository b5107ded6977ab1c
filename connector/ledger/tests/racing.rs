//! A writer opens a container while others put new ones in its place.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace};

fn replace_again_and_again(path: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match Ledger::create_file(path, Replace::Atomically, Options::default()) {
            Ok(l) => drop(l),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Locked { .. }), "{e}"),
        }
    }
}

/// What it commits would be lost, were it in a file that has lost its name already.
#[test]
fn a_writer_has_the_file_that_has_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    let stop = AtomicBool::new(false);
    let (mut opened, mut lost) = (0, 0);
    std::thread::scope(|s| {
        s.spawn(|| replace_again_and_again(&path, &stop));
        let start = Instant::now();
        while opened < 1000 && start.elapsed() < Duration::from_secs(3) {
            let Ok(l) = Ledger::open_file(&path, Access::ReadWrite, Options::default()) else { continue };
            opened += 1;
            let there = std::fs::metadata(&path).unwrap();
            lost += u32::from(l.identity().file != Some((there.dev(), there.ino())));
            drop(l);
            // The other one's turn.
            std::thread::sleep(Duration::from_micros(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(lost == 0, "{lost} of {opened} writers have a file without a name");
}
