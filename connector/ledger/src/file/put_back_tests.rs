//! Readers and writers of a file over which other content was written in place: an older copy of the container, or another
//! container.

use std::path::Path;
use std::time::Duration;

use crate::error::{ErrorKind, Tampering};
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::options::{Access, Options, Replace};

fn commit(l: &Ledger, key: &'static str, value: String) {
    l.put(key.as_bytes(), value).unwrap();
    l.commit().unwrap();
}

fn write(path: &Path, commits: u64, key: &'static str, value: &str) {
    let l = Ledger::open_file(path, Access::ReadWrite, Options::default()).unwrap();
    (0..commits).for_each(|n| commit(&l, key, format!("{value} {n}")));
    l.close().unwrap();
}

fn read(path: &Path) -> Ledger {
    Ledger::open_file(path, Access::ReadOnly, Options::default()).unwrap()
}

fn all(l: &Ledger) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = l.scan_prefix(b"", None, usize::MAX).unwrap();
    entries.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// The old history has two versions that the copy does not have. The new history continues with fewer versions of its own,
/// as many or more.
#[test]
fn an_older_copy_that_continues_is_read_from_its_checkpoint() {
    for commits in 0..7 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.h5");
        let first = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
        ["x", "y"].into_iter().for_each(|key| commit(&first, key, "the backup's".into()));
        first.close().unwrap();
        let backup = std::fs::read(&path).unwrap();
        write(&path, 2, "x", "of the old history");
        let reader = read(&path);
        let old = all(&reader);
        std::fs::write(&path, backup).unwrap();
        write(&path, commits, "y", "of the new history");
        assert!(reader.refresh().unwrap(), "{commits} commits");
        assert_eq!(all(&reader), all(&read(&path)), "{commits} commits");
        assert_ne!(all(&reader), old);
        assert!(!reader.refresh().unwrap());
        write(&path, 1, "x", "the newest");
        assert!(reader.refresh().unwrap());
        assert_eq!(all(&reader), all(&read(&path)));
    }
}

/// The old history has more slots than versions. So its pin protects less of the new history than its number suggests.
#[test]
fn a_reader_stops_at_no_version_that_its_pin_does_not_protect() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let options =
        || Options { retention: Some(Duration::ZERO), checkpoint_bytes: 1 << 20, ..Options::default() };
    let open = || Ledger::open_file(&path, Access::ReadWrite, options()).unwrap();
    Ledger::create_file(&path, Replace::Fail, options()).unwrap().close().unwrap();
    let backup = std::fs::read(&path).unwrap();
    let old = open();
    for n in 0..10 {
        commit(&old, "x", format!("of the old history {n}"));
        old.vacuum().unwrap();
    }
    let reader = read(&path);
    old.close().unwrap();
    std::fs::write(&path, backup).unwrap();
    let new = open();
    let (mut last, mut payload) = (0, None::<Extent>);
    for n in 0..40u8 {
        payload.iter().for_each(|e| new.free_payload(e).unwrap());
        let extent = new.write_payload(&[n; 9000]).unwrap();
        new.put(b"payload", extent.to_bytes()).unwrap();
        payload = Some(extent);
        last = new.commit().unwrap();
    }
    let stop = reader.version() + 1;
    assert!(stop < last && reader.refresh_up_to(stop).unwrap());
    assert_eq!(reader.version(), last, "version {stop} may be reclaimed");
    // A later history is as long as its pins say.
    commit(&new, "x", "1".into());
    commit(&new, "x", "2".into());
    assert!(reader.refresh_up_to(last + 1).unwrap() && reader.version() == last + 1);
}

