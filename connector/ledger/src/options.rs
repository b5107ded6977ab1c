//! Options for opening and creating a container, and the records that describe versions and containers to callers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::author::Author;
use crate::branches::BranchName;
use crate::foreign::ForeignObject;
use crate::lock_files::LockFiles;
use crate::source::SourceOpener;
use crate::statistics::Statistics;
use crate::tags::TagName;

/// The operations that an opened ledger permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read one snapshot at a time. A reader never blocks a writer, and no writer blocks a reader.
    ReadOnly,
    /// Read and change the container. There is one writer at a time, unless all writers declare [`Writers::Many`].
    ReadWrite,
}

/// The behaviour of creation when something exists under the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fail with `AlreadyExists`.
    Fail,
    /// Replace the existing object with the new, empty container in one step. Readers that have the old container open
    /// continue to read it.
    Atomically,
    /// Fail with `AlreadyExists` if something exists, except if it is an empty container in an object store and its creator was killed
    /// before the first commit: that container is replaced.
    IfAbsent,
}

/// The failures that a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// The death of the process. After a power loss the newest commits may be missing or damaged; checksums detect the
    /// damage and reads report it. Nothing is synced.
    #[default]
    Process,
    /// The loss of power. The data is synced before the superblock slot is written, and the slot is synced after.
    Commit,
}

/// The use of the writer's lock and of the readers' pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockPolicy {
    /// Opening fails where the file system has no locks.
    Required,
    /// Opening for writing fails where the file system has no locks. Readers work without locks there.
    #[default]
    RequiredToWrite,
    /// Locks are used where the file system has them, and omitted where it has none.
    BestEffort,
    /// No locks are used. The caller must ensure that there is one writer. Freed space is quarantined for one minute
    /// before it is reused, because readers without pins cannot be seen.
    Off,
}

impl LockPolicy {
    /// Reads the policy from the environment variable `HDF5_USE_FILE_LOCKING`, with the values that HDF5 knows. Returns
    /// `None` if the variable has none of these values.
    pub fn from_environment() -> Option<Self> {
        match std::env::var("HDF5_USE_FILE_LOCKING").as_deref() {
            Ok("FALSE" | "0") => Some(Self::Off),
            Ok("TRUE" | "1") => Some(Self::Required),
            Ok("BEST_EFFORT") => Some(Self::BestEffort),
            _ => None,
        }
    }
}

/// The number of writers that may have a container open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writers {
    /// One exclusive writer. A second writer is refused.
    #[default]
    One,
    /// Any number of concurrent writers, all of which declare this mode. Each writer commits its staged changes on top of the commits of
    /// the other writers. If the staged changes conflict with a remote commit, the writer must merge them first
    /// ([`Ledger::advance`](crate::Ledger::advance)). This mode needs locks in a file, and conditional puts in a store.
    Many,
}

/// The options with which a container is opened or created.
#[derive(Debug, Clone)]
pub struct Options {
    /// The permitted number of writers. Readers ignore it.
    pub writers: Writers,
    /// The failures that a commit survives.
    pub sync: SyncPolicy,
    /// The time for which bytes that a commit made obsolete are retained. `None` selects the default of the storage:
    /// ten minutes in an object store (ten seconds in a store in memory); two seconds in a file, as long as the file
    /// grows little by it, so that a plain copy of a live container succeeds. Pins protect readers of a file in any
    /// case.
    pub retention: Option<Duration>,
    /// The use of locks.
    pub lock: LockPolicy,
    /// Lock files in place of locks, for processes of one program that write a container together ([`Writers::Many`]) on a
    /// file system without locks. Such a writer excludes no other program. Readers and stores ignore this option.
    pub lock_files: Option<LockFiles>,
    /// The limit of the cache of the map's pages, in bytes.
    pub cache_bytes: u64,
    /// The size in bytes of a user block before the container: 0, or a power of two of at least 512. It is used when a
    /// file is created. An open detects the user block by itself.
    pub user_block: u64,
    /// Receives the front of an object that was opened and is not a container.
    pub foreign: ForeignObject,
    /// The version or branch to open instead of the newest version. A version opens read-only and never advances. A
    /// branch can be read or written.
    pub at: Option<At>,
    /// For reading a damaged file: if the newest version cannot be opened, open the newest version that can be, either
    /// the version before or the last checkpoint. Later commits are not visible through this handle. Parts of the
    /// opened version may still be damaged; reads of these parts report it. In an object store: if the manifest is
    /// damaged, open the newest copy of the manifest, with the records of later segments. Writers ignore this option.
    pub salvage: bool,
    /// The log is checkpointed into pages when it is longer than this number of bytes.
    pub checkpoint_bytes: u64,
    /// The log is checkpointed into pages when it has more than this number of records.
    pub checkpoint_records: u64,
    /// An exclusive writer's staged changes that take more memory than this number of bytes are spilled: they are
    /// written into pages that no other handle sees before the commit. If the changes are so scattered that a spill
    /// writes far more than what changed, spills are less frequent, at up to eight times this limit. The option has no
    /// effect for shared writers, in a container that shared writers wrote before, through a staging directory, and in
    /// a store without conditional puts. In these cases staged changes stay in memory.
    pub spill_bytes: u64,
    /// The first part of the journal of a copy that can be continued is written after this number of payload bytes.
    /// Later parts are written after the 128th part of the bytes already copied, if that is more.
    pub journal_bytes: u64,
    /// The permission bits of a new file, to which the umask is applied.
    pub file_mode: u32,
    /// True if a new container may have extents in sources.
    pub sources: bool,
    /// Finds the stores of sources. Without it, sources in stores cannot be read.
    pub source_opener: Option<Arc<dyn SourceOpener>>,
    /// The statistics in which the handle counts its operations. Handles with options that are clones of each other share
    /// these counters.
    pub statistics: Arc<Statistics>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writers: Writers::One,
            sync: SyncPolicy::Process,
            retention: None,
            lock: LockPolicy::default(),
            lock_files: None,
            cache_bytes: 16 << 20,
            user_block: 0,
            foreign: ForeignObject::default(),
            at: None,
            salvage: false,
            checkpoint_bytes: 512 << 10,
            checkpoint_records: 4096,
            spill_bytes: 32 << 20,
            journal_bytes: 16 << 20,
            file_mode: 0o666,
            sources: false,
            source_opener: None,
            statistics: Arc::default(),
        }
    }
}

