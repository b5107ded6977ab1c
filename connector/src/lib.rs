//! The HDF5 VOL connector: callbacks, native face and the ffi room
#![deny(unsafe_code)]
