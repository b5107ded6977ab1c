//! Another program truncates the file of an open container, or replaces its content.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use h5lake_ledger::{Access, ErrorKind, Extent, Ledger, Options, Replace, Tampering};

const REPLACED: Tampering = Tampering::Replaced { is_overwritten: false };

fn options() -> Options {
    Options { cache_bytes: 0, ..Options::default() }
}

fn filled(path: &Path, value: u8, bytes: usize) -> Extent {
    let l = Ledger::create_file(path, Replace::Fail, options()).unwrap();
    let extent = l.write_payload(&vec![value; bytes]).unwrap();
    l.put(b"payload", extent.to_bytes()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    extent
}

fn opened(path: &Path, access: Access) -> Ledger {
    Ledger::open_file(path, access, options()).unwrap()
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn truncate(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// A folder, and a container of 300,000 bytes in it.
fn container() -> (tempfile::TempDir, PathBuf, Extent) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let extent = filled(&path, 5, 300_000);
    (dir, path, extent)
}

#[track_caller]
fn tampering(e: &h5lake_ledger::Error) -> Tampering {
    assert!(!e.to_string().contains("damaged at"), "{e}");
    assert_eq!(e.errno(), Some(116), "{e}");
    match e.kind() {
        ErrorKind::Tampered { how } => *how,
        _ => panic!("{e}"),
    }
}

#[test]
fn a_writer_of_a_truncated_file_gets_an_error_and_stops_writing() {
    let writes: [&dyn Fn(&Ledger); 3] = [&|_| (), &|l| l.put(b"key", "value").unwrap(), &|l| {
        l.put(b"key", l.write_payload(&[1; 200_000]).unwrap().to_bytes()).unwrap()
    }];
    for to in [0, 100, 5000, 150_000] {
        for (n, write) in writes.iter().enumerate() {
            for grows in [false, true] {
                let (_dir, path, _) = container();
                let l = opened(&path, Access::ReadWrite);
                if grows {
                    l.put(b"more", l.write_payload(&[2; 100_000]).unwrap().to_bytes()).unwrap();
                    l.commit().unwrap();
                }
                let had = length(&path);
                write(&l);
                truncate(&path, to);
                let e = l.commit().map_or_else(|e| e, |_| panic!("the commit succeeds: {to}, {n}, {grows}"));
                assert!(
                    matches!(tampering(&e), Tampering::Truncated { length, least } if length == to && least + 64 > had),
                    "{e}"
                );
                assert!(l.is_broken() && !l.is_current());
                l.commit_to_close().unwrap_err();
                drop(l);
                assert_eq!(length(&path), to, "nothing was written");
            }
        }
    }
}

#[test]
fn a_shared_writer_of_a_truncated_file_gets_an_error() {
    let (_dir, path, _) = container();
    let many = Options { writers: h5lake_ledger::Writers::Many, ..options() };
    let (l, other) =
        [(); 2].map(|()| Ledger::open_file(&path, Access::ReadWrite, many.clone()).unwrap()).into();
    other.put(b"first", "of the other writer").unwrap();
    other.commit().unwrap();
    l.put(b"key", "value").unwrap();
    truncate(&path, 150_000);
    assert!(matches!(tampering(&l.commit().unwrap_err()), Tampering::Truncated { .. }));
    assert_eq!(length(&path), 150_000);
}

#[test]
fn a_reader_of_a_truncated_file_gets_an_error() {
    for to in [0, 100, 5000, 150_000] {
        let (_dir, path, extent) = container();
        let l = opened(&path, Access::ReadOnly);
        truncate(&path, to);
        let e = l.read_payload(&extent, 290_000, &mut [0; 1000]).unwrap_err();
        assert!(matches!(tampering(&e), Tampering::Truncated { length, .. } if length == to), "{e}");
        // A handle that is opened now reports the file as damaged.
        let fresh = Ledger::open_file(&path, Access::ReadOnly, options()).err().map(|e| e.to_string());
        assert!(!fresh.unwrap_or_default().contains("while it was open"), "{to}");
    }
}

/// Puts the bytes of `from` into the file at `to`, as `cp` does.
fn put_over(from: &Path, to: &Path) {
    std::fs::write(to, std::fs::read(from).unwrap()).unwrap();
}

#[test]
fn handles_of_an_overwritten_file_get_an_error_and_keep_the_new_content() {
    for bytes in [10_000, 300_000, 700_000] {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let (dir, path, extent) = container();
            let other = dir.path().join("other.h5");
            let new = filled(&other, 9, bytes);
            let l = opened(&path, access);
            if access == Access::ReadWrite {
                l.put(b"key", vec![3; 2000]).unwrap();
            }
            assert!(l.is_current());
            put_over(&other, &path);
            assert!(!l.is_current());
            let e = l.read_payload(&extent, 200_000, &mut [0; 1000]).unwrap_err();
            assert_eq!(tampering(&e), REPLACED, "{e}");
            if access == Access::ReadWrite {
                assert_eq!(tampering(&l.commit().unwrap_err()), REPLACED);
                l.commit_to_close().unwrap_err();
            } else {
                assert_eq!(tampering(&l.refresh().unwrap_err()), REPLACED);
            }
            assert!(l.is_gone());
            let fresh = opened(&path, Access::ReadOnly);
            let mut read = vec![0; bytes];
            fresh.read_payload(&new, 0, &mut read).unwrap();
            assert!(read == vec![9; bytes]);
            drop((l, fresh));
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&other).unwrap(), "nothing was written");
        }
    }
}

