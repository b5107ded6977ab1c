//! The queue of one folder, which the writer fills and threads drain, and the waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::folder::Folder;
use super::operation::{Action, Queued};
use super::state::State;
use crate::beneath::NewFile;
use crate::{Error, ErrorKind, Etag, ObjectStore, Operation, PutResult, Result, shell_quoted};

/// Counts the bytes of objects that were staged, and those that have arrived in the store.
#[derive(Debug, Default)]
pub struct StageUse {
    staged: AtomicU64,
    drained: AtomicU64,
}

impl StageUse {
    /// Returns the number of staged bytes.
    pub fn staged_bytes(&self) -> u64 {
        self.staged.load(Ordering::Relaxed)
    }

    /// Returns the number of staged bytes that have arrived in the store.
    pub fn drained_bytes(&self) -> u64 {
        self.drained.load(Ordering::Relaxed)
    }
}

/// A queue, shared by the writer and the threads that drain it.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) folder: Folder,
    pub(super) state: Mutex<State>,
    /// The number up to which the folder records that all operations have arrived, and the operations that have arrived
    /// but are not recorded yet, so that their files are retained.
    noted: Mutex<(u64, Vec<Arc<Queued>>)>,
    /// Notified when an operation arrived, failed or was queued, or when the queue has ended.
    pub(super) changed: Condvar,
    pub(super) counts: Arc<StageUse>,
    /// The time that a caller waits while no operation arrives.
    pub(super) patience: Duration,
}

impl Queue {
    /// Returns a queue in a folder, with the operations that are pending there.
    pub(super) fn new(
        inner: Arc<dyn ObjectStore>,
        folder: Folder,
        waiting: Vec<Queued>,
        patience: Duration,
    ) -> Arc<Self> {
        let (state, noted, changed) = (Mutex::new(State::new(waiting)), Mutex::default(), Condvar::new());
        Arc::new(Queue { inner, folder, state, noted, changed, counts: Arc::default(), patience })
    }

    /// Publishes a written file as the next operation. `check` decides, under the lock, whether the operation may be
    /// queued.
    pub(super) fn publish(
        &self,
        file: NewFile,
        time: SystemTime,
        action: Action,
        check: impl FnOnce(&State) -> Result<()>,
    ) -> Result<PutResult> {
        let mut state = self.state.lock();
        self.check_sound(&state)?;
        check(&state)?;
        let number = state.next();
        let queued = Arc::new(Queued { number, time, action });
        self.folder.publish(file, number).map_err(|e| self.io(e))?;
        self.counts.staged.fetch_add(queued.length(), Ordering::Relaxed);
        state.push(queued);
        drop(state);
        self.changed.notify_all();
        Ok(PutResult { etag: Some(self.etag(number)) })
    }

    /// Returns the etag of a queued object. No store returns such etags.
    pub(super) fn etag(&self, number: u64) -> Etag {
        Etag::new(format!("{}{number}", self.etag_prefix()))
    }

    fn etag_prefix(&self) -> String {
        format!("stage:{}:", self.folder.name())
    }

    /// Returns the number of the operation that an etag of this queue belongs to.
    pub(super) fn number_in(&self, etag: &Etag) -> Option<u64> {
        etag.as_str().strip_prefix(&self.etag_prefix())?.parse().ok()
    }

