//! Retained containers have one name each, after any killed replacement and on any file system.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::file::{expired, replaced, temporary};
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, Replace, Replaced, SyncPolicy};

const DAY: u64 = 86_400;

fn opts(retention: u64) -> Options {
    Options { retention: Some(Duration::from_secs(retention)), ..Options::default() }
}

fn make(path: &Path, value: &'static str, o: &Options) {
    let l = Ledger::create_file(path, Replace::Atomically, o.clone()).unwrap();
    l.put(b"k", value).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

fn change(path: &Path, value: &'static str) {
    let l = Ledger::open_file(path, Access::ReadWrite, Options::default()).unwrap();
    l.put(b"k", value).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

fn value_at(path: &Path, at: Option<At>) -> String {
    let l = Ledger::open_file(path, Access::ReadOnly, Options { at, ..Options::default() }).unwrap();
    String::from_utf8(l.get(b"k").unwrap().unwrap().to_vec()).unwrap()
}

fn value(path: &Path) -> String {
    value_at(path, None)
}

fn kept(path: &Path) -> Vec<Replaced> {
    Ledger::replaced_files(path).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Fails if two names of a folder lead to one file.
fn check_no_alias(dir: &Path) {
    for path in files(dir) {
        assert_eq!(path.metadata().unwrap().nlink(), 1, "{}", path.display());
    }
}

/// A container with the value "first", and its folder.
fn one() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.h5");
    make(&path, "first", &opts(50));
    (dir, path)
}

/// Does the steps of a replacement that is killed before the new container has its name, on a file system that cannot
/// exchange names.
fn killed_after_link(path: &Path) {
    let file = Arc::new(fs::File::open(path).unwrap());
    let leaving = replaced::leaving(&file, &opts(50), clock::now, "x").unwrap().unwrap();
    assert!(leaving.link_for_test(path));
    assert_eq!(path.metadata().unwrap().nlink(), 2);
}

#[test]
fn a_replaced_container_is_kept_and_restored_without_a_second_name() {
    for no_exchange in [false, true] {
        for sync in [SyncPolicy::Process, SyncPolicy::Commit] {
            temporary::NO_EXCHANGE.set(no_exchange);
            let (dir, path) = one();
            let o = Options { sync, ..opts(50) };
            make(&path, "second", &o);
            check_no_alias(dir.path());
            let [first] = &kept(&path)[..] else { panic!("one is kept") };
            assert_eq!(value_at(&first.path, Some(At::Replaced(first.name))), "first");
            Ledger::restore_file(&path, &first.name, Replace::Atomically, &o).unwrap();
            check_no_alias(dir.path());
            let [second] = &kept(&path)[..] else { panic!("one is kept") };
            assert_eq!((value(&path), value(&second.path)), ("first".into(), "second".into()));
            Ledger::remove_file(&path, &o).unwrap();
            check_no_alias(dir.path());
            assert_eq!(kept(&path).len(), 2);
            temporary::NO_EXCHANGE.set(false);
        }
    }
}

#[test]
fn a_kept_container_cannot_be_opened_to_write_by_its_name() {
    let (_dir, path) = one();
    make(&path, "second", &opts(50));
    let first = &kept(&path)[0];
    let at = Options { at: Some(At::Replaced(first.name)), ..Options::default() };
    let refused = Ledger::open_file(&first.path, Access::ReadWrite, at).unwrap_err();
    assert_eq!(refused.errno(), Some(30), "{refused}");
}

#[test]
fn a_restoration_of_a_file_that_has_another_name_copies_it() {
    for over in [false, true] {
        let (dir, path) = one();
        killed_after_link(&path);
        let live = dir.path().join("precious.h5");
        fs::rename(&path, &live).unwrap();
        if over {
            make(&path, "other", &opts(0));
        }
        let [found] = &kept(&path)[..] else { panic!("one is listed") };
        let open = Ledger::open_file(&live, Access::ReadWrite, Options::default()).unwrap();
        let refused = Ledger::restore_file(&path, &found.name, Replace::Atomically, &opts(50)).unwrap_err();
        assert_eq!(refused.errno(), Some(11), "a writer has it open: {refused}");
        drop(open);
        Ledger::restore_file(&path, &found.name, Replace::Atomically, &opts(50)).unwrap();
        change(&path, "restored");
        assert_eq!((value(&live), value(&path)), ("first".into(), "restored".into()), "over: {over}");
        assert_ne!(live.metadata().unwrap().ino(), path.metadata().unwrap().ino());
        change(&live, "live");
        assert_eq!(value(&path), "restored");
        assert_eq!(kept(&path).iter().filter(|kept| value(&kept.path) == "other").count(), usize::from(over));
    }
}

#[test]
fn a_writer_removes_the_second_name_that_a_killed_replacement_left() {
    type Act = fn(&Path);
    let acts: [(&str, Act, usize); 3] = [
        ("open", |path| change(path, "changed"), 0),
        ("replace", |path| make(path, "second", &opts(50)), 1),
        ("remove", |path| Ledger::remove_file(path, &opts(50)).unwrap(), 1),
    ];
    for (what, act, count) in acts {
        let (dir, path) = one();
        killed_after_link(&path);
        assert!(kept(&path).is_empty(), "{what}: it has its name");
        act(&path);
        check_no_alias(dir.path());
        assert_eq!(kept(&path).len(), count, "{what}");
    }
}

/// A hard link that a user made is not changed.
#[test]
fn a_hard_link_of_a_user_stays() {
    let (dir, path) = one();
    let link = dir.path().join("link.h5");
    fs::hard_link(&path, &link).unwrap();
    change(&path, "changed");
    make(&path, "second", &opts(50));
    assert_eq!((value(&path), value(&link)), ("second".into(), "changed".into()));
    let [found] = &kept(&path)[..] else { panic!("one is listed") };
    Ledger::restore_file(&path, &found.name, Replace::Atomically, &opts(50)).unwrap();
    change(&path, "restored");
    assert_eq!(value(&link), "changed");
}

/// The new container waits under a hidden name for its place; a kill before the exchange leaves it there.
#[test]
fn a_new_container_that_never_got_its_place_is_no_kept_one() {
    let (dir, path) = one();
    let file = Arc::new(fs::File::open(&path).unwrap());
    let leaving = replaced::leaving(&file, &opts(50), clock::now, "x").unwrap().unwrap();
    let new = dir.path().join("new");
    make(&new, "never", &opts(50));
    let mut at = new.clone();
    // The process is killed before the exchange.
    assert!(leaving.wait_for_test(&mut at, &path));
    assert!(kept(&path).is_empty());
    expired::sweep(dir.path(), clock::now() + 60 * 1_000_000, usize::MAX);
    assert!(at.exists(), "it may be under way");
    let old = fs::File::options().write(true).open(&at).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(2 * DAY)).unwrap();
    expired::sweep(dir.path(), clock::now(), usize::MAX);
    assert!(!at.exists());
    // The process is killed after the exchange.
    make(&new, "second", &opts(50));
    let mut at = new;
    assert!(leaving.wait_for_test(&mut at, &path));
    temporary::exchange(&at, &path).unwrap();
    let [first] = &kept(&path)[..] else { panic!("one is kept") };
    assert_eq!((value(&path), value(&first.path)), ("second".into(), "first".into()));
    let old = fs::File::options().write(true).open(&at).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(2 * DAY)).unwrap();
    expired::sweep(dir.path(), clock::now(), usize::MAX);
    assert_eq!(kept(&path).len(), 1, "its time is not over");
    Ledger::restore_file(&path, &first.name, Replace::Atomically, &opts(50)).unwrap();
    assert_eq!(value(&path), "first");
    expired::sweep(dir.path(), clock::now() + 2 * DAY * 1_000_000, usize::MAX);
    assert_eq!(files(dir.path()), [path]);
}

#[test]
fn a_new_file_that_a_dead_creator_left_goes_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let left = crate::hidden_names::sibling(&dir.path().join("x.h5"), "new");
    fs::write(&left, "cut off").unwrap();
    let hour = 3600 * 1_000_000;
    expired::sweep(dir.path(), clock::now() + 23 * hour, usize::MAX);
    assert!(left.exists());
    expired::sweep(dir.path(), clock::now() + 25 * hour, usize::MAX);
    assert!(!left.exists());
}
