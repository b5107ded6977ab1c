//! The errors of a container, in terms that a caller can act on.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The kinds of failure. Kinds may be added: match with a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such container, object, link or attribute.
    NotFound,
    /// An object of that name exists already.
    AlreadyExists,
    /// The container was opened for reading and cannot be changed.
    ReadOnly,
    /// The object is of another kind than the operation needs.
    WrongKind,
    /// An argument is invalid, by itself or for this object.
    InvalidArgument,
    /// The request is meaningful, but not supported.
    Unsupported,
    /// An index, coordinate or range is outside of the valid range.
    OutOfRange,
    /// A path passes more soft links than allowed.
    TooManyLinks,
    /// Stored bytes differ from the bytes that were written.
    Corrupt,
    /// Another process has the container open for writing.
    Locked,
    /// The container is open in this process in a way that excludes the request.
    Busy,
    /// The operating system or the store refuses access.
    PermissionDenied,
    /// The device or the quota is full.
    NoSpace,
    /// The snapshot in use was reclaimed; refresh to continue.
    Gone,
    /// Another writer changed the same thing.
    Conflict,
    /// The handle was inherited through `fork`; only the process that opened the container may use it for this
    /// operation.
    Forked,
    /// The target is not a container.
    NotAContainer,
    /// The target is a native HDF5 file.
    NativeHdf5,
    /// An input or output operation failed.
    Io,
}

/// A failure: its kind, the operation and the object, and the system's error number if there is one.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    errno: Option<i32>,
    text: Box<str>,
}

impl Error {
    /// Creates an error of `kind` with a text that names the operation and the object.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, errno: None, text: text.into().into_boxed_str() }
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the equivalent error number of the operating system, if there is one.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// Prefixes the error's text with the operation that failed.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.text = format!("{what}: {}", self.text).into_boxed_str();
        self
    }

    /// Adds the operation that failed after the container's name, which stays first and appears once.
    #[must_use]
    pub fn within(mut self, name: &str, what: impl fmt::Display) -> Self {
        let why = self.text.strip_prefix(&format!("{name}: ")).unwrap_or(&self.text);
        self.text = format!("{name}: {what}: {why}").into_boxed_str();
        self
    }

    /// Sets the error number.
    #[must_use]
    pub fn with_errno(mut self, errno: Option<i32>) -> Self {
        self.errno = errno;
        self
    }

    /// Creates an error of the kind `NotFound`.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, text)
    }

    /// Creates an error of the kind `AlreadyExists`.
    pub fn exists(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::AlreadyExists, text)
    }

    /// Creates an error of the kind `InvalidArgument`.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, text)
    }

    /// Creates an error of the kind `Unsupported`.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, text)
    }

    /// Creates an error of the kind `OutOfRange`.
    pub fn range(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutOfRange, text)
    }

    /// Creates an error of the kind `Corrupt`.
    pub fn corrupt(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, text)
    }

    /// Creates an error of the kind `WrongKind`.
    pub fn wrong_kind(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::WrongKind, text)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<h5lake_ledger::Error> for Error {
    fn from(e: h5lake_ledger::Error) -> Self {
        use h5lake_ledger::ErrorKind as L;
        let kind = match e.kind() {
            L::NotFound | L::NoFolder { .. } => ErrorKind::NotFound,
            L::AlreadyExists => ErrorKind::AlreadyExists,
            L::PermissionDenied { .. } | L::AccessDenied { .. } => ErrorKind::PermissionDenied,
            L::Locked { .. } | L::CommitsLocked { .. } | L::Staged { .. } => ErrorKind::Locked,
            L::NoSpace { .. } => ErrorKind::NoSpace,
            L::NotAContainer { .. } | L::WrongStorage { .. } => ErrorKind::NotAContainer,
            L::EarlierFormat { .. } | L::NewerFormat { .. } => ErrorKind::Unsupported,
            L::Corrupt { .. } => ErrorKind::Corrupt,
            L::ReadOnly | L::OldVersion { .. } => ErrorKind::ReadOnly,
            L::NoSuchVersion { .. } | L::NoSuchTag { .. } => ErrorKind::OutOfRange,
            L::TagExists { .. } => ErrorKind::AlreadyExists,
            L::Gone => ErrorKind::Gone,
            L::Forked => ErrorKind::Forked,
            L::Conflict => ErrorKind::Conflict,
            L::Invalid { .. } => ErrorKind::InvalidArgument,
            _ => ErrorKind::Io,
        };
        let errno = e.errno();
        Self::new(kind, e.to_string()).with_errno(errno)
    }
}
