//! The only room with `unsafe`: the C boundary in both directions.
//!
//! - `class` and `thunks`: the callbacks that libhdf5 calls, each through `guard`, which turns panics and
//!   errors into HDF5's error stack.
//! - `handle`: the objects handed to libhdf5 (`Box` to `void *` and back).
//! - `identifiers`: which identifiers of ours are open.
//! - `pass` and `native_files`: native files and their objects, handed through to the native connector.
//! - `native_path`: what external links of containers lead to in native files.
//! - `lending`: the application's memory as bytes that other threads may have for a while.
//! - `recreate`: `H5Ocopy` between a native file and a container.
//! - `elements`: elements in memory, which may hold pointers, on their way from and to a container.
//! - `located`: datatypes as they lie in containers, one of each for all files.
//! - `library`, `types`, `spaces`, `plists`, `memory`, `native`, `scratch`: what we call in libhdf5, wrapped so that the
//!   rooms above need no `unsafe`.
#![allow(unsafe_code)]

pub mod anchor;
pub mod blob_id;
pub mod caller;
mod capabilities;
pub mod class;
pub mod classes;
mod closing;
pub mod creation;
pub mod elements;
pub mod elinks;
pub mod error_stack;
pub mod errors;
pub mod exit;
pub mod face_driver;
pub mod file_flags;
pub mod file_lists;
pub mod forks;
pub mod guard;
pub mod handle;
pub mod identifiers;
pub mod identity;
pub mod ids;
mod images;
pub mod info;
pub mod lending;
pub mod library;
pub mod located;
pub mod memory;
pub mod memory_references;
pub mod mpi;
pub mod native;
pub mod native_data;
pub mod native_files;
pub mod native_handle;
mod native_open;
pub mod native_path;
pub mod pass;
pub mod plists;
pub mod predefined;
mod recreate;
pub mod references;
pub mod region_conversions;
pub mod scratch;
pub mod selections;
pub mod source_lists;
pub mod spaces;
pub mod strings;
mod thunks;
pub mod token;
pub mod types;
pub mod unwrapping;
mod user_properties;
pub mod variable_length;
