//! A versioned, sorted map from keys to values with payloads, stored in one file or in an object store.
//!
//! A container is one sorted map from keys to small values, plus immutable extents that hold big payloads.
//! A [`Ledger`] is an opened container. A writer stages puts and deletes and commits them as one atomic
//! batch; a reader sees one snapshot, the one that was newest when it opened or last called
//! [`Ledger::refresh`], and neither blocks a writer nor is blocked by one.
#![forbid(unsafe_code)]

mod address;
mod audit;
mod author;
mod branches;
pub mod buffers;
mod cache;
mod changed_keys;
mod checkpoint;
pub mod checksum;
mod clock;
mod codec;
mod compaction;
mod compaction_plan;
mod core;
mod entries;
mod error;
mod extent;
mod file;
mod filtered;
mod foreign;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod hidden_names;
mod history;
mod journal;
mod key;
mod ledger;
mod limits;
mod liveness;
mod lock_files;
pub mod locks;
mod memtable;
mod merged_view;
mod multi_writer;
mod options;
mod origin;
mod page;
pub mod paths;
mod payload;
pub mod process;
#[doc(hidden)]
mod read_ahead;
pub mod register;
mod side_by_side;
mod signatures;
mod source;
mod sources;
mod statistics;
mod storage;
mod storage_kinds;
mod store;
mod tags;
mod timekeeping;
mod timestamp;
mod tree;
pub mod verify;
mod wal;

#[cfg(test)]
extern crate self as h5lake_ledger;
#[cfg(test)]
#[path = "../tests/common/careless.rs"]
mod careless;
#[cfg(test)]
mod crowded_history_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod newer_fields_tests;
#[cfg(test)]
mod tree_tests;
#[cfg(test)]
#[path = "../tests/common/work.rs"]
mod work;

pub use author::{MAX_MESSAGE, as_flush_of, check_commit_message, set_commit_message, set_default_message};
pub use branches::{BRANCH, BranchName, MAX_BRANCH_NAME, ShownEntry, branch_entry};
pub use compaction_plan::CompactionPlan;
pub use entries::{ENTRIES_PER_SCAN, each_entry, each_key};
pub use error::{Error, ErrorKind, Holder, Result, Salvage, Tampering};
pub use extent::Extent;
pub use file::{ByteSource, HeldProbe, OpenedFile, ProbeLock, Replacing, SeenLock, mode_of_copy};
pub use filtered::{FilterPart, Filtered, PartMatches};
pub use foreign::ForeignObject;
pub use journal::EarlierTry;
pub use ledger::{
    Branch, Differences, EntryDifference, HeldSpace, Ledger, PayloadPlace, Publication, Settled, Tag,
    WholeCopy,
};
pub use limits::{MAX_KEY, MAX_VALUE, is_last_page};
pub use lock_files::LockFiles;
pub use multi_writer::{CommitLock, EntryChange, OfferedChange};
pub use options::{
    Access, At, ContainerIdentity, Drained, KeptName, LockHolder, LockPolicy, Options, Probe, Replace,
    Replaced, ReplacedObject, SyncPolicy, Version, Writers,
};
pub use origin::{CopyState, Origin};
pub use payload::PayloadPart;
pub use signatures::FORMAT as FORMAT_VERSION;
pub use source::{NotFollowed, SOURCE, Source, SourceOpener};
pub use statistics::{CacheUse, Statistics};
pub use store::listing::{ListedObject, StoreListing};
pub use tags::{MAX_TAG_NAME, TagName, Tagging};