    /// Subtracts the bytes of an operation's file that was removed, or not written.
    pub(super) fn uncount(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// Records that an operation has arrived, and removes the files up to which all operations have arrived.
    pub(super) fn arrived(&self, queued: &Queued, etag: Option<Etag>) {
        self.counts.drained.fetch_add(queued.length(), Ordering::Relaxed);
        let (number, gone) = self.state.lock().arrive(queued, etag);
        self.changed.notify_all();
        if gone.is_empty() {
            return;
        }
        let mut noted = self.noted.lock();
        let (up_to, unnoted) = &mut *noted;
        unnoted.extend(gone);
        if number > *up_to {
            // Files must not be removed before the record, because without it they would look lost. Operations that are
            // replayed because the record is missing find their own result in the store.
            if let Err(e) = self.folder.note_arrived(number) {
                tracing::warn!(error = %e, "the stage does not note what arrived; the next arrival tries again");
                return;
            }
            *up_to = number;
        }
        for queued in unnoted.drain(..) {
            if let Err(e) = self.folder.remove_operation(queued.number)
                // The process that closed the stage may have removed the file.
                && e.kind() != std::io::ErrorKind::NotFound
            {
                let file = self.folder.file(queued.number);
                tracing::warn!(error = %e, file = %file.display(), "a file of the stage stays");
            }
            self.uncount(queued.length());
        }
    }

    /// Returns the longest time so far that an operation took to arrive.
    pub(super) fn lag(&self) -> Duration {
        self.state.lock().lag()
    }

    /// Fails if nothing more can arrive.
    pub(super) fn check_sound(&self, state: &State) -> Result<()> {
        match &state.broken {
            Some(why) => Err(self.stuck(why, state)),
            None => Ok(()),
        }
    }

    /// Returns an error that says which operations are in the folder and will not arrive by themselves.
    fn stuck(&self, why: &str, state: &State) -> Error {
        Error::new(ErrorKind::StageBroken, Operation::Put)
            .in_store(self.inner.name())
            .because(format!("{why}; {}", self.left(state)))
    }

    /// Describes the operations that have not arrived, where their files are, and how to upload them.
    pub(super) fn left(&self, state: &State) -> String {
        let bytes: u64 = state.waiting().map(Queued::length).sum();
        let first = state.waiting().next().and_then(|queued| queued.keys().first());
        let first = first.map_or_else(String::new, |key| format!(", the first of them {key}"));
        let folder = self.folder.path();
        let drained = folder.parent().unwrap_or(folder).display().to_string();
        format!(
            "{} operations ({bytes} bytes) have not arrived{first}. They lie in {}: 'h5lake drain {}' brings them to the store, \
             or says what keeps them from it",
            state.waiting().count(),
            folder.display(),
            shell_quoted(&drained),
        )
    }

    /// Waits until `is_done`, as long as operations arrive within the patience.
    pub(super) fn wait(&self, is_done: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>> {
        let begun = Instant::now();
        let mut state = self.state.lock();
        if !is_done(&state) {
            state.asked = Some(begun);
            self.changed.notify_all();
        }
        loop {
            self.check_sound(&state)?;
            if is_done(&state) {
                return Ok(state);
            }
            let since = state.progress.map_or(begun, |progress| progress.max(begun));
            let failed = state.failure.as_ref().filter(|failure| failure.at > begun);
            let is_late = since.elapsed() >= self.patience;
            if is_late || failed.is_some_and(|failure| !failure.may_pass) {
                state.was_late = true;
                return Err(self.late(&state));
            }
            self.changed.wait_until(&mut state, since + self.patience);
        }
    }

    /// Waits until all operations queued so far have arrived.
    ///
    /// # Errors
    /// If the queue is broken, or no operation arrives any more.
    pub(super) fn drain(&self) -> Result<()> {
        let next = self.state.lock().next();
        self.wait(|state| state.has_arrived_before(next)).map(drop)
    }

    fn late(&self, state: &State) -> Error {
        let why = match &state.failure {
            Some(failure) => format!("the store fails: {}", failure.text),
            None => format!("nothing arrived in the store for {} s", self.patience.as_secs()),
        };
        Error::new(ErrorKind::Timeout, Operation::Put)
            .in_store(self.inner.name())
            .because(format!("{why}; {}", self.left(state)))
    }

    /// Returns an error of the stage's own file system.
    pub(super) fn io(&self, e: std::io::Error) -> Error {
        Error::io(Operation::Put, e)
            .in_store(self.inner.name())
            .because(format!("the stage {} cannot be used", self.folder.path().display()))
    }

    /// Returns whether the queue has ended: no further operation is uploaded.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().has_ended
    }

    /// Ends the queue: operations in progress are finished, and pending operations stay in the folder.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }
}
