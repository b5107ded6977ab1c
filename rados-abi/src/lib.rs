//! librados, the client library of Ceph's object store, behind a safe interface.
//!
//! The crate is linked to no librados. The first [`Cluster::connect`] of a process loads `librados.so.2`; without it, the error
//! names the package. An operation is one request to one object: a [`WriteOperation`] or a [`Read`] has several steps, which
//! the object's server takes all or none. Each wait has a bound that the caller gives, and an operation that exceeds it is
//! cancelled: librados touches none of its buffers after that.
//!
//! A connection belongs to the process that made it, because its threads do. A forked child makes its own, and what it
//! inherited is left alone when it is dropped there.

mod cluster;
mod completion;
mod library;
mod listing;
mod pool;
mod read;
mod write;

pub use cluster::{Cluster, Options, leave_connections};
pub use completion::Bound;
pub use library::{LIBRARY, is_available};
pub use pool::Pool;
pub use read::{Answer, Read};
pub use write::{PendingWrite, WriteOperation};