/// Selects a version of a container, a branch, or a replaced container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// The version with this number. The first commit made version 1.
    Version(u64),
    /// The version that was the newest at this time, in microseconds since 1970-01-01 UTC.
    Time(u64),
    /// The version that this tag names.
    Tag(TagName),
    /// The newest state of this branch, which can be written.
    Branch(BranchName),
    /// A retained container that was replaced or deleted. In a file storage, the path to open is that of the retained
    /// file itself.
    Replaced(KeptName),
}

/// The name of a retained container that was replaced or deleted. It is unique among the containers that one name has
/// led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeptName {
    /// The container's id. Copies of a container share it.
    pub(crate) id: [u8; 16],
    /// The time until which a file is retained, in seconds since 1970; it distinguishes copies of one container. `None`
    /// in a store, where one id has one set of objects.
    pub(crate) until: Option<u64>,
}

impl std::fmt::Display for KeptName {
    /// Writes the id as 32 hexadecimal digits. For a file, `-` and the time in hexadecimal digits follow.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::codec::hex(&self.id))?;
        self.until.map_or(Ok(()), |until| write!(f, "-{until:x}"))
    }
}

impl At {
    /// Parses the time of a version in a form that people write: RFC 3339 (`2026-11-20T10:00:00Z`, optionally with
    /// fractions of a second or an offset), the same without an offset, or a date. A text without an offset is taken as
    /// UTC. Returns `None` for any other text.
    pub fn time(text: &str) -> Option<Self> {
        use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
        let local = |format: &str| NaiveDateTime::parse_from_str(text, format).ok();
        let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|d| d.and_time(NaiveTime::MIN));
        let micros = match DateTime::parse_from_rfc3339(text) {
            Ok(time) => time.timestamp_micros(),
            Err(_) => local("%Y-%m-%dT%H:%M:%S%.f")
                .or_else(|| local("%Y-%m-%d %H:%M:%S%.f"))
                .or_else(date)?
                .and_utc()
                .timestamp_micros(),
        };
        u64::try_from(micros).ok().map(Self::Time)
    }
}

impl At {
    /// Formats the selection as text: a time in RFC 3339, which [`time`](Self::time) parses; the number of a version;
    /// or the name.
    pub fn setting_value(&self) -> String {
        match self {
            Self::Version(v) => v.to_string(),
            Self::Tag(name) => name.to_string(),
            Self::Branch(name) => name.to_string(),
            Self::Replaced(name) => name.to_string(),
            Self::Time(t) => crate::timestamp::text(*t),
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(_) => write!(f, "version {}", self.setting_value()),
            Self::Time(_) => write!(f, "the version of {}", self.setting_value()),
            Self::Tag(name) => write!(f, "the version tagged {name}"),
            Self::Branch(name) => write!(f, "the branch {name}"),
            Self::Replaced(name) => write!(f, "the replaced container {name}"),
        }
    }
}

/// A version that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The number of the version.
    pub number: u64,
    /// The time of its commit, in microseconds since 1970-01-01 UTC, by its writer's clock.
    pub time: u64,
    /// The host name of the machine that its writer ran on; empty if it is not known any more.
    pub host: String,
    /// The process id of its writer.
    pub pid: u32,
    /// The login name of the user who ran the writer, or `uid` and a number; empty if it is not known.
    pub user: String,
    /// The name of the program, and of the script that it ran, without folders; empty if it is not known.
    pub program: String,
    /// The message that the program gave ([`set_commit_message`](crate::set_commit_message)); empty if it gave none.
    pub message: String,
    /// The number of MPI processes whose collective flush or close made the version: it contains everything that each of
    /// them had written. 0 for any other version.
    pub processes: u32,
    /// The bytes that the version added: its record, and the payloads written for it.
    pub bytes: u64,
}

