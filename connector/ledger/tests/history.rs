//! Compares old versions with a model: the content of every committed version is recorded, and each version that is
//! listed is opened and compared, whatever commits, checkpoints, vacuums, reopenings and crashes came before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::work::{Map, content, stage};
use common::{Place, places};
use h5lake_ledger::{
    Access, At, ErrorKind, Ledger, LockPolicy, Options, Replace, Statistics, Version, Writers,
};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Op {
    Commit(u8),
    Vacuum,
    Reopen,
    Crash,
    /// Lets time pass.
    Sleep,
    /// Opens an old version and retains it.
    Hold(u16),
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1u8..8).prop_map(Op::Commit),
        1 => Just(Op::Vacuum),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
        2 => Just(Op::Sleep),
        2 => any::<u16>().prop_map(Op::Hold),
        2 => Just(Op::Look),
    ]
}

struct Run {
    place: Place,
    opts: Options,
    writer: Option<Ledger>,
    /// The second concurrent writer, if there are two. The writers take turns.
    second: Option<Ledger>,
    /// The states, indexed by version.
    states: Vec<Map>,
    held: Vec<Ledger>,
}

impl Run {
    fn new(place: Place, opts: Options) -> Self {
        let writer = Some(place.create(&opts));
        let second = (opts.writers == Writers::Many).then(|| place.open(Access::ReadWrite, &opts));
        Run { place, opts, writer, second, states: vec![Map::new()], held: Vec::new() }
    }

    fn at(&self, at: At) -> h5lake_ledger::Result<Ledger> {
        self.place.try_open(Access::ReadOnly, &Options { at: Some(at), cache_bytes: 0, ..self.opts.clone() })
    }

    fn versions(&self) -> Vec<Version> {
        self.writer.as_ref().unwrap().versions(usize::MAX).unwrap()
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Commit(n) => (0..n).for_each(|_| {
                if self.second.is_some() {
                    std::mem::swap(&mut self.writer, &mut self.second);
                    let advanced = self.writer.as_ref().unwrap().advance(&|_| false);
                    if advanced.is_err_and(|e| *e.kind() == ErrorKind::Gone) {
                        // A reader of a store without a refresh for longer than the retention time may lose its
                        // version.
                        assert!(
                            matches!(self.place, Place::Objects(..)) && self.opts.retention != Some(HOUR)
                        );
                        self.writer = Some(self.place.open(Access::ReadWrite, &self.opts));
                    }
                }
                let mut state = self.states.last().unwrap().clone();
                let l = self.writer.as_ref().unwrap();
                stage(l, &mut state, self.states.len() as u64).unwrap();
                if l.commit().unwrap() == self.states.len() as u64 {
                    self.states.push(state);
                }
            }),
            // A vacuum is not possible in a store with several writers, because unreferenced objects may belong to
            // another writer.
            Op::Vacuum if self.second.is_some() => (),
            Op::Vacuum => drop(self.writer.as_ref().unwrap().vacuum().unwrap()),
            Op::Reopen => {
                self.writer.take().unwrap().close().unwrap();
                self.writer = Some(self.place.open(Access::ReadWrite, &self.opts));
            }
            Op::Crash => self.crash(),
            Op::Sleep => std::thread::sleep(Duration::from_millis(3)),
            Op::Hold(n) => {
                let kept = self.versions();
                if let Some(v) = kept.get(n as usize % kept.len().max(1)) {
                    self.held.push(self.at(At::Version(v.number)).unwrap());
                }
            }
            Op::Look => self.look(),
        }
    }

    fn crash(&mut self) {
        let old = self.writer.take().unwrap();
        if let Place::File(_, path) = &self.place {
            // The state after the death of a process. The lock stays with the file that has lost its name.
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(&copy, path).unwrap();
            self.held.clear();
        }
        std::mem::forget((old, self.second.take()));
        self.writer = Some(self.place.open(Access::ReadWrite, &self.opts));
        let many = self.opts.writers == Writers::Many;
        self.second = many.then(|| self.place.open(Access::ReadWrite, &self.opts));
    }

    /// Checks the comparison of two retained versions, and of a retained version with the writer, against scans of
    /// both.
    fn check_differences(&self, kept: &[Version]) {
        let opened: Vec<_> = kept.iter().take(6).map(|v| self.at(At::Version(v.number)).unwrap()).collect();
        let handles: Vec<&Ledger> = self.writer.iter().chain(&opened).collect();
        for pair in handles.windows(2).chain(handles.windows(handles.len())) {
            check_differences_of(pair[0], pair[pair.len() - 1]);
        }
    }

    fn look(&self) {
        let kept = self.versions();
        self.check_differences(&kept);
        let newest = self.states.len() as u64 - 1;
        let numbers: Vec<u64> = kept.iter().map(|v| v.number).collect();
        let oldest = newest + 1 - numbers.len() as u64;
        assert_eq!(numbers, (oldest..=newest).rev().collect::<Vec<_>>(), "the newest ones, all of them");
        if newest > 0 {
            assert!(!kept.is_empty(), "none of {newest} versions in {:?}", self.place);
            assert_eq!(self.writer.as_ref().unwrap().versions(2).unwrap(), kept[..kept.len().min(2)]);
        }
        if self.opts.retention == Some(HOUR) {
            assert_eq!(oldest, 1, "within the retention time nothing is lost");
        }
        for v in &kept {
            assert_eq!((v.pid, v.bytes > 0), (std::process::id(), true));
            let r = self.at(At::Version(v.number)).unwrap();
            assert_eq!(r.version(), v.number);
            assert!(content(&r).unwrap() == self.states[v.number as usize], "version {}", v.number);
            assert!(!r.refresh().unwrap());
            let by_time = self.at(At::Time(v.time)).unwrap();
            let same_time = kept.iter().filter(|w| w.time == v.time).map(|w| w.number).max().unwrap();
            assert_eq!(by_time.version(), same_time);
        }
        for missing in [0, oldest.saturating_sub(1), newest + 1] {
            if missing == 0 || missing < oldest || missing > newest {
                let e = self.at(At::Version(missing)).unwrap_err();
                let expect = matches!(e.kind(), ErrorKind::NoSuchVersion { kept, .. } if *kept == (oldest.min(newest), newest));
                assert!(expect, "{oldest} to {newest}: {e}");
            }
        }
    }

    fn check_held(&self) {
        // No pin in a store protects the objects of an opened version; only the retention time does.
        if matches!(self.place, Place::File(..)) || self.opts.retention == Some(HOUR) {
            for r in &self.held {
                assert!(content(r).unwrap() == self.states[r.version() as usize], "held {}", r.version());
            }
        }
    }
}

