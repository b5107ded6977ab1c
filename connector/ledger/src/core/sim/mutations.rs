//! Mutations: each rule is broken once, and the oracle must notice it.

use super::explore::random_histories;
use super::rules::{ALL, Rule, Rule::*, breaking};
use super::scenarios::SCENARIOS;

/// The number of seeds within which a broken rule must be noticed.
const BUDGET: u64 = 20_000;

/// Each rule with the scenario that shows the harm, and the first words of the invariant that is broken.
const MUTATIONS: &[(Rule, &str, &str)] = &[
    (SwapNonce, "numbers", ""),
    (DurableFirst, "sweep", "2"),
    (SameSwap, "three writers", "4"),
    (UndecidedTrimmed, "three writers", "4"),
    (UndecidedWithoutLine, "branch, two sides", "4"),
    (QueueCancel, "group commits", "4"),
    (CancelUnrecorded, "queued commits of the dead", "4"),
    (LeaderRecords, "group commits", "4"),
    (LeaderView, "group commits", ""),
    (LeaderSession, "group commits, crash, sweep", ""),
    (LeaderConditions, "group commits", ""),
    (NumbersByNonce, "numbers", "6"),
    (NumbersSeen, "numbers", "6"),
    (CommitOn, "three writers", "7"),
    (Fence, "an exclusive writer, taken over", "7"),
    (FenceByLine, "an exclusive writer, taken over", "("),
    (JoinFirst, "sweep", ""),
    (SessionListed, "sweep", ""),
    (NewSessionId, "sweep", ""),
    (JoinOnce, "sessions and numbers", ""),
    (ListFirst, "sweep", "8"),
    (SpareSessions, "sweep", "8"),
    (SpareDead, "restore", "3"),
    (OriginHolds, "branch", ""),
    (MergedHolds, "tag of a branch", "3"),
    (ClosedStays, "tag of a branch", "3"),
    (BuryOwn, "branch, same key", "3"),
    (HandOver, "branch", "3"),
    (BirthOnLine, "staged before a fork", ""),
    (RootBirth, "restore", "3"),
    (BirthKept, "tag of a branch", "3"),
    (DeathExact, "reclaim, two writers", "3"),
    (MergeNewest, "branch, two sides", "7"),
    (TagById, "two taggers", "7"),
    (HeldNow, "reclaim, tags, sweep", ""),
    (ReviveNow, "restore", "2"),
    (Revive, "restore", "3"),
    (RestoreIsRoot, "new roots", "7"),
    (RootAsSeen, "new roots", ""),
    (ReclaimOnCurrent, "reclaim, tags, sweep", "3"),
    (ReclaimFirst, "reclaim, tags, sweep", "3"),
    (ReclaimByNonce, "restore", "3"),
    (FirstNamesNothing, "life of a name", ""),
    (AbsentIsEmpty, "a container that is absent", "4"),
    (CreateOnce, "life of a name", "1"),
    (CopyJoins, "life of a name", "2"),
    (CopyListed, "life of a name", ""),
    (CopyOfSession, "copies that go on", ""),
    (SpareCopies, "life of a name", "2"),
    (ListContainersFirst, "life of a name", ""),
    (SegmentDurable, "segments and salvage", ""),
    (SegmentFits, "segments and salvage", ""),
    (SegmentAccepted, "segments and salvage", "10"),
    (CopyAfterSwap, "segments and salvage", "10"),
    (SalvageFollows, "segments and salvage", "10"),
];

/// Rules that cannot be broken here, because no type of the core can express the opposite.
const STRUCTURAL: &[Rule] = &[HeadStays, LineById];

#[test]
fn every_broken_rule_is_noticed() {
    let only = std::env::var("H5LAKE_SIM_RULE").ok();
    let wanted = |rule: Rule| only.as_ref().is_none_or(|name| *name == format!("{rule:?}"));
    let mut unnoticed = Vec::new();
    for (rule, name, expected) in MUTATIONS.iter().filter(|mutation| wanted(mutation.0)) {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *name).expect("a scenario");
        let found = breaking(*rule, || random_histories(scenario, 1..BUDGET).err());
        match found {
            Some(failure) if failure.what.starts_with(expected) => {
                let steps = failure.labels.len();
                println!(
                    "{:<22} seed {:>5}, {steps:>3} steps: {}",
                    format!("{rule:?}"),
                    failure.seed,
                    failure.what
                );
                if only.is_some() {
                    println!("{failure}");
                }
            }
            Some(failure) => unnoticed.push(format!("{rule:?} in '{name}': another invariant: {failure}")),
            None => unnoticed.push(format!("{rule:?} in '{name}'")),
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

#[test]
fn every_rule_is_broken_once() {
    for rule in ALL {
        let times = MUTATIONS.iter().filter(|mutation| mutation.0 == *rule).count();
        assert_eq!(times + usize::from(STRUCTURAL.contains(rule)), 1, "{rule:?}");
    }
}
