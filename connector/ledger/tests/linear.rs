//! Recorded histories of writers and readers are linearizable: there is one order of all commits and reads in which
//! each of them has the effect that the model predicts, and which agrees with the clock.
//!
//! A commit reports the version that it made, and a read reports the version that it saw. So the order is known, and
//! need not be searched for. The test checks that each version is given once, that an event that ended before another
//! began precedes it, and that every snapshot is the result of the commits up to its version.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::work::Chance;
use common::{Place, again, seeds, threaded_place};
use h5lake_ledger::{Access, Error, Ledger, Options, Writers};
use object_stores::sim::{Faults, SimStore};

type Map = BTreeMap<Vec<u8>, u64>;

#[derive(Debug, Clone)]
enum What {
    /// The keys that are set, and the numbers that are added to shared keys.
    Commit {
        set: Map,
        add: Map,
    },
    Look(Map),
}

#[derive(Debug, Clone)]
struct Event {
    begun: Instant,
    ended: Instant,
    version: u64,
    what: What,
}

fn many() -> Options {
    Options { writers: Writers::Many, checkpoint_bytes: 1000, ..Options::default() }
}

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |v| u64::from_le_bytes(v.try_into().unwrap()))
}

fn snapshot(l: &Ledger) -> Result<Map, Error> {
    let entries = l.scan_prefix(b"", None, usize::MAX)?.into_iter();
    Ok(entries.map(|(k, v)| (k.to_vec(), number(Some(&v)))).collect())
}

/// Commits the staged changes, perhaps in a group with other writers. If several writers added to the same key, the
/// sums are added up.
fn commit(l: &Ledger, keys: &[Bytes]) -> Result<u64, Error> {
    loop {
        l.advance(&|_| false)?;
        for (key, base) in l.unmerged() {
            let added = number(l.get(&key)?.as_deref()) - number(base.as_deref());
            let sum = number(l.committed(&key)?.as_deref()) + added;
            l.put(&key, sum.to_le_bytes().to_vec())?;
            l.merged(&key);
        }
        let goes_in_group = l.commits_in_groups() && !keys.is_empty();
        if goes_in_group {
            if let Some((version, _)) = l.commit_in_group(keys, &|_| false)? {
                return Ok(version);
            }
        } else if let Some(version) = l.try_commit()? {
            return Ok(version);
        }
    }
}

/// Options of an exclusive writer that commits records and checkpoints, and spills some of its batches.
fn one() -> Options {
    Options { checkpoint_bytes: 300, spill_bytes: 500, retention: Some(Duration::ZERO), ..Options::default() }
}

fn write(place: &Place, writer: u64, commits: u64, opts: &Options, groups: bool) -> Vec<Event> {
    let l = again("a writer opens", || place.try_open(Access::ReadWrite, opts));
    let mut c = Chance::new(writer * 7 + 1);
    let mut events = Vec::new();
    for n in 0..commits {
        let (mut set, mut add) = (Map::new(), Map::new());
        for _ in 0..=c.below(3) {
            set.insert(format!("{writer}-{}", c.below(4)).into_bytes(), n);
        }
        for _ in 0..c.below(3) {
            *add.entry(format!("sum {}", c.below(2)).into_bytes()).or_default() += c.below(100);
        }
        let begun = Instant::now();
        for (key, value) in &set {
            again("put", || l.put(key, value.to_le_bytes().to_vec()));
        }
        for (key, value) in &add {
            let sum = number(again("get", || l.get(key)).as_deref()) + value;
            again("put", || l.put(key, sum.to_le_bytes().to_vec()));
        }
        let keys = set.keys().chain(add.keys()).filter(|_| groups).map(|key| Bytes::copy_from_slice(key));
        let keys: Vec<Bytes> = keys.collect();
        let is_shared = l.is_shared();
        let version = again("commit", || if is_shared { commit(&l, &keys) } else { l.commit() });
        events.push(Event { begun, ended: Instant::now(), version, what: What::Commit { set, add } });
        std::thread::yield_now();
    }
    events
}

