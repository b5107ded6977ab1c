//! The identity of the connector.

pub use crate::config::NAME;

/// The connector's value: 256 to 511 are for connectors that are not registered with The HDF Group.
pub const VALUE: i32 = 496;
