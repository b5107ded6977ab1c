//! Changes: everything that a swap can do to a container, and how a change makes the next manifest.
//!
//! A change states what it read: the version of the line, the tables, the references page. It is evaluated again on every
//! manifest that it is applied to, and a rejection names the part that the caller must prepare again. Pages and objects
//! that a change names are durable before the change is submitted, so applying it needs nothing but the two arguments.

use bytes::Bytes;

use super::group::Member;
use super::history::Mark;
use super::ids::{ContainerId, Name, Nonce, ObjectId, SessionId, SessionProcess};
use super::line::MergedSegment;
use super::manifest::Manifest;
use super::reclaim::{Holders, Plan};
use super::records::{Data, SegmentRef, Segments};
use super::references::{ReadTags, References};
use super::runs::{NewRun, Run};
use super::usage::TablePages;
use crate::address::PageRef;

/// The origin of a swap: the container that the change was decided on, and the identity of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct By {
    pub(crate) container: ContainerId,
    pub(crate) nonce: Nonce,
    /// True if the session is that of an exclusive writer.
    pub(crate) is_alone: bool,
    /// The process of the session, for its entry.
    pub(crate) process: Option<SessionProcess>,
}

/// A change of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// A commit, and perhaps the commits of a group.
    Commit(Box<Commit>),
    /// The cancel record of the change with this swap's nonce.
    Cancel,
    /// A cancel record for queued commits of sessions that have ended. No record had these nonces at version `on`.
    CancelQueued { on: u64, nonces: Vec<Nonce> },
    /// A new root, and perhaps a commit with its content in the root.
    Checkpoint(Box<Checkpoint>),
    /// A held version receives a name.
    Tag(Box<NewTag>),
    /// The tag with this id is removed. `is_stored` says that the tag is in the references page, which was set at `since`.
    Untag { id: Nonce, is_stored: bool, since: u64 },
    /// The inline references move into a page that holds all tags. The references must still be equal to those of
    /// `seen`.
    FoldTags { page: Option<PageRef>, seen: Box<References> },
    /// Reserves a block of `count` object numbers that are at least `least`, which was determined on the version `on`;
    /// `joins` also adds the session's entry, with the day.
    Numbers { on: u64, least: u64, count: u64, joins: Option<u64> },
    /// Adds the session's entry, with the day.
    Join { day: u64 },
    /// Removes the session's entry.
    Leave,
    /// Removes the entries of dead sessions and of abandoned copies. A copy's entry is removed only if it still belongs
    /// to the session that was seen to make the copy.
    Expel { sessions: Vec<SessionId>, copies: Vec<(ContainerId, SessionId)> },
    /// Raises the horizon, and removes unneeded extents and versions from the tables.
    Reclaim(Box<Reclaim>),
    /// A new container replaces the existing one, if any. Its manifest names no objects.
    Create(Box<NewContainer>),
    /// Deletes the container, of which the manifest with the sequence `on` has a tombstone. The head object remains, with an absent
    /// container.
    Delete { on: u64 },
    /// Begins a copy to this name, or continues the copy that the session `over` left.
    BeginCopy { id: ContainerId, day: u64, over: Option<SessionId> },
    /// A copy that the manifest lists as this session's appears. If it replaces a container, `replaces` is the sequence of the manifest
    /// of that container that has a tombstone.
    FinishCopy { copy: Box<Manifest>, replaces: Option<u64> },
}

/// A container to be created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct NewContainer {
    /// Random, and used for one attempt to make a container.
    pub(crate) id: ContainerId,
    /// The time of the container's creation, in microseconds since 1970.
    pub(crate) created: u64,
    /// True if extents may be in native files outside of the container.
    pub(crate) has_sources: bool,
    /// The time for which replaced versions are retained, in milliseconds.
    pub(crate) retention: u64,
    /// The manifest also has the session's entry, with the day.
    pub(crate) joins: Option<u64>,
    /// The first version: its time, the note about its author, and its entries, which refer to no objects.
    pub(crate) first: Option<(u64, Bytes, Bytes)>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Commit {
    /// The version that the commit was merged with.
    pub(crate) on: u64,
    pub(crate) time: u64,
    pub(crate) note: Bytes,
    pub(crate) data: Data,
    /// The other sessions that put payloads which the commit names.
    pub(crate) other_sessions: Vec<SessionId>,
    /// For a long commit: the object that holds `data`.
    pub(crate) stored: Option<PageRef>,
    /// The numbers counter as the commit saw it, and how many numbers the commit takes.
    pub(crate) numbers: Option<(u64, u64)>,
    /// The commit also adds the session's entry, with the day.
    pub(crate) joins: Option<u64>,
    /// The commit also removes the session's entry.
    pub(crate) leaves: bool,
    /// The commit closes the container, so its record may be longer.
    pub(crate) closes: bool,
    /// A segment of older records, which the manifest names if it still fits.
    pub(crate) segment: Option<SegmentRef>,
    /// Queued commits to include, and prefixes of keys that they must not change.
    pub(crate) members: Vec<Member>,
    pub(crate) conditions: Vec<Bytes>,
    /// Segments that were read, for the records since the versions that the members saw.
    pub(crate) segments: Segments,
    /// For the commit of a restored version: the tables without the dead extents that the commit uses again.
    pub(crate) tables: Option<NewTables>,
}

/// Tables that were put for a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NewTables {
    /// The tables that they were made from.
    pub(crate) read: u64,
    pub(crate) usage: PageRef,
    /// Runs with a `placed` of 0 are new.
    pub(crate) dead: Vec<Run>,
    pub(crate) history: Vec<Run>,
}

