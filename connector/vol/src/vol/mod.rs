//! The functions that libhdf5 calls: the connector class, and its callbacks.
//!
//! - `class`: the table of all callbacks, one for each library; `capabilities` and `info`: its properties and its
//!   settings.
//! - `thunks`: the callbacks. Each decodes its arguments, calls `operations` in `hdf5::guard`, and writes the answer.
//! - `passthrough`: objects of native files, passed on to the native connector.
#![allow(unsafe_code)]

pub mod capabilities;
pub mod class;
pub mod info;
pub mod passthrough;
pub mod thunks;
