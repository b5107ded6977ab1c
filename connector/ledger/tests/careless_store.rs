//! A store that fails again and again, and a writer that continues each time. After every step a reader, the writer and
//! the next writer find every acknowledged commit, complete.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::careless::Outcomes;
use common::careless_requests::fail_often;
use common::work::{Chance, Map, content};
use h5lake_ledger::{Access, Ledger, LockPolicy, Options, Replace, Writers};
use object_stores::{Condition, Damage, ErrorKind, Fault, FaultStore, ObjectStore, Rule, Select, Timing};

const KEY: &str = "dir/name.h5";

fn options(c: &mut Chance) -> Options {
    Options {
        writers: [Writers::One, Writers::One, Writers::Many][c.below(3) as usize],
        checkpoint_bytes: [0, 3000, 1 << 20][c.below(3) as usize],
        spill_bytes: [900, 1 << 20][c.below(2) as usize],
        retention: [None, Some(Duration::ZERO), Some(Duration::from_secs(5))][c.below(3) as usize],
        lock: [LockPolicy::Off, LockPolicy::default()][c.below(2) as usize],
        ..Options::default()
    }
}

struct History {
    /// The store without faults.
    store: Arc<dyn ObjectStore>,
    /// The store behind injected faults.
    faults: FaultStore,
    options: Options,
    outcomes: Outcomes,
}

impl History {
    fn new(store: Arc<dyn ObjectStore>, faults: FaultStore, options: Options, what: String) -> Self {
        History { store, faults, options, outcomes: Outcomes::nothing(what) }
    }

    fn way(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.faults.clone())
    }

    fn create(&self) -> Ledger {
        Ledger::create_objects(self.way(), KEY, Replace::Atomically, self.options.clone()).unwrap()
    }

    /// Checks that the content that a reader finds now is one of the possible states.
    fn look(store: &Arc<dyn ObjectStore>, outcomes: &Outcomes, step: &str) -> Map {
        let l = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, Options::default());
        let found = l.and_then(|l| content(&l)).unwrap_or_else(|e| panic!("{}, {step}: {e}", outcomes.what));
        assert!(outcomes.possible.contains(&found), "{}, {step}: other content", outcomes.what);
        found
    }

    fn session(&mut self, c: &mut Chance, number: u64) {
        let l = Ledger::open_objects(self.way(), KEY, Access::ReadWrite, self.options.clone());
        let l = l.unwrap_or_else(|e| panic!("{}: {e}", self.outcomes.what));
        fail_often(&self.faults, c);
        let store = &self.store;
        self.outcomes.session(l, c, number, &mut |outcomes, _, step| drop(Self::look(store, outcomes, step)));
        self.faults.clear();
        self.outcomes.possible = vec![Self::look(store, &self.outcomes, "closed")];
    }
}

#[test]
fn a_store_that_fails_often_loses_nothing() {
    for seed in common::seeds(120) {
        let (store, mut c) = (common::store(), Chance::new(seed));
        let (options, mut faults) = (options(&mut c), FaultStore::new(store.clone()));
        if options.writers == Writers::One && c.below(2) == 0 {
            faults = common::without_conditions(faults);
        }
        let conditions = faults.honours(Condition::Create);
        let what =
            format!("seed {seed}, {:?}, {:?}, conditions {conditions}", options.writers, options.retention);
        let mut history = History::new(store, faults, options, what);
        history.create().close().unwrap();
        (0..4).for_each(|n| history.session(&mut c, seed * 10 + n));
    }
}

const DAMAGES: [Damage; 3] = [Damage::Flip(50), Damage::Cut(0), Damage::Cut(30)];

/// Injects two faults after four commits: a modifying request takes effect but its answer is lost, and then a read
/// returns a damaged answer. More commits, a close and another session follow. `unanswered` and `read` are the numbers of
/// these requests.
fn unanswered_and_damaged(
    unanswered: u64,
    read: u64,
    damage: Damage,
    (writers, spill_bytes): (Writers, u64),
) {
    let store = common::store();
    let retention = Some(Duration::ZERO);
    let o = Options { writers, spill_bytes, checkpoint_bytes: 3000, retention, ..Options::default() };
    let what = format!("change {unanswered}, read {read}, {damage:?}, {writers:?}, {spill_bytes}");
    let mut h = History::new(store.clone(), FaultStore::new(store), o, what);
    let (l, mut model) = (h.create(), Map::new());
    for n in 0..4 {
        assert!(h.outcomes.commit(&l, &mut model, n), "{}", h.outcomes.what);
    }
    let timeout = Fault::Fail(Timing::After, ErrorKind::Timeout);
    h.faults.inject(Rule { select: Select::Mutating, skip: unanswered, times: 1, fault: timeout });
    h.faults.inject(Rule::damage_nth(read, damage));
    for n in 4..7 {
        let is_known = h.outcomes.commit(&l, &mut model, n);
        History::look(&h.store, &h.outcomes, "behind");
        if !is_known {
            break;
        }
    }
    h.faults.clear();
    drop((l.vacuum(), l.close()));
    h.outcomes.possible = vec![History::look(&h.store, &h.outcomes, "closed")];
    h.session(&mut Chance::new(1), 1);
}

#[test]
fn a_damaged_answer_after_a_lost_answer_loses_no_data() {
    for (unanswered, read) in (0..6).flat_map(|unanswered| (0..7).map(move |read| (unanswered, read))) {
        for damage in DAMAGES {
            for way in [(Writers::One, 1 << 20), (Writers::One, 900), (Writers::Many, 1 << 20)] {
                unanswered_and_damaged(unanswered, read, damage, way);
            }
        }
    }
}

/// A lock object that is damaged in the store protects no writer. A lock object that is only damaged in transit
/// protects its writer.
#[test]
fn a_lock_with_a_damaged_answer_still_protects() {
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