#[test]
fn another_container_in_the_file_is_no_commit_of_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("c.h5"), dir.path().join("other.h5"));
    for path in [&path, &other] {
        Ledger::create_file(path, Replace::Fail, Options::default()).unwrap().close().unwrap();
    }
    write(&path, 3, "x", "of the old container");
    let reader = read(&path);
    for commits in [0, 3, 6] {
        write(&other, commits, "y", "of the other container");
        std::fs::write(&path, std::fs::read(&other).unwrap()).unwrap();
        for _ in 0..2 {
            let gone = reader.refresh().unwrap_err();
            let how = Tampering::Replaced { is_overwritten: false };
            assert_eq!(*gone.kind(), ErrorKind::Tampered { how }, "{gone}");
            assert!(reader.is_gone());
        }
        assert_eq!(&reader.get(b"x").unwrap().unwrap()[..], b"of the old container 2");
    }
}

/// A container of forty payloads, and the bytes of its file.
fn filled(path: &Path) -> Vec<u8> {
    let l = Ledger::create_file(path, Replace::Fail, Options::default()).unwrap();
    for n in 0..40u8 {
        l.put(&[n], l.write_payload(&vec![n; 100_000]).unwrap().to_bytes()).unwrap();
    }
    l.commit().unwrap();
    l.close().unwrap();
    std::fs::read(path).unwrap()
}

/// Space that a writer has freed is in use in the copy.
#[test]
fn a_writer_changes_nothing_in_a_copy_that_was_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let backup = filled(&path);
    let opts = Options { retention: Some(Duration::ZERO), ..Options::default() };
    let old = Ledger::open_file(&path, Access::ReadWrite, opts).unwrap();
    for n in (0..40u8).step_by(2) {
        old.free_payload(&Extent::decode(&old.get(&[n]).unwrap().unwrap()).unwrap().0).unwrap();
        old.delete(&[n]).unwrap();
    }
    old.commit().unwrap();
    commit(&old, "x", "of the old history".into());
    std::fs::write(&path, &backup).unwrap();
    for _ in 0..2 {
        let refused = old.write_payload(&[99; 100_000]).unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Conflict, "{refused}");
    }
    assert!(old.is_broken());
    assert_eq!(*old.commit().unwrap_err().kind(), ErrorKind::Conflict);
    old.close().unwrap();
    assert!(std::fs::read(&path).unwrap() == backup);
}

#[test]
fn a_writer_reports_ranges_that_it_may_have_overwritten_in_a_restored_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.h5");
    let backup = filled(&path);
    write(&path, 1, "x", "of the old history");
    let old = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
    old.put(b"y", old.write_payload(&[99; 100_000]).unwrap().to_bytes()).unwrap();
    std::fs::write(&path, &backup).unwrap();
    let error = old.commit().unwrap_err();
    let is_broken = matches!(error.kind(), ErrorKind::Broken { .. });
    assert!(is_broken && error.to_string().contains("h5lake verify"), "{error}");
}

/// The close of the old writer writes no copy of a slot, because it would be newer than all slots of the new history.
#[test]
fn a_torn_slot_in_a_copy_that_was_put_back_does_not_bring_the_old_history_back() {
    for commits in 1..4 {
        let dir = tempfile::tempdir().unwrap();
        let (path, torn) = (dir.path().join("c.h5"), dir.path().join("torn.h5"));
        Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap().close().unwrap();
        write(&path, 2, "x", "the backup's");
        let backup = std::fs::read(&path).unwrap();
        let old = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
        (0..20).for_each(|n| commit(&old, "x", format!("of the old history {n}")));
        std::fs::write(&path, &backup).unwrap();
        old.put(b"x", "lost").unwrap();
        old.commit().unwrap_err();
        old.close().unwrap();
        assert!(std::fs::read(&path).unwrap() == backup, "it left something");
        write(&path, commits, "y", "of the new history");
        let whole = std::fs::read(&path).unwrap();
        for slot in [512, 4096] {
            let mut bytes = whole.clone();
            bytes[slot + 100..slot + 152].fill(0);
            std::fs::write(&torn, bytes).unwrap();
            let found = read(&torn).get(b"x").unwrap().unwrap();
            assert_eq!(&found[..], b"the backup's 1", "{commits} commits, slot at {slot}");
        }
    }
}
