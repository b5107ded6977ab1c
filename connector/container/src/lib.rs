//! The HDF5 data model on a ledger: groups, links, attributes, datasets, committed types
#![forbid(unsafe_code)]
