//! Whose elements libhdf5 converts in this thread: datatypes in containers all name one file object, which stands for that file.

use std::sync::Arc;

use crate::session::Session;
use crate::thread_state::{OfThisThread, ThreadState};

thread_local! {
    /// The session whose elements this thread converts.
    static SESSION: ThreadState<Option<Arc<Session>>> = const { ThreadState::new(None) };
}

/// The session of a while, and the one before it when that is over.
struct Stay(Option<Arc<Session>>);

impl Drop for Stay {
    fn drop(&mut self) {
        SESSION.replace(self.0.take());
    }
}

/// Runs a conversion of elements of a session.
pub fn elements_of<T>(session: &Arc<Session>, body: impl FnOnce() -> T) -> T {
    let _stay = Stay(SESSION.replace(Some(session.clone())));
    body()
}

/// The session whose elements this thread converts.
pub fn session() -> Option<Arc<Session>> {
    SESSION.with_borrow(Clone::clone)
}
