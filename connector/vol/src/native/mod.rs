//! The shadow native file: the reason why stock clients accept our objects as native ones.
//!
//! h5py, PyTables and netCDF4 call deprecated functions that accept native objects only, and native code that walks
//! open identifiers unwraps ours. So every file has a small native file in memory beneath it, and every object a
//! native object of its kind.
#![forbid(unsafe_code)]

pub mod shadow_file;
