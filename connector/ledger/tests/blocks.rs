//! Disk blocks that a file is given ahead of what is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use h5lake_ledger::{Access, Extent, Ledger, Options, Replace};

const MIB: usize = 1 << 20;

/// Bytes of the blocks that the file has more than it is long.
fn spare(path: &Path) -> u64 {
    let about = fs::metadata(path).unwrap();
    (about.blocks() * 512).saturating_sub(about.len())
}

fn fill(l: &Ledger, name: &str) -> Vec<Extent> {
    let extents: Vec<_> = (0..20).map(|n| l.write_payload(&vec![n; MIB]).unwrap()).collect();
    let value: Vec<u8> = extents.iter().flat_map(Extent::to_bytes).collect();
    l.put(name.as_bytes(), value).unwrap();
    l.commit().unwrap();
    extents
}

fn check(l: &Ledger, extents: &[Extent]) {
    for (n, e) in extents.iter().enumerate() {
        let mut bytes = vec![99; MIB];
        l.read_payload(e, 0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|b| usize::from(*b) == n));
    }
}

#[test]
fn what_is_not_used_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    let first = fill(&l, "first");
    let ahead = spare(&path);
    l.close().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    assert!((20 * MIB as u64..21 * MIB as u64).contains(&len), "{len}");
    assert!(spare(&path) < MIB as u64, "{}", spare(&path));

    // A writer that dies gives nothing back; the next one does.
    let l = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
    let second = fill(&l, "second");
    std::mem::forget(l);
    assert_eq!(spare(&path) > 2 * MIB as u64, ahead > 2 * MIB as u64, "as the file system does it");
    let copy = dir.path().join("copy.h5");
    fs::copy(&path, &copy).unwrap();
    let l = Ledger::open_file(&copy, Access::ReadWrite, Options::default()).unwrap();
    check(&l, &first);
    l.close().unwrap();
    let moved = dir.path().join("moved.h5");
    fs::rename(&path, &moved).unwrap();
    // The lock is still this process's.
    let o = Options { lock: h5lake_ledger::LockPolicy::Off, ..Options::default() };
    let l = Ledger::open_file(&moved, Access::ReadWrite, o).unwrap();
    check(&l, &second);
    l.put(b"third", "3").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    assert!(spare(&moved) < MIB as u64, "{}", spare(&moved));
    let l = Ledger::open_file(&moved, Access::ReadOnly, Options::default()).unwrap();
    check(&l, &first);
    check(&l, &second);
}