/// Returns all entries of a map, as they are stored.
fn entries(ledger: &Ledger) -> BTreeMap<Bytes, Bytes> {
    ledger.scan_prefix(b"", None, usize::MAX).unwrap().into_iter().collect()
}

/// Checks that the reported differences of two maps agree with scans of both.
fn check_differences_of(one: &Ledger, other: &Ledger) {
    let maps = [entries(one), entries(other)];
    let mut keys: Vec<&Bytes> = maps.iter().flat_map(BTreeMap::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let both =
        keys.into_iter().map(|key| (key.clone(), maps[0].get(key).cloned(), maps[1].get(key).cloned()));
    let expected: Vec<_> = both.filter(|(_, one, other)| one != other).collect();
    for prefix in [&b""[..], &b"k"[..], expected.first().map_or(&b"x"[..], |(key, ..)| &key[..key.len() / 2])]
    {
        let mut walk = one.differences(other, prefix).unwrap();
        let found = std::iter::from_fn(|| walk.next_difference().unwrap())
            .map(|found| (found.key, found.one, found.other));
        let expected = expected.iter().filter(|(key, ..)| key.starts_with(prefix)).cloned();
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

const HOUR: Duration = Duration::from_secs(3600);

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_retained_version_is_unchanged(
        ops in proptest::collection::vec(op(), 1..24),
        bytes in prop_oneof![Just(0u64), Just(3000), Just(1 << 20)],
        spill_bytes in prop_oneof![Just(900u64), Just(u64::MAX)],
        writers in prop_oneof![Just(Writers::One), Just(Writers::Many)],
        retention in prop_oneof![Just(Some(HOUR)), Just(Some(Duration::ZERO)), Just(Some(Duration::from_millis(5))), Just(None)],
    ) {
        for place in places() {
            // A crash leaves a lease in a store. No writer competes for the lease here.
            let lock = if matches!(place, Place::File(..)) || writers == Writers::Many { LockPolicy::Required } else { LockPolicy::Off };
            let opts =
                Options { checkpoint_bytes: bytes, spill_bytes, retention, lock, writers, ..Options::default() };
            let mut r = Run::new(place, opts);
            for op in &ops {
                r.step(*op);
            }
            r.look();
            r.check_held();
        }
    }
}

#[test]
fn a_container_remembers_its_retention() {
    for place in places() {
        let opts = |retention| Options { checkpoint_bytes: 0, retention, ..Options::default() };
        let mut r = Run::new(place, opts(Some(HOUR)));
        r.step(Op::Commit(20));
        // A writer without a retention setting of its own uses the previous one.
        r.opts = opts(None);
        r.step(Op::Reopen);
        r.step(Op::Commit(20));
        r.step(Op::Vacuum);
        assert_eq!(r.versions().len(), r.states.len() - 1);
        r.look();
        r.opts = opts(Some(Duration::ZERO));
        r.step(Op::Reopen);
        r.step(Op::Commit(3));
        r.step(Op::Vacuum);
        assert!(r.versions().len() < 10, "{} versions", r.versions().len());
        r.look();
    }
}

#[test]
fn versions_around_commits_that_are_bases_are_kept() {
    // The versions are checkpoints of their own, after records, before records, and two next to each other; also in a
    // new container.
    for large in [[0, 3, 4, 7], [2, 3, 8, 9]] {
        let opts = Options { checkpoint_bytes: 20_000, retention: Some(HOUR), ..Options::default() };
        let mut r = Run::new(Place::file(), opts);
        for n in 0..12 {
            let mut state = r.states.last().unwrap().clone();
            let l = r.writer.as_ref().unwrap();
            let keys = if large.contains(&n) { 200 } else { 3 };
            for k in 0..keys {
                let (key, value) = (format!("{n}-{k}").into_bytes(), vec![n as u8; 150]);
                l.put(&key, [&[0], &value[..]].concat()).unwrap();
                state.insert(key, value);
            }
            let before = l.size().unwrap();
            l.commit().unwrap();
            let added = l.versions(1).unwrap()[0].bytes;
            let staged = keys * 155;
            assert!((staged..staged * 3 / 2 + 400).contains(&added), "{added} bytes for {staged} staged");
            assert!(l.size().unwrap() - before < staged * 3 / 2 + 20_000, "written once");
            r.states.push(state);
            r.look();
        }
        // The old versions can also be reached after the next writers.
        r.step(Op::Reopen);
        r.look();
        r.step(Op::Vacuum);
        r.look();
        r.step(Op::Crash);
        r.look();
        r.opts = Options { writers: Writers::Many, checkpoint_bytes: 3000, ..r.opts };
        r.step(Op::Reopen);
        r.look();
        r.second = Some(r.place.open(Access::ReadWrite, &r.opts));
        r.step(Op::Commit(20));
        r.look();
    }
}

#[test]
fn the_newest_version_is_kept_when_an_older_one_becomes_the_base() {
    let opts = Options { writers: Writers::Many, retention: Some(Duration::ZERO), ..Options::default() };
    let mut r = Run::new(Place::file(), opts);
    r.step(Op::Commit(2));
    // The second writer has not seen the last commit, and checkpoints the records that it has.
    r.second.as_ref().unwrap().vacuum().unwrap();
    for _ in 0..2 {
        for l in [&r.writer, &r.second].map(|l| l.as_ref().unwrap()) {
            l.advance(&|_| false).unwrap();
        }
    }
    // Space that the checkpoint freed is reused.
    for n in 0..20 {
        r.writer.as_ref().unwrap().write_payload(&vec![n; 100_000]).unwrap();
    }
    r.look();
    r.step(Op::Commit(5));
    r.look();
}

#[test]
fn the_newest_version_is_kept_however_short_the_retention() {
    for place in places() {
        let (checkpoint_bytes, retention) = (0, Some(Duration::ZERO));
        let opts = Options { writers: Writers::Many, checkpoint_bytes, retention, ..Options::default() };
        let mut r = Run::new(place, opts);
        for _ in 0..20 {
            r.step(Op::Commit(1));
            r.look();
        }
    }
}

#[test]
fn an_old_version_is_not_written() {
    for place in places() {
        let r = Run::new(place, Options::default());
        let old = Options { at: Some(At::Version(1)), ..Options::default() };
        let e = r.place.try_open(Access::ReadWrite, &old).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::OldVersion { .. }) && e.errno() == Some(30), "{e}");
    }
}

