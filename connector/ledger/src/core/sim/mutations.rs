//! Mutations: each rule is broken once, and the oracle must notice it by the invariant that the rule protects.

use super::explore::search;
use super::oracle::*;
use super::rules::{ALL, Rule, Rule::*, breaking};
use super::scenarios::SCENARIOS;

/// The number of seeds within which a broken rule must be noticed.
const BUDGET: u64 = 20_000;

/// Each rule with the scenario that shows the harm, and the invariant that the rule protects. Other invariants may break,
/// too, in other histories; they do not count.
const MUTATIONS: &[(Rule, &str, &str)] = &[
    (SwapNonce, "numbers", NUMBER),
    (DurableFirst, "sweep", MISSING),
    (SameSwap, "three writers", DENIED),
    (UndecidedTrimmed, "three writers", DENIED),
    (QueueCancel, "group commits", DENIED),
    (BrokenEnds, "group commits", DENIED),
    (CancelUnrecorded, "queued commits of the dead", DENIED),
    // A member whose record is a commit is left out by its conditions, too; one that was cancelled is not.
    (LeaderRecords, "group commits", DENIED),
    (LeaderView, "group commits", TWICE),
    (LeaderSession, "group commits, crash, sweep", EXPELLED),
    (LeaderConditions, "group commits", UNMERGED),
    (NumbersByNonce, "numbers", NUMBER),
    (NumbersSeen, "numbers", NUMBER),
    (CommitOn, "three writers", UNMERGED),
    (Fence, "an exclusive writer, taken over", OVER),
    (FenceByLine, "an exclusive writer, taken over", NEEDLESS),
    (JoinFirst, "sweep", STAGED),
    (SessionListed, "sweep", EXPELLED),
    (NewSessionId, "sweep", EXPELLED),
    (JoinOnce, "sessions and numbers", EXPELLED),
    (ListFirst, "sweep", STAGED),
    (SpareNamed, "sweep", DELETED),
    (SpareSessions, "sweep", STAGED),
    (SpareDead, "restore", DELETED),
    (RetainedHolds, "restore", DELETED),
    (TagHolds, "reclaim, tags, sweep", DELETED),
    (DeadListed, "restore", LEAKED),
    (RootBirth, "restore", DELETED),
    (DeathExact, "reclaim, two writers", DELETED),
    (TagById, "two taggers", WRONG_TAG),
    (HeldNow, "reclaim, tags, sweep", DELETED),
    (ReviveNow, "restore", MISSING),
    (Revive, "restore", DELETED),
    (TablesAsSeen, "new roots", LOST),
    (RecordsKept, "new roots", LOST),
    (ReclaimOnCurrent, "reclaim, tags, sweep", DELETED),
    (ReclaimFirst, "reclaim, tags, sweep", DELETED),
    (ReclaimByTables, "restore", DELETED),
    (TablesProve, "new roots", DELETED),
    (FirstNamesNothing, "life of a name", STAGED),
    (AbsentIsEmpty, "a container that is absent", TWICE),
    (CreateOnce, "life of a name", BACK),
    (CopyJoins, "life of a name", MISSING),
    (CopyListed, "life of a name", MISSING),
    (AsBuried, "life of a name", LOST),
    (CopyIsOther, "copies that go on", DELETED),
    (CopyOfSession, "copies that go on", MISSING),
    (SpareHead, "life of a name", DELETED),
    (SpareCopies, "life of a name", MISSING),
    (ListContainersFirst, "life of a name", MISSING),
    (SegmentDurable, "segments and salvage", MISSING),
    (SegmentFits, "segments and salvage", LOST),
    (SegmentAccepted, "segments and salvage", SALVAGED),
    (CopyAfterSwap, "segments and salvage", SALVAGED),
    (SalvageFollows, "segments and salvage", SALVAGED),
];

/// Rules that cannot be broken here, because no type of the core can express the opposite.
const STRUCTURAL: &[Rule] = &[HeadStays];

#[test]
fn every_broken_rule_is_noticed() {
    let only = std::env::var("H5LAKE_SIM_RULE").ok();
    let wanted = |rule: Rule| only.as_ref().is_none_or(|name| *name == format!("{rule:?}"));
    let mut unnoticed = Vec::new();
    for (rule, name, expected) in MUTATIONS.iter().filter(|mutation| wanted(mutation.0)) {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *name).expect("a scenario");
        match breaking(*rule, || search(scenario, 1..BUDGET, expected)) {
            Ok(failure) => {
                let (rule, steps) = (format!("{rule:?}"), failure.labels.len());
                println!("{rule:<22} seed {:>5}, {steps:>3} steps: {}", failure.seed, failure.what);
                if only.is_some() {
                    println!("{failure}");
                }
            }
            Err(other_failures) => {
                unnoticed.push(format!("{rule:?} in '{name}': not '{expected}', only {other_failures:?}"))
            }
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
