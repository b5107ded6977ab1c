//! A task in the background: a transfer or a flush.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use h5lake_ledger::process;

use crate::error::{Error, Minor, Result, SentError};

/// The work that a worker runs. It holds no resources of libhdf5, and drops everything it holds before its task has
/// ended.
pub type Work = Box<dyn FnOnce() -> Result<()> + Send>;

/// The operation of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `H5Dwrite`.
    Write,
    /// `H5Dread`.
    Read,
    /// `H5Fflush` and its kin.
    Flush,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Flush => "flush",
        }
    }
}

/// How a task ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The task was done completely.
    Done,
    /// The task failed. Part of its elements may be written or read.
    Failed(SentError),
    /// The task was canceled before it began.
    Canceled,
}

/// A transfer or a flush that an event set waits for.
#[derive(Debug)]
pub struct Task {
    /// The task's operation.
    pub kind: Kind,
    /// The slot of the library that was called.
    pub(super) slot: usize,
    /// The queue that the task entered.
    pub(super) queue: u64,
    /// The process that began the task. A forked child has no worker that would continue it.
    process: u32,
    /// True if the program was notified that the task failed.
    is_reported: AtomicBool,
    /// The start of the task, and its duration in nanoseconds.
    times: OnceLock<(SystemTime, u64)>,
    ended: OnceLock<Ended>,
}

impl Task {
    pub(super) fn new(kind: Kind, slot: usize, queue: u64) -> Self {
        Self {
            kind,
            slot,
            queue,
            process: process::id(),
            is_reported: AtomicBool::new(false),
            times: OnceLock::new(),
            ended: OnceLock::new(),
        }
    }

    /// Returns how the task ended, or `None` while it is unfinished. A task that a forked child inherited unfinished
    /// has failed there.
    pub fn ended(&self) -> Option<Ended> {
        match self.ended.get() {
            None if self.is_inherited() => Some(Ended::Failed(inherited(self.kind).into_sent())),
            ended => ended.cloned(),
        }
    }

    /// Returns whether the task has ended, or never will in this process.
    pub fn has_ended(&self) -> bool {
        self.ended.get().is_some() || self.is_inherited()
    }

    /// Returns when the task began, in nanoseconds since 1970, and its duration in nanoseconds; zeros if it never ran.
    pub fn times(&self) -> (u64, u64) {
        self.times.get().map_or((0, 0), |(begun, took)| {
            let since = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            (u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), *took)
        })
    }

    /// Notes that the program was notified of the failure. Returns whether this is the first notification.
    pub fn mark_reported(&self) -> bool {
        !self.is_reported.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_reported(&self) -> bool {
        self.is_reported.load(Ordering::Relaxed)
    }

    /// Returns whether another process began the task.
    pub fn is_inherited(&self) -> bool {
        self.process != process::id()
    }

    /// Runs the work, and returns its error, if it failed. A panic is a failure.
    pub(super) fn run(&self, work: Work) -> Option<SentError> {
        let (begun, clock) = (SystemTime::now(), Instant::now());
        let result = {
            let _operation = object_stores::deadline::begin();
            catch_unwind(AssertUnwindSafe(work))
        };
        let done = result.unwrap_or_else(|panic| {
            let text = panic_text(&*panic).to_owned();
            drop(catch_unwind(AssertUnwindSafe(move || drop(panic))));
            Err(Error::new(Minor::Internal, format!("it panicked: {text}")))
        });
        let took = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let _once = self.times.set((begun, took));
        match done {
            Ok(()) => {
                let _once = self.ended.set(Ended::Done);
                None
            }
            Err(error) => {
                let why = error.into_sent();
                self.fail(why.clone());
                Some(why)
            }
        }
    }

    /// Notes that the task has failed.
    pub(super) fn fail(&self, why: SentError) {
        let _once = self.ended.set(Ended::Failed(self.explained(why.into_error()).into_sent()));
    }

    pub(super) fn cancel(&self) {
        let _once = self.ended.set(Ended::Canceled);
    }

    fn explained(&self, error: Error) -> Error {
        error.after(format_args!("a {} that went on beside the program failed", self.kind.name()))
    }
}

fn inherited(kind: Kind) -> Error {
    let text = format!("a {} that the parent process began goes on in that process alone", kind.name());
    Error::new(Minor::CannotOperate, text)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("no message")
}
