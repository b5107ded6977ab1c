//! Readers that open a container repeatedly: the state known at one close spares the next reader the log.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace};

fn all(l: &Ledger) -> BTreeMap<Vec<u8>, Vec<u8>> {
    l.scan_prefix(b"", None, usize::MAX).unwrap().iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

fn read(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    all(&Ledger::open_file(path, Access::ReadOnly, Options::default()).unwrap())
}

fn commit(l: &Ledger, n: u32, value: &str) {
    l.put(&(n % 50).to_be_bytes(), format!("{value} {n}")).unwrap();
    if n.is_multiple_of(7) {
        l.delete(&((n / 7) % 50).to_be_bytes()).unwrap();
    }
    l.commit().unwrap();
}

#[test]
fn each_open_shows_the_newest_version_across_checkpoints() {
    for records in [3, 40, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let options = Options { checkpoint_records: records, ..Options::default() };
        let writer = Ledger::create_file(&path, Replace::Fail, options).unwrap();
        for n in 0..300 {
            commit(&writer, n, "v");
            if n % 3 != 1 {
                assert_eq!(read(&path), all(&writer), "after {n}, a checkpoint each {records}");
            }
        }
    }
}

/// Damages the first record of the log, so that a reader of the whole log fails.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let first = bytes.windows(4).position(|w| w == b"h5lR").unwrap();
    bytes[first + 20] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn objects_are_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let writer = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    (0..20).for_each(|n| commit(&writer, n, "v"));
    drop(read(&path));
    commit(&writer, 20, "v");
    let now = all(&writer);
    damage(&path);
    assert_eq!(read(&path), now);
    assert_eq!(read(&path), now);
    // A reader of another file does not use this state.
    fs::copy(&path, dir.path().join("b.h5")).unwrap();
    let other = Ledger::open_file(&dir.path().join("b.h5"), Access::ReadOnly, Options::default());
    assert!(matches!(other.unwrap_err().kind(), ErrorKind::Corrupt { .. }));
}

/// A copy that is put back in place has the same id, and versions of the same numbers with other content.
#[test]
fn another_history_is_not_taken_for_the_one_that_was_known() {
    for more in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let write = |from: u32, to: u32, value: &str| {
            let l = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
            (from..to).for_each(|n| commit(&l, n, value));
            all(&l)
        };
        drop(Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap());
        write(0, 10, "v");
        let old = fs::read(&path).unwrap();
        let newest = write(10, 15, "v");
        assert_eq!(read(&path), newest);
        fs::write(&path, old).unwrap();
        let other = write(10, 15 + more, "w");
        assert_eq!(read(&path), other, "{more} versions further");
    }
}
