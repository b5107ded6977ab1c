//! The simulated store conforms, its seed determines its runs, and each fault has the documented effect.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::ObjectStoreExt;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn put(store: &SimStore, at: &str, text: &str, mode: PutMode) -> Result<Etag> {
    Ok(store.put(&key(at), PutPayload::copy_from(text.as_bytes()), mode)?.etag.unwrap())
}

fn there(store: &SimStore, at: &str) -> Option<Bytes> {
    store.beneath().get_opt(&key(at), None).unwrap().map(|got| got.bytes)
}

#[test]
fn conforms_in_a_run_and_outside() {
    crate::conformance::run(|| Arc::new(SimStore::new(0, Faults::ALL)));
    for (seed, (name, check)) in crate::conformance::checks().into_iter().enumerate() {
        let store = SimStore::new(seed as u64, Faults::NONE);
        let shared: crate::conformance::Shared = Arc::new(store.clone());
        eprintln!("{name}");
        store.run(vec![|| check(&shared)]);
    }
}

/// Runs three actors that change the objects they find, and ignore errors.
fn busy(store: &SimStore) -> Vec<String> {
    let actor = |name: usize| {
        let mut seen = String::new();
        for round in 0..20 {
            let found = store.get(&key("shared"), None);
            let mode = match &found {
                Ok(found) => PutMode::Update(found.meta.etag.clone().unwrap()),
                Err(_) => PutMode::Create,
            };
            let done = put(store, "shared", &format!("{name}-{round}"), mode);
            seen += &format!("{:?} {:?},", found.map(|found| found.bytes), done.map_err(|e| e.kind()));
            let _either_way = store.delete(&key(&format!("own/{name}-{}", round / 2)));
            let _either_way = put(store, &format!("own/{name}-{round}"), "x", PutMode::Overwrite);
        }
        seen
    };
    store.run(vec![0, 1, 2].into_iter().map(|name| move || actor(name)).collect())
}

#[test]
fn a_seed_decides_all_of_a_run() {
    for faults in [Faults::NONE, Faults::LOST, Faults::ALL] {
        let history = |seed| {
            let store = SimStore::new(seed, faults);
            (busy(&store), store.steps(), there(&store, "shared"))
        };
        let mut unlike = BTreeSet::new();
        for seed in 0..10 {
            let first = history(seed);
            assert!(first == history(seed), "{seed}");
            unlike.insert(first.0);
        }
        assert_eq!(unlike.len(), 10, "{faults:?}");
    }
}

#[test]
fn either_of_two_actors_may_run_first() {
    let mut winners = BTreeSet::new();
    for seed in 0..20 {
        let store = SimStore::new(seed, Faults::NONE);
        let create = |name: &'static str| put(&store, "a", name, PutMode::Create).is_ok();
        let won = store.run(["one", "two"].map(|name| move || create(name)).into());
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        winners.insert(there(&store, "a").unwrap());
    }
    assert_eq!(winners.len(), 2);
}

/// Returns the answer to a create, whether it took effect, and whether it had done so before a second read.
fn created_with(faults: Faults, seed: u64) -> (Result<Etag>, bool, bool) {
    let store = SimStore::new(seed, faults);
    let answers = store.run(vec![|| {
        let answer = put(&store, "a", "one", PutMode::Create);
        (answer, there(&store, "a").is_some())
    }]);
    let (answer, at_once) = answers.into_iter().next().unwrap();
    (answer, at_once, there(&store, "a").is_some())
}

#[test]
fn each_fault_has_its_described_effect() {
    let kind = |answer: &Result<Etag>| answer.as_ref().err().map(Error::kind);
    let timeout = Some(ErrorKind::Timeout);
    for seed in 0..8 {
        let (answer, at_once, at_last) = created_with(Faults { lost: 1000, ..Faults::NONE }, seed);
        assert_eq!((kind(&answer), at_once, at_last), (timeout, false, false), "lost");
        let (answer, at_once, _) = created_with(Faults { unanswered: 1000, ..Faults::NONE }, seed);
        assert_eq!((kind(&answer), at_once), (timeout, true), "unanswered");
        let (answer, at_once, _) = created_with(Faults { sent_again: 1000, ..Faults::NONE }, seed);
        assert_eq!((kind(&answer), at_once), (Some(ErrorKind::AlreadyExists), true), "sent again");
        let (answer, at_once, _) = created_with(Faults { repeated: 1000, ..Faults::NONE }, seed);
        assert_eq!((kind(&answer), at_once), (None, true), "repeated");
        let (answer, at_once, _) = created_with(Faults { late: 1000, ..Faults::NONE }, seed);
        assert_eq!((kind(&answer), at_once), (timeout, false), "late");
    }
    let arrives = |seed| created_with(Faults { late: 1000, ..Faults::NONE }, seed).2;
    let arrived = (0..20).filter(|seed| arrives(*seed)).count();
    assert!((3..18).contains(&arrived), "{arrived} of 20 late requests arrive");
}

