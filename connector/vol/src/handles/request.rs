//! What an event set of libhdf5 holds for a call of ours that goes on beside the program.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::background::{self, Ended, Kind, Task, told};
use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Library;

/// `H5ES_WAIT_FOREVER`.
const FOREVER: u64 = u64::MAX;

/// A call that goes on. libhdf5 frees it once it was told how the call ended.
pub struct RequestHandle {
    library: Library,
    task: Arc<Task>,
    number: u64,
    /// Whether the task reads or fills a buffer of the program's.
    has_buffer: bool,
}

/// What a request is told to be (`H5VL_request_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It goes on, or this walk over the event set may not tell more.
    InProgress,
    /// It is done.
    Succeeded,
    /// It failed; [`RequestHandle::error_stack`] says why.
    Failed,
    /// It runs, and is not taken back.
    CannotCancel,
    /// It was taken back before it began.
    Canceled,
}

impl RequestHandle {
    /// A handle of a task that has just begun.
    pub fn new(library: Library, task: Arc<Task>, has_buffer: bool) -> Self {
        let number = told::next_number(library.slot());
        Self { library, task, number, has_buffer }
    }

    /// The library that was called.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Waits for its end for some nanoseconds, or for ever.
    pub fn wait(&self, timeout: u64) -> Status {
        let slot = self.library.slot();
        if timeout == FOREVER {
            background::wait_until(|| self.task.has_ended());
        } else if !told::may_tell(slot, self.number, timeout) {
            return Status::InProgress;
        } else if !self.task.has_ended()
            && !background::wait_for(Duration::from_nanos(timeout), || self.task.has_ended())
        {
            told::stays(slot);
            return Status::InProgress;
        }
        self.tell()
    }

    /// Takes it back if it has not begun. What stays in the event set keeps what is behind it from being taken back.
    pub fn cancel(&self) -> Status {
        let slot = self.library.slot();
        if !told::may_tell(slot, self.number, 0) {
            return Status::InProgress;
        }
        if self.task.has_ended() || background::cancel(&self.task) {
            return self.tell();
        }
        told::stays(slot);
        Status::CannotCancel
    }

    /// How it ended, which the program is told now.
    fn tell(&self) -> Status {
        match self.task.ended() {
            None => Status::InProgress,
            Some(Ended::Done) => Status::Succeeded,
            Some(Ended::Canceled) => Status::Canceled,
            Some(Ended::Failed(_)) => {
                self.task.tell();
                told::note_failure(self.library.slot());
                Status::Failed
            }
        }
    }

    /// An error stack that says why it failed. There is another one for each call.
    ///
    /// # Errors
    /// If it did not fail, or the library makes no stack.
    pub fn error_stack(&self) -> Result<Id> {
        let Some(Ended::Failed(error)) = self.task.ended() else {
            return Err(Error::new(Minor::BadValue, "the operation of this request has not failed"));
        };
        let (callback, class) = match self.task.kind {
            Kind::Write => ("h5lake_dataset_write", Major::Dataset),
            Kind::Read => ("h5lake_dataset_read", Major::Dataset),
            Kind::Flush => ("h5lake_flush", Major::File),
        };
        self.library.error_stack_of(callback, class, &error.into_error())
    }

    /// When it began, in nanoseconds since 1970, and how many nanoseconds it took.
    pub fn times(&self) -> (u64, u64) {
        self.task.times()
    }
}

impl Drop for RequestHandle {
    /// What was never waited for may still use the program's buffer, which the program is about to free.
    fn drop(&mut self) {
        if self.has_buffer && !self.task.has_ended() {
            background::wait_until(|| self.task.has_ended());
        }
    }
}
