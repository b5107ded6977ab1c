//! The state of a thread while libhdf5 converts and filters elements, because libhdf5 calls back without saying to
//! which object the elements belong. A value that holds for a while is set by
//! [`scoped`](crate::thread_state::ThreadValue::scoped).
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use h5lake_container::{InlineHeap, ObjectId};

use crate::error::Error;
use crate::hdf5::blob_id::ID_BYTES;
use crate::hdf5::id::Id;
use crate::session::Session;
use crate::thread_state::{OfThisThread, ThreadState, ThreadValue};

/// A session and an identifier of its root.
pub(super) type Rooted = Rc<(Arc<Session>, Id)>;

/// The owner of variable-length data.
pub(super) enum VlenOwner {
    /// No owner: nothing is being written.
    Unknown,
    /// An object, or an object's attribute: the data is in the heap of the container.
    Owner(ObjectId),
    /// An attribute that stores the data with its value.
    Local(InlineHeap),
}

/// The changes that libhdf5 makes to the heap while it converts elements that are being written.
#[derive(Default)]
pub(super) struct HeapChanges {
    /// Blobs that the conversion stores.
    pub(super) kept: HashSet<[u8; ID_BYTES]>,
    /// Blobs of the elements that are overwritten.
    pub(super) obsolete: HashSet<[u8; ID_BYTES]>,
}

thread_local! {
    /// The session for which this thread converts elements. Datatypes in containers all name one file object, which
    /// stands for that session's file.
    static SESSION: ThreadState<Option<Arc<Session>>> = const { ThreadState::new(None) };
    /// The session with an identifier of its root, while region references are converted: during a conversion,
    /// libhdf5 gives no identifiers to handles of ours.
    pub(super) static ROOTED: ThreadState<Option<Rooted>> = const { ThreadState::new(None) };
    /// The owner of the variable-length data that is read or written.
    pub(super) static HOME: ThreadState<VlenOwner> = const { ThreadState::new(VlenOwner::Unknown) };
    /// The first error in handling that data.
    pub(super) static FAILURE: ThreadState<Option<Error>> = const { ThreadState::new(None) };
    /// The changes to the heap in the current conversion.
    pub(super) static CONVERSION: ThreadState<Option<HeapChanges>> = const { ThreadState::new(None) };
    /// The address of the container for which this thread filters chunks; 0 while it filters none.
    pub(super) static FILTERED: Cell<usize> = const { Cell::new(0) };
    /// The number of virtual datasets that this thread reads, each as a source of the one before it.
    pub static VIRTUAL_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs a conversion of elements of a session.
pub fn converting_elements_of<T>(session: &Arc<Session>, body: impl FnOnce() -> T) -> T {
    let _converting = SESSION.scoped(Some(session.clone()));
    body()
}

/// Returns the session for which this thread converts elements.
pub fn session() -> Option<Arc<Session>> {
    SESSION.with_borrow(Clone::clone)
}
