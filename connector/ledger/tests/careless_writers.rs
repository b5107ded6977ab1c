//! Several writers of one container in a store that fails again and again, differently for each writer. After every
//! step the container has every commit that was acknowledged to any writer, complete, and no object number was given
//! twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::careless_requests::fail_often;
use common::work::{Chance, Map, content, data};
use h5lake_ledger::{Access, Error, Extent, Ledger, LockPolicy, Options, Replace, Writers};
use object_stores::{FaultStore, ObjectStore};

const KEY: &str = "dir/name.h5";

/// A writer, and the states of its own keys that it may have committed.
struct Writer {
    name: u64,
    l: Ledger,
    model: Map,
    /// The state that was acknowledged, and the states of commits that were not acknowledged.
    possible: Vec<Map>,
}

impl Writer {
    fn key(&self, n: u64) -> Vec<u8> {
        format!("{}-{n:02}", self.name).into_bytes()
    }

    fn stage(&mut self, c: &mut Chance, seed: u64) -> Result<(), Error> {
        for n in 0..1 + c.below(6) {
            let key = self.key(c.below(30));
            if let Some(old) = self.l.get(&key)?.filter(|old| old[0] == 1) {
                self.l.free_payload(&Extent::decode(&old[1..])?.0)?;
            }
            let bytes = data(seed + n, [3, 100, 2500, 20_000, 70_000][c.below(5) as usize]);
            match c.below(4) {
                0 => {
                    self.l.delete(&key)?;
                    self.model.remove(&key);
                    continue;
                }
                1 => {
                    let e = self.l.write_payload(&bytes)?;
                    self.l.put(&key, [&[1], &e.to_bytes()[..]].concat())?;
                }
                _ => self.l.put(&key, [&[0], &bytes[..]].concat())?,
            }
            self.model.insert(key, bytes);
        }
        Ok(())
    }

    fn own(&self, all: &Map) -> Map {
        own(self.name, all)
    }
}

/// Returns the entries of a writer.
fn own(name: u64, all: &Map) -> Map {
    let prefix = format!("{name}-").into_bytes();
    all.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

struct History {
    store: Arc<dyn ObjectStore>,
    c: Chance,
    options: Options,
    writers: Vec<Writer>,
    /// The entries that earlier writers committed, which have ended.
    before: Map,
    numbers: HashSet<u64>,
    made: u64,
    what: String,
}

impl History {
    fn new(seed: u64) -> Self {
        let (mut c, store) = (Chance::new(seed), common::store());
        let options = Options {
            writers: Writers::Many,
            checkpoint_bytes: [0, 3000, 1 << 20][c.below(3) as usize],
            retention: [None, Some(Duration::ZERO), Some(Duration::from_secs(5))][c.below(3) as usize],
            lock: LockPolicy::Off,
            ..Options::default()
        };
        Ledger::create_objects(store.clone(), KEY, Replace::Atomically, options.clone())
            .unwrap()
            .close()
            .unwrap();
        let what = format!("seed {seed}, {:?}", options.retention);
        let (writers, before, numbers) = (Vec::new(), Map::new(), HashSet::new());
        History { store, c, options, writers, before, numbers, made: 0, what }
    }

    fn open(&mut self) {
        let faults = FaultStore::new(self.store.clone());
        let l = Ledger::open_objects(Arc::new(faults.clone()), KEY, Access::ReadWrite, self.options.clone());
        let l = l.unwrap_or_else(|e| panic!("{}: {e}", self.what));
        self.made += 1;
        let (name, model, possible) = (self.made, Map::new(), vec![Map::new()]);
        fail_often(&faults, &mut self.c);
        self.writers.push(Writer { name, l, model, possible });
    }

    /// Returns the content that a reader finds.
    fn content(&self, step: &str) -> Map {
        let l = Ledger::open_objects(self.store.clone(), KEY, Access::ReadOnly, Options::default());
        let l = l.unwrap_or_else(|e| panic!("{}, {step}: {e}", self.what));
        let mut found = content(&l).unwrap_or_else(|e| panic!("{}, {step}: {e}", self.what));
        found.remove(&b"N"[..]);
        found
    }

    /// Checks that the entries of each writer that a reader finds are one of the writer's possible states.
    fn look(&self, step: &str) {
        let found = self.content(step);
        for w in &self.writers {
            assert!(
                w.possible.contains(&w.own(&found)),
                "{}, {step}: other content of writer {}",
                self.what,
                w.name
            );
        }
        let is_of_these =
            |key: &[u8]| self.writers.iter().any(|w| key.starts_with(format!("{}-", w.name).as_bytes()));
        let of_earlier: Map =
            found.iter().filter(|(key, _)| !is_of_these(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert!(of_earlier == self.before, "{}, {step}: other content of earlier writers", self.what);
    }

    /// Lets one of the writers carry out a random operation. Returns false if the writer cannot continue.
    fn act(&mut self, at: usize, seed: u64) -> bool {
        let (w, c) = (&mut self.writers[at], &mut self.c);
        match c.below(10) {
            0 => drop(w.l.give_back()),
            1 => drop(w.l.refresh()),
            2 => {
                if let Ok(from) = w.l.take_numbers(b"N", 3, 1) {
                    for number in from..from + 3 {
                        assert!(
                            self.numbers.insert(number),
                            "{}: number {number} was given twice",
                            self.what
                        );
                    }
                }
            }
            3 => {
                let Ok(found) = w.l.rollback().and_then(|()| content(&w.l)) else { return false };
                w.model = w.own(&found);
                return !w.l.is_outcome_unknown();
            }
            _ => {
                if w.stage(c, seed).is_err() {
                    return false;
                }
                w.possible.push(w.model.clone());
                if w.l.commit().is_ok() || w.l.commit().is_ok() {
                    w.possible = vec![w.model.clone()];
                }
            }
        }
        true
    }

    fn run(&mut self, steps: u64) {
        for n in 0..steps {
            while self.writers.len() < 3 {
                self.open();
            }
            let at = self.c.below(3) as usize;
            let goes_on = self.act(at, n * 100);
            self.look(&format!("step {n}"));
            if !goes_on || self.c.below(12) == 0 {
                self.end(at, goes_on, &format!("step {n}, closed"));
            }
        }
    }

    /// Closes one of the writers, after a commit, unless its staged changes are unknown.
    fn end(&mut self, at: usize, commits: bool, step: &str) {
        let Writer { name, l, model, possible, .. } = self.writers.swap_remove(at);
        let is_committed = commits && l.commit_to_close().is_ok() && possible.last() == Some(&model);
        let _the_same_error = l.close();
        let now = own(name, &self.content(step));
        let possible = if is_committed { vec![model] } else { possible };
        assert!(possible.contains(&now), "{}, {step}: other content of writer {name}", self.what);
        self.before.extend(now);
        self.look(step);
    }
}

#[test]
fn many_writers_in_a_store_that_fails_often_lose_nothing() {
    common::seeds(40).for_each(|seed| History::new(seed).run(60));
}