#[test]
fn times_between_versions_and_before_all() {
    for place in places() {
        let mut r =
            Run::new(place, Options { checkpoint_bytes: 2000, retention: Some(HOUR), ..Options::default() });
        for _ in 0..12 {
            r.step(Op::Commit(1));
            std::thread::sleep(Duration::from_millis(2));
        }
        let kept = r.versions();
        for pair in kept.windows(2) {
            let between = (pair[0].time + pair[1].time) / 2;
            assert_eq!(r.at(At::Time(between)).unwrap().version(), pair[1].number);
        }
        assert_eq!(r.at(At::Time(u64::MAX)).unwrap().version(), kept[0].number);
        let first = kept.last().unwrap().time;
        let e = r.at(At::Time(first - 1)).unwrap_err();
        assert!(e.to_string().contains("versions are 1 to 12,"), "{e}");
    }
}

/// Readers of payloads that a vacuum moves can continue, and old versions are retained for their retention time.
#[test]
fn readers_and_old_versions_outlast_a_vacuum_that_moves_pages() {
    let dir = tempfile::tempdir().unwrap();
    for kept in [Duration::ZERO, Duration::from_secs(3600)] {
        let path = dir.path().join(format!("{}.h5", kept.as_secs()));
        let opts = Options { retention: Some(kept), ..Options::default() };
        let l = Ledger::create_file(&path, Replace::Fail, opts.clone()).unwrap();
        let front = l.write_payload(&vec![7; 8 << 20]).unwrap();
        l.put(b"front", front.to_bytes()).unwrap();
        l.commit().unwrap();
        let keys = |l: &Ledger| l.scan_prefix(b"key", None, usize::MAX).unwrap();
        for n in 0..5000u32 {
            l.put(format!("key-{n}").as_bytes(), vec![n as u8; if n % 100 == 0 { 3000 } else { 80 }])
                .unwrap();
        }
        let with_front = l.commit().unwrap();
        l.vacuum().unwrap();
        let wanted = keys(&l);
        let reader = Ledger::open_file(&path, Access::ReadOnly, opts.clone()).unwrap();
        l.free_payload(&front).unwrap();
        l.delete(b"front").unwrap();
        l.commit().unwrap();
        for _ in 0..3 {
            l.vacuum().unwrap();
            assert!(keys(&reader) == wanted && keys(&l) == wanted);
            std::thread::sleep(l.reclaim_delay().unwrap().unwrap_or_default().min(Duration::from_secs(3)));
        }
        let mut byte = [0];
        reader.read_payload(&front, 5 << 20, &mut byte).unwrap();
        assert!(byte == [7] && l.size().unwrap() > 8 << 20, "a reader has it");
        reader.close().unwrap();
        for _ in 0..4 {
            l.vacuum().unwrap();
            std::thread::sleep(l.reclaim_delay().unwrap().unwrap_or_default().min(Duration::from_secs(3)));
        }
        assert!(keys(&l) == wanted);
        assert_eq!(l.size().unwrap() < 2 << 20, kept.is_zero(), "{} bytes", l.size().unwrap());
        let old = Options { at: Some(At::Version(with_front)), ..opts };
        let old = Ledger::open_file(&path, Access::ReadOnly, old);
        assert_eq!(old.is_ok(), !kept.is_zero());
        if let Ok(old) = old {
            assert!(keys(&old) == wanted);
            old.read_payload(&front, 5 << 20, &mut byte).unwrap();
        }
    }
}

