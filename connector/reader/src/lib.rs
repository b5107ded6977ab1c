//! Containers read without libhdf5: a table of C functions for programs and languages that read in several threads, and
//! the datatypes and values of elements.
//!
//! - `abi`: the table that the plugin exports; its C header is `include/h5lake_reader.h`.
//! - [`reader`]: open containers, paths and attributes; the elements of datasets, also of virtual ones.
//! - `describe`: objects and datatypes as JSON; [`form`], `convert`: the form in which callers receive elements.
//! - [`elements`]: datatypes and single values, also for the tool; [`walk`]: links and the paths of objects.
//!
//! Nothing here calls libhdf5, and all functions may be called from several threads at the same time.
#![deny(unsafe_code)]

mod abi;
mod convert;
mod describe;
pub mod elements;
pub mod form;
mod handles;
pub mod name_text;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod walk;

pub use abi::api;

/// The error of decoding an element: of the container, or of malformed bytes.
pub type Failure = Box<dyn std::error::Error>;
