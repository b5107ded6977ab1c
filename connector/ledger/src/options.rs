//! How a container is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::branches::BranchName;
use crate::foreign::ForeignObject;
use crate::source::SourceOpener;
use crate::statistics::Statistics;
use crate::tags::TagName;

/// What an opened ledger may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// See one snapshot at a time; never blocks a writer and is never blocked.
    ReadOnly,
    /// Change the container; one writer at a time.
    ReadWrite,
}

/// What creating does when something exists under the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Fail with `AlreadyExists`.
    Fail,
    /// Put the new, empty container in its place in one step. Readers keep what they had open.
    Atomically,
    /// Fail with `AlreadyExists` if something is there, unless it is an empty container in an object store whose creator was killed
    /// before it committed anything: that one is replaced.
    IfAbsent,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// The death of the process. After a power loss the newest commits may be missing or damaged
    /// (damage is found by checksums and reported). Nothing is synced.
    #[default]
    Process,
    /// The loss of power: data is synced before the head is written, and the head after.
    Commit,
}

/// Whether the one-writer lock and the readers' pins are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockPolicy {
    /// Opening fails where the file system has no locks.
    Required,
    /// Opening to write fails where the file system has no locks; readers go without.
    #[default]
    RequiredToWrite,
    /// Locks are used where the file system has them, and done without where it has none.
    BestEffort,
    /// No locks. The caller sees to it that there is one writer. Freed space then rests a minute before
    /// it is used again, for the sake of readers that cannot be seen.
    Off,
}

impl LockPolicy {
    /// What the variable `HDF5_USE_FILE_LOCKING` says, with the values that HDF5 knows; `None` where it says nothing.
    pub fn from_environment() -> Option<Self> {
        match std::env::var("HDF5_USE_FILE_LOCKING").as_deref() {
            Ok("FALSE" | "0") => Some(Self::Off),
            Ok("TRUE" | "1") => Some(Self::Required),
            Ok("BEST_EFFORT") => Some(Self::BestEffort),
            _ => None,
        }
    }
}

/// How many may have a container open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writers {
    /// One: a second one is refused.
    #[default]
    One,
    /// Any number of those that say so too. Each commits what it staged on top of what the others committed; whoever
    /// staged something that another has changed meanwhile has to merge it first ([`Ledger::advance`](crate::Ledger::advance)).
    /// Needs locks in a file, and conditional puts in a store.
    Many,
}

/// How a container is opened or created.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many may write. Of no account for readers.
    pub writers: Writers,
    /// What a commit survives.
    pub sync: SyncPolicy,
    /// How long bytes that a commit made obsolete are kept. `None`, the default of the storage: in an object store ten
    /// minutes (ten seconds in one that lives in memory); in a file two seconds where that lets it grow little, so that a plain copy of a live container
    /// succeeds (readers are protected by their pins in any case).
    pub retention: Option<Duration>,
    /// Use of locks.
    pub lock: LockPolicy,
    /// Bound of the cache of pages of the map, in bytes.
    pub cache_bytes: u64,
    /// Size in bytes of a user block before the container: 0, or a power of two of at least 512. Used when a
    /// file is created; found by itself when one is opened.
    pub user_block: u64,
    /// Where an object is left that was to be opened and is no container.
    pub foreign: ForeignObject,
    /// The version to open, where it is not to be the newest. To read only: it never moves. Or a branch, to read or to write.
    pub at: Option<At>,
    /// For reading a damaged file: where the newest version cannot be read, open the newest one that can, be it the one
    /// before or the last checkpoint. Commits after it are lost to this handle; parts of what it shows may still be
    /// damaged, and reading them says so. In an object store: where the head object is damaged, open the newest copy of the manifest,
    /// with the records of later segments. Writers ignore this option.
    pub salvage: bool,
    /// The log is checkpointed into pages when it is longer than this, in bytes.
    pub checkpoint_bytes: u64,
    /// The log is checkpointed into pages when it has more records than this.
    pub checkpoint_records: u64,
    /// When what a container's one writer has staged takes more memory than this, in bytes, it is written into pages, which nobody
    /// else sees before the commit. Where changes are so scattered that this writes much more than what changed, it happens
    /// less often: at up to eight times as much. Of no account for many writers, where many wrote before, through a stage, and in a
    /// store without conditional puts: there memory keeps what is staged.
    pub spill_bytes: u64,
    /// A copy that can be continued notes what is there after so many bytes of payloads, and later after the 128th part of what is
    /// there, if that is more.
    pub journal_bytes: u64,
    /// Permission bits of a new file, of which the umask takes its part.
    pub file_mode: u32,
    /// Whether a new container may have extents in sources. Older builds refuse it.
    pub sources: bool,
    /// Who finds the stores of sources; without it, sources in stores cannot be read.
    pub source_opener: Option<Arc<dyn SourceOpener>>,
    /// Where the handle counts what it does. Handles whose options are clones count together.
    pub statistics: Arc<Statistics>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writers: Writers::One,
            sync: SyncPolicy::Process,
            retention: None,
            lock: LockPolicy::default(),
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

