//! What each H5VL callback does: decoded arguments in, the container asked, an answer out. A file for each class of the
//! connector interface, and folders for what several of them need. No `unsafe` here: that is in `vol`.
#![forbid(unsafe_code)]

pub mod asynchronous;
pub mod attribute;
pub mod blob;
pub mod collective;
pub mod dataset;
pub mod dataset_checks;
pub mod dataset_chunks;
pub mod datatype;
pub mod external_data;
pub mod file;
pub mod file_optional;
pub mod file_options;
pub mod filter_setup;
pub mod group;
pub mod link;
pub mod native_virtual;
pub mod object;
mod object_file;
pub mod open_file;
pub mod path;
pub mod pointer_files;
mod spread_files;
mod staging;
pub mod storage;
pub mod transfer_report;
pub mod virtual_dataset;
pub mod visit;
