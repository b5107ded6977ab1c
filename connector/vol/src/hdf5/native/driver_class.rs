//! The common part of h5lake's file drivers.

use std::ffi::CStr;

use h5lake_plugin_abi::bindings as sys;

/// Returns a class without functions, for files of up to `largest` bytes. libhdf5 registers it once it has functions
/// for open, close, read, write, addresses and ends.
pub(super) const fn driver_class(
    value: sys::H5FD_class_value_t,
    name: &'static CStr,
    largest: sys::haddr_t,
) -> sys::H5FD_class_t {
    // SAFETY: all-zero is a valid value of this structure of numbers and optional functions.
    let mut class: sys::H5FD_class_t = unsafe { std::mem::zeroed() };
    class.version = sys::H5FD_CLASS_VERSION;
    class.value = value;
    class.name = name.as_ptr();
    class.maxaddr = largest;
    class.fc_degree = sys::H5F_CLOSE_WEAK;
    class
}
