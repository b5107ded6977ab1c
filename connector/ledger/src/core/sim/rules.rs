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
    /// Objects are durable before the swap that names them is sent. The caller enforces this rule.
    DurableFirst,
    /// Only the same bytes or a cancel record follow a doubt.
    SameSwap,
    /// A commit stays undecided if the records do not reach its view.
    UndecidedTrimmed,
    /// Only a cancel record ends a queued commit, unless its conditions are broken.
    QueueCancel,
    /// A queued commit with broken conditions never takes effect, so it ends without a cancel record.
    BrokenEnds,
    /// A queued commit of another session is cancelled only if it has no record yet.
    CancelUnrecorded,
    /// A leader leaves out a member that has a record.
    LeaderRecords,
    /// A leader leaves out a member if the records do not reach its view.
    LeaderView,
    /// A leader leaves out a member with objects if its session is not listed.
    LeaderSession,
    /// A leader leaves out a member if one of its keys was changed since its view.
    LeaderConditions,
    /// A block of numbers belongs to the session that has the nonce of the manifest.
    NumbersByNonce,
    /// The numbers counter is still the one that the commit has seen.
    NumbersSeen,
    /// A commit follows the version that it was merged with.
    CommitOn,
    /// An exclusive writer never continues over another writer's version.
    Fence,
    /// An exclusive writer is fenced by the version of the line, not by the token.
    FenceByLine,
    // Sessions and sweep
    /// Objects are put after the session's entry is known to be in a manifest.
    JoinFirst,
    /// The manifest that a swap replaces lists the session.
    SessionListed,
    /// A session that was expelled or has left returns under a new id, and puts its objects again.
    NewSessionId,
    /// A swap adds an entry only for a session without objects.
    JoinOnce,
    /// A sweep lists first and loads afterwards. The order of types enforces this rule, so the simulator's sweep breaks it.
    ListFirst,
    /// A sweep spares objects that the manifest names.
    SpareNamed,
    /// A sweep spares listed sessions.
    SpareSessions,
    /// A sweep spares dead lists.
    SpareDead,
    // Versions and reclaim
    /// The versions from the horizon on are holders.
    RetainedHolds,
    /// The version of a tag is a holder.
    TagHolds,
    /// An extent enters the dead list when it dies.
    DeadListed,
    /// Pages of a root are born with the version that has their content.
    RootBirth,
    /// Deaths are exact.
    DeathExact,
    /// Changes identify a tag by its id.
    TagById,
    /// A tag names a version that is held now.
    HeldNow,
    /// The objects that a restore needs are live or dead now.
    ReviveNow,
    /// A restore removes the objects that it needs from the dead list.
    Revive,
    /// A new root replaces the root that was seen.
    TablesAsSeen,
    /// Records after the base of a new root stay.
    RecordsKept,
    /// A reclaim is planned on the manifest that it makes.
    ReclaimOnCurrent,
    /// Objects are deleted after the reclaim took effect. The session's actions enforce this rule, so the simulator's caller breaks it.
    ReclaimFirst,
    /// A reclaim with a doubt deletes nothing.
    ReclaimByTables,
    /// The tables from which a change was made prove that the change did not take effect; later tables prove nothing. Without proof, the
    /// objects of the change are not deleted.
    TablesProve,
    // Names and copies
    /// The head object is never deleted. The register enforces this rule, because it has no such operation.
    HeadStays,
    /// The first manifest names no objects. The type of the change enforces this rule; the simulator's creator breaks it.
    FirstNamesNothing,
    /// Nothing is committed to the absent container.
    AbsentIsEmpty,
    /// A creation is not sent again under the same id.
    CreateOnce,
    /// A copy puts its objects after the manifest lists it. The caller enforces this rule.
    CopyJoins,
    /// A copy replaces only a manifest that lists it.
    CopyListed,
    /// The container of the name is never a copy in progress.
    CopyIsOther,
    /// A container is replaced or deleted as its tombstone describes it.
    AsBuried,
    /// Only the session that the manifest lists for a copy may complete the copy.
    CopyOfSession,
    /// A sweep of orphaned objects spares the container that the head object names.
    SpareHead,
    /// A sweep of orphaned objects spares copies in progress.
    SpareCopies,
    /// A sweep of orphaned objects lists first and loads afterwards. The order of types enforces this rule.
    ListContainersFirst,
    // Segments and salvage
    /// A segment is durable before the swap that names it. The caller enforces this rule.
    SegmentDurable,
    /// A segment is named only if the tail begins with its records.
    SegmentFits,
    /// A segment contains only records of an accepted manifest. The caller enforces this rule.
    SegmentAccepted,
    /// A manifest is copied after its swap is known to have taken effect. The caller enforces this rule.
    CopyAfterSwap,
    /// Salvage appends a record only after the version that the record was made over.
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
