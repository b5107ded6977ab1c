//! The shadow native file: why stock clients take our objects for native ones.
//!
//! h5py, PyTables and netCDF4 call deprecated functions that accept native objects only, and native code that
//! walks open identifiers unwraps ours. So beneath every file stands a small native file in memory, and beneath
//! every object a native one of its kind.
#![forbid(unsafe_code)]

pub mod shadow_file;