/// Which version of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// By its number; the first commit made version 1.
    Version(u64),
    /// The one that was the newest at a time, in microseconds since 1970-01-01 UTC.
    Time(u64),
    /// The one that a tag names.
    Tag(TagName),
    /// The newest state of a branch, which can be written.
    Branch(BranchName),
    /// A container that was replaced or deleted, and is kept. The path of a file is that of the kept file itself.
    Replaced(KeptName),
}

/// The name of a container that was replaced or deleted, and is kept. No two containers that one name led to have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeptName {
    /// The container's id. Copies of a container share it.
    pub(crate) id: [u8; 16],
    /// Seconds since 1970 until which a file is kept, which tell copies of one container apart. `None` in a store, where an id has
    /// one set of objects.
    pub(crate) until: Option<u64>,
}

impl std::fmt::Display for KeptName {
    /// The id in 32 hexadecimal digits; for a file also `-` and the time in hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::codec::hex(&self.id))?;
        self.until.map_or(Ok(()), |until| write!(f, "-{until:x}"))
    }
}

impl At {
    /// The version of a time as people write it: RFC 3339 (`2026-11-20T10:00:00Z`, with fractions of a second or an offset
    /// if need be), the same without an offset, or a date. What has no offset is UTC. `None` for anything else.
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
    /// What [`time`](Self::time) reads: the time in RFC 3339; or the number; or the tag's name.
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
    /// Its number.
    pub number: u64,
    /// When it was committed, in microseconds since 1970-01-01 UTC, by its writer's clock.
    pub time: u64,
    /// Host name of the machine that its writer ran on; empty where nobody knows any more.
    pub host: String,
    /// Process id of its writer.
    pub pid: u32,
    /// Bytes that it added: its record, and the payloads written for it.
    pub bytes: u64,
}

/// A container that was replaced or deleted, and stays for its retention time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Its name, by which it can be opened to read, and restored.
    pub name: KeptName,
    /// The file that holds it.
    pub path: PathBuf,
    /// The container's id.
    pub id: [u8; 16],
    /// When it was replaced or deleted, in microseconds since 1970-01-01 UTC.
    pub replaced: u64,
    /// Until when it stays.
    pub until: u64,
    /// Its newest version, and when that was committed; 0 where its head cannot be read.
    pub version: u64,
    /// In microseconds since 1970-01-01 UTC.
    pub time: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Its head is damaged.
    pub is_damaged: bool,
}

/// A container in a store that was replaced or deleted, and is kept for the retention time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedObject {
    /// Its name, by which it can be opened to read, and restored.
    pub name: KeptName,
    /// The container's id, 32 hexadecimal digits.
    pub id: String,
    /// Its newest version, or an earlier one if its last writer did not close it.
    pub version: u64,
    /// When it was replaced or deleted, in microseconds since 1970-01-01 UTC, by the store's clock.
    pub time: u64,
    /// Until when it is kept at least, likewise.
    pub until: u64,
    /// Whether it was deleted, and not replaced.
    pub deleted: bool,
    /// Host name of the machine that did so.
    pub host: String,
    /// Process id of who did so.
    pub pid: u32,
}

/// What the lock object of a container in a store says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// The writer; `None` where the lock is damaged.
    pub holder: Option<crate::Holder>,
    /// Whether that process lives; `None` where that cannot be seen from here.
    pub lives: Option<bool>,
    /// The folder on its machine in which it stages its commits; some may not have arrived.
    pub stage: Option<String>,
    /// What no other lock has; `None` where the lock is damaged.
    pub nonce: Option<[u8; 16]>,
}

/// What a leftover of a stage brought to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The newest version that was there before.
    pub from: u64,
    /// The newest version that is there now.
    pub to: u64,
    /// Puts and deletions.
    pub operations: u64,
    /// Bytes of objects.
    pub bytes: u64,
}

/// What a name holds, as far as the first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Nothing.
    NotFound,
    /// A container of this format.
    Container,
    /// A container of the other kind: in one file where objects were asked for, or in objects where a file was.
    WrongStorage,
    /// A native HDF5 file.
    NativeHdf5,
    /// A small file that names a container elsewhere.
    Pointer,
    /// Anything else, directories included.
    Other,
}

/// What makes a container the same container: two opens of one file or key have equal identities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerIdentity {
    /// Sixteen random bytes given at creation. Copies of a container share them.
    pub id: [u8; 16],
    /// Device and inode of a file, to tell copies from one another; `None` for objects.
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
