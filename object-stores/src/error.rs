//! The errors of stores, in kinds that are coarse enough for a caller to act on.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::Key;

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The operation of a store, as named in errors, counted by traces and addressed by fault plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Making a store from a URL or a configuration.
    Open,
    /// Reading an object or a range of it.
    Get,
    /// Reading a range into the caller's buffer.
    GetInto,
    /// Reading an object's metadata.
    Head,
    /// Writing an object whole.
    Put,
    /// Starting a streamed put.
    StreamStart,
    /// Writing one piece of a streamed put.
    StreamWrite,
    /// Finishing a streamed put: the moment it becomes visible.
    StreamFinish,
    /// Abandoning a streamed put.
    StreamAbort,
    /// Listing one page of keys.
    List,
    /// Deleting one object.
    Delete,
    /// Deleting several objects.
    DeleteMany,
}

impl Operation {
    /// Every operation, in the order of the declaration.
    pub const ALL: [Operation; 12] = [
        Operation::Open,
        Operation::Get,
        Operation::GetInto,
        Operation::Head,
        Operation::Put,
        Operation::StreamStart,
        Operation::StreamWrite,
        Operation::StreamFinish,
        Operation::StreamAbort,
        Operation::List,
        Operation::Delete,
        Operation::DeleteMany,
    ];

    /// Returns whether the operation can change the content of the store, visibly or not (a started stream may leave
    /// invisible garbage).
    pub fn is_mutating(self) -> bool {
        use Operation::*;
        match self {
            Open | Get | GetInto | Head | List => false,
            Put | StreamStart | StreamWrite | StreamFinish | StreamAbort | Delete | DeleteMany => true,
        }
    }

    /// Returns a short name for messages and counters.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Open => "open",
            Operation::Get => "get",
            Operation::GetInto => "get_into",
            Operation::Head => "head",
            Operation::Put => "put",
            Operation::StreamStart => "put_stream",
            Operation::StreamWrite => "stream write",
            Operation::StreamFinish => "stream finish",
            Operation::StreamAbort => "stream abort",
            Operation::List => "list",
            Operation::Delete => "delete",
            Operation::DeleteMany => "delete_many",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of an error, on which a caller can base its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// The store itself does not exist, for example its bucket.
    NoStore,
    /// [`PutMode::Create`](crate::PutMode::Create) found an object under the key.
    AlreadyExists,
    /// [`PutMode::Update`](crate::PutMode::Update) found another version, or none.
    PreconditionFailed,
    /// The caller is authenticated, but not permitted to do this.
    PermissionDenied,
    /// The caller is not authenticated.
    Unauthenticated,
    /// The store cannot do this at all.
    Unsupported,
    /// No answer arrived in time. A mutating operation may or may not have had its effect.
    Timeout,
    /// The store cannot be reached or requests a later retry. A mutating operation may or may not have had its effect.
    Unavailable,
    /// The operation needs a lock that another process holds. Nothing has changed.
    Locked,
    /// The store is full or a quota is used up.
    NoSpace,
    /// The stored data is damaged.
    Corrupt,
    /// Fewer bytes exist than were requested.
    ShortRead,
    /// The request makes no sense: a bad key, range or configuration.
    InvalidArgument,
    /// The operations in a [stage](crate::StagedStore) cannot arrive in the store, because another writer has changed
    /// it.
    StageBroken,
    /// Anything else the operating system or the transport reported.
    Io,
}

impl ErrorKind {
    /// Returns whether a mutating operation that failed this way may have had its effect all the same. The caller then
    /// has to read the store before it concludes anything.
    pub fn is_ambiguous(self) -> bool {
        matches!(self, ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Io)
    }

    /// Returns the kind that corresponds to an error of the operating system.
    pub fn of_io(error: &io::Error) -> ErrorKind {
        use io::ErrorKind as K;
        match error.kind() {
            K::NotFound => ErrorKind::NotFound,
            K::AlreadyExists => ErrorKind::AlreadyExists,
            K::PermissionDenied | K::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => ErrorKind::NoSpace,
            K::TimedOut => ErrorKind::Timeout,
            K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::NetworkUnreachable
            | K::HostUnreachable
            | K::NetworkDown
            | K::StaleNetworkFileHandle => ErrorKind::Unavailable,
            K::ResourceBusy => ErrorKind::Locked,
            K::UnexpectedEof => ErrorKind::ShortRead,
            K::InvalidInput | K::InvalidFilename => ErrorKind::InvalidArgument,
            K::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        }
    }

