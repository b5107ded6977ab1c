//! Work that goes on beside the program: raw transfers and flushes that an event set waits for (docs/design/055-event-sets.md).
//!
//! - `task`: one piece of work, and how it ended.
//! - `queue`: the tasks of one container, which run one after another in the order in which they came.
//! - `pool`: the threads that run them.
//! - `told`: what libraries were told of them.
//!
//! Nothing here knows libhdf5. A worker never enters it: what a task holds may be used and dropped in any thread.
#![forbid(unsafe_code)]

mod pool;
mod queue;
mod task;
pub mod told;

pub use pool::{after_fork, before_fork, cancel, complete_all, is_worker, wait_for, wait_until};
pub use queue::{Queue, report_untold};
pub use task::{Ended, Kind, Task, Work};

#[cfg(test)]
mod tests;
