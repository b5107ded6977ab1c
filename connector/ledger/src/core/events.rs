//! Events and actions: the interface between a session and its caller.

use std::sync::Arc;

use super::change::{Change, Reject};
use super::ids::ObjectId;
use super::manifest::Manifest;
use super::records::{SegmentRef, Segments};

/// An event for a session. `T` is the token of a manifest, as the register compares it.
#[derive(Debug, Clone)]
pub(crate) enum Event<T> {
    /// The caller wants a change, which was prepared on the newest manifest that the session knows.
    Submit(Change),
    /// The caller has put the commit as a queued one under the nonce of
    /// [`Session::next_nonce`](super::session::Session::next_nonce).
    Queued(Change),
    /// The caller has prepared the change again, because an action or the caller itself required it. A queued commit
    /// may have members for the caller's session to lead.
    Prepared(Change),
    /// A load returned this manifest.
    Loaded(Arc<Manifest>, T),
    /// Segments that the caller has read. The session keeps those that its newest manifest names.
    Read(Segments),
    /// The swap took effect; the manifest has this token.
    Swapped(T),
    /// The swap had any other answer, or no answer.
    Doubt,
    /// The store refused the swap, and says that nothing was changed.
    Refused,
    /// The caller no longer wants the change. The session still reports whether the change took effect.
    Abandon,
}

/// An action for the caller of a session.
#[derive(Debug, Clone)]
pub(crate) enum Action<T> {
    /// Load the manifest, and answer with [`Event::Loaded`].
    Load,
    /// Read these segments, and answer with [`Event::Read`].
    Read(Vec<SegmentRef>),
    /// Prepare the change again on this manifest, and answer with [`Event::Prepared`] or [`Event::Abandon`].
    Prepare { why: Reject, on: Arc<Manifest> },
    /// Swap the manifest, on the condition that the head object has the token `over`, and answer with
    /// [`Event::Swapped`] or [`Event::Doubt`].
    Swap { over: T, manifest: Arc<Manifest> },
    /// Delete these objects, which no manifest names any more.
    Delete(Vec<ObjectId>),
    /// The change has ended.
    Report(Outcome),
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The change took effect.
    Done {
        /// The sequence of its swap, if that is known.
        sequence: Option<u64>,
        /// The first number of the block that the change took.
        numbers: Option<u64>,
    },
    /// The change did not take effect, and never will.
    NotCommitted,
    /// The change did not take effect, because its precondition does not hold.
    Rejected(Reject),
    /// Another writer made a version after that of this exclusive writer. The session has ended.
    Fenced,
    /// The session was expelled: a new session has to put the objects again. The session has ended.
    Expelled,
    /// The manifest no longer shows whether the change took effect. The session has ended.
    Undecided,
}
