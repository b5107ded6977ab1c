//! Writers of one container in the simulated store: whatever the network does, nothing that was committed is lost or torn.
//!
//! `linear.rs` checks the order of what writers and readers see there.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::work::{Chance, Map, content, data};
use common::{Place, again, seeds};
use h5lake_ledger::{Access, Error, Extent, Ledger, Options, Writers};
use object_stores::sim::{Faults, SimStore};

fn options(writers: Writers) -> Options {
    Options { writers, checkpoint_bytes: 4_000, ..Options::default() }
}

type Actor<'a, T> = Box<dyn FnOnce() -> T + Send + 'a>;

fn place_in(store: &SimStore) -> Place {
    Place::Objects(Arc::new(store.clone()), "dir/c.h5".into())
}

/// Stages a value, in the entry itself or as a payload. The previous payload is freed.
fn set(l: &Ledger, model: &mut Map, key: &str, value: Vec<u8>) {
    let old = again("get", || l.get(key.as_bytes()));
    let stored = match value.len() {
        0..=300 => [&[0], &value[..]].concat(),
        _ => [&[1], &again("write a payload", || l.write_payload(&value)).to_bytes()[..]].concat(),
    };
    again("put", || l.put(key.as_bytes(), stored.clone()));
    if let Some(old) = old.filter(|old| old[0] == 1) {
        let old = Extent::decode(&old[1..]).unwrap().0;
        again("free a payload", || l.free_payload(&old));
    }
    model.insert(key.into(), value);
}

/// Stages a few values under keys of this writer.
fn stage(l: &Ledger, model: &mut Map, writer: u64, n: u64, c: &mut Chance) {
    for _ in 0..=c.below(3) {
        let length = [5, 200, 400, 3_000, 70_000][c.below(5) as usize];
        set(l, model, &format!("{writer}-{}", c.below(6)), data(n * 7 + writer, length));
    }
}

/// Checks the content that a later process finds, and that it can continue.
fn check(store: &SimStore, model: &Map, what: &str) {
    let place = Place::Objects(store.beneath(), "dir/c.h5".into());
    let mut found = content(&place.open(Access::ReadOnly, &Options::default())).unwrap();
    found.remove(&b"N"[..]);
    assert!(found == *model, "{what}: other content");
    let l = place.open(Access::ReadWrite, &options(Writers::One));
    l.vacuum().unwrap_or_else(|e| panic!("{what}: {e}"));
    l.put(b"after", "\0").unwrap();
    l.commit().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(content(&l).unwrap().len(), model.len() + 1 + usize::from(l.get(b"N").unwrap().is_some()));
}

/// Reads all of each version while writers are left.
fn read_while(place: &Place, left: &AtomicU64) {
    let l = again("a reader opens", || place.try_open(Access::ReadOnly, &Options::default()));
    while left.load(Ordering::Relaxed) > 0 {
        again("refresh", || l.refresh());
        again("read all", || content(&l));
    }
}

/// One writer that closes and opens the container, beside a reader that reads all of each version.
fn alone(seed: u64, faults: Faults, retention: Option<Duration>) {
    let store = SimStore::new(seed, faults);
    let place = place_in(&store);
    let o = Options { retention, ..options(Writers::One) };
    place.create(&o).close().unwrap();
    let left = AtomicU64::new(1);
    let write = || {
        let (mut model, mut c) = (Map::new(), Chance::new(seed));
        for session in 0..3 {
            let l = again("open", || place.try_open(Access::ReadWrite, &o));
            for n in 0..5 {
                stage(&l, &mut model, 0, session * 5 + n, &mut c);
                again("commit", || l.commit());
            }
            again("commit to close", || l.commit_to_close());
            let _what_was_committed_is_safe = l.close();
        }
        left.fetch_sub(1, Ordering::Relaxed);
        model
    };
    let read = || {
        read_while(&place, &left);
        Map::new()
    };
    let actors: Vec<Actor<'_, Map>> = vec![Box::new(write), Box::new(read)];
    let model = store.run(actors).swap_remove(0);
    check(&store, &model, &format!("one writer, seed {seed}, {faults:?}"));
}

/// The way in which concurrent writers commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    Alone,
    Grouped,
}

