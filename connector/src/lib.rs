//! The HDF5 VOL connector: callbacks, native face and the ffi room.
//!
//! Layers point one way: `ffi` (what libhdf5 calls, and what we call in it) → `callbacks` (what each callback
//! does) → `h5lake-container` (the HDF5 data model) → `h5lake-ledger` (versions) → a file or `object-stores`.
#![deny(unsafe_code)]

pub mod callbacks;
pub mod config;
mod converting;
pub mod error;
pub mod ffi;
mod file_type;
pub mod names;
mod native;
pub mod pointer;
mod registry;
mod session;
mod thread_state;
pub mod trust;

pub use ffi::class::class_for;
