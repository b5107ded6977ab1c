//! New containers in folders that cannot be written: the content of the old container is replaced by one commit.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::error::ErrorKind;
use crate::file::temporary;
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, Replace, Writers};

fn create(path: &Path, o: &Options) -> crate::Result<Ledger> {
    let first = [(Bytes::from_static(b"new"), Bytes::from_static(b"1"))];
    Ledger::create_file_holding(path, Replace::Atomically, o.clone(), &first)
}

/// Creates a container in a folder in which no file can be created.
fn create_barred(path: &Path, o: &Options) -> crate::Result<Ledger> {
    temporary::IS_READ_ONLY.set(true);
    let made = create(path, o);
    temporary::IS_READ_ONLY.set(false);
    made
}

fn keys_at(path: &Path, at: Option<At>) -> Vec<String> {
    let l = Ledger::open_file(path, Access::ReadOnly, Options { at, ..Options::default() }).unwrap();
    let all = l.scan_prefix(b"", None, usize::MAX).unwrap();
    all.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

fn keys(path: &Path) -> Vec<String> {
    keys_at(path, None)
}

fn old(o: &Options) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path, o).unwrap();
    for n in 0..3000 {
        l.put(format!("old {n:04}").as_bytes(), "value").unwrap();
    }
    l.delete(b"new").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    (dir, path)
}

#[test]
fn the_old_content_is_there_until_the_first_commit() {
    let (_dir, path) = old(&Options::default());
    drop(create_barred(&path, &Options::default()).unwrap());
    assert_eq!(keys(&path).len(), 3000, "it was not committed");
    let l = create_barred(&path, &Options::default()).unwrap();
    l.put(b"more", "2").unwrap();
    let reader = Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap();
    assert_eq!(keys(&path).len(), 3000);
    assert_eq!(l.scan_prefix(b"", None, usize::MAX).unwrap().len(), 2);
    l.commit().unwrap();
    assert_eq!(keys(&path), ["more", "new"]);
    assert_eq!(&reader.get(b"old 0007").unwrap().unwrap()[..], b"value");
    assert!(reader.refresh().unwrap());
    assert_eq!(reader.get(b"old 0007").unwrap(), None);
}

#[test]
fn the_old_content_stays_for_its_retention_time() {
    let (dir, path) = old(&Options { retention: Some(Duration::from_secs(500)), ..Options::default() });
    let before = Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap().version();
    let l = create_barred(&path, &Options::default()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    assert_eq!((keys(&path).len(), keys_at(&path, Some(At::Version(before))).len()), (1, 3000));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn many_writers_find_the_new_content_at_once() {
    let many = Options { writers: Writers::Many, ..Options::default() };
    let (_dir, path) = old(&Options::default());
    let l = create_barred(&path, &many).unwrap();
    assert!(l.is_shared());
    assert_eq!(keys(&path), ["new"]);
    let other = Ledger::open_file(&path, Access::ReadWrite, many).unwrap();
    other.put(b"other", "3").unwrap();
    other.commit().unwrap();
    l.put(b"more", "2").unwrap();
    l.commit().unwrap();
    assert_eq!(keys(&path), ["more", "new", "other"]);
}

#[test]
fn a_container_that_a_writer_has_open_is_not_replaced() {
    for writers in [Writers::One, Writers::Many] {
        let (_dir, path) = old(&Options::default());
        let open = Ledger::open_file(&path, Access::ReadWrite, Options { writers, ..Options::default() });
        let open = open.unwrap();
        let refused = create_barred(&path, &Options::default()).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
        open.put(b"more", "1").unwrap();
        open.commit().unwrap();
        drop(open);
        assert_eq!(keys(&path).len(), 3001);
    }
}

#[test]
fn content_that_does_not_fit_into_the_file_is_refused() {
    let (_dir, path) = old(&Options::default());
    for o in
        [Options { user_block: 512, ..Options::default() }, Options { sources: true, ..Options::default() }]
    {
        let refused = create_barred(&path, &o).unwrap_err();
        assert_eq!(refused.errno(), Some(13), "{refused}");
        assert_eq!(keys(&path).len(), 3000);
    }
}

#[test]
fn a_damaged_container_is_overwritten_only_without_retention() {
    let (_dir, path) = old(&Options { retention: Some(Duration::from_secs(500)), ..Options::default() });
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 0x20;
    std::fs::write(&path, &bytes).unwrap();
    let refused = create_barred(&path, &Options::default()).unwrap_err();
    assert!(refused.to_string().contains("retention=0s"), "{refused}");
    assert!(std::fs::read(&path).unwrap() == bytes);
    let none = Options { retention: Some(Duration::ZERO), ..Options::default() };
    create_barred(&path, &none).unwrap().close().unwrap();
    assert_eq!(keys(&path), ["new"]);
}
