//! Safe wrappers of libhdf5, in HDF5's own terms, and the common parts of our functions that libhdf5 calls.
//!
//! - `library`: the library that is called; `id`: its identifiers, which are closed when they are dropped.
//! - `datatype`, `dataspace`, `selection`, `plist`, `references`: the arguments that a program passes to a call.
//! - `predefined_types`, `located_types`: datatypes of the library's own, and those located in containers.
//! - `error_stack`, `saved_errors`: frames that are pushed, and frames of failed calls that are saved and put back.
//! - `driver_file`: bytes that only a file driver of the library can read.
//! - `native`: objects of native files, the driver beneath the shadow native file, datasets that only run filters.
//! - `plugin_folders`: folders of filters that came with a library.
//! - `guard`: the guard around every function of ours that libhdf5 calls. It turns panics and errors into the error
//!   stack.
//! - `caller`, `unwrapping`: the state of this thread while libhdf5 calls us.
//! - `fork`, `exit`, `shutdown`: notification of forks and of the end. `allocator`: memory that is returned to the
//!   system.
#![allow(unsafe_code)]

pub mod allocator;
pub mod anchor;
pub mod blob_id;
pub mod call_context;
pub mod caller;
pub mod classes;
pub mod dataspace;
pub mod datatype;
pub mod driver_file;
pub mod error_stack;
pub mod exit;
pub mod file_flags;
pub mod fork;
pub mod guard;
pub mod id;
pub mod identity;
pub mod library;
pub mod located_types;
pub mod mpi;
pub mod native;
mod optional_operation;
pub mod plist;
pub mod plugin_folders;
pub mod predefined_types;
pub mod references;
pub mod saved_errors;
pub mod selection;
pub mod shutdown;
pub mod strings;
pub mod token;
pub mod unwrapping;