/// A new root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Checkpoint {
    pub(crate) root: Option<PageRef>,
    /// The version that the root was made from.
    pub(crate) base: u64,
    /// The time and note of a commit that the root contains too. `base` is then the version that the commit was merged with.
    pub(crate) commit: Option<(u64, Bytes)>,
    /// The numbers counter as the commit saw it.
    pub(crate) numbers: Option<u64>,
    /// A segment of the inline records up to `base`, merged with earlier segments.
    pub(crate) segment: Option<MergedSegment>,
    /// Records below this version, which the root contains, are forgotten.
    pub(crate) records_from: u64,
    pub(crate) tables: NewTables,
}

/// A tag or publication to be created.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NewTag {
    pub(crate) name: Name,
    pub(crate) mark: Mark,
    pub(crate) made: u64,
    pub(crate) until: Option<u64>,
    pub(crate) publication: Option<Bytes>,
    /// The tag that this tag replaces: its id, and whether it is in the references page.
    pub(crate) replaces: Option<(Nonce, bool)>,
    pub(crate) read: ReadTags,
}

/// A reclaim with pages that were put.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reclaim {
    pub(crate) horizon: u64,
    pub(crate) holders: Holders,
    pub(crate) deletable: Vec<ObjectId>,
    pub(crate) read: ReadTags,
    pub(crate) tables: NewTables,
}

/// The reason why a change does not apply to a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reject {
    /// The name has another container, or none.
    Replaced,
    /// The container has another version. The caller must merge again, or end if the writer is exclusive.
    Moved,
    /// The tables or references were changed. The caller must read them and prepare the change again.
    Stale,
    /// The numbers counter has advanced. The caller must take numbers again.
    NumbersMoved,
    /// The session is not listed: its objects may be swept at any time.
    NotListed,
    /// The version is not held, so it may be incomplete.
    NotHeld,
    /// The name is in use.
    NameTaken,
    /// The change does more than a commit that a leader can include.
    NotQueueable,
    /// The tag does not exist.
    NoSuchTag,
    /// A record has the nonce already.
    Recorded,
    /// A bound of the manifest is reached; the text names it.
    Full(&'static str),
}

/// The result of a part of a change.
pub(super) type Applied = Result<(), Reject>;

impl Reject {
    /// Returns whether the caller can prepare the same change again on the newer manifest.
    pub(crate) fn is_stale(self) -> bool {
        matches!(self, Self::Moved | Self::Stale | Self::NumbersMoved)
    }
}

impl Change {
    /// Returns whether the change appends a record with its nonce. Such a change takes effect exactly once.
    pub(crate) fn has_record(&self) -> bool {
        match self {
            Self::Commit(_) | Self::Cancel => true,
            Self::Checkpoint(c) => c.commit.is_some(),
            _ => false,
        }
    }

    /// Returns the tables that the change sets.
    pub(crate) fn new_tables(&self) -> Option<&NewTables> {
        match self {
            Self::Commit(c) => c.tables.as_ref(),
            Self::Checkpoint(c) => Some(&c.tables),
            Self::Reclaim(c) => Some(&c.tables),
            _ => None,
        }
    }

    /// Returns whether the change names objects that its session has put.
    pub(crate) fn names_objects(&self) -> bool {
        match self {
            Self::Commit(c) => {
                c.data.names_objects() || c.stored.is_some() || c.segment.is_some() || c.tables.is_some()
            }
            Self::Checkpoint(_) | Self::Reclaim(_) | Self::FoldTags { .. } => true,
            _ => false,
        }
    }

    /// Returns the other sessions that put payloads which the change names.
    pub(crate) fn other_sessions(&self) -> &[SessionId] {
        match self {
            Self::Commit(c) => &c.other_sessions,
            _ => &[],
        }
    }

    /// Returns the day of joining, if the change adds the session's entry.
    pub(crate) fn joins(&self) -> Option<u64> {
        match self {
            Self::Commit(c) => c.joins,
            Self::Create(c) => c.joins,
            Self::Numbers { joins, .. } => *joins,
            Self::Join { day } => Some(*day),
            _ => None,
        }
    }

    /// Returns whether a leader can commit the change for its session: a commit that changes nothing but the line.
    pub(crate) fn can_be_queued(&self) -> bool {
        let is_plain = |c: &Commit| {
            let sets_other_fields =
                c.numbers.is_some() || c.joins.is_some() || c.leaves || c.tables.is_some();
            !sets_other_fields && c.stored.is_none()
        };
        matches!(self, Self::Commit(c) if is_plain(c))
    }

    /// Returns whether the change removes the session's entry.
    pub(crate) fn leaves(&self) -> bool {
        matches!(self, Self::Leave) || matches!(self, Self::Commit(c) if c.leaves)
    }
}

impl NewTables {
    /// Returns the tables of pages that the caller has put. `put` stores bytes with their checksum and returns their
    /// address.
    pub(crate) fn put(pages: &TablePages, mut put: impl FnMut(&[u8], u32) -> PageRef) -> Self {
        let mut placed = |kept: &[Run], new: &Option<NewRun>| {
            let new = new.as_ref().map(|new| Run {
                page: put(&new.bytes, new.crc),
                placed: 0,
                first: new.first,
                last: new.last,
            });
            kept.iter().copied().chain(new).collect::<Vec<_>>()
        };
        let (dead, history) =
            (placed(&pages.dead.0, &pages.dead.1), placed(&pages.history.0, &pages.history.1));
        Self { read: pages.read, usage: put(&pages.usage.0, pages.usage.1), dead, history }
    }
}

impl Reclaim {
    /// Returns the change of a plan; `tables` are its pages, which were put.
    pub(crate) fn new(plan: Plan, read: ReadTags, tables: NewTables) -> Self {
        let Plan { horizon, holders, deletable, .. } = plan;
        Self { horizon, holders, deletable, read, tables }
    }
}
