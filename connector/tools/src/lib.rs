//! Work on whole containers that the engine does not know: verifying, repairing, and copying them, and restoring an old
//! version as the newest one.
#![forbid(unsafe_code)]

mod copies;
mod end;
mod file_mode;
pub mod repair;
#[cfg(test)]
mod tests;
pub mod verify;

pub use copies::{Copied, UpdatedCopy, copy_to, move_to, restore_version, update_copy};
pub use end::End;
pub use h5lake_container::{Options, Target};