#[test]
fn a_late_request_arrives_after_later_ones_if_its_condition_holds() {
    let (mut overwrote, mut refused) = (0, 0);
    for seed in 0..200 {
        let store = SimStore::new(seed, Faults { late: 200, ..Faults::NONE });
        let first = put(&store, "a", "first", PutMode::Overwrite).unwrap();
        put(&store, "b", "first", PutMode::Overwrite).unwrap();
        let late = store.run(vec![|| {
            let late = put(&store, "a", "late", PutMode::Update(first.clone())).is_err();
            let late_too = put(&store, "b", "late", PutMode::Overwrite).is_err();
            // The answers to these puts do not matter.
            for _ in 0..300 {
                let _either_way = put(&store, "a", "later", PutMode::Overwrite);
                let _either_way = put(&store, "b", "later", PutMode::Overwrite);
            }
            late && late_too
        }]);
        if late[0] {
            let steps = store.steps();
            refused += usize::from(steps.iter().any(|step| step.fate.contains("was refused")));
            overwrote += usize::from(steps.iter().any(|step| step.thread.is_none() && step.key == "b"));
        }
    }
    assert!(refused > 0 && overwrote > 0, "{refused} {overwrote}");
}

#[test]
fn threads_of_an_actor_take_part() {
    let history = |seed| {
        let store = SimStore::new(seed, Faults::NONE);
        let side_by_side = || {
            std::thread::scope(|scope| {
                for n in 0..4 {
                    let store = &store;
                    scope.spawn(move || put(store, &format!("a/{n}"), "x", PutMode::Create).unwrap());
                }
            });
            store.list("a/", None).count()
        };
        assert_eq!(store.run(vec![side_by_side]), [4]);
        store.steps().iter().map(|step| step.key.clone()).collect::<Vec<_>>()
    };
    let orders: BTreeSet<_> = (0..10).map(history).collect();
    assert!(orders.len() > 3, "the scheduler orders the requests of threads: {orders:?}");
}

#[test]
fn an_actor_waiting_for_a_lock_blocks_no_other_actor() {
    for seed in 0..10 {
        let (store, lock) = (SimStore::new(seed, Faults::NONE), Mutex::new(0));
        let actor = || {
            for _ in 0..3 {
                let mut held = lock.lock();
                put(&store, "a", "x", PutMode::Overwrite).unwrap();
                *held += 1;
            }
        };
        store.run(vec![actor, actor]);
        assert_eq!(*lock.lock(), 6);
    }
}

#[test]
fn a_failing_actor_ends_all_actors() {
    let store = SimStore::new(3, Faults::NONE);
    let (is_done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let run = catch_unwind(AssertUnwindSafe(|| {
        let endless = || {
            while !is_done.load(Ordering::Relaxed) {
                rounds.fetch_add(1, Ordering::Relaxed);
                put(&store, "a", "x", PutMode::Overwrite).unwrap();
            }
        };
        let failing = || {
            put(&store, "b", "x", PutMode::Overwrite).unwrap();
            panic!("as it is to");
        };
        let actors: Vec<Box<dyn FnOnce() + Send + '_>> = vec![Box::new(endless), Box::new(failing)];
        store.run(actors);
    }));
    assert_eq!(run.unwrap_err().downcast_ref::<&str>(), Some(&"as it is to"));
    // The store can be used again.
    let puts = store.run(vec![|| put(&store, "a", "x", PutMode::Overwrite).is_ok()]);
    assert_eq!(puts, [true]);
}
