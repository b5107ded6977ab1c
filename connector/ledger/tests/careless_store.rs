//! A store that fails again and again, and a writer that goes on each time: what was acknowledged is there, whole, after every step, for
//! a reader, for the writer, and for the next writer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::work::{Chance, Map, content, stage};
use h5lake_ledger::{Access, Ledger, LockPolicy, Options, Replace, Writers};
use object_stores::{Damage, ErrorKind, Fault, FaultStore, ObjectStore, Rule, Select, Timing};

const KEY: &str = "dir/name.h5";
const KINDS: [ErrorKind; 4] = [ErrorKind::Io, ErrorKind::Timeout, ErrorKind::Unavailable, ErrorKind::NoSpace];

struct History {
    /// What is there.
    store: Arc<dyn ObjectStore>,
    /// The way to it that fails.
    faults: FaultStore,
    c: Chance,
    options: Options,
    /// The states that may be there: the one that was acknowledged, and those of commits of which the writer was told nothing good.
    possible: Vec<Map>,
    what: String,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut c = Chance::new(seed);
        let store = common::store();
        let writers = [Writers::One, Writers::One, Writers::Many][c.below(3) as usize];
        let faults = match c.below(3) {
            0 if writers == Writers::One => FaultStore::new(store.clone()).without_create().without_update(),
            _ => FaultStore::new(store.clone()),
        };
        let lock = [LockPolicy::Off, LockPolicy::default()][c.below(2) as usize];
        let options = Options {
            writers,
            checkpoint_bytes: [0, 3000, 1 << 20][c.below(3) as usize],
            spill_bytes: [900, 1 << 20][c.below(2) as usize],
            retention: [None, Some(Duration::ZERO), Some(Duration::from_secs(5))][c.below(3) as usize],
            lock,
            ..Options::default()
        };
        let what = format!(
            "seed {seed}, {:?}, {:?}, {lock:?}, conditions {}",
            options.writers,
            options.retention,
            faults.honours(object_stores::Condition::Create)
        );
        Ledger::create_objects(Arc::new(faults.clone()), KEY, Replace::Atomically, options.clone())
            .unwrap()
            .close()
            .unwrap();
        History { store, faults, c, options, possible: vec![Map::new()], what }
    }

    fn open(&self) -> Ledger {
        let store: Arc<dyn ObjectStore> = Arc::new(self.faults.clone());
        Ledger::open_objects(store, KEY, Access::ReadWrite, self.options.clone())
            .unwrap_or_else(|e| panic!("{}: {e}", self.what))
    }

    fn inject(&mut self) {
        let apart = [6, 20, 60][self.c.below(3) as usize];
        let mut skip = 0;
        for _ in 0..12 {
            skip += 1 + self.c.below(apart);
            let kind = KINDS[self.c.below(4) as usize];
            let fault = match self.c.below(12) {
                0 => Fault::Damage(Damage::Flip(self.c.below(5000) as usize)),
                1 => Fault::Damage(Damage::Cut(self.c.below(300) as usize)),
                n => Fault::Fail(Timing::ALL[n as usize % 3], kind),
            };
            self.faults.inject(Rule { select: Select::Any, skip, times: 1 + self.c.below(3), fault });
        }
    }

    /// What a reader finds now has to be one of the possible states.
    fn look(&mut self, step: &str) -> Map {
        let l = Ledger::open_objects(self.store.clone(), KEY, Access::ReadOnly, Options::default());
        let l = l.unwrap_or_else(|e| panic!("{}, {step}: {e}", self.what));
        let found = content(&l).unwrap_or_else(|e| panic!("{}, {step}: {e}", self.what));
        assert!(self.possible.contains(&found), "{}, {step}: other content", self.what);
        found
    }

    /// One commit's worth of changes and the commit, which is tried twice. False where something is staged that nobody knows.
    fn commit(&mut self, l: &Ledger, model: &mut Map, n: u64) -> bool {
        if stage(l, model, n).is_err() {
            return self.take_back(l, model);
        }
        self.possible.push(model.clone());
        if l.commit().is_ok() || l.commit().is_ok() {
            self.possible = vec![model.clone()];
        }
        true
    }

    /// A commit that failed may have been made all the same: what is there then is one of the possible states. False where nobody knows
    /// yet which.
    fn take_back(&mut self, l: &Ledger, model: &mut Map) -> bool {
        let Ok(found) = l.rollback().and_then(|()| content(l)) else { return false };
        if l.is_in_doubt() {
            return false;
        }
        assert!(self.possible.contains(&found), "{}: taken back to other content", self.what);
        *model = found;
        true
    }

    fn session(&mut self, number: u64) {
        let l = self.open();
        self.inject();
        let (mut model, mut is_known) = (self.possible[0].clone(), true);
        for n in 0..14 {
            is_known = match self.c.below(9) {
                0 | 1 => {
                    drop(l.vacuum());
                    true
                }
                2 => {
                    drop(l.give_back());
                    true
                }
                3 => self.take_back(&l, &mut model),
                _ => self.commit(&l, &mut model, number * 1000 + n),
            };
            if !is_known {
                break;
            }
            self.look(&format!("session {number}, step {n}"));
        }
        if is_known && l.commit_to_close().is_ok() && self.possible.last() == Some(&model) {
            self.possible = vec![model];
        }
        let _the_same_error = l.close();
        self.faults.clear();
        self.possible = vec![self.look(&format!("session {number}, closed"))];
    }
}

