//! Errors of a ledger, in terms that a caller can act on.

mod text;

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::codec::NEWER;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The writer that holds the lock of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Host name of the machine that the writer runs on.
    pub host: String,
    /// Process id of the writer on that host.
    pub pid: u32,
    /// When the writer took the lock, in seconds since 1970-01-01 UTC.
    pub since: u64,
}

/// The use of [`Options::salvage`](crate::Options::salvage) for a damaged container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Salvage {
    /// Salvage changes nothing, because the parts that can be read are readable without it, or because the container is
    /// in an object store.
    #[default]
    Useless,
    /// The newest version cannot be opened; salvage has not been tried, and perhaps finds an older version that can be.
    Untried,
    /// Salvage was tried, and no version can be opened.
    InVain,
}

/// A change that other code or another program made to the open file of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tampering {
    /// Other code in this program closed the file's descriptor. The number of the descriptor may belong to another file now.
    DescriptorClosed {
        /// The number of the descriptor.
        descriptor: i32,
    },
    /// Another program truncated the file.
    Truncated {
        /// The length of the file in bytes.
        length: u64,
        /// The length in bytes that the file had at least.
        least: u64,
    },
    /// Another program put other content into the file: another container, an older copy, or something else.
    Replaced {
        /// True if this handle may have written into the new content before the replacement was detected.
        is_overwritten: bool,
    },
}

impl Tampering {
    /// Returns the `Tampering` from which an error of [`io`] was made, if any.
    pub(crate) fn of(e: &io::Error) -> Option<Self> {
        e.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl From<Tampering> for io::Error {
    fn from(how: Tampering) -> Self {
        Self::other(how)
    }
}

impl std::error::Error for Tampering {}

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DescriptorClosed { descriptor } => write!(
                f,
                "another part of this program closed the descriptor of the file (number {descriptor}), so the file is neither read \
                 nor written any more; the container is not damaged, but changes that were not flushed are lost; close it and \
                 open it again, and find the code that closes a descriptor that it did not open"
            ),
            Self::Truncated { length, least } => write!(
                f,
                "the file was truncated by another program while it was open: it has {length} bytes, and had at least {least}; \
                 changes that were not flushed are lost, and nothing more is written; if that program was putting another \
                 container there, close this one and open it again, otherwise restore the file, or save the rest of its \
                 data with 'h5lake repair'"
            ),
            Self::Replaced { is_overwritten } => {
                f.write_str(
                    "another program replaced the content of the file in place while it was open; close it and open it again to \
                     see the new content; changes that were not flushed are lost",
                )?;
                match is_overwritten {
                    true => f.write_str(
                        ", and writes since the last flush may have overwritten parts of the new content: check it with \
                         'h5lake verify'",
                    ),
                    false => Ok(()),
                }
            }
        }
    }
}

