//! What our connector is known by.

pub use crate::config::NAME;

/// Our connector value: 256 to 511 are for connectors that are not registered with The HDF Group.
pub const VALUE: i32 = 496;
