//! What our connector is known by.

use std::ffi::CStr;

/// The name that `HDF5_VOL_CONNECTOR` chooses us by.
pub const NAME: &CStr = c"h5lake";

/// Our connector value: 256 to 511 are for connectors that are not registered with The HDF Group.
pub const VALUE: i32 = 496;
