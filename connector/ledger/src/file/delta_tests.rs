//! Delta-encoded records, as readers, later sessions and old versions read them.

use crate::file::file_io::FileIo;
use crate::file::log::{self, newest_slot};
use crate::file::sim_file::SimFile;
use crate::file::superblock::{FIXED, Fixed};
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, Writers};
use crate::wal::delta::StoredValue;
use crate::work::{Map, content, data, work};

/// A long value that depends on `n` in a small part only.
fn value(n: u64) -> Vec<u8> {
    let mut value = data(7, 300);
    value[100..108].copy_from_slice(&n.to_le_bytes());
    value
}

fn is(l: &Ledger, n: u64) {
    assert_eq!(l.get(b"key").unwrap().unwrap(), value(n));
}

fn commit(l: &Ledger, n: u64) {
    l.put(b"key", value(n)).unwrap();
    l.commit().unwrap();
}

/// Returns the number of edits among the log's entries, and the length of the log in bytes.
fn edits(f: &SimFile) -> (usize, u64) {
    let slot = newest_slot(f, "fake").unwrap();
    let records = log::records(f, &slot, slot.base_version, "fake").unwrap();
    let of = |r: &log::LoggedRecord| r.record.changes().unwrap();
    let edited = |(_, stored): &(_, StoredValue)| matches!(stored, StoredValue::Edited(_));
    (records.iter().flat_map(of).filter(edited).count(), slot.log_bytes)
}

#[test]
fn small_changes_take_little_space() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    commit(&l, 0);
    let reader = f.open(Access::ReadOnly, &Options::default()).unwrap();
    for n in 1..50 {
        commit(&l, n);
        // One reader polls, and another one reads the whole log.
        assert!(reader.refresh().unwrap());
        is(&reader, n);
        is(&f.open(Access::ReadOnly, &Options::default()).unwrap(), n);
    }
    let (edited, bytes) = edits(&f);
    assert!(edited == 49 && bytes < 50 * 120 + 300, "{edited} edits, {bytes} bytes");
    // Another session continues the log.
    drop(l);
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    commit(&l, 50);
    assert_eq!(edits(&f).0, 50);
    for n in [0, 1, 20, 50] {
        let opts = Options { at: Some(At::Version(n + 1)), ..Options::default() };
        is(&f.open(Access::ReadOnly, &opts).unwrap(), n);
    }
}

#[test]
fn values_that_are_not_in_the_log_are_stored_completely() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    commit(&l, 0);
    commit(&l, 1);
    assert_eq!(edits(&f).0, 1);
    // The first change after a checkpoint contains the whole value.
    l.vacuum().unwrap();
    commit(&l, 2);
    assert_eq!(edits(&f).0, 0);
    commit(&l, 3);
    assert_eq!(edits(&f).0, 1);
    // The first change after a delete contains the whole value, too.
    l.delete(b"key").unwrap();
    l.commit().unwrap();
    commit(&l, 4);
    assert_eq!(edits(&f).0, 1);
    is(&f.open(Access::ReadOnly, &Options::default()).unwrap(), 4);
}

/// A reader that does not know edits refuses the file.
#[test]
fn every_file_has_the_feature_of_edits() {
    let mut head = [0; FIXED];
    SimFile::container().read_at(&mut head, 0).unwrap();
    assert!(Fixed::decode_with(&head, 0, "fake").is_err());
}

/// Readers that open old versions later get the same values as readers at that time, whatever checkpoints were made
/// between.
#[test]
fn old_versions_are_made_of_edits_too() {
    for bound in [800, 3000, 1 << 20] {
        let f = SimFile::container();
        let o = Options {
            checkpoint_bytes: bound,
            retention: Some(std::time::Duration::from_secs(60)),
            ..Options::default()
        };
        let rule = crate::file::free_space::ReclaimRule { least: 60_000_000, courtesy: 0 };
        let l = f.open_with_rule(Access::ReadWrite, &o, rule).unwrap();
        let (_, states, done) = work(&l, &Map::new(), 40);
        done.unwrap();
        assert!(bound < 1 << 20 || edits(&f).0 > 0, "{} edits", edits(&f).0);
        for (version, state) in states.iter().enumerate().skip(1) {
            let opts = Options { at: Some(At::Version(version as u64)), ..Options::default() };
            let old = f.open(Access::ReadOnly, &opts).unwrap();
            assert!(content(&old).unwrap() == *state, "version {version}, {bound}");
        }
    }
}

#[test]
fn a_shared_writer_reads_edits_and_writes_complete_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = Ledger::create_file(&path, crate::options::Replace::Fail, Options::default()).unwrap();
    (0..10).for_each(|n| commit(&l, n));
    drop(l);
    let o = Options { writers: Writers::Many, ..Options::default() };
    let open = || Ledger::open_file(&path, Access::ReadWrite, o.clone()).unwrap();
    let (a, b) = (open(), open());
    is(&a, 9);
    commit(&a, 10);
    b.advance(&|_| true).unwrap();
    is(&b, 10);
    commit(&b, 11);
    drop((a, b));
    let f = SimFile::of(std::fs::read(&path).unwrap());
    assert_eq!(edits(&f).0, 9);
    let l = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
    is(&l, 11);
    commit(&l, 12);
    drop(l);
    assert_eq!(edits(&SimFile::of(std::fs::read(&path).unwrap())).0, 10);
    is(&Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap(), 12);
}
