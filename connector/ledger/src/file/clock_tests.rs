//! Writers with wrong clocks: they lose no version that a retention time protects, and later versions get right times.

use std::time::Duration;

use crate::clock;
use crate::extent::Extent;
use crate::file::free_space::ReclaimRule;
use crate::file::sim_file::SimFile;
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, Replace, Version};
use crate::work::data;

const DAY: i64 = 86_400_000_000;

fn opts() -> Options {
    Options { retention: Some(Duration::from_secs(86_400)), checkpoint_bytes: 2000, ..Options::default() }
}

/// Commits a few versions, each of which frees the payload of the one before.
fn commit_some(l: &Ledger) {
    for _ in 0..6 {
        let version = l.version() + 1;
        let new = l.write_payload(&data(version, 50_000)).unwrap();
        if let Some(old) = l.replace(b"k", new.to_bytes()).unwrap() {
            l.free_payload(&Extent::decode(&old).unwrap().0).unwrap();
        }
        assert_eq!(l.commit().unwrap(), version);
    }
}

/// Returns the versions that can be opened, oldest first.
fn kept(l: &Ledger) -> Vec<Version> {
    let mut versions = l.versions(1000).unwrap();
    versions.reverse();
    versions
}

fn check_all(versions: &[Version], newest: u64, what: &str) {
    let numbers: Vec<u64> = versions.iter().map(|v| v.number).collect();
    assert_eq!(numbers, (1..=newest).collect::<Vec<_>>(), "{what}");
    assert!(versions.is_sorted_by_key(|v| v.time), "{what}: {versions:?}");
    assert!(versions.iter().all(|v| v.time <= clock::now()), "{what}: {versions:?}");
}

/// Runs writers one after the other, each with a clock that is ahead by the given time; then reads with a right clock.
fn with_clocks(ahead: &[i64], open: &dyn Fn(Access, Option<At>) -> Ledger, what: &str) {
    for by in ahead {
        clock::wrong::BY.set(*by);
        let l = open(Access::ReadWrite, None);
        commit_some(&l);
        l.close().unwrap();
    }
    clock::wrong::BY.set(0);
    let newest = ahead.len() as u64 * 6;
    check_all(&kept(&open(Access::ReadOnly, None)), newest, what);
    let now = Some(At::Time(clock::now()));
    assert_eq!(open(Access::ReadOnly, now).version(), newest, "{what}");
}

/// The file system's clock is right, and this process's is not.
#[test]
fn a_process_with_a_wrong_clock_loses_no_version() {
    for by in [2 * DAY, 3650 * DAY, -2 * DAY, -3650 * DAY] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        clock::wrong::BY.set(by);
        Ledger::create_file(&path, Replace::Fail, opts()).unwrap().close().unwrap();
        clock::wrong::BY.set(0);
        let open = |access, at| Ledger::open_file(&path, access, Options { at, ..opts() }).unwrap();
        with_clocks(&[0, by, 0, by, by, 0], &open, &format!("{by}"));
    }
}

/// The machine's clock is wrong, and so is the file system's: only the container itself shows it.
#[test]
fn a_machine_with_a_wrong_clock_loses_no_version() {
    for by in [2 * DAY, 3650 * DAY, -3650 * DAY] {
        for wrong in 1..5 {
            let mut clocks = vec![0; 2];
            clocks.extend(vec![by; wrong]);
            clocks.extend([0, 0, by, by, 0]);
            let f = SimFile::container();
            let rule = ReclaimRule { least: DAY as u64, courtesy: 0 };
            let open = |access, at| f.open_with_rule(access, &Options { at, ..opts() }, rule).unwrap();
            with_clocks(&clocks, &open, &format!("{by}, {wrong} times"));
        }
    }
}

