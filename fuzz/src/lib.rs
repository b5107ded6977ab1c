//! What the fuzzing targets share: a container with one of everything, and a walk through all that a container says it has.

pub mod more;
pub mod pairs;
pub mod sample;
pub mod seeds;
pub mod walk;
