//! The write-ahead log: a record for each commit, and values in it that are encoded by what differs from the value before. One
//! unit: a record holds deltas, and a delta is made of entries of records.

pub(crate) mod delta;
pub(crate) mod record;