/// Commits the staged changes of `keys`, which no other writer changes.
fn commit(l: &Ledger, keys: &[Bytes], how: Commits) -> Result<(), Error> {
    if how == Commits::Alone {
        return l.commit().map(drop);
    }
    loop {
        l.advance(&|_| false)?;
        if l.commit_in_group(keys, &|_| false)?.is_some() {
            return Ok(());
        }
    }
}

/// Concurrent writers with keys of their own, which take object numbers, beside a reader that reads all of each version.
/// Each number is given to one writer only.
fn together(seed: u64, faults: Faults, how: Commits) {
    let what = format!("three writers, seed {seed}, {how:?}, {faults:?}");
    let store = SimStore::new(seed, faults);
    let (place, o) = (place_in(&store), options(Writers::Many));
    place.create(&o).close().unwrap();
    let left = AtomicU64::new(3);
    let write = |writer: u64| {
        let (mut model, mut numbers, mut c) = (Map::new(), Vec::new(), Chance::new(seed * 3 + writer));
        let l = again("open", || place.try_open(Access::ReadWrite, &o));
        let keys: Vec<Bytes> = (0..6).map(|n| Bytes::from(format!("{writer}-{n}"))).collect();
        for n in 0..8 {
            stage(&l, &mut model, writer, n, &mut c);
            if c.below(2) == 0 {
                let from = again("take numbers", || l.take_numbers(b"N", 3, 1));
                numbers.extend(from..from + 3);
            }
            again("commit", || commit(&l, &keys, how));
        }
        let _what_was_committed_is_safe = l.close();
        left.fetch_sub(1, Ordering::Relaxed);
        (model, numbers)
    };
    let read = || {
        read_while(&place, &left);
        (Map::new(), Vec::new())
    };
    let mut actors: Vec<Actor<'_, (Map, Vec<u64>)>> = vec![Box::new(read)];
    actors.extend((0..3).map(|writer| Box::new(move || write(writer)) as Actor<'_, _>));
    let (models, numbers): (Vec<Map>, Vec<Vec<u64>>) = store.run(actors).into_iter().unzip();
    let mut numbers = numbers.concat();
    let given = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), given, "{what}: a number was given twice");
    check(&store, &models.into_iter().flatten().collect(), &what);
}

#[test]
fn one_writer_loses_nothing_where_requests_and_answers_are_lost() {
    for seed in seeds(30) {
        alone(seed, Faults::NONE, None);
        alone(seed, Faults::LOST, None);
    }
}

#[test]
fn one_writer_loses_nothing_where_requests_are_late_and_repeated() {
    seeds(20).for_each(|seed| alone(seed, Faults::ALL, None));
}

#[test]
fn shared_writers_lose_nothing_where_requests_and_answers_are_lost() {
    for seed in seeds(20) {
        together(seed, Faults::NONE, Commits::Alone);
        together(seed, Faults::LOST, Commits::Alone);
    }
}

#[test]
fn shared_writers_lose_nothing_where_requests_are_late_and_repeated() {
    seeds(20).for_each(|seed| together(seed, Faults::ALL, Commits::Alone));
}

#[test]
fn commits_in_groups_lose_nothing_whatever_happens_to_requests() {
    for seed in seeds(6) {
        together(seed, Faults::NONE, Commits::Grouped);
        together(seed, Faults::ALL, Commits::Grouped);
    }
}

/// Sessions that put no objects commit in groups until the inline records need a segment, which only a listed session can put.
#[test]
fn commits_in_groups_go_on_when_a_segment_is_due() {
    for seed in seeds(2) {
        let store = SimStore::new(seed, Faults::NONE);
        let place = place_in(&store);
        let opts = Options { checkpoint_bytes: 1 << 30, ..options(Writers::Many) };
        place.create(&opts).close().unwrap();
        let (writers, commits, bytes) = (3, 40, 4_000);
        let write = |writer: usize| {
            let l = place.open(Access::ReadWrite, &opts);
            for n in 0..commits {
                let key = Bytes::from(format!("{writer}-{n}"));
                l.put(&key, vec![writer as u8; bytes]).unwrap();
                commit(&l, &[key], Commits::Grouped).unwrap();
            }
            l.close().unwrap();
        };
        store.run((0..writers).map(|writer| move || write(writer)).collect());
        let r = place.open(Access::ReadOnly, &opts);
        assert_eq!(r.scan_prefix(b"", None, usize::MAX).unwrap().len(), writers * commits, "seed {seed}");
    }
}
