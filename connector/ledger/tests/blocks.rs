//! Disk blocks that are preallocated for a file before it is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use h5lake_ledger::{Access, Extent, Ledger, LockPolicy, Options, Replace};

const MIB: usize = 1 << 20;

/// Returns the bytes by which the file's blocks exceed its length.
fn spare(path: &Path) -> u64 {
    let about = fs::metadata(path).unwrap();
    (about.blocks() * 512).saturating_sub(about.len())
}

fn fill(l: &Ledger, name: &str) {
    let extents: Vec<_> = (0..20).map(|n| l.write_payload(&vec![n; MIB]).unwrap()).collect();
    let value: Vec<u8> = extents.iter().flat_map(Extent::to_bytes).collect();
    l.put(name.as_bytes(), value).unwrap();
    l.commit().unwrap();
}

fn check(l: &Ledger, name: &str) {
    let value = l.get(name.as_bytes()).unwrap().unwrap();
    let (mut remaining, mut n) = (&value[..], 0);
    while !remaining.is_empty() {
        let (e, length) = Extent::decode(remaining).unwrap();
        let mut bytes = vec![99; MIB];
        l.read_payload(&e, 0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|b| *b == n));
        (remaining, n) = (&remaining[length..], n + 1);
    }
    assert_eq!(n, 20);
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn helper_dies_before_it_gives_back() {
    let path = std::env::var_os("H5LAKE_TEST_FILE").unwrap();
    let l = Ledger::open_file(path.as_ref(), Access::ReadWrite, Options::default()).unwrap();
    fill(&l, "second");
    std::process::exit(0);
}

fn die_over(path: &Path) {
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "helper_dies_before_it_gives_back", "--ignored"]).env("H5LAKE_TEST_FILE", path);
    assert!(other.stdout(Stdio::null()).status().unwrap().success());
}

#[test]
fn unused_preallocation_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    fill(&l, "first");
    let ahead = spare(&path);
    l.close().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    assert!((20 * MIB as u64..21 * MIB as u64).contains(&len), "{len}");
    assert!(spare(&path) < MIB as u64, "{}", spare(&path));

    // A writer that dies frees no blocks; the next writer does.
    die_over(&path);
    assert_eq!(spare(&path) > 2 * MIB as u64, ahead > 2 * MIB as u64, "as the file system does it");
    let copy = dir.path().join("copy.h5");
    fs::copy(&path, &copy).unwrap();
    for path in [copy, path] {
        let l = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
        check(&l, "first");
        check(&l, "second");
        l.put(b"third", "3").unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        assert!(spare(&path) < MIB as u64, "{}", spare(&path));
        let l = Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap();
        check(&l, "first");
        check(&l, "second");
    }
}

/// No lock excludes the other writer, and a close must not truncate what the other writer is writing.
#[test]
fn closing_without_a_lock_leaves_the_preallocation_of_other_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let o = Options { lock: LockPolicy::Off, ..Options::default() };
    Ledger::create_file(&path, Replace::Fail, o.clone()).unwrap().close().unwrap();
    for _ in 0..20 {
        let idle: Vec<_> =
            (0..60).map(|_| Ledger::open_file(&path, Access::ReadWrite, o.clone()).unwrap()).collect();
        let l = Ledger::open_file(&path, Access::ReadWrite, o.clone()).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                for l in idle {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    l.close().unwrap();
                }
            });
            fill(&l, "first");
        });
        check(&l, "first");
        l.close().unwrap();
    }
}
