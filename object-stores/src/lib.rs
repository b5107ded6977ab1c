//! Where objects live: one small trait, its stores and its wrappers
#![forbid(unsafe_code)]
