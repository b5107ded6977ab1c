//! The queue of one folder: who fills it, who drains it, and who waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::folder::Folder;
use super::operation::{Action, Queued};
use super::state::State;
use crate::beneath::NewFile;
use crate::{Error, ErrorKind, Etag, ObjectStore, Operation, PutResult, Result, shell_quoted};

/// What was put into a stage, and what of it has arrived in the store: bytes of objects.
#[derive(Debug, Default)]
pub struct StageUse {
    staged: AtomicU64,
    drained: AtomicU64,
}

impl StageUse {
    /// Bytes that were put into the stage.
    pub fn staged_bytes(&self) -> u64 {
        self.staged.load(Ordering::Relaxed)
    }

    /// Bytes of these that have arrived in the store.
    pub fn drained_bytes(&self) -> u64 {
        self.drained.load(Ordering::Relaxed)
    }
}

/// A queue, shared by those who fill it and those who drain it.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) folder: Folder,
    pub(super) state: Mutex<State>,
    /// Up to which number the folder says that all have arrived, and what has arrived and is not noted: its files stay.
    noted: Mutex<(u64, Vec<Arc<Queued>>)>,
    /// Something arrived, failed or was queued, or the queue has ended.
    pub(super) changed: Condvar,
    pub(super) counts: Arc<StageUse>,
    /// How long is waited while nothing arrives.
    pub(super) patience: Duration,
}

impl Queue {
    /// A queue in a folder, with what waits there.
    pub(super) fn new(
        inner: Arc<dyn ObjectStore>,
        folder: Folder,
        waiting: Vec<Queued>,
        patience: Duration,
    ) -> Arc<Self> {
        let (state, noted, changed) = (Mutex::new(State::new(waiting)), Mutex::default(), Condvar::new());
        Arc::new(Queue { inner, folder, state, noted, changed, counts: Arc::default(), patience })
    }

    /// Gives a file that is written its number and its place in the order. `check` says, under the lock, whether it may have it.
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

    /// The etag of an object that is queued. No store gives such ones.
    pub(super) fn etag(&self, number: u64) -> Etag {
        Etag::new(format!("{}{number}", self.etag_prefix()))
    }

    fn etag_prefix(&self) -> String {
        format!("stage:{}:", self.folder.name())
    }

    /// The number of the operation that an etag of this queue is of.
    pub(super) fn number_in(&self, etag: &Etag) -> Option<u64> {
        etag.as_str().strip_prefix(&self.etag_prefix())?.parse().ok()
    }

    /// The file of an operation is gone, or was not written.
    pub(super) fn uncount(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// An operation has arrived: its file goes when all before it have arrived.
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
            // Without the note files that are gone would be missing. What is replayed for want of it finds itself in the store.
            if let Err(e) = self.folder.note_arrived(number) {
                tracing::warn!(error = %e, "the stage does not note what arrived; the next arrival tries again");
                return;
            }
            *up_to = number;
        }
        for queued in unnoted.drain(..) {
            if let Err(e) = self.folder.remove_operation(queued.number)
                // Whoever closed the stage has removed it.
                && e.kind() != std::io::ErrorKind::NotFound
            {
                let file = self.folder.file(queued.number);
                tracing::warn!(error = %e, file = %file.display(), "a file of the stage stays");
            }
            self.uncount(queued.length());
        }
    }

    /// How long operations wait for their arrival: the longest time until now.
    pub(super) fn lag(&self) -> Duration {
        self.state.lock().lag()
    }

    /// Fails once nothing more can arrive.
    pub(super) fn check_sound(&self, state: &State) -> Result<()> {
        match &state.broken {
            Some(why) => Err(self.stuck(why, state)),
            None => Ok(()),
        }
    }

    /// An error that says what lies here and will not arrive by itself.
    fn stuck(&self, why: &str, state: &State) -> Error {
        Error::new(ErrorKind::StageBroken, Operation::Put)
            .in_store(self.inner.name())
            .because(format!("{why}; {}", self.left(state)))
    }

    /// What has not arrived, where it lies, and what to do about it.
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

    /// Waits until `is_done`, as long as something arrives now and then.
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

    /// Waits until all that is queued by now has arrived.
    ///
    /// # Errors
    /// Of a queue that is broken, or in which nothing arrives any more.
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

    /// An error of the stage's own file system.
    pub(super) fn io(&self, e: std::io::Error) -> Error {
        Error::io(Operation::Put, e)
            .in_store(self.inner.name())
            .because(format!("the stage {} cannot be used", self.folder.path().display()))
    }

    /// Whether nothing is brought to the store any more.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().has_ended
    }

    /// Nothing more is queued. What is under way ends, and what waits stays.
    pub(super) fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }
}
