//! Readers of a file into which something else was written in place: an older copy of the container, or another container.

use std::path::Path;

use crate::error::ErrorKind;
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

/// The old history has two versions that the copy has not. The new one goes on with fewer, as many or more of its own.
#[test]
fn an_older_copy_that_goes_on_is_read_from_its_base() {
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

#[test]
fn another_container_in_the_file_is_no_news_of_this_one() {
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
            assert_eq!(*gone.kind(), ErrorKind::Gone, "{gone}");
        }
        assert_eq!(&reader.get(b"x").unwrap().unwrap()[..], b"of the old container 2");
    }
}
