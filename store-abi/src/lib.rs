//! Stores in shared libraries of third parties: the C interface (`include/h5lake_store.h`), and a safe way to call it.
//!
//! [`raw`] declares the C interface, for libraries in Rust. [`Library::load`] loads a library and validates its
//! description of itself. [`Store`] calls the library. Every answer of a library is validated before it is used: sizes
//! of structs, pointers and their lengths, texts, the order and number of answers, error codes. If a library violates a
//! rule, the call fails with an error of kind [`Kind::Misuse`] that names the library and the rule.
//!
//! Two things cannot be validated: that a pointer leads to as much memory as the library says, and that the library
//! does not corrupt other memory. A store in a process of its own cannot do such harm (docs/store-protocol.md).
//!
//! No lock of this crate is held while a library runs.

mod answer;
mod call;
mod check;
mod exit;
mod failure;
mod library;
pub mod raw;
mod store;

pub use answer::Object;
pub use call::running_library;
pub use exit::{at_exit, is_over};
pub use failure::{Failure, Kind};
pub use library::{Library, MAX_SCHEMES};
pub use store::{List, Mode, Opened, Payload, Read, Store, Write};
