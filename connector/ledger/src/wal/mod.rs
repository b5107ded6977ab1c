//! The write-ahead log: a record for each commit, with values that may be delta-encoded. The two modules depend on each
//! other: a record holds deltas, and a delta is made from the entries of records.

pub(crate) mod delta;
pub(crate) mod record;
