//! Other code in the program closes the descriptor of a container's file, and its number is reused. This is one test,
//! because the numbers of descriptors belong to the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use h5lake_ledger::{Access, ErrorKind, Extent, Ledger, Options, Replace, Tampering};

/// A use of a container by a program.
type Use<'a> = &'a dyn Fn(&Ledger) -> h5lake_ledger::Result<()>;

/// Returns the descriptors that refer to a file.
fn descriptors(path: &Path) -> Vec<i32> {
    let real = path.canonicalize().unwrap();
    let all = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let leads = all.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == real));
    leads.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// Closes the descriptors of `path` as careless code does, and opens `make` under their numbers.
fn close_and_reuse<T: Send>(path: &Path, make: impl Fn() -> T, number_of: impl Fn(&T) -> Vec<i32>) -> Vec<T> {
    let closed = descriptors(path);
    assert!(!closed.is_empty(), "the handle keeps its file open");
    closed.iter().for_each(|number| nix::unistd::close(*number).unwrap());
    let made: Vec<T> = closed.iter().map(|_| make()).collect();
    let used: Vec<i32> = made.iter().flat_map(&number_of).collect();
    assert!(closed.iter().any(|number| used.contains(number)), "{closed:?} {used:?}");
    made
}

fn reuse_for_notes(path: &Path, notes: &Path) -> Vec<File> {
    let open = || OpenOptions::new().read(true).append(true).open(notes).unwrap();
    close_and_reuse(path, open, |file| vec![file.as_raw_fd()])
}

#[track_caller]
fn assert_descriptor_closed(e: &h5lake_ledger::Error) {
    let closed = |how: &Tampering| matches!(how, Tampering::DescriptorClosed { .. });
    assert!(matches!(e.kind(), ErrorKind::Tampered { how } if closed(how)), "{e}");
    assert!(e.to_string().contains("another part of this program closed the descriptor"), "{e}");
    assert!(!e.to_string().contains("damaged at"), "{e}");
    assert_eq!(e.errno(), Some(9), "{e}");
}