#[test]
fn a_store_that_fails_often_loses_nothing() {
    for seed in 0..120 {
        let mut history = History::new(seed);
        (0..4).for_each(|n| history.session(seed * 10 + n));
    }
}

const DAMAGES: [Damage; 3] = [Damage::Flip(50), Damage::Cut(0), Damage::Cut(30)];

/// The answer to a change is lost, and what the writer then reads to find out is damaged on its way.
#[test]
fn a_damaged_answer_behind_a_lost_one_loses_nothing() {
    for (lost, damaged) in (0..6).flat_map(|lost| (0..7).map(move |damaged| (lost, damaged))) {
        for damage in DAMAGES {
            for (writers, spill_bytes) in
                [(Writers::One, 1 << 20), (Writers::One, 900), (Writers::Many, 1 << 20)]
            {
                let mut h = History::new(0);
                h.store = common::store();
                h.faults = FaultStore::new(h.store.clone());
                h.options = Options {
                    writers,
                    spill_bytes,
                    checkpoint_bytes: 3000,
                    retention: Some(Duration::ZERO),
                    ..h.options
                };
                h.what = format!("change {lost}, read {damaged}, {damage:?}, {writers:?}, {spill_bytes}");
                let l = Ledger::create_objects(
                    Arc::new(h.faults.clone()),
                    KEY,
                    Replace::Atomically,
                    h.options.clone(),
                );
                let (l, mut model) = (l.unwrap(), Map::new());
                for n in 0..4 {
                    assert!(h.commit(&l, &mut model, n), "{}", h.what);
                }
                let timeout = Fault::Fail(Timing::After, ErrorKind::Timeout);
                h.faults.inject(Rule { select: Select::Mutating, skip: lost, times: 1, fault: timeout });
                h.faults.inject(Rule::damage_nth(damaged, damage));
                for n in 4..7 {
                    let is_known = h.commit(&l, &mut model, n);
                    h.look("behind");
                    if !is_known {
                        break;
                    }
                }
                h.faults.clear();
                drop((l.vacuum(), l.close()));
                h.possible = vec![h.look("closed")];
                h.session(1);
            }
        }
    }
}

/// A lock object that is damaged where it lies protects nobody. One that is damaged on its way does.
#[test]
fn a_lock_protects_from_whom_its_answer_reaches_damaged() {
    let store = common::store();
    let held = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, Options::default()).unwrap();
    held.put(b"k", "v").unwrap();
    held.commit().unwrap();
    for (n, damage) in (0..10).flat_map(|n| DAMAGES.map(|damage| (n, damage))) {
        let faults = FaultStore::new(store.clone());
        faults.inject(Rule::damage_nth(n, damage));
        let other = Ledger::open_objects(Arc::new(faults), KEY, Access::ReadWrite, Options::default());
        assert!(other.is_err(), "read {n}, {damage:?}");
    }
    held.put(b"k", "w").unwrap();
    held.commit().unwrap();
}
