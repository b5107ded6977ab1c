//! Virtual datasets: datasets that show elements of other datasets, which may be virtual, too.

pub mod extent;
pub mod io;
pub mod layout;
mod points;
mod short_source;
pub mod sources;
