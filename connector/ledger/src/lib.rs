//! A versioned, sorted key to value map with payloads, kept in one file or in an object store
#![forbid(unsafe_code)]
