//! librados, the client library of Ceph's object store, behind a safe interface.
//!
//! The crate is not linked to librados. The first [`Cluster::connect`] of a process loads `librados.so.2`; without it,
//! the error names the package. An operation is one request to one object: a [`WriteOperation`] or a [`Read`] has
//! several steps, and the object's server performs either all of them or none. The caller bounds each wait, and an
//! operation that exceeds the bound is cancelled: librados does not access its buffers after that.
//!
//! A connection belongs to the process that made it, because its threads do. A forked child makes its own connection,
//! and an inherited one is not closed when it is dropped in the child.

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
