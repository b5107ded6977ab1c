//! All sessions of the process.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use h5lake_container::Container;
use h5lake_ledger::locks::Mutex;

use crate::hdf5::library::Library;
use crate::hdf5::native::NativeKind;
use crate::native::shadow_file;
use crate::session::{OpenedBy, Session, tasks, unclosed};

/// All sessions, by their addresses.
static SESSIONS: LazyLock<Mutex<HashMap<usize, Weak<Session>>>> = LazyLock::new(Default::default);

/// Adds a session to the registry.
pub fn add(session: &Arc<Session>) {
    SESSIONS.lock().insert(Arc::as_ptr(session).addr(), Arc::downgrade(session));
}

/// Removes a session that ends.
pub fn remove(session: &Session) {
    SESSIONS.lock().remove(&(&raw const *session).addr());
}

/// Returns every session. They must be dropped without holding the lock, because the drop of a last reference needs
/// the lock itself.
fn sessions() -> Vec<Arc<Session>> {
    SESSIONS.lock().values().filter_map(Weak::upgrade).collect()
}

/// Returns the session of a native file: native code passes us that file instead of our own object.
pub fn session_of(native_file: usize) -> Option<Arc<Session>> {
    let is_beneath = |session: &Arc<Session>| {
        session.shadow.made(NativeKind::File).is_some_and(|file| file.addr() == native_file)
    };
    sessions().into_iter().find(is_beneath)
}

/// Returns all sessions on the container of `session` in its library, including itself: one shared file in the native
/// connector.
pub fn sessions_beside(session: &Session) -> Vec<Arc<Session>> {
    let mut all = sessions_on(&session.container);
    all.retain(|other| other.library == session.library);
    all
}

/// Returns all sessions on a container, in any library.
pub fn sessions_on(container: &Arc<Container>) -> Vec<Arc<Session>> {
    let mut all = sessions();
    all.retain(|session| Arc::ptr_eq(&session.container, container));
    all
}

/// Returns whether the program has a file of the container open for writing, in any library: its flushes and closes
/// commit, and report changes that could not be committed. Other users of the container (a virtual dataset, an object
/// behind an external link) report to no one.
pub fn has_writing_file(container: &Arc<Container>) -> bool {
    sessions_on(container).iter().any(|session| session.writable && session.has_file_open())
}

/// Returns whether the program has closed every file through which it read a container, and left objects of it open.
pub fn is_left_open(container: &Arc<Container>) -> bool {
    let mut opened = sessions_on(container);
    opened.retain(|session| session.opened_by == OpenedBy::Program);
    !opened.is_empty() && opened.iter().all(|session| !session.has_file_open() && !session.is_mounted())
}

/// Returns whether the program still changes a container that it has opened: it has a file of it open for writing, or
/// mounted. All processes of an MPI program get the same result.
pub fn is_in_use(container: &Arc<Container>) -> bool {
    let is_in_use =
        |session: &Arc<Session>| session.writable && (session.has_file_open() || session.is_mounted());
    sessions_on(container).iter().any(is_in_use)
}

/// Releases the resources that keep native files open, for a library that shuts down.
pub fn library_closes(library: Library) {
    tasks::library_closes(library);
    unclosed::library_closes(library);
    shadow_file::let_go_of_idle(library);
    for session in sessions().iter().filter(|session| session.library == library) {
        session.shadow.let_go();
    }
}
