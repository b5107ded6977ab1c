//! Containers read without libhdf5: datatypes and values of elements, and the paths of objects.
#![deny(unsafe_code)]

pub mod elements;
pub mod name_text;
pub mod walk;

/// The error of decoding an element: of the container, or of malformed bytes.
pub type Failure = Box<dyn std::error::Error>;
