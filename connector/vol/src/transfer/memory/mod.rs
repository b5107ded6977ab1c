//! Elements in memory, where they may hold pointers: the application's buffers, and elements that libhdf5 converts.
#![allow(unsafe_code)]

pub mod borrowed;
mod copy_series;
pub mod element_conversion;
pub mod native_dataset;
pub mod references;
pub mod region;
pub mod region_conversions;
pub mod series;
pub mod vlen;
