//! Stores in shared libraries that others make: the C interface (`include/h5lake_store.h`), and a safe way to call it.
//!
//! [`raw`] has the interface as it is, for libraries in Rust. [`Library::load`] loads one and checks what it says
//! of itself. [`Store`] calls it. Whatever a library answers is checked before anybody sees it: sizes of structs,
//! pointers and their lengths, texts, the order and number of its answers, its error codes. A library that breaks a
//! rule makes the call fail with an error of kind [`Kind::Misuse`] that names the library and the rule.
//!
//! What cannot be checked is that a pointer leads to so much memory, and that the library leaves the memory of
//! others alone. A store in a process of its own cannot do such harm (docs/store-protocol.md).
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