/// The kinds of failure. Later releases may add kinds: match with a wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing exists under that name (errno 2).
    NotFound,
    /// The folder for a new container does not exist (errno 2).
    NoFolder {
        /// The path of the folder.
        folder: String,
    },
    /// Something already exists under that name (errno 17).
    AlreadyExists,
    /// The operating system or the store refuses access.
    PermissionDenied {
        /// The raw error number: 13 (EACCES), 1 (EPERM) or 30 (EROFS).
        errno: i32,
    },
    /// The store refuses access.
    AccessDenied {
        /// The error number.
        errno: i32,
        /// The operation that was refused, and its object.
        what: String,
    },
    /// The name is a directory (errno 21).
    IsADirectory,
    /// Another writer has the container open (errno 11).
    Locked {
        /// The writer, if its note could be read.
        holder: Option<Holder>,
        /// True if that writer no longer runs: the lock is held by a process that inherited its files, or that left no note.
        is_gone: bool,
        /// The processes of this machine that hold the lock, if the note does not name the holder.
        processes: Vec<u32>,
    },
    /// Another shared writer of the file has prevented commits for too long (errno 11).
    CommitsLocked {
        /// The processes of this machine that prevent commits, as far as they are visible.
        processes: Vec<u32>,
        /// The time for which this writer has waited, in seconds.
        seconds: u64,
    },
    /// The last writer staged its commits on its machine, and did not upload all of them to the store (errno 11).
    Staged {
        /// Host name of that machine.
        host: String,
        /// The staging directory on that machine.
        folder: String,
        /// The newest version that was uploaded, if it is known.
        arrived: Option<u64>,
    },
    /// Locks are required but the file system has none.
    LocksUnsupported {
        /// The raw error number.
        errno: i32,
    },
    /// The device or the quota is full.
    NoSpace {
        /// The raw error number: 28 (ENOSPC), 122 (EDQUOT) or 27 (EFBIG).
        errno: i32,
    },
    /// The object under that name is not a container of this format.
    NotAContainer {
        /// The kind of the object, as far as it can be determined.
        what: String,
    },
    /// The container is of the other kind: one file where objects were requested, or objects where a file was
    /// requested.
    WrongStorage {
        /// The kind of the container, and how to open it.
        what: String,
    },
    /// The container was written by a later version of the format.
    NewerFormat {
        /// The number, flag or field that is unknown to this build.
        found: String,
    },
    /// The container was written by a build from before the first release.
    EarlierFormat {
        /// The format of that build.
        format: u32,
    },
    /// Stored bytes differ from the bytes that were written.
    Corrupt {
        /// The damaged part with its position: a superblock slot, a record, a page or a payload.
        at: String,
        /// The fault of that part.
        why: String,
        /// The use of salvage, besides restoring the part from a copy.
        salvage: Salvage,
    },
    /// A change was requested through a handle that was opened read-only (errno 9).
    ReadOnly,
    /// The requested version is not retained.
    NoSuchVersion {
        /// The requested version.
        asked: String,
        /// The numbers of the oldest and of the newest retained version.
        kept: (u64, u64),
        /// The time at which the oldest of them was committed, in microseconds since 1970-01-01 UTC.
        since: u64,
    },
    /// No tag has the requested name.
    NoSuchTag {
        /// The requested name.
        name: String,
        /// The names of the existing tags.
        tags: Vec<String>,
    },
    /// No branch has the requested name.
    NoSuchBranch {
        /// The requested name.
        name: String,
        /// The names of the existing branches.
        branches: Vec<String>,
    },
    /// A branch of that name exists (errno 17).
    BranchExists {
        /// The name of the branch.
        name: String,
    },
    /// The branch that a handle shows was merged or deleted.
    BranchGone {
        /// The name of the branch.
        name: String,
    },
    /// A tag of that name exists, and the caller did not request to move it.
    TagExists {
        /// The name of the tag.
        name: String,
        /// The version that the tag names.
        version: u64,
    },
    /// An old version was requested for writing (errno 30).
    OldVersion {
        /// The old version.
        which: String,
    },
    /// The snapshot's bytes were reclaimed; refresh to continue.
    Gone,
    /// The open file is no longer the file that this handle opened (errno 9, EBADF, for a closed descriptor; otherwise 116,
    /// ESTALE); reopen to continue.
    Tampered {
        /// The change to the open file.
        how: Tampering,
    },
    /// The handle was inherited through fork; only the process that opened it may change the container.
    Forked,
    /// Another writer committed since this writer last read the state; this commit changed nothing.
    Conflict,
    /// An earlier failure left this writer unable to determine the stored state; reopen to continue.
    Broken {
        /// The earlier failure.
        why: String,
    },
    /// The changes that this writer staged cannot be uploaded to its store. Changes that were uploaded before are in
    /// the store.
    Stranded {
        /// The cause, the place of the staged changes, and the remedy.
        why: String,
    },
    /// An argument is out of bounds.
    Invalid {
        /// The argument, and the permitted values (errno 22).
        why: String,
    },
    /// An input or output operation failed.
    Io {
        /// The raw error number, if there is one.
        errno: Option<i32>,
        /// The operation and the system's message.
        what: String,
    },
    /// The object store failed.
    Store {
        /// The corresponding error number of the operating system, if there is one: 2 for a store that does not exist,
        /// 13 for a store that does not know the caller.
        errno: Option<i32>,
        /// The operation and the store's message.
        what: String,
    },
}

impl ErrorKind {
    /// Returns the error for a container that another writer has open, with that writer as its note names it.
    pub(crate) fn locked(holder: Option<Holder>) -> Self {
        Self::Locked { holder, is_gone: false, processes: Vec::new() }
    }
}

/// A failure, with the container that it concerns.
#[derive(Debug, Clone)]
pub struct Error {
    target: Arc<str>,
    kind: Box<ErrorKind>,
}

impl Error {
    pub(crate) fn new(target: &str, kind: ErrorKind) -> Self {
        Self { target: target.into(), kind: Box::new(kind) }
    }

    /// Converts an error of the operating system; `what` names the operation.
    pub(crate) fn io(target: &str, what: &str, e: &io::Error) -> Self {
        if let Some(how) = Tampering::of(e) {
            return Self::new(target, ErrorKind::Tampered { how });
        }
        // Libraries wrap errors with a path and so hide the number. The kind still identifies the common errors.
        let errno = e.raw_os_error().or(match e.kind() {
            io::ErrorKind::NotFound => Some(2),
            io::ErrorKind::PermissionDenied => Some(13),
            io::ErrorKind::AlreadyExists => Some(17),
            io::ErrorKind::IsADirectory => Some(21),
            io::ErrorKind::StorageFull => Some(28),
            io::ErrorKind::ReadOnlyFilesystem => Some(30),
            io::ErrorKind::QuotaExceeded => Some(122),
            _ => None,
        });
        let kind = match errno {
            Some(2) => ErrorKind::NotFound,
            Some(17) => ErrorKind::AlreadyExists,
            Some(n @ (1 | 13 | 30)) => ErrorKind::PermissionDenied { errno: n },
            Some(21) => ErrorKind::IsADirectory,
            Some(n @ (27 | 28 | 122)) => ErrorKind::NoSpace { errno: n },
            _ => ErrorKind::Io { errno, what: format!("{what}: {e}") },
        };
        Self::new(target, kind)
    }

