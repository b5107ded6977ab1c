//! Background work on a session's container: transfers and flushes that an event set waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use h5lake_ledger::locks::Mutex;

use crate::background::{self, Kind, Queue, Task, Work, reported};
use crate::error::Result;
use crate::hdf5::exit;
use crate::hdf5::library::Library;
use crate::session::{Session, registry};

/// True if any session was ever opened with `async=on`.
static IS_WANTED: AtomicBool = AtomicBool::new(false);
/// Serializes the sessions that join a queue.
static JOINING: Mutex<()> = Mutex::new(());

/// Gives a new session the queue of its container, if a queue exists or the session wants one. All sessions of a
/// container share it.
pub(super) fn join(session: &Arc<Session>) {
    let wants = session.config.asynchronous;
    if wants {
        IS_WANTED.store(true, Ordering::Relaxed);
    } else if !IS_WANTED.load(Ordering::Relaxed) {
        return;
    }
    let all = registry::sessions_on(&session.container);
    let joining = JOINING.lock();
    let known = all.iter().find_map(|other| other.queue.get()).cloned();
    if let Some(queue) = known.or_else(|| wants.then(Arc::<Queue>::default)) {
        for session in &all {
            session.queue.get_or_init(|| queue.clone());
        }
    }
    drop(joining);
}

impl Session {
    /// Waits until all background work on the container has ended.
    #[inline]
    pub fn complete(&self) {
        if let Some(queue) = self.queue.get() {
            queue.complete();
        }
    }

    /// Waits like [`complete`](Self::complete), if a flush is pending.
    #[inline]
    pub fn complete_flushes(&self) {
        if let Some(queue) = self.queue.get() {
            queue.complete_flushes();
        }
    }

    /// Waits like [`complete`](Self::complete), and reports once those failures that were not reported yet: their
    /// tokens may be lost.
    ///
    /// # Errors
    /// The first of these failures.
    pub fn complete_and_tell(&self) -> Result<()> {
        self.complete();
        self.queue.get().and_then(|queue| queue.unreported_failure()).map_or(Ok(()), Err)
    }

    /// Returns whether a call on the session that has an event set may run in the background. It may not once a
    /// failure was reported to the library.
    pub fn may_go_on(&self) -> bool {
        self.config.asynchronous
            && self.together.is_none()
            && !self.is_inherited()
            && !reported::has_failure(self.library.slot())
    }

    /// Returns whether a flush of the container needs libhdf5 for filters.
    pub fn needs_library_to_flush(&self) -> bool {
        let needs = |session: &Session| session.lent_codecs.load(Ordering::Relaxed) > 0;
        self.container.has_many_writers() || registry::sessions_on(&self.container).iter().any(|s| needs(s))
    }

    /// Returns whether the queue accepts one more task, and an event set could take its token.
    pub fn has_space(&self) -> bool {
        self.queue.get().is_some_and(|queue| queue.has_space()) && self.library.has_event_sets()
    }

    /// Runs `work` after all pending work: in this thread, if no worker can be started.
    pub fn submit(&self, kind: Kind, work: Work) -> Arc<Task> {
        let queue = self.queue.get_or_init(Arc::default);
        queue.submit(kind, self.library.slot(), work)
    }
}

/// Completes background work while a library shuts down, and reports failures on stderr: the program will not wait for
/// them any more.
pub fn library_closes(library: Library) {
    background::complete_all();
    background::report_unreported(library.slot(), |failure| {
        exit::report_loss(&format!("the program ends without having waited for an event set. {failure}"));
    });
    reported::forget(library.slot());
}
