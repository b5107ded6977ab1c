//! The rules of the protocol, by name, and the one that is broken in this thread.

use std::cell::Cell;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A rule of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Rule { $($(#[$doc])* $name),* }
        pub(super) const ALL: &[Rule] = &[$(Rule::$name),*];
    };
}

rules! {
    // Swaps and doubts
    /// Swaps have a nonce.
    SwapNonce,
    /// Objects are durable before the swap that names them is sent. Kept by the caller.
    DurableFirst,
    /// Only the same bytes or a cancel record follow a doubt.
    SameSwap,
    /// Records that do not reach the view leave a commit undecided.
    UndecidedTrimmed,
    /// A line that has left the manifest leaves its commits undecided.
    UndecidedWithoutLine,
    /// A queued commit is ended by a cancel record only.
    QueueCancel,
    /// A leader leaves out members that have a record.
    LeaderRecords,
    /// A leader leaves out members whose view the records do not reach.
    LeaderView,
    /// A leader leaves out members with objects whose session is not listed.
    LeaderSession,
    /// A leader leaves out members whose keys were changed since their view.
    LeaderConditions,
    /// A block of numbers belongs to the session whose nonce the manifest bears.
    NumbersByNonce,
    /// Numbers within a commit are as seen.
    NumbersSeen,
    /// A commit follows the version that it was merged with.
    CommitOn,
    /// An exclusive writer never continues over another writer's version.
    Fence,
    /// An exclusive writer is fenced by the version of its line, not by the token.
    FenceByLine,
    // Sessions and sweep
    /// Objects are put after the entry is known.
    JoinFirst,
    /// The manifest swapped over lists the session.
    SessionListed,
    /// A session that was expelled or has left returns under a new id, and puts its objects again.
    NewSessionId,
    /// A swap adds an entry only for a session without objects.
    JoinOnce,
    /// A sweep lists, then loads. Kept by the order of types, so the simulator's sweep breaks the rule.
    ListFirst,
    /// A sweep spares listed sessions.
    SpareSessions,
    /// A sweep spares dead lists.
    SpareDead,
    // Lines
    /// The origin holds on the parent.
    OriginHolds,
    /// A merged branch's hold points count on the parent.
    MergedHolds,
    /// A closed branch stays until nothing refers to it.
    ClosedStays,
    /// A branch buries only objects that were born on it.
    BuryOwn,
    /// A merge hands objects over. Kept by the caller, which states the extents that die.
    HandOver,
    /// Births on a branch are not below its id.
    BirthOnLine,
    /// Pages of a root are born with the version whose content they have.
    RootBirth,
    /// A merge leaves births as they are. Kept by the caller, which states the objects that the merge gains.
    BirthKept,
    /// Deaths are exact.
    DeathExact,
    /// A merge takes the newest version.
    MergeNewest,
    /// A line is meant by its id. No change carries the name of a line that exists.
    LineById,
    /// A tag is meant by its id.
    TagById,
    /// A tag or fork names a version that is held now.
    HeldNow,
    /// A restore needs its objects live or dead now.
    ReviveNow,
    /// A restore takes the objects that it needs out of the dead list.
    Revive,
    /// A restore counts as a new root.
    RestoreIsRoot,
    /// A new root replaces the root that was seen.
    RootAsSeen,
    /// A reclaim is planned on the manifest that it makes.
    ReclaimOnCurrent,
    /// Deletes follow the reclaim. Kept by the session's actions, so the simulator's caller breaks the rule.
    ReclaimFirst,
    /// After a doubt a reclaim deletes nothing.
    ReclaimByNonce,
    // Names and copies
    /// The head object is never deleted. Kept by the register, which has no such operation.
    HeadStays,
    /// The first manifest names nothing. Kept by the type of the change; the simulator's creator breaks the rule.
    FirstNamesNothing,
    /// Nothing is committed to the absent container.
    AbsentIsEmpty,
    /// A creation is not sent again under the same id.
    CreateOnce,
    /// A copy puts objects after the manifest lists it. Kept by the caller.
    CopyJoins,
    /// A copy appears only over a manifest that lists it.
    CopyListed,
    /// A copy appears only for the session that the manifest lists for it.
    CopyOfSession,
    /// A sweep of orphaned objects spares copies in progress.
    SpareCopies,
    /// A sweep of orphaned objects lists, then loads. Kept by the order of types.
    ListContainersFirst,
    // Segments and salvage
    /// A segment is durable before the swap that names it. Kept by the caller.
    SegmentDurable,
    /// A segment is named only if the tail begins with its records.
    SegmentFits,
    /// A segment holds only records of an accepted manifest. Kept by the caller.
    SegmentAccepted,
    /// A manifest is copied after its swap is known. Kept by the caller.
    CopyAfterSwap,
    /// Salvage continues with records whose version before fits.
    SalvageFollows,
}

thread_local! {
    static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Returns whether a rule is broken in this thread.
#[inline]
pub(crate) fn is_broken(rule: Rule) -> bool {
    BROKEN.get() == Some(rule)
}

/// Returns whether any rule is broken in this thread.
pub(super) fn is_any_broken() -> bool {
    BROKEN.get().is_some()
}

/// Breaks a rule in this thread while `run` runs.
pub(super) fn breaking<T>(rule: Rule, run: impl FnOnce() -> T) -> T {
    BROKEN.set(Some(rule));
    let result = run();
    BROKEN.set(None);
    result
}
