//! The HDF5 VOL connector.
//!
//! Its modules are layers, and each one uses only those behind it in this list:
//!
//! - `vol`: the functions that libhdf5 calls.
//! - `cross_copy`: `H5Ocopy` between native files and containers, and file images.
//! - `reading`: containers for programs of this process that read them without libhdf5.
//! - `operations`: the work of each callback.
//! - `handles`: the objects that libhdf5 is given, and the open objects behind them.
//! - `transfer`: elements on their way between memory and a container.
//! - `session`: open files.
//! - `native`: the shadow native file beneath each of them.
//! - `hdf5`: safe wrappers of libhdf5.
//! - `background`: background work.
//! - `names`, `trust`, `pointer`, `schemes`, `config`, `log`, `statistics`, `error`: names of files, settings, the
//!   log, the cost of containers, errors.
//!
//! Below these modules is `h5lake-container` (the HDF5 data model), below that `h5lake-ledger` (versions), and a file
//! or `object-stores`. `unsafe` is allowed in `vol`, `cross_copy`, `handles`, `hdf5` and `transfer::memory`.
#![deny(unsafe_code)]

mod background;
pub mod config;
mod cross_copy;
pub mod error;
mod handles;
mod hdf5;
pub mod log;
pub mod names;
mod native;
mod operations;
pub mod pointer;
pub mod reading;
mod schemes;
mod session;
mod statistics;
mod thread_state;
mod transfer;
pub mod trust;
mod vol;

pub use cross_copy::conversion::{Converter, Export, Lacking, NotHeld};
pub use cross_copy::files::Adoption;
pub use cross_copy::joined::Join;
pub use cross_copy::place_list::{RawPlace, RawPlaces};
pub use cross_copy::shapes::Along;
pub use vol::class::class_for;

#[cfg(test)]
mod layers;