#[test]
fn a_writer_that_wrote_before_the_file_was_replaced_says_what_to_check() {
    let (dir, path, _) = container();
    let other = dir.path().join("other.h5");
    filled(&other, 9, 700_000);
    let l = opened(&path, Access::ReadWrite);
    l.put(b"key", l.write_payload(&[2; 100_000]).unwrap().to_bytes()).unwrap();
    put_over(&other, &path);
    let e = l.commit().unwrap_err();
    assert_eq!(tampering(&e), Tampering::Replaced { is_overwritten: true });
    assert!(e.to_string().contains("h5lake verify"), "{e}");
}

#[test]
fn a_reader_of_a_container_overwritten_by_an_older_copy_gets_an_error() {
    let (dir, path, _) = container();
    let copy = dir.path().join("copy.h5");
    std::fs::copy(&path, &copy).unwrap();
    let l = opened(&path, Access::ReadWrite);
    let extent = l.write_payload(&vec![7; 500_000]).unwrap();
    l.put(b"new", extent.to_bytes()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let l = opened(&path, Access::ReadOnly);
    put_over(&copy, &path);
    assert!(!l.is_current());
    assert_eq!(tampering(&l.read_payload(&extent, 400_000, &mut [0; 1000]).unwrap_err()), REPLACED);
    assert!(l.refresh().unwrap(), "it goes on with the older copy");
    assert!(l.is_current() && l.get(b"new").unwrap().is_none());
}

#[test]
fn a_file_of_another_kind_in_the_place_is_no_damage() {
    let (_dir, path, extent) = container();
    let l = opened(&path, Access::ReadOnly);
    std::fs::write(&path, b"notes\n".repeat(100_000)).unwrap();
    assert_eq!(tampering(&l.read_payload(&extent, 0, &mut [0; 1000]).unwrap_err()), REPLACED);
    assert!(!l.is_current());
}

#[test]
fn damage_is_still_called_damage() {
    let (_dir, path, extent) = container();
    let l = opened(&path, Access::ReadOnly);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end / 2] ^= 1;
    bytes[end / 2 + 20_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let e = l.read_payload(&extent, 0, &mut vec![0; 300_000]).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }), "{e}");
    assert!(l.is_current());
}
