//! Writers of a file that other writers change meanwhile without locks; retention times of one of several writers; a failed
//! sync.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::extent::Extent;
use crate::file::sim_file::SimFile;
use crate::ledger::Ledger;
use crate::options::{Access, At, LockPolicy, Options, Replace, SyncPolicy, Writers};
use crate::storage::StorageReads;
use crate::tags::TagName;
use crate::work::data;

fn open(path: &std::path::Path, opts: Options) -> Ledger {
    Ledger::open_file(path, Access::ReadWrite, opts).unwrap()
}

fn value(path: &std::path::Path, key: &[u8]) -> Option<Vec<u8>> {
    let l = Ledger::open_file(path, Access::ReadOnly, Options::default()).unwrap();
    l.get(key).unwrap().map(|v| v.to_vec())
}

fn put(l: &Ledger, key: &[u8], value: &'static str) {
    l.put(key, value).unwrap();
    l.commit().unwrap();
}

#[test]
fn a_commit_of_a_writer_without_locks_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let a = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    put(&a, b"a", "1");
    let b = open(&path, Options { lock: LockPolicy::Off, ..Options::default() });
    put(&b, b"b", "1");
    b.close().unwrap();
    a.put(b"a", "2").unwrap();
    assert_eq!(*a.commit().unwrap_err().kind(), ErrorKind::Conflict);
    drop(a);
    assert_eq!((value(&path, b"a").unwrap(), value(&path, b"b").unwrap()), (b"1".to_vec(), b"1".to_vec()));
}

#[test]
fn an_older_copy_that_was_put_into_the_file_is_not_written_over() {
    for writers in [Writers::One, Writers::Many] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.h5");
        let opts = || Options { writers, ..Options::default() };
        let a = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
        put(&a, b"a", "1");
        let copy = std::fs::read(&path).unwrap();
        put(&a, b"a", "2");
        put(&a, b"a", "3");
        std::fs::write(&path, &copy).unwrap();
        a.put(b"a", "4").unwrap();
        a.commit().unwrap_err();
        drop(a);
        assert_eq!(value(&path, b"a").unwrap(), b"1".to_vec(), "{writers:?}");
    }
}

#[test]
fn a_retention_time_that_one_of_many_asked_for_is_heeded_by_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let opts = |retention| Options { writers: Writers::Many, retention, ..Options::default() };
    let a = Ledger::create_file(&path, Replace::Fail, opts(None)).unwrap();
    put(&a, b"a", "1");
    let b = open(&path, opts(Some(Duration::from_secs(86_400))));
    put(&b, b"b", "1");
    for _ in 0..3 {
        a.advance(&|_| false).unwrap();
        put(&a, b"a", "2");
    }
    b.close().unwrap();
    a.advance(&|_| false).unwrap();
    put(&a, b"a", "3");
    a.close().unwrap();
    let file = SimFile::of(std::fs::read(&path).unwrap());
    let slot = crate::file::log::newest_slot(&file, "c.h5").unwrap();
    assert_eq!(slot.retention, 86_400_000 + 1);
}

/// The first tag is made after this writer read the superblock, and before it gets the lock.
#[test]
fn a_tag_that_was_made_between_look_and_lock_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let name = TagName::new("paper").unwrap();
    let l = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    let extent = l.write_payload(&data(1, 300_000)).unwrap();
    l.put(b"k", extent.to_bytes()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let (_, looked) = Ledger::look_at_file(&path, Access::ReadWrite).unwrap();
    let other = open(&path, Options::default());
    other.tag(name, None, crate::Tagging::default()).unwrap();
    other.close().unwrap();
    let opts = Options { retention: Some(Duration::ZERO), ..Options::default() };
    let late = Ledger::open_looked_at(&path, looked.unwrap(), Access::ReadWrite, opts).unwrap();
    late.free_payload(&extent).unwrap();
    for n in 0..4 {
        let extent = late.write_payload(&data(n + 2, 300_000)).unwrap();
        late.put(b"k", extent.to_bytes()).unwrap();
        late.commit().unwrap();
        late.free_payload(&extent).unwrap();
    }
    late.close().unwrap();
    let tagged =
        Ledger::open_file(&path, Access::ReadOnly, Options { at: Some(At::Tag(name)), ..Options::default() })
            .unwrap();
    let found = Extent::decode(&tagged.get(b"k").unwrap().unwrap()).unwrap().0;
    tagged.read_payload(&found, 0, &mut vec![0; 300_000]).unwrap();
}

#[test]
fn space_is_not_used_again_while_a_sync_is_owed() {
    let f = SimFile::container();
    let opts = Options { sync: SyncPolicy::Commit, retention: Some(Duration::ZERO), ..Options::default() };
    let l = f.open(Access::ReadWrite, &opts).unwrap();
    let old = l.write_payload(&data(1, 300_000)).unwrap();
    l.put(b"k", old.to_bytes()).unwrap();
    l.commit().unwrap();
    let new = l.write_payload(&data(2, 300_000)).unwrap();
    l.put(b"k", new.to_bytes()).unwrap();
    l.free_payload(&old).unwrap();
    f.fail_syncs(2, u64::MAX, false);
    l.commit().unwrap_err();
    l.write_payload(&data(3, 300_000)).unwrap();
    let left = SimFile::of(f.after_power_loss(|| true)).open(Access::ReadOnly, &Options::default()).unwrap();
    let found = Extent::decode(&left.get(b"k").unwrap().unwrap()).unwrap().0;
    left.read_payload(&found, 0, &mut vec![0; 300_000]).unwrap();
}

/// The newest version has the same number, but another history.
#[test]
fn versions_that_do_not_follow_what_was_there_are_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let opts = || Options { writers: Writers::Many, ..Options::default() };
    let a = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
    put(&a, b"a", "1");
    let copy = std::fs::read(&path).unwrap();
    put(&a, b"a", "2");
    let other = dir.path().join("other.h5");
    std::fs::write(&other, &copy).unwrap();
    for more in 0..2 {
        let b = open(&other, opts());
        put(&b, b"b", "another's");
        b.close().unwrap();
        std::fs::write(&path, std::fs::read(&other).unwrap()).unwrap();
        a.put(b"a", "3").unwrap();
        a.commit().unwrap_err();
        assert_eq!(value(&path, b"b").unwrap(), b"another's".to_vec(), "{more}");
        assert_eq!(value(&path, b"a").unwrap(), b"1".to_vec(), "{more}");
    }
}

/// A forked child reads through its parent's handle, and has no pin of its own.
#[test]
fn a_forked_child_reports_no_damage_after_its_parent_reused_space() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap().close().unwrap();
    let storage = crate::file::open(&path, Access::ReadWrite, &Options::default(), None).unwrap();
    storage.poll_commits(u64::MAX).unwrap();
    let is_damage = || {
        let e = Error::corrupt("c.h5", "a payload", "the checksum does not match");
        matches!(storage.classify_read_error(e).kind(), ErrorKind::Corrupt { .. })
    };
    // The state in a child: the process is not the opener.
    storage.opener.fetch_xor(1, Ordering::Relaxed);
    assert!(is_damage(), "the parent has committed nothing since");
    put(&open(&path, Options { lock: LockPolicy::Off, ..Options::default() }), b"a", "the parent's");
    assert!(!is_damage() && storage.is_gone());
    storage.opener.fetch_xor(1, Ordering::Relaxed);
    assert!(is_damage(), "to the parent it is");
}