impl Version {
    /// Describes a version.
    pub(crate) fn of((number, time): (u64, u64), by: &Author, bytes: u64) -> Self {
        let Author { host, pid, user, program, message, processes } = by;
        let [host, user, program, message] = [host, user, program, message].map(|text| text.to_string());
        Self { number, time, host, pid: *pid, user, program, message, processes: *processes, bytes }
    }

    /// Returns the author of the version.
    pub(crate) fn author(&self) -> Author {
        let [host, user, program, message] =
            [&self.host, &self.user, &self.program, &self.message].map(|text| text.as_str().into());
        Author { host, pid: self.pid, user, program, message, processes: self.processes }
    }
}

/// A file container that was replaced or deleted, and is retained for its retention time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The name by which it can be opened for reading, and restored.
    pub name: KeptName,
    /// The path of the retained file.
    pub path: PathBuf,
    /// The container's id.
    pub id: [u8; 16],
    /// The time at which it was replaced or deleted, in microseconds since 1970-01-01 UTC.
    pub replaced: u64,
    /// The time until which it is retained.
    pub until: u64,
    /// The number of its newest version; 0 if its superblock cannot be read.
    pub version: u64,
    /// The time at which its newest version was committed, in microseconds since 1970-01-01 UTC; 0 if its superblock
    /// cannot be read.
    pub time: u64,
    /// The bytes that it takes.
    pub bytes: u64,
    /// True if its superblock is damaged.
    pub is_damaged: bool,
}

/// A container in a store that was replaced or deleted, and is retained for the retention time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedObject {
    /// The name by which it can be opened for reading, and restored.
    pub name: KeptName,
    /// The container's id, 32 hexadecimal digits.
    pub id: String,
    /// The number of its newest version, or of an earlier version if its last writer did not close it.
    pub version: u64,
    /// The time at which it was replaced or deleted, in microseconds since 1970-01-01 UTC, by the store's clock.
    pub time: u64,
    /// The earliest time at which it may be removed, in the same unit and by the same clock.
    pub until: u64,
    /// True if it was deleted, and not replaced.
    pub deleted: bool,
    /// The host name of the machine that replaced or deleted it.
    pub host: String,
    /// The process id of the process that replaced or deleted it.
    pub pid: u32,
}

/// The content of the lock object of a container in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// The writer that holds the lock; `None` if the lock object is damaged.
    pub holder: Option<crate::Holder>,
    /// True if that process lives; `None` if this machine cannot determine it.
    pub lives: Option<bool>,
    /// The staging directory of the writer on its machine. Some of the commits staged there may not have been uploaded.
    pub stage: Option<String>,
    /// The unique nonce of the lock; `None` if the lock object is damaged.
    pub nonce: Option<[u8; 16]>,
}

/// The result of uploading a dead writer's staged operations to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The newest version that the store had before.
    pub from: u64,
    /// The newest version that the store has now.
    pub to: u64,
    /// The number of uploaded puts and deletions.
    pub operations: u64,
    /// The uploaded bytes of objects.
    pub bytes: u64,
}

/// The kind of object under a name, as far as its first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// No object exists.
    NotFound,
    /// A container of this format.
    Container,
    /// A container of the other kind: one file where objects were requested, or objects where a file was requested.
    WrongStorage,
    /// A native HDF5 file.
    NativeHdf5,
    /// A small file that names a container elsewhere.
    Pointer,
    /// Any other object, or a directory.
    Other,
}

/// The identity of a container: two opens of one file or key have equal identities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerIdentity {
    /// Sixteen random bytes given at creation. Copies of a container share them.
    pub id: [u8; 16],
    /// The device and inode of a file, which distinguish copies from one another; `None` for objects.
    pub file: Option<(u64, u64)>,
    /// The key of a container in an object store; empty for files.
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let second = Some(At::Time(1_795_168_800_000_000));
        for text in [
            "2026-11-20T10:00:00Z",
            "2026-11-20T12:00:00+02:00",
            "2026-11-20T10:00:00.000000Z",
            "2026-11-20T10:00:00",
            "2026-11-20 10:00:00",
        ] {
            assert_eq!(At::time(text), second, "{text}");
        }
        assert_eq!(At::time("2026-11-20"), Some(At::Time(1_795_132_800_000_000)));
        for text in ["yesterday", "", "2026-13-01", "1969-01-01", "12"] {
            assert_eq!(At::time(text), None, "{text}");
        }
        assert_eq!(
            At::time(&crate::timestamp::text(1_795_168_800_000_001)),
            Some(At::Time(1_795_168_800_000_001))
        );
        assert_eq!(
            second.map(|a| a.to_string()).as_deref(),
            Some("the version of 2026-11-20T10:00:00.000000Z")
        );
    }
}