    /// Returns the error for bytes that a decoder refuses: `Corrupt`, or `NewerFormat` for the reason [`NEWER`].
    pub(crate) fn corrupt(target: &str, at: impl Into<String>, why: impl Into<String>) -> Self {
        let (at, why) = (at.into(), why.into());
        if why == NEWER {
            return Self::new(target, ErrorKind::NewerFormat { found: format!("{at}: {why}") });
        }
        Self::new(target, ErrorKind::Corrupt { at, why, salvage: Salvage::Useless })
    }

    /// Returns the same error. If it reports damage, `is` becomes its statement about salvage.
    pub(crate) fn salvaging(mut self, is: Salvage) -> Self {
        if let ErrorKind::Corrupt { salvage, .. } = &mut *self.kind {
            *salvage = is;
        }
        self
    }

    pub(crate) fn invalid(target: &str, why: impl Into<String>) -> Self {
        Self::new(target, ErrorKind::Invalid { why: why.into() })
    }

    /// Returns whether a writer can never commit again after this error.
    pub(crate) fn is_final(&self) -> bool {
        use ErrorKind as K;
        matches!(*self.kind, K::Broken { .. } | K::Stranded { .. } | K::Conflict | K::Tampered { .. })
    }

    /// Returns the error of an allocation that failed (errno 12).
    pub(crate) fn no_memory(target: &str, bytes: u64) -> Self {
        let what = format!(
            "there is no memory for {bytes} bytes; access the data in smaller parts, or raise the limit of the process"
        );
        Self::new(target, ErrorKind::Io { errno: Some(12), what })
    }

    /// Returns whether the failure is a store or file system that has no free space.
    pub(crate) fn is_full(&self) -> bool {
        matches!(*self.kind, ErrorKind::NoSpace { .. })
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns the file or key of the container.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the corresponding error number of the operating system, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match *self.kind {
            ErrorKind::NotFound | ErrorKind::NoFolder { .. } => Some(2),
            ErrorKind::AlreadyExists | ErrorKind::TagExists { .. } | ErrorKind::BranchExists { .. } => {
                Some(17)
            }
            ErrorKind::IsADirectory => Some(21),
            ErrorKind::Locked { .. }
            | ErrorKind::CommitsLocked { .. }
            | ErrorKind::Staged { .. }
            | ErrorKind::Conflict => Some(11),
            ErrorKind::PermissionDenied { errno }
            | ErrorKind::AccessDenied { errno, .. }
            | ErrorKind::LocksUnsupported { errno }
            | ErrorKind::NoSpace { errno } => Some(errno),
            ErrorKind::ReadOnly | ErrorKind::Tampered { how: Tampering::DescriptorClosed { .. } } => Some(9),
            ErrorKind::Tampered { .. } => Some(116),
            ErrorKind::OldVersion { .. } => Some(30),
            ErrorKind::Invalid { .. } => Some(22),
            ErrorKind::Io { errno, .. } | ErrorKind::Store { errno, .. } => errno,
            ErrorKind::NotAContainer { .. }
            | ErrorKind::WrongStorage { .. }
            | ErrorKind::NewerFormat { .. }
            | ErrorKind::EarlierFormat { .. }
            | ErrorKind::Corrupt { .. }
            | ErrorKind::NoSuchVersion { .. }
            | ErrorKind::NoSuchTag { .. }
            | ErrorKind::NoSuchBranch { .. }
            | ErrorKind::BranchGone { .. }
            | ErrorKind::Gone
            | ErrorKind::Forked
            | ErrorKind::Stranded { .. }
            | ErrorKind::Broken { .. } => None,
        }
    }
}

/// Converts an error of a store.
pub(crate) fn store_error(target: &str, e: &object_stores::Error) -> Error {
    use object_stores::ErrorKind as K;
    let errno = |n: i32| e.errno().unwrap_or(n);
    let kind = match e.kind() {
        K::NotFound => ErrorKind::NotFound,
        K::AlreadyExists => ErrorKind::AlreadyExists,
        K::PermissionDenied => ErrorKind::AccessDenied { errno: errno(13), what: e.to_string() },
        K::NoSpace => ErrorKind::NoSpace { errno: errno(28) },
        K::PreconditionFailed => ErrorKind::Conflict,
        K::StageBroken => ErrorKind::Stranded { why: e.to_string() },
        _ => ErrorKind::Store { errno: e.errno(), what: e.to_string() },
    };
    Error::new(target, kind)
}

impl std::error::Error for Error {}