fn filled(path: &Path) -> Extent {
    let l =
        Ledger::create_file(path, Replace::Fail, Options { cache_bytes: 0, ..Options::default() }).unwrap();
    let extent = l.write_payload(&vec![5; 300_000]).unwrap();
    l.put(b"payload", extent.to_bytes()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    extent
}

fn opened(path: &Path, access: Access) -> Ledger {
    Ledger::open_file(path, access, Options { cache_bytes: 0, ..Options::default() }).unwrap()
}

/// Tests every kind of use after the descriptor was closed, within a batch and between two batches.
fn a_writer_writes_nothing_elsewhere(path: &Path, notes: &Path, extent: &Extent) {
    let text = std::fs::read(notes).unwrap();
    let uses: [Use<'_>; 6] = [
        &|l| l.write_payload(&vec![7; 3_000_000]).map(drop),
        &|l| l.put(b"key", vec![1; 100]).and_then(|()| l.commit()).map(drop),
        &|l| l.put(b"key", vec![1; 100]).and_then(|()| l.commit_to_close()).map(drop),
        &|l| l.commit().map(drop),
        &|l| l.vacuum().map(drop),
        &|l| l.read_payload(extent, 0, &mut [0; 1000]),
    ];
    for amid in [false, true] {
        for (n, act) in uses.iter().enumerate() {
            let l = opened(path, Access::ReadWrite);
            if amid {
                l.write_payload(&vec![6; 2_000_000]).unwrap();
            }
            let mut files = reuse_for_notes(path, notes);
            let e = act(&l).map_or_else(|e| e, |()| panic!("use {n} succeeds, amid a batch: {amid}"));
            assert_descriptor_closed(&e);
            assert!(!l.is_current() && l.is_gone());
            drop(l);
            assert_eq!(std::fs::read(notes).unwrap(), text, "use {n}, amid a batch: {amid}");
            for file in &mut files {
                file.metadata().expect("the handle closes its own descriptor alone");
            }
        }
    }
    let mut files = reuse_for_notes_of_a_reader(path, notes, extent);
    files.iter_mut().for_each(|file| file.write_all(b"more").unwrap());
}

fn reuse_for_notes_of_a_reader(path: &Path, notes: &Path, extent: &Extent) -> Vec<File> {
    let l = opened(path, Access::ReadOnly);
    let files = reuse_for_notes(path, notes);
    assert_descriptor_closed(&l.read_payload(extent, 0, &mut [0; 1000]).unwrap_err());
    assert_descriptor_closed(&l.refresh().unwrap_err());
    let reopened = l.reopened_file().unwrap();
    assert!(reopened.is_err(), "{reopened:?}");
    files
}

/// The container's file is deleted as well, so that the next new file may also get its inode.
fn a_new_file_with_the_inode_of_the_deleted_one(folder: &Path) {
    let (path, notes) = (folder.join("deleted.h5"), folder.join("new notes"));
    filled(&path);
    // File systems count the times of birth in ticks of the system's clock.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let l = opened(&path, Access::ReadWrite);
    std::fs::remove_file(&path).unwrap();
    let numbers = descriptors_of_deleted(&path);
    assert!(!numbers.is_empty());
    numbers.iter().for_each(|number| nix::unistd::close(*number).unwrap());
    let text = vec![b'n'; 20_000_000];
    let make = |_| OpenOptions::new().read(true).append(true).create(true).open(&notes).unwrap();
    let files: Vec<File> = numbers.iter().map(make).collect();
    (&files[0]).write_all(&text).unwrap();
    assert_descriptor_closed(&l.write_payload(&vec![7; 3_000_000]).map(drop).unwrap_err());
    drop(l);
    assert_eq!(std::fs::read(&notes).unwrap(), text);
    assert!(files.iter().all(|file| file.metadata().is_ok()), "the handle closes its own descriptor alone");
}

fn descriptors_of_deleted(path: &Path) -> Vec<i32> {
    let deleted =
        format!("{} (deleted)", path.parent().unwrap().canonicalize().unwrap().join("deleted.h5").display());
    let all = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let leads =
        all.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == &*deleted));
    leads.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// The number of a closed descriptor is reused for the file of another container, and the lock of that container must remain.
fn another_container_keeps_its_lock(path: &Path, other: &Path) {
    let l = opened(path, Access::ReadWrite);
    l.put(b"key", "value").unwrap();
    let writers = close_and_reuse(path, || opened(other, Access::ReadWrite), |_| descriptors(other));
    assert_descriptor_closed(&l.commit().unwrap_err());
    drop(l);
    let locked = Ledger::open_file(other, Access::ReadWrite, Options::default()).unwrap_err();
    assert!(matches!(locked.kind(), ErrorKind::Locked { .. }), "{locked}");
    for writer in writers {
        writer.put(b"key", "of the other container").unwrap();
        writer.commit().unwrap();
        writer.close().unwrap();
    }
    assert!(Ledger::open_file(other, Access::ReadWrite, Options::default()).is_ok());
}

#[test]
fn a_closed_descriptor_is_reported_and_its_number_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("notes.txt"), b"important notes\n".repeat(400_000)).unwrap();
    let extent = filled(&at("a.h5"));
    filled(&at("b.h5"));
    let before = std::fs::read(at("a.h5")).unwrap();
    a_writer_writes_nothing_elsewhere(&at("a.h5"), &at("notes.txt"), &extent);
    another_container_keeps_its_lock(&at("a.h5"), &at("b.h5"));
    a_new_file_with_the_inode_of_the_deleted_one(dir.path());
    let l = opened(&at("a.h5"), Access::ReadOnly);
    let mut bytes = vec![0; 300_000];
    l.read_payload(&extent, 0, &mut bytes).unwrap();
    assert!(bytes == [5; 300_000] && before.len() <= std::fs::read(at("a.h5")).unwrap().len());
}
