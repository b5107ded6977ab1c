//! What a thread is about while libhdf5 converts and filters elements: it calls back without saying whose they are. A value that
//! holds for a while is set by [`scoped`](crate::thread_state::ThreadValue::scoped).
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

/// Whose data it is.
pub(super) enum VlenOwner {
    /// Nobody's: nothing is being written.
    Unknown,
    /// An object's, or an attribute's, in the heap of the container.
    Owner(ObjectId),
    /// The same of a dataset whose fill value has its data there, too. Which of the elements before show that is not known, so
    /// nothing is given back.
    OwnerWithFill(ObjectId),
    /// An attribute's, with its value.
    Local(InlineHeap),
}

/// What libhdf5 does with the heap while it converts elements that are being written.
#[derive(Default)]
pub(super) struct HeapChanges {
    /// Blobs that it keeps.
    pub(super) kept: HashSet<[u8; ID_BYTES]>,
    /// Blobs of the elements that are written over.
    pub(super) obsolete: HashSet<[u8; ID_BYTES]>,
}

thread_local! {
    /// The session whose elements this thread converts. Datatypes in containers all name one file object, which stands for that
    /// session's file.
    static SESSION: ThreadState<Option<Arc<Session>>> = const { ThreadState::new(None) };
    /// The same with an identifier of its root, where region references are converted: in a conversion, libhdf5 gives none to
    /// handles of ours.
    pub(super) static ROOTED: ThreadState<Option<Rooted>> = const { ThreadState::new(None) };
    /// Where variable-length data goes to and comes from.
    pub(super) static HOME: ThreadState<VlenOwner> = const { ThreadState::new(VlenOwner::Unknown) };
    /// What went wrong with that data.
    pub(super) static FAILURE: ThreadState<Option<Error>> = const { ThreadState::new(None) };
    /// What libhdf5 does with the heap in a conversion.
    pub(super) static CONVERSION: ThreadState<Option<HeapChanges>> = const { ThreadState::new(None) };
    /// The container whose chunks go through filters in this thread, by its address; 0 while none do.
    pub(super) static FILTERED: Cell<usize> = const { Cell::new(0) };
    /// How many virtual datasets this thread reads, each as a source of the one before it.
    pub static VIRTUAL_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs a conversion of elements of a session.
pub fn converting_elements_of<T>(session: &Arc<Session>, body: impl FnOnce() -> T) -> T {
    let _converting = SESSION.scoped(Some(session.clone()));
    body()
}

/// The session whose elements this thread converts.
pub fn session() -> Option<Arc<Session>> {
    SESSION.with_borrow(Clone::clone)
}