#[test]
fn a_comparison_reads_only_changes() {
    for place in places() {
        let opts = Options { checkpoint_bytes: 0, retention: Some(HOUR), ..Options::default() };
        let writer = place.create(&opts);
        let key = |n: u32| format!("{n:06}").into_bytes();
        (0..20_000).for_each(|n| writer.put(&key(n), vec![1; 100]).unwrap());
        writer.commit().unwrap();
        for n in [3, 9_000, 9_001] {
            writer.put(&key(n), "changed").unwrap();
        }
        writer.delete(&key(17_000)).unwrap();
        writer.put(&key(20_000), "new").unwrap();
        writer.commit().unwrap();
        let counts = [1, 2].map(|version| {
            let statistics = Arc::new(Statistics::default());
            let at = Some(At::Version(version));
            let options = Options { at, statistics: statistics.clone(), ..opts.clone() };
            (place.open(Access::ReadOnly, &options), statistics)
        });
        let [(first, pages), (second, more_pages)] = counts;
        let mut walk = first.differences(&second, b"").unwrap();
        let found: Vec<_> =
            std::iter::from_fn(|| walk.next_difference().unwrap()).map(|found| found.key).collect();
        assert_eq!(found, [3, 9_000, 9_001, 17_000, 20_000].map(|n| Bytes::from(key(n))));
        let read = pages.pages.misses() + more_pages.pages.misses();
        // Four leaves of each map, and the pages above them, out of about 600 pages.
        assert!(read <= 32, "{read} pages were read in {place:?}");
    }
}
