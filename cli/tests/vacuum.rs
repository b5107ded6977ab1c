//! Tests of vacuum with files from which most data was deleted.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use h5lake_ledger::{Ledger, Options, Replace};

/// Creates a container, writes data and then keys with one megabyte of pages, and deletes the data.
fn make(path: &Path) {
    make_keeping(path, None);
}

/// Creates the same container with a retention time.
fn make_keeping(path: &Path, retention: Option<Duration>) {
    let options = Options { retention, ..Options::default() };
    let l = Ledger::create_file(path, Replace::Fail, options).unwrap();
    // Every container must have this entry.
    l.put(b"C", vec![0x08, 2]).unwrap();
    let front = l.write_payload(&vec![7; 20 << 20]).unwrap();
    l.put(b"front", front.to_bytes()).unwrap();
    l.commit().unwrap();
    for n in 0..10_000u32 {
        l.put(format!("key-{n}").as_bytes(), vec![n as u8; 80]).unwrap();
    }
    l.commit().unwrap();
    l.free_payload(&front).unwrap();
    l.delete(b"front").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

#[test]
fn one_vacuum_shrinks_a_file_to_its_contents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    make(&path);
    let before = path.metadata().unwrap().len();
    let done = Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("vacuum").arg(&path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let after = path.metadata().unwrap().len();
    assert!(before > 20 << 20 && after < 2 << 20, "{before} {after}");
    let output = String::from_utf8(done.stdout).unwrap();
    assert!(output.contains(&format!(": {} bytes freed", before - after)), "{output}");
}

fn vacuum(path: &Path) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("vacuum").arg(path).output().unwrap();
    [done.stdout, done.stderr].concat().iter().map(|byte| char::from(*byte)).collect()
}

/// If a vacuum leaves only the newest version, the list of versions includes a hint on retention.
#[test]
fn the_only_version_comes_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    for (retention, versions) in [(None, 1), (Some(Duration::from_secs(3600)), 3)] {
        let path = dir.path().join(format!("{versions}.h5"));
        make_keeping(&path, retention);
        vacuum(&path);
        let listed = Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("versions").arg(&path).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let hints = usize::from(versions == 1);
        assert_eq!(listed.lines().count(), 1 + versions + hints, "{listed}");
        assert_eq!(listed.matches("retention=7d").count(), hints, "{listed}");
    }
}

/// Deletes two containers with a retention time of one second. A vacuum of any name in their folder deletes the expired containers, even if
/// the name leads to no container any more.
#[test]
fn a_vacuum_removes_expired_hidden_containers() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["deleted.h5", "other.h5"] {
        make(&at(name));
    }
    let second = Options { retention: Some(Duration::from_secs(1)), ..Options::default() };
    Ledger::remove_file(&at("deleted.h5"), &second).unwrap();
    let count = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(count(), 2);
    // The end of the retention time is stored in whole seconds.
    std::thread::sleep(Duration::from_millis(2100));
    let output = vacuum(&at("other.h5"));
    assert_eq!(count(), 1, "{output}");
    Ledger::remove_file(&at("other.h5"), &second).unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    let output = vacuum(&at("other.h5"));
    assert_eq!(count(), 0, "{output}");
}