    fn text(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not found",
            ErrorKind::NoStore => "no such store",
            ErrorKind::AlreadyExists => "already exists",
            ErrorKind::PreconditionFailed => "changed by someone else",
            ErrorKind::PermissionDenied => "permission denied",
            ErrorKind::Unauthenticated => "not authenticated",
            ErrorKind::Unsupported => "not supported",
            ErrorKind::Timeout => "timed out",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Locked => "locked",
            ErrorKind::NoSpace => "no space left",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::ShortRead => "fewer bytes than requested",
            ErrorKind::InvalidArgument => "invalid argument",
            ErrorKind::StageBroken => "what was staged cannot arrive",
            ErrorKind::Io => "input/output error",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An error of a store: its kind, and where it happened.
///
/// Small on the stack (one box), because every result carries it.
pub struct Error(Box<Context>);

struct Context {
    kind: ErrorKind,
    operation: Operation,
    store: Option<String>,
    key: Option<String>,
    detail: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Returns an error of `kind` in `operation`.
    pub fn new(kind: ErrorKind, operation: Operation) -> Self {
        Error(Box::new(Context { kind, operation, store: None, key: None, detail: None, source: None }))
    }

    /// Returns an error of the operating system in `operation`; the kind follows from it.
    pub fn io(operation: Operation, source: io::Error) -> Self {
        Error::new(ErrorKind::of_io(&source), operation).with_source(source)
    }

    /// Adds the store's name, which must not contain credentials.
    #[must_use]
    pub fn in_store(mut self, store: impl fmt::Display) -> Self {
        self.0.store = Some(store.to_string());
        self
    }

    /// Adds the key.
    #[must_use]
    pub fn at(mut self, key: &Key) -> Self {
        self.0.key = Some(key.as_str().to_owned());
        self
    }

    /// Adds a sentence with details.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation that failed.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// Returns the store's name.
    pub fn store(&self) -> Option<&str> {
        self.0.store.as_deref()
    }

    /// Returns the key of the operation, as the store that failed saw it.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// Returns the operating system's error number, if there is one, or else the number with the same meaning as the
    /// kind: programs base decisions on it.
    pub fn errno(&self) -> Option<i32> {
        self.raw_os_error().or(match self.kind() {
            ErrorKind::NotFound | ErrorKind::NoStore => Some(2),
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => Some(13),
            ErrorKind::Locked => Some(11),
            _ => None,
        })
    }

    /// Returns the operating system's error number, if one is anywhere in the chain of sources.
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut next = StdError::source(self);
        while let Some(error) = next {
            if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                return Some(code);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.0;
        write!(f, "{}", c.operation)?;
        if let Some(key) = &c.key {
            write!(f, " of {key:?}")?;
        }
        if let Some(store) = &c.store {
            write!(f, " in {store}")?;
        }
        write!(f, ": {}", c.kind)?;
        if let Some(detail) = &c.detail {
            write!(f, ": {detail}")?;
        }
        // The source is part of the sentence, because most callers print one line only.
        if let Some(source) = &c.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.0;
        f.debug_struct("Error")
            .field("kind", &c.kind)
            .field("operation", &c.operation)
            .field("store", &c.store)
            .field("key", &c.key)
            .field("detail", &c.detail)
            .field("source", &c.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_number_is_found_through_the_chain() {
        let inner = Error::io(Operation::Put, io::Error::from_raw_os_error(28));
        assert_eq!(inner.kind(), ErrorKind::NoSpace);
        let outer = Error::new(ErrorKind::NoSpace, Operation::StreamFinish).with_source(inner);
        assert_eq!(outer.raw_os_error(), Some(28));
        assert_eq!(Error::new(ErrorKind::Io, Operation::Get).raw_os_error(), None);
    }

    #[test]
    fn distinguishable_errors_have_a_number() {
        let number = |kind| Error::new(kind, Operation::Get).errno();
        assert_eq!((number(ErrorKind::NoStore), number(ErrorKind::NotFound)), (Some(2), Some(2)));
        assert_eq!(number(ErrorKind::Unauthenticated), Some(13));
        assert_eq!((number(ErrorKind::Locked), number(ErrorKind::Unavailable)), (Some(11), None));
        let system = Error::io(Operation::Put, io::Error::from_raw_os_error(30));
        assert_eq!((system.kind(), system.errno()), (ErrorKind::PermissionDenied, Some(30)));
    }

    #[test]
    fn the_message_names_operation_object_and_cause() {
        let key = Key::new("a/b").unwrap();
        let e = Error::new(ErrorKind::NotFound, Operation::Get).at(&key).in_store("memory:x").because("gone");
        assert_eq!(e.to_string(), "get of \"a/b\" in memory:x: not found: gone");
    }
}
