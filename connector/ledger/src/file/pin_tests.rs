//! Interruptions between two steps of a reader.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::ErrorKind;
use crate::file::file_io::FileIo;
use crate::file::locks::Locks;
use crate::file::{FileStorage, lock, open, superblock};
use crate::ledger::Ledger;
use crate::options::{Access, Options, Replace};
use crate::storage::{StorageCommits, StorageReads};
use crate::work::{Map, content, work};

/// A file that calls a function after the slots were read for the first time.
#[derive(Debug)]
struct Interrupted<F> {
    file: Arc<dyn FileIo>,
    done: AtomicBool,
    call: F,
}

/// A closure with a name for `Debug`.
struct Call<F>(F);

impl<F> std::fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Call")
    }
}

impl<F: Fn() + Send + Sync> FileIo for Interrupted<Call<F>> {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(buf, at)?;
        if at == superblock::SLOTS_AT && !self.done.swap(true, Ordering::Relaxed) {
            (self.call.0)();
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(data, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn available(&self) -> io::Result<u64> {
        self.file.available()
    }

    crate::file::file_io::on_no_disk!();

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn opts() -> Options {
    Options { retention: Some(Duration::ZERO), checkpoint_bytes: 3000, cache_bytes: 0, ..Options::default() }
}

fn reader(path: &Path) -> Ledger {
    Ledger::open_file(path, Access::ReadOnly, opts()).unwrap()
}

#[test]
fn a_writer_between_the_first_look_and_the_pin_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let writer = Arc::new(Ledger::create_file(&path, Replace::Fail, opts()).unwrap());
    let first = work(&writer, &Map::new(), 10).1[10].clone();
    let mut storage = open(&path, Access::ReadOnly, &opts(), None).unwrap();
    let (busy, start) = (writer.clone(), first.clone());
    let call = Call(move || drop(work(&busy, &start, 60)));
    storage.raw = Arc::new(Interrupted { file: storage.raw.clone(), done: AtomicBool::new(false), call });
    let r = Ledger::start(Box::new(storage), Access::ReadOnly, &opts()).unwrap();
    assert_eq!(r.version(), 70);
    let now = content(&r).unwrap();
    assert!(now == content(&reader(&path)).unwrap());
    work(&writer, &now, 60).2.unwrap();
    assert!(content(&r).unwrap() == now, "pinned");
}

/// Returns the lowest sequence that any handle has pinned.
fn lowest_pin(path: &Path) -> Option<u64> {
    let file = Arc::new(File::open(path).unwrap());
    let high = 1 << 40;
    let locks = Locks::reader(&file, opts().lock, "x", high).unwrap();
    locks.lowest_pin(high)
}

#[test]
fn a_forked_child_that_refreshes_leaves_its_parents_pin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let writer = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
    let first = work(&writer, &Map::new(), 10).1[10].clone();
    let parent = open(&path, Access::ReadOnly, &opts(), None).unwrap();
    parent.poll_commits(u64::MAX).unwrap().unwrap();
    let pinned = lowest_pin(&path).unwrap();
    // The state after a fork: the same open file, and so the same locks, in another process.
    let child = open(&path, Access::ReadOnly, &opts(), None).unwrap();
    let shared = lock(&parent.handle).clone();
    *lock(&child.locks) = Locks::reader(shared.as_ref().unwrap(), opts().lock, "x", pinned).unwrap();
    *lock(&child.handle) = shared;
    *lock(&child.seen) = *lock(&parent.seen);
    child.opener.fetch_xor(1, Ordering::Relaxed);
    work(&writer, &first, 10).2.unwrap();
    assert!(child.poll_commits(u64::MAX).unwrap().is_some());
    assert_eq!(lowest_pin(&path), Some(pinned), "the parent's pin");
    drop(parent);
    assert!(lowest_pin(&path).unwrap() > pinned, "the child's own pin");
    child.close().unwrap();
    drop(child);
    assert_eq!(lowest_pin(&path), None);
}

/// A reader, and the open file that it shares with a forked child.
fn forked(path: &Path) -> (FileStorage, Arc<File>) {
    let parent = open(path, Access::ReadOnly, &opts(), None).unwrap();
    parent.poll_commits(u64::MAX).unwrap().unwrap();
    crate::process::forks_now();
    let childs = lock(&parent.handle).clone().unwrap();
    (parent, childs)
}

#[test]
fn a_parent_that_closes_leaves_its_forked_childs_pin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let _writer = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
    let (parent, childs) = forked(&path);
    let pinned = lowest_pin(&path).unwrap();
    parent.close().unwrap();
    drop(parent);
    assert_eq!(lowest_pin(&path), Some(pinned));
    drop(childs);
    assert_eq!(lowest_pin(&path), None);
}

#[test]
fn a_parent_that_refreshes_leaves_its_forked_childs_pin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let writer = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
    let (parent, childs) = forked(&path);
    let pinned = lowest_pin(&path).unwrap();
    let mut newest = Map::new();
    for _ in 0..3 {
        newest = work(&writer, &newest, 2).1[2].clone();
        assert!(parent.poll_commits(u64::MAX).unwrap().is_some());
        assert_eq!(lowest_pin(&path), Some(pinned), "the child's");
    }
    let newest_pinned = lock(&parent.seen).unwrap().sequence;
    parent.close().unwrap();
    assert_eq!(lowest_pin(&path), Some(pinned), "the child's");
    drop((parent, childs));
    assert_eq!(lowest_pin(&path), None);
    assert!(newest_pinned > pinned);
}

#[test]
fn a_forked_reader_that_has_moved_on_needs_no_more_than_its_own_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let writer = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
    let (parent, childs) = forked(&path);
    let pinned = lowest_pin(&path).unwrap();
    work(&writer, &Map::new(), 2).2.unwrap();
    assert!(parent.poll_commits(u64::MAX).unwrap().is_some());
    drop(childs);
    assert_eq!(lowest_pin(&path), Some(lock(&parent.seen).unwrap().sequence), "the parent's");
    assert!(lowest_pin(&path).unwrap() > pinned);
}

#[test]
fn a_reader_with_a_lost_pin_gets_the_error_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let writer = Ledger::create_file(&path, Replace::Fail, opts()).unwrap();
    let first = work(&writer, &Map::new(), 10).1[10].clone();
    let storage = open(&path, Access::ReadOnly, &opts(), None).unwrap();
    let shared = lock(&storage.handle).clone().unwrap();
    let r = Ledger::start(Box::new(storage), Access::ReadOnly, &opts()).unwrap();
    let pinned = lowest_pin(&path).unwrap();
    // The pin is lost, as after a restart of a file server.
    Locks::reader(&shared, opts().lock, "x", pinned).unwrap().unpin(pinned);
    work(&writer, &first, 60).2.unwrap();
    let e = content(&r).unwrap_err();
    assert_eq!(*e.kind(), ErrorKind::Gone, "{e}");
    assert!(r.is_gone());
}
