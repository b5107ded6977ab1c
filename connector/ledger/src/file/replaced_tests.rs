//! Containers that cannot be read and lose their name; and the sync of the folder after a removal and a restoration.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::checksum::seal;
use crate::clock;
use crate::error::ErrorKind;
use crate::file::superblock::{FIXED, SLOT_PLACES};
use crate::file::{expired, replaced, temporary};
use crate::ledger::Ledger;
use crate::options::{Options, Replace, SyncPolicy};

const DAY: u64 = 86_400;
const HEAD: [usize; 1] = [40];
const SLOTS: [usize; 4] = [540, 796, 4124, 4380];

fn opts(retention: Option<u64>) -> Options {
    Options { retention: retention.map(Duration::from_secs), ..Options::default() }
}

fn make(path: &Path, o: &Options) {
    let l = Ledger::create_file(path, Replace::Atomically, o.clone()).unwrap();
    l.put(b"k", "value").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

/// A container with changed bytes, and the content of its file.
fn damaged(asked: Option<u64>, places: &[usize]) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    make(&path, &opts(asked));
    let mut bytes = std::fs::read(&path).unwrap();
    places.iter().for_each(|at| bytes[*at] ^= 0x20);
    std::fs::write(&path, &bytes).unwrap();
    (dir, path, bytes)
}

fn entries(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path()).unwrap().count()
}

#[test]
fn the_slots_and_copies_are_where_the_tests_damage_them() {
    assert_eq!(SLOT_PLACES.map(|(_, at)| at as usize + 28), SLOTS);
}

#[test]
fn a_damaged_container_stays_when_it_is_replaced_or_deleted() {
    for places in [&HEAD[..], &SLOTS[..], &[40, 540, 796, 4124, 4380]] {
        for is_deleted in [false, true] {
            let (dir, path, bytes) = damaged(Some(50), places);
            match is_deleted {
                true => Ledger::remove_file(&path, &opts(None)).unwrap(),
                false => make(&path, &opts(None)),
            }
            let [kept] = &Ledger::replaced_files(&path).unwrap()[..] else {
                panic!("{places:?}: none is kept")
            };
            assert!(kept.is_damaged && kept.until > clock::now() + (DAY - 60) * 1_000_000, "{kept:?}");
            // It replaces an intact container, and an intact one replaces it.
            Ledger::restore_file(&path, &kept.name, Replace::Atomically, &opts(None)).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{places:?}");
            if let [whole] = &Ledger::replaced_files(&path).unwrap()[..] {
                assert!(!whole.is_damaged && !is_deleted);
                Ledger::restore_file(&path, &whole.name, Replace::Atomically, &opts(None)).unwrap();
                assert!(Ledger::replaced_files(&path).unwrap()[0].is_damaged);
            }
            replaced::sweep(&path, clock::now() + 2 * DAY * 1_000_000);
            assert_eq!(entries(&dir), 1, "its time is over");
        }
    }
}

#[test]
fn a_vacuum_of_the_folder_removes_an_expired_damaged_container() {
    for places in [&HEAD[..], &SLOTS[..]] {
        let (dir, path, _) = damaged(Some(50), places);
        Ledger::remove_file(&path, &opts(None)).unwrap();
        expired::sweep(dir.path(), clock::now(), usize::MAX);
        assert_eq!(entries(&dir), 1);
        expired::sweep(dir.path(), clock::now() + 2 * DAY * 1_000_000, usize::MAX);
        assert_eq!(entries(&dir), 0);
    }
}

#[test]
fn a_damaged_container_without_retention_is_removed() {
    // The slots say that no retention time is set; or the requested time is zero.
    for (asked, now, places) in [(None, None, &HEAD[..]), (Some(50), Some(0), &SLOTS[..])] {
        let (dir, path, _) = damaged(asked, places);
        make(&path, &opts(now));
        assert_eq!(entries(&dir), 1, "{places:?}");
    }
}

#[test]
fn a_container_of_a_newer_format_is_replaced_only_without_retention() {
    let (dir, path, mut bytes) = damaged(Some(50), &[]);
    bytes[16] = 77;
    let mut head = bytes[..FIXED - 4].to_vec();
    seal(&mut head);
    bytes[..FIXED].copy_from_slice(&head);
    std::fs::write(&path, &bytes).unwrap();
    let refused = Ledger::create_file(&path, Replace::Atomically, opts(None)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NewerFormat { .. }), "{refused}");
    let refused = Ledger::remove_file(&path, &opts(None)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NewerFormat { .. }), "{refused}");
    assert!(std::fs::read(&path).unwrap() == bytes);
    make(&path, &opts(Some(0)));
    assert_eq!(entries(&dir), 1);
}

#[test]
fn a_damaged_container_is_not_replaced_while_a_writer_has_it_open() {
    let (_dir, path, _) = damaged(Some(50), &[]);
    let open = Ledger::open_file(&path, crate::Access::ReadWrite, opts(None)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x77], 40).unwrap();
    for refused in [Ledger::remove_file(&path, &opts(None)), replaced::begin(&path, &opts(None)).map(drop)] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
    }
    drop(open);
}

/// The owner of a file may set any modification time.
#[test]
fn a_future_file_time_does_not_extend_the_retention() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    make(&path, &opts(None));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(50 * 365 * DAY)).unwrap();
    Ledger::remove_file(&path, &opts(Some(50))).unwrap();
    assert_eq!(entries(&dir), 1);
    replaced::sweep(&path, clock::now() + 60 * 1_000_000);
    assert_eq!(entries(&dir), 0);
}

/// Returns the number of times that a folder was synced in `body`.
fn folder_syncs(body: impl FnOnce()) -> u32 {
    temporary::SYNCED_FOLDERS.set(0);
    body();
    temporary::SYNCED_FOLDERS.get()
}

#[test]
fn a_removal_and_a_restoration_sync_the_folder_where_commits_are_synced() {
    for (sync, syncs) in [(SyncPolicy::Commit, 1), (SyncPolicy::Process, 0)] {
        for retention in [0, 50] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.h5");
            let o = Options { sync, ..opts(Some(retention)) };
            make(&path, &o);
            assert_eq!(folder_syncs(|| Ledger::remove_file(&path, &o).unwrap()), syncs, "{o:?}");
            let link = dir.path().join("link.h5");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            make(&path, &o);
            assert_eq!(folder_syncs(|| Ledger::remove_file(&link, &o).unwrap()), syncs, "a link: {o:?}");
            let kept = |n: usize| Ledger::replaced_files(&path).unwrap().get(n).map(|r| r.name);
            let Some(id) = kept(0) else { continue };
            let restore = |id| Ledger::restore_file(&path, &id, Replace::Atomically, &o).unwrap();
            assert_eq!(folder_syncs(|| restore(id)), syncs, "over another: {o:?}");
            std::fs::remove_file(&path).unwrap();
            let id = kept(0).unwrap();
            assert_eq!(folder_syncs(|| restore(id)), syncs, "to a free name: {o:?}");
        }
    }
}
