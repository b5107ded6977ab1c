//! Scenarios: the operations of each actor, and the kinds to choose from for each operation.

use super::actor::Op::{self, *};

/// A set of actors with their programs, and the faults that may happen.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) actors: &'static [&'static [&'static [Op]]],
    /// Actors (bits) that are exclusive writers.
    pub(super) exclusive: u8,
    pub(super) crashes: u8,
    /// The number of puts of payloads that arrive a second time late.
    pub(super) lates: u8,
    /// The number of swaps that never arrive.
    pub(super) losses: u8,
    pub(super) readers: usize,
    /// True if sessions are listed from the start.
    pub(super) joined: bool,
    /// True if clients abandon changes.
    pub(super) cancels: bool,
    /// True if commits are queued, and leaders include them.
    pub(super) groups: bool,
    /// True if objects are deleted at any time, instead of at once.
    pub(super) is_lazy: bool,
    /// True if the head object is damaged at any time.
    pub(super) salvage: bool,
    /// True if the name has no container at first.
    pub(super) is_absent: bool,
}

const BASE: Scenario = Scenario {
    name: "",
    actors: &[],
    exclusive: 0,
    crashes: 0,
    lates: 0,
    losses: 1,
    readers: 0,
    joined: false,
    cancels: false,
    groups: false,
    is_lazy: false,
    salvage: false,
    is_absent: false,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "three writers",
        actors: &[&[&[Inline], &[Inline]], &[&[Inline], &[Inline]], &[&[Trim], &[Inline]]],
        crashes: 1,
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "an exclusive writer, taken over",
        actors: &[&[&[Commit], &[Inline]], &[&[Commit]], &[&[Numbers, Sweep, Trim]]],
        exclusive: 3,
        crashes: 1,
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "numbers",
        actors: &[&[&[Numbers], &[Numbers]], &[&[Numbers], &[Inline]], &[&[New]]],
        crashes: 1,
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "sessions and numbers",
        actors: &[&[&[Numbers], &[Stage], &[Numbers], &[Commit]], &[&[Sweep], &[Sweep]], &[&[Inline]]],
        crashes: 1,
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "sweep",
        actors: &[&[&[Commit], &[Last, Leave], &[Commit]], &[&[Inline]], &[&[Sweep], &[Sweep]]],
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "sweep, two writers, crash",
        actors: &[&[&[Commit, Long]], &[&[Commit, Spill]], &[&[Sweep], &[Sweep]]],
        crashes: 1,
        ..BASE
    },
    Scenario {
        name: "two sweepers, late objects",
        actors: &[&[&[Commit], &[Commit]], &[&[Sweep]], &[&[Sweep]]],
        lates: 2,
        crashes: 1,
        is_lazy: true,
        ..BASE
    },
    Scenario {
        name: "reclaim, tags, sweep",
        actors: &[
            &[&[Commit, Long], &[Commit], &[Checkpoint]],
            &[&[Tag], &[Untag]],
            &[&[Reclaim], &[Reclaim, Sweep]],
        ],
        readers: 1,
        joined: true,
        ..BASE
    },
    Scenario {
        name: "reclaim, two writers",
        actors: &[&[&[Commit], &[Commit], &[Checkpoint]], &[&[Commit]], &[&[Tag]], &[&[Reclaim]]],
        joined: true,
        ..BASE
    },
    Scenario {
        name: "two taggers",
        actors: &[&[&[Commit]], &[&[Tag], &[Untag], &[Tag]], &[&[Tag, FoldTags], &[Untag, FoldTags]]],
        joined: true,
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "restore",
        actors: &[
            &[&[Commit], &[Commit], &[Checkpoint, Restore], &[Restore]],
            &[&[Tag, Restore, Checkpoint]],
            &[&[Reclaim, Sweep], &[Reclaim]],
        ],
        readers: 1,
        joined: true,
        ..BASE
    },
    Scenario {
        name: "new roots",
        actors: &[
            &[&[Inline], &[Checkpoint, Spill]],
            &[&[Inline], &[Checkpoint, Spill]],
            &[&[Restore, Reclaim, Sweep], &[Reclaim]],
        ],
        readers: 1,
        joined: true,
        ..BASE
    },
    Scenario {
        name: "group commits",
        actors: &[&[&[Commit], &[Inline]], &[&[Commit]], &[&[Inline], &[Trim]]],
        joined: true,
        groups: true,
        cancels: true,
        ..BASE
    },
    Scenario {
        name: "group commits, crash, sweep",
        actors: &[&[&[Commit], &[Inline]], &[&[Commit]], &[&[Sweep, Trim]]],
        joined: true,
        groups: true,
        cancels: true,
        crashes: 1,
        ..BASE
    },
    Scenario {
        name: "queued commits of the dead",
        actors: &[
            &[&[Commit], &[Inline]],
            &[&[Inline, Commit]],
            &[&[CancelQueued], &[Inline, Trim, CancelQueued]],
        ],
        joined: true,
        groups: true,
        cancels: true,
        crashes: 1,
        ..BASE
    },
    Scenario {
        name: "life of a name",
        actors: &[
            &[&[Create], &[Commit], &[Delete]],
            &[&[Copy], &[FinishCopy]],
            &[&[Orphans, Delete, Sweep], &[Orphans]],
            &[&[Create], &[Commit]],
        ],
        is_absent: true,
        crashes: 1,
        ..BASE
    },
    Scenario {
        name: "copies that go on",
        actors: &[
            &[&[Copy], &[FinishCopy]],
            &[&[TakeOver], &[FinishTaken]],
            &[&[TakeOver, Orphans, Sweep], &[FinishTaken, Orphans]],
        ],
        is_absent: true,
        crashes: 1,
        ..BASE
    },
    Scenario {
        name: "a container that is absent",
        actors: &[&[&[Inline], &[Inline]], &[&[Create], &[Delete]], &[&[Numbers, Delete]]],
        is_absent: true,
        ..BASE
    },
    Scenario {
        name: "segments and salvage",
        actors: &[
            &[&[Inline], &[Segment], &[Inline], &[Inline]],
            &[&[Inline], &[Segment, Inline, Spill], &[Inline]],
            &[&[Checkpoint, Trim, Spill]],
        ],
        joined: true,
        salvage: true,
        crashes: 1,
        ..BASE
    },
];
