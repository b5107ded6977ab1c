//! A simulator of the protocol: actors drive sessions of the core over a network that loses, repeats and delays requests.
//!
//! [`world`] is the state: the register, swaps in transit, objects, actors and an oracle. [`steps`] lists the possible
//! next steps and carries them out. [`explore`] takes all schedules breadth-first, or random ones by seed.
//! [`scenarios`] names the explored scenarios. [`mutations`] breaks each rule in one scenario, and states how the
//! oracle notices it.
//!
//! One step of an actor combines a load, its preparation, its puts and the sending of the swap. The swap then waits in
//! the network for as long as the scheduler chooses, and is refused if another swap takes effect in between, exactly as
//! if it had been sent later.
//!
//! A core takes 21,500 random histories of 20 steps a second in an optimised build, and 10,100 in a test build. No single
//! part dominates: a third of the time is memory allocation, a fifth the oracle's reads of contents, and the rest the
//! core's own `apply`, `settle` and encodings.

mod actor;
mod explore;
mod mutations;
mod oracle;
mod prepare;
pub(crate) mod rules;
mod scenarios;
mod steps;
mod storage;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use explore::{breadth_first, random_histories, replay};
use scenarios::SCENARIOS;

/// The number of random histories of a test run. `H5LAKE_SIM_HISTORIES` sets another number, for example for a nightly
/// run.
const HISTORIES: u64 = 100_000;
/// The number of states of each scenario that a test run explores. `H5LAKE_SIM_STATES` sets another number.
const STATES: usize = 4_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn random_histories_keep_all_invariants() {
    let all = number("H5LAKE_SIM_HISTORIES", HISTORIES);
    let from = number("H5LAKE_SIM_SEED", 1);
    let begun = Instant::now();
    let share = all.div_ceil(SCENARIOS.len() as u64);
    let (next, steps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = || {
        while let Some(scenario) = SCENARIOS.get(next.fetch_add(1, Ordering::Relaxed)) {
            match random_histories(scenario, from..from + share) {
                Ok(taken) => drop(steps.fetch_add(taken, Ordering::Relaxed)),
                Err(failure) => panic!("{failure}"),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run))));
    let (histories, steps) = (share * SCENARIOS.len() as u64, steps.into_inner());
    println!("{histories} histories, {steps} steps on {threads} threads in {:?}", begun.elapsed());
}

#[test]
fn all_schedules_keep_all_invariants() {
    let states = number("H5LAKE_SIM_STATES", STATES as u64) as usize;
    let begun = Instant::now();
    for scenario in SCENARIOS {
        let explored = breadth_first(scenario, states);
        println!("{:<34} {explored}", scenario.name);
        if let Some(failure) = explored.failure {
            panic!("{}: {failure}", scenario.name);
        }
    }
    println!("{:?}", begun.elapsed());
}

/// Replays one history: `H5LAKE_SIM_REPLAY='SCENARIO:SEED'`, as the report of a failure states it.
#[test]
fn replays_a_history() {
    let Ok(text) = std::env::var("H5LAKE_SIM_REPLAY") else { return };
    let (name, seed) = text.rsplit_once(':').expect("SCENARIO:SEED");
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario of that name");
    let (labels, failure) = replay(scenario, seed.parse().expect("a seed"));
    labels.iter().enumerate().for_each(|(n, label)| println!("{n:>4}. {label}"));
    assert_eq!(failure, None);
}
