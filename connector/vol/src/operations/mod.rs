//! The work of each H5VL callback: it takes decoded arguments, calls the container, and returns an answer. Each class
//! of the connector interface has a file, and folders contain parts that several classes need. `unsafe` is not used
//! here: it is in `vol`.
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
