//! What libhdf5 calls: the connector class, and its callbacks.
//!
//! - `class`: the table of all callbacks, one for each library; `capabilities` and `info`: what it says of itself, and is told.
//! - `thunks`: the callbacks. Each decodes its arguments, calls `operations` in `hdf5::guard`, and writes the answer.
//! - `passthrough`: objects of native files, handed on to the native connector.
#![allow(unsafe_code)]

pub mod capabilities;
pub mod class;
pub mod info;
pub mod passthrough;
pub mod thunks;
