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

/// Makes a session findable.
pub fn add(session: &Arc<Session>) {
    SESSIONS.lock().insert(Arc::as_ptr(session).addr(), Arc::downgrade(session));
}

/// Forgets a session that ends.
pub fn remove(session: &Session) {
    SESSIONS.lock().remove(&(&raw const *session).addr());
}

/// Every session. They are let go of when nobody holds the lock, which a last one would want itself.
fn sessions() -> Vec<Arc<Session>> {
    SESSIONS.lock().values().filter_map(Weak::upgrade).collect()
}

/// The session whose native file this is: native code hands us that instead of our own object.
pub fn session_of(native_file: usize) -> Option<Arc<Session>> {
    let is_beneath = |session: &Arc<Session>| {
        session.shadow.made(NativeKind::File).is_some_and(|file| file.addr() == native_file)
    };
    sessions().into_iter().find(is_beneath)
}

/// All sessions on the container of `session` in its library, itself included: natively one shared file.
pub fn sessions_beside(session: &Session) -> Vec<Arc<Session>> {
    let mut all = sessions_on(&session.container);
    all.retain(|other| other.library == session.library);
    all
}

/// All sessions on a container, of whatever library.
pub fn sessions_on(container: &Arc<Container>) -> Vec<Arc<Session>> {
    let mut all = sessions();
    all.retain(|session| Arc::ptr_eq(&session.container, container));
    all
}

/// Whether the program has a file of the container open to write, in whatever library: its flushes and closes commit, and tell what
/// could not be. What else holds the container (a virtual dataset, an object behind an external link) tells nobody.
pub fn has_writing_file(container: &Arc<Container>) -> bool {
    sessions_on(container).iter().any(|session| session.writable && session.has_file_open())
}

/// Returns whether the program has closed every file through which it read a container, and left objects of it open.
pub fn is_left_open(container: &Arc<Container>) -> bool {
    let mut opened = sessions_on(container);
    opened.retain(|session| session.opened_by == OpenedBy::Program);
    !opened.is_empty() && opened.iter().all(|session| !session.has_file_open() && !session.is_mounted())
}

/// Whether the program goes on to change a container that it has opened: it has a file of it open to write, or mounted. In an MPI program
/// the answer is the same in all processes.
pub fn is_in_use(container: &Arc<Container>) -> bool {
    let is_in_use =
        |session: &Arc<Session>| session.writable && (session.has_file_open() || session.is_mounted());
    sessions_on(container).iter().any(is_in_use)
}

/// Lets go of what keeps native files open, for a library that shuts down.
pub fn library_closes(library: Library) {
    tasks::library_closes(library);
    unclosed::library_closes(library);
    shadow_file::let_go_of_idle(library);
    for session in sessions().iter().filter(|session| session.library == library) {
        session.shadow.let_go();
    }
}
