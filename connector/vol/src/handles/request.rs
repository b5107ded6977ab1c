//! The request that an event set of libhdf5 holds for a call that runs in the background.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::background::{self, Ended, Kind, Task, reported};
use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Library;

/// `H5ES_WAIT_FOREVER`.
const FOREVER: u64 = u64::MAX;

/// A call that runs in the background. libhdf5 frees the handle once the call's outcome was reported to it.
pub struct RequestHandle {
    library: Library,
    task: Arc<Task>,
    number: u64,
    /// True if the task reads or fills a buffer of the program's.
    has_buffer: bool,
}

/// The status of a request that is reported to libhdf5 (`H5VL_request_status_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The call is unfinished, or this walk over the event set may not report further calls.
    InProgress,
    /// The call succeeded.
    Succeeded,
    /// The call failed; [`RequestHandle::error_stack`] returns the reason.
    Failed,
    /// The call is running, and cannot be canceled.
    CannotCancel,
    /// The call was canceled before it began.
    Canceled,
}

impl RequestHandle {
    /// Makes a handle of a task that has just begun.
    pub fn new(library: Library, task: Arc<Task>, has_buffer: bool) -> Self {
        let number = reported::next_number(library.slot());
        Self { library, task, number, has_buffer }
    }

    /// Returns the library that was called.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Waits for the end of the call, for `timeout` nanoseconds or forever.
    pub fn wait(&self, timeout: u64) -> Status {
        let slot = self.library.slot();
        if timeout == FOREVER {
            background::wait_until(|| self.task.has_ended());
        } else if !reported::may_report(slot, self.number, timeout) {
            return Status::InProgress;
        } else if !self.task.has_ended()
            && !background::wait_for(Duration::from_nanos(timeout), || self.task.has_ended())
        {
            reported::stays(slot);
            return Status::InProgress;
        }
        self.tell()
    }

    /// Cancels the call if it has not begun. A call that remains in the event set prevents the calls behind it from
    /// being canceled.
    pub fn cancel(&self) -> Status {
        let slot = self.library.slot();
        if !reported::may_report(slot, self.number, 0) {
            return Status::InProgress;
        }
        if self.task.has_ended() || background::cancel(&self.task) {
            return self.tell();
        }
        reported::stays(slot);
        Status::CannotCancel
    }

    /// Returns how the call ended, which is reported to the program now.
    fn tell(&self) -> Status {
        match self.task.ended() {
            None => Status::InProgress,
            Some(Ended::Done) => Status::Succeeded,
            Some(Ended::Canceled) => Status::Canceled,
            Some(Ended::Failed(_)) => {
                self.task.mark_reported();
                reported::note_failure(self.library.slot());
                Status::Failed
            }
        }
    }

    /// Returns an error stack that says why the call failed. Each invocation makes a new one.
    ///
    /// # Errors
    /// If the call did not fail, or the library cannot make a stack.
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

    /// Returns when the call began, in nanoseconds since 1970, and its duration in nanoseconds.
    pub fn times(&self) -> (u64, u64) {
        self.task.times()
    }
}

impl Drop for RequestHandle {
    /// Waits for the task if it uses the program's buffer: the program may free the buffer after this, although it
    /// never waited for the call.
    fn drop(&mut self) {
        if self.has_buffer && !self.task.has_ended() {
            background::wait_until(|| self.task.has_ended());
        }
    }
}
