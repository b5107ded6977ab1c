//! The HDF5 VOL connector: callbacks, native face and the ffi room.
//!
//! Layers point one way: `ffi` (what libhdf5 calls, and what we call in it) → `callbacks` (what each callback
//! does) → `h5lake-container` (the HDF5 data model) → `h5lake-ledger` (versions) → a file or `object-stores`.
#![deny(unsafe_code)]

pub mod callbacks;
mod collective;
pub mod config;
mod converting;
pub mod error;
pub mod ffi;
mod file_type;
pub mod names;
mod native;
mod open_objects;
mod pace;
pub mod pointer;
mod registry;
mod session;
mod source_name;
mod thread_state;
mod trace;
pub mod trust;
mod virtual_dataset;

pub use ffi::class::class_for;
