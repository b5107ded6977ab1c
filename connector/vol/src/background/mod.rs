//! Background work: raw transfers and flushes that an event set waits for (docs/design/055-event-sets.md).
//!
//! - `task`: one piece of work, and how it ended.
//! - `queue`: the tasks of one container, which run one after another in the order of their submission.
//! - `pool`: the threads that run them.
//! - `reported`: the results that were reported to libraries.
//!
//! Nothing here depends on libhdf5. A worker never enters it: a task's contents may be used and dropped in any thread.
#![forbid(unsafe_code)]

mod pool;
mod queue;
pub mod reported;
mod task;

pub use pool::{after_fork, before_fork, cancel, complete_all, is_worker, wait_for, wait_until};
pub use queue::{Queue, report_unreported};
pub use task::{Ended, Kind, Task, Work};

#[cfg(test)]
mod tests;