/// Reads the container again and again; `looks` counts the reads that found another version than the read before.
fn look(place: &Place, done: &AtomicBool, looks: &AtomicU64, anew: bool) -> Vec<Event> {
    let mut events = Vec::new();
    let open = || again("a reader opens", || place.try_open(Access::ReadOnly, &Options::default()));
    let mut l = open();
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if anew {
            l = open();
        } else {
            again("refresh", || l.refresh());
        }
        let ended = Instant::now();
        let before = events.last().map(|e: &Event| e.version);
        looks.fetch_add(u64::from(before != Some(l.version())), Ordering::Relaxed);
        let seen = again("scan", || snapshot(&l));
        events.push(Event { begun, ended, version: l.version(), what: What::Look(seen) });
        std::thread::yield_now();
    }
    events
}

/// Checks whether a history is linearizable in the order of its versions, and returns the reason if it is not. With
/// `groups`, several commits may have one version.
fn check(events: &[Event], groups: bool) -> Result<(), String> {
    let mut commits: Vec<&Event> = events.iter().filter(|e| matches!(e.what, What::Commit { .. })).collect();
    commits.sort_by_key(|e| e.version);
    let mut state = Map::new();
    let mut states = vec![state.clone()];
    for (n, e) in commits.iter().enumerate() {
        let newest = states.len() as u64 - 1;
        // The commits of a group end in one state, and begin where the group began.
        let is_together = e.version == newest && groups && n > 0;
        if is_together {
            states.pop();
        } else if e.version != newest + 1 {
            return Err(format!("version {} is given twice or never", newest + 1));
        }
        if let What::Commit { set, add } = &e.what {
            state.extend(set.clone());
            add.iter().for_each(|(k, v)| *state.entry(k.clone()).or_default() += v);
        }
        states.push(state.clone());
    }
    for e in events {
        if let What::Look(seen) = &e.what
            && states.get(e.version as usize) != Some(seen)
        {
            return Err(format!("a look at version {} saw something else", e.version));
        }
    }
    // If two events did not overlap, the later one must not have an older version, and a commit must have a newer
    // version than all events before it.
    let mut by_begin: Vec<&Event> = events.iter().collect();
    by_begin.sort_by_key(|e| e.begun);
    let mut by_end = by_begin.clone();
    by_end.sort_by_key(|e| e.ended);
    let (mut ended, mut newest) = (by_end.into_iter().peekable(), 0);
    for e in by_begin {
        while let Some(before) = ended.next_if(|b| b.ended < e.begun) {
            newest = newest.max(before.version);
        }
        let least = newest + u64::from(matches!(e.what, What::Commit { .. }));
        if e.version < least {
            return Err(format!("version {} comes after {newest} had been seen", e.version));
        }
    }
    Ok(())
}

/// Runs writers and readers concurrently, and returns their events.
fn history(place: &Place) -> Vec<Event> {
    place.create(&many()).close().unwrap();
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        let (done, looks) = (&done, &looks);
        let readers = [false, true].map(|anew| s.spawn(move || look(place, done, looks, anew)));
        let mut all = Vec::new();
        // The readers must see many versions, however the threads are scheduled.
        while looks.load(Ordering::Relaxed) < 40 {
            let writers = [0, 1, 2].map(|writer| s.spawn(move || write(place, writer, 80, &many(), false)));
            let written = writers.map(|w| w.join());
            // The readers must end if a writer panicked.
            done.store(written.iter().any(Result::is_err), Ordering::Relaxed);
            all.extend(written.into_iter().flat_map(|w| w.unwrap()));
        }
        done.store(true, Ordering::Relaxed);
        all.extend(readers.into_iter().flat_map(|r| r.join().unwrap()));
        all
    })
}

#[test]
fn histories_are_linearizable() {
    let events = history(&threaded_place());
    check(&events, false).unwrap();
    // The check itself must find errors in a history.
    for n in (0..events.len()).step_by(events.len() / 30) {
        let mut wrong = events.clone();
        if let What::Look(seen) = &mut wrong[n].what {
            seen.insert(b"never".to_vec(), 1);
            assert!(check(&wrong, false).is_err());
        }
        let mut swapped = events.clone();
        swapped[n].version += 1;
        assert!(check(&swapped, false).is_err());
    }
}

