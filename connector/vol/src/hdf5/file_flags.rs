//! `H5F_ACC_*`: the access with which a file is to be opened.

use std::ffi::c_uint;

use h5lake_ledger::Access;
use h5lake_plugin_abi::bindings as sys;

/// `H5F_ACC_*` flags, decoded.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenFlags {
    /// `H5F_ACC_RDWR`
    pub write: bool,
    /// `H5F_ACC_EXCL`
    pub exclusive: bool,
    /// `H5F_ACC_SWMR_WRITE`
    pub swmr_write: bool,
    /// `H5F_ACC_SWMR_READ`
    pub swmr_read: bool,
}

impl OpenFlags {
    /// Decodes `H5F_ACC_*` as passed by HDF5.
    pub fn from_bits(flags: c_uint) -> Self {
        Self {
            write: flags & sys::H5F_ACC_RDWR != 0,
            exclusive: flags & sys::H5F_ACC_EXCL != 0,
            swmr_write: flags & sys::H5F_ACC_SWMR_WRITE != 0,
            swmr_read: flags & sys::H5F_ACC_SWMR_READ != 0,
        }
    }

    /// Returns the access with which the file is to be opened.
    pub fn access(self) -> Access {
        if self.write { Access::ReadWrite } else { Access::ReadOnly }
    }

    /// Encodes the flags for `H5Fopen`.
    pub(crate) fn to_bits(self) -> c_uint {
        let bit = |set: bool, bit: c_uint| if set { bit } else { 0 };
        bit(self.write, sys::H5F_ACC_RDWR)
            | bit(self.swmr_write, sys::H5F_ACC_SWMR_WRITE)
            | bit(self.swmr_read, sys::H5F_ACC_SWMR_READ)
    }
}