/// The container was created long before the time of the clock, so the time of a version is plausible.
#[test]
fn a_clock_that_stands_behind_but_not_before_the_creation_loses_no_version() {
    clock::wrong::BY.set(-7300 * DAY);
    let f = SimFile::container();
    let rule = ReclaimRule { least: DAY as u64, courtesy: 0 };
    let open = |access, at| f.open_with_rule(access, &Options { at, ..opts() }, rule).unwrap();
    let l = open(Access::ReadWrite, None);
    l.put(b"first", "1").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let by = -3650 * DAY;
    for by in [0, 0, by, by, by, 0, 0, by, by, 0] {
        clock::wrong::BY.set(by);
        let l = open(Access::ReadWrite, None);
        commit_some(&l);
        l.close().unwrap();
    }
    clock::wrong::BY.set(0);
    let numbers: Vec<u64> = kept(&open(Access::ReadOnly, None)).iter().map(|v| v.number).collect();
    assert_eq!(numbers, (1..=61).collect::<Vec<_>>());
}

/// Space of a container that is rarely written is reclaimed, too, after one or two more writers.
#[test]
fn space_of_a_container_that_is_left_alone_for_long_comes_back() {
    clock::wrong::BY.set(-2000 * DAY);
    let f = SimFile::container();
    let rule = ReclaimRule { least: DAY as u64, courtesy: 0 };
    let writer = || f.open_with_rule(Access::ReadWrite, &opts(), rule).unwrap();
    let mut most = 0;
    for n in 0..40 {
        clock::wrong::BY.set((n * 30 - 2000) * DAY);
        commit_some(&writer());
        most = most.max(kept(&writer()).len());
    }
    clock::wrong::BY.set(0);
    assert!((18..=32).contains(&most), "{most}");
}

/// Space of all later versions is reclaimed, although the space that was freed under the wrong clock has a time ten years
/// ahead.
#[test]
fn a_clock_that_was_ahead_once_keeps_no_space_for_long() {
    clock::wrong::BY.set(-100 * DAY);
    let f = SimFile::container();
    let rule = ReclaimRule { least: DAY as u64, courtesy: 0 };
    let writer = || f.open_with_rule(Access::ReadWrite, &opts(), rule).unwrap();
    let sessions = |days: std::ops::Range<i64>| {
        for day in days {
            clock::wrong::BY.set(day * DAY);
            commit_some(&writer());
        }
        (kept(&writer()).len(), f.bytes().len())
    };
    sessions(-100..-90);
    sessions(3650..3651);
    let after_some = sessions(-89..-70);
    let after_many = sessions(-70..-30);
    clock::wrong::BY.set(0);
    assert!(after_some.0 < 60 && after_many.0 < 60, "{after_some:?}, then {after_many:?}");
    assert!(after_many.1 < after_some.1 * 5 / 4, "{after_some:?}, then {after_many:?}");
}

/// The times of versions are right again from the next version on that is committed with a right clock.
#[test]
fn versions_are_found_by_time_after_a_wrong_clock() {
    let f = SimFile::container();
    let open = |access, at| f.open(access, &Options { at, ..opts() }).unwrap();
    let commit = || {
        let l = open(Access::ReadWrite, None);
        l.put(b"n", l.version().to_be_bytes().to_vec()).unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        std::thread::sleep(Duration::from_millis(2));
        clock::now()
    };
    let first = commit();
    clock::wrong::BY.set(3650 * DAY);
    commit();
    clock::wrong::BY.set(0);
    let third = commit();
    let fourth = commit();
    let at = |t: u64| open(Access::ReadOnly, Some(At::Time(t))).version();
    assert_eq!((at(first), at(third), at(fourth)), (1, 3, 4));
}

/// Space is reclaimed when an earlier writer's time agrees with the clock, or when a vacuum is requested.
#[test]
fn space_comes_back_when_its_time_is_over() {
    clock::wrong::BY.set(-20 * DAY);
    let f = SimFile::container();
    let rule = ReclaimRule { least: DAY as u64, courtesy: 0 };
    let writer = || f.open_with_rule(Access::ReadWrite, &opts(), rule).unwrap();
    let sessions = |days: &[i64]| {
        for day in days {
            clock::wrong::BY.set(day * DAY);
            commit_some(&writer());
        }
        kept(&writer()).len()
    };
    assert_eq!(sessions(&[-20, -10]), 12, "ten days have passed, says one clock");
    assert!(sessions(&[-7, -5]) < 24, "and say the versions from then");
    let before = sessions(&[-4]);
    clock::wrong::BY.set(0);
    let l = writer();
    l.vacuum().unwrap();
    commit_some(&l);
    assert!(kept(&l).len() < before);
}