/// Runs three writers and two readers in a store with a scheduler that decides the order and the fate of their requests. No request is lost
/// here, because a commit with an outcome that its writer never learns would be a version that no event reports.
fn simulated(seed: u64, groups: bool) -> Vec<Event> {
    let store = SimStore::new(seed, Faults::NONE);
    let place = Place::Objects(Arc::new(store.clone()), "dir/c.h5".into());
    place.create(&many()).close().unwrap();
    let (writers, done, looks) = (AtomicU64::new(3), AtomicBool::new(false), AtomicU64::new(0));
    let write = |writer| {
        let events = write(&place, writer, 12, &many(), groups);
        if writers.fetch_sub(1, Ordering::Relaxed) == 1 {
            done.store(true, Ordering::Relaxed);
        }
        events
    };
    let look = |anew| look(&place, &done, &looks, anew);
    let actors: [Box<dyn FnOnce() -> Vec<Event> + Send + '_>; 5] = [
        Box::new(|| write(0)),
        Box::new(|| write(1)),
        Box::new(|| write(2)),
        Box::new(|| look(false)),
        Box::new(|| look(true)),
    ];
    store.run(actors.into()).concat()
}

#[test]
fn simulated_histories_are_linearizable() {
    for seed in seeds(6) {
        let events = simulated(seed, false);
        check(&events, false).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn simulated_histories_with_commits_in_groups_are_linearizable() {
    let mut grouped = 0;
    for seed in seeds(6) {
        let events = simulated(seed, true);
        check(&events, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let commits = events.iter().filter(|e| matches!(e.what, What::Commit { .. }));
        let mut versions: Vec<u64> = commits.map(|e| e.version).collect();
        versions.sort_unstable();
        grouped += versions.windows(2).filter(|pair| pair[0] == pair[1]).count();
    }
    assert!(grouped > 0, "no commits went together");
}

#[test]
fn readers_see_commits_that_are_bases_in_their_order() {
    let place = Place::file();
    place.create(&one()).close().unwrap();
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let events: Vec<Event> = std::thread::scope(|s| {
        let (place, done) = (&place, &done);
        let looks = &looks;
        let readers = [false, true, false].map(|anew| s.spawn(move || look(place, done, looks, anew)));
        let mut all = Vec::new();
        // The readers must see many versions, however the threads are scheduled.
        while looks.load(Ordering::Relaxed) < 100 {
            all.extend(write(place, 0, 100, &one(), false));
        }
        done.store(true, Ordering::Relaxed);
        all.extend(readers.into_iter().flat_map(|r| r.join().unwrap()));
        all
    });
    check(&events, false).unwrap();
}

#[test]
fn a_lost_commit_and_a_stale_look_are_found() {
    let t = Instant::now();
    let at = |ms: u64| t + std::time::Duration::from_millis(ms);
    let event = |from, to, version, what| Event { begun: at(from), ended: at(to), version, what };
    let set = |k: &str, v| Map::from([(k.as_bytes().to_vec(), v)]);
    let commit = |k: &str, v| What::Commit { set: set(k, v), add: Map::new() };
    let good = [
        event(0, 5, 1, commit("a", 1)),
        event(3, 9, 2, commit("b", 2)),
        event(10, 11, 2, What::Look(Map::from([(b"a".to_vec(), 1), (b"b".to_vec(), 2)]))),
    ];
    check(&good, false).unwrap();
    let mut missing = good.to_vec();
    missing[2].what = What::Look(set("b", 2));
    assert!(check(&missing, false).is_err());
    let mut stale = good.to_vec();
    stale[2] = event(10, 11, 1, What::Look(set("a", 1)));
    assert!(check(&stale, false).is_err());
    let mut turned = good.to_vec();
    (turned[0].version, turned[1].version) = (2, 1);
    turned[1].begun = at(6);
    assert!(check(&turned, false).is_err());
}
