//! The shared parts of the fuzzing targets: a sample container with one item of each kind, and a walk over the whole
//! content of a container.

pub mod more;
pub mod pairs;
pub mod sample;
pub mod seeds;
pub mod walk;
