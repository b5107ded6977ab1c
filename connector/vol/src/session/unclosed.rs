//! Files with changes that could not be committed when their last object was closed.
//!
//! libhdf5 forgets a dataset however its close ends. The program could not close it again, so its file is kept here:
//! the next flush or close of the same container tries again, and so does the end of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use h5lake_container::Container;
use h5lake_ledger::locks::Mutex;

use crate::error::Error;
use crate::hdf5::exit;
use crate::hdf5::library::Library;
use crate::session::Session;

static UNCLOSED: Mutex<Vec<Arc<Session>>> = Mutex::new(Vec::new());
/// True if there ever was such a file: nearly no program has any.
static WAS_ANY: AtomicBool = AtomicBool::new(false);

impl Session {
    /// Keeps the file open for another try after its commit has failed, and says so on stderr. Changes that can never
    /// be committed are reported as lost.
    pub fn keep_unclosed(self: &Arc<Self>, why: &Error) {
        let name = String::from_utf8_lossy(&self.name);
        // A conflict discards the batch.
        if self.container.is_lost() || !self.container.has_changes() {
            exit::report_loss(&format!("what was changed in '{name}' since its last commit is lost: {why}"));
            return;
        }
        exit::warn(&format!(
            "what was changed in '{name}' since its last commit could not be committed when its last object was closed: {why}. The \
             next flush or close of it tries again, and so does the end of the program"
        ));
        WAS_ANY.store(true, Ordering::Relaxed);
        UNCLOSED.lock().push(self.clone());
    }
}

/// Forgets the files of a container after a commit of it has succeeded: no changes wait for another try any more.
pub(super) fn committed(container: &Arc<Container>) {
    if WAS_ANY.load(Ordering::Relaxed) {
        take(|session| Arc::ptr_eq(&session.container, container));
    }
}

/// Tries for the last time, for a library that shuts down. Changes that cannot be committed are reported on stderr,
/// and lost.
pub fn library_closes(library: Library) {
    if WAS_ANY.load(Ordering::Relaxed) {
        for session in take(|session| session.library == library) {
            // The commit reports on stderr, because no other code would.
            let _is_reported = session.commit_to_close(Ok(()));
        }
    }
}

/// Removes the sessions that match. They are dropped after the lock is released, because the drop of a last reference
/// needs the lock itself.
fn take(is_meant: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
    UNCLOSED.lock().extract_if(.., |session| is_meant(session)).collect()
}
