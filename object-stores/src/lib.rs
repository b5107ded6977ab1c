//! Object stores: a small trait, its implementations and its wrappers.
//!
//! An [`ObjectStore`] maps validated [`Key`]s to immutable byte strings, as S3 does: an object is put whole, replaced
//! whole, and read in ranges. Two conditions make it possible to build atomic commits on top: *create* (put if absent)
//! and *update* (replace if unchanged).
//!
//! The trait blocks its caller and is object-safe, so that the layers above hold an `Arc<dyn ObjectStore>` and do not
//! know the kind of store. Wrappers are stores themselves.
#![forbid(unsafe_code)]

mod beneath;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod deadline;
pub mod dir;
mod disk_cache;
#[cfg(any(feature = "remote", feature = "rados", feature = "libraries"))]
mod duration;
mod error;
#[cfg(any(feature = "rados", feature = "libraries"))]
mod exit;
pub mod fault;
mod filter;
mod latency;
#[cfg(feature = "libraries")]
mod library_store;
mod memory;
mod meter;
mod monotonic;
mod observed;
mod path;
mod payload;
mod per_process;
mod prefix;
mod private_files;
#[cfg(feature = "rados")]
mod rados;
pub mod registry;
mod regular_file;
#[cfg(feature = "remote")]
pub mod remote;
mod settings;
#[cfg(any(test, feature = "conformance"))]
pub mod sim;
pub mod staged;
mod store;
mod text;
mod trace;

pub use dir::DirStore;
pub use disk_cache::DiskCache;
pub use error::{Error, ErrorKind, Operation, Result};
#[cfg(any(feature = "rados", feature = "libraries"))]
pub use exit::before_libraries_end;
pub use fault::{Damage, Fault, FaultStore, Rule, Select, Timing};
pub use filter::{Filter, FilterAsk, FilterComparison, FilterMatches, FilterOperand, FilteredKind};
#[cfg(feature = "libraries")]
pub use h5lake_store_abi::running_library;
pub use latency::{LatencyStore, Pace, at_longer_latencies};
pub use memory::MemoryStore;
pub use meter::{Meter, Reading};
pub use observed::{ObservedStore, RequestKind, Requests, without_query};
pub use path::Key;
pub use payload::PutPayload;
pub use prefix::PrefixStore;
pub use registry::Registry;
pub use regular_file::{open_regular, open_regular_target};
pub use staged::StagedStore;
pub use store::{
    Capabilities, Condition, Etag, GetResult, ListPage, Listing, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutResult, PutStream, check_exact, resolve_range,
};
pub use text::{printable, printable_json, printable_lines, shell_quoted};
pub use trace::{Call, Count, TraceStore, most_at_once, round_trips};
