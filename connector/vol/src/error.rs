//! Errors of the connector as HDF5 sees them: a major and a minor code and one line of text.
//!
//! The text carries `errno = N` where the operating system or the store gave a number, because h5py chooses
//! the Python exception of a failed open from it (FileNotFoundError from 2, BlockingIOError from 11, ...).

use std::fmt;
use std::rc::Rc;

/// The part of the library an error belongs to (HDF5's major error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Major {
    /// Bad argument from the application.
    Argument,
    /// Attributes.
    Attribute,
    /// Dataspaces and selections.
    Dataspace,
    /// Datasets.
    Dataset,
    /// Datatypes.
    Datatype,
    /// Files (containers).
    File,
    /// Variable-length data.
    Heap,
    /// Links.
    Link,
    /// Objects and their headers.
    Object,
    /// Property lists.
    PropertyList,
    /// Groups.
    Group,
    /// The connector itself.
    Connector,
}

/// What went wrong (HDF5's minor error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minor {
    /// The object or link does not exist.
    NotFound,
    /// It exists already.
    Exists,
    /// A file cannot be opened.
    CannotOpenFile,
    /// The settings do not allow a name to be followed that comes from inside a file.
    NotFollowed,
    /// A file cannot be created.
    CannotCreateFile,
    /// A value that makes no sense.
    BadValue,
    /// A value out of range.
    BadRange,
    /// An object of the wrong kind.
    BadType,
    /// Bytes could not be read.
    ReadError,
    /// Bytes could not be written.
    WriteError,
    /// Not possible with this connector.
    Unsupported,
    /// Too many soft links followed.
    TooManyLinks,
    /// An operation failed for a reason the text gives.
    CannotOperate,
    /// Conversion between datatypes failed.
    CannotConvert,
    /// A panic was caught.
    Internal,
}

/// The frames that a library reported of a failed call of its own, taken off its error stack.
pub trait Frames: fmt::Debug {
    /// Puts them back where the application finds them. Nothing public may be called after this before the callback returns.
    fn restore(&self);
}

/// An error on its way to HDF5's error stack.
#[derive(Debug, Clone)]
pub struct Error {
    major: Option<Major>,
    minor: Minor,
    message: String,
    /// The number that the operating system or the store gave.
    errno: Option<i32>,
    /// What the text says behind the number.
    detail: String,
    reported: Option<Rc<dyn Frames>>,
}

/// Result with the connector's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error whose major code is that of the callback it happens in.
    pub fn new(minor: Minor, message: impl Into<String>) -> Self {
        Self {
            major: None,
            minor,
            message: message.into(),
            errno: None,
            detail: String::new(),
            reported: None,
        }
    }

    /// What is not there yet: names the operation, as `H5Dread of a virtual dataset`.
    pub fn unsupported(operation: impl fmt::Display) -> Self {
        Self::new(Minor::Unsupported, format!("{operation} is not supported yet"))
    }

    /// A bad argument.
    pub fn argument(message: impl Into<String>) -> Self {
        Self { major: Some(Major::Argument), ..Self::new(Minor::BadValue, message) }
    }

    /// A call into libhdf5 failed; its own frames are lost to the clean-up that follows, so name the call.
    pub fn call(function: &str) -> Self {
        Self::new(Minor::CannotOperate, format!("{function} failed"))
    }

    /// Something stored in HDF5's encoding is damaged: nothing of it is handed to the library.
    pub fn damaged_encoding(what: &str, why: &str) -> Self {
        let text =
            format!("the encoding of a stored {what} is damaged: {why}; restore the container from a copy");
        Self::new(Minor::ReadError, text)
    }

    /// A file could not be opened or created. `errno` makes h5py choose the exception.
    pub fn file(minor: Minor, message: impl Into<String>, errno: Option<i32>) -> Self {
        Self { major: Some(Major::File), errno, ..Self::new(minor, message) }
    }

    /// Whether nothing lies at the name of a file, and not something that does not open.
    pub fn is_of_nothing_there(&self) -> bool {
        matches!(self.errno, Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG))
    }

    /// A call of the native connector failed, and the library said why: the application gets its frames and none of
    /// ours.
    pub fn reported(frames: impl Frames + 'static) -> Self {
        Self {
            reported: Some(Rc::new(frames)),
            ..Self::new(Minor::CannotOperate, "a call of the native connector failed")
        }
    }

    /// Says behind the number what the system or the store said, and then `advice`.
    #[must_use]
    pub fn with_system_message(mut self, said: impl fmt::Display, advice: &str) -> Self {
        self.detail = format!(", error message = '{said}'{advice}");
        self
    }

    /// Whether a store did not answer. Of a store's error, only the text comes as far as this.
    pub fn is_of_silent_store(&self) -> bool {
        use object_stores::ErrorKind::{Timeout, Unavailable};
        [Timeout, Unavailable].iter().any(|kind| self.message.contains(&format!(": {kind}")))
    }

    /// The library's own frames, if the error is one that it reported.
    pub fn frames(&self) -> Option<&dyn Frames> {
        self.reported.as_deref()
    }

    /// Sets the major code.
    #[must_use]
    pub fn in_class(mut self, major: Major) -> Self {
        self.major = Some(major);
        self
    }

    /// The major code, or the callback's own.
    pub fn major(&self, callback: Major) -> Major {
        self.major.unwrap_or(callback)
    }

    /// The number that the operating system or the store gave.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The minor code.
    pub fn minor(&self) -> Minor {
        self.minor
    }

    /// Sets the minor code. Frames that the library reported are replaced by the text.
    #[must_use]
    pub fn of_kind(self, minor: Minor) -> Self {
        Self { minor, reported: None, ..self }
    }

    /// Says before the text what was going on.
    #[must_use]
    pub fn after(self, begun: impl fmt::Display) -> Self {
        Self { message: format!("{begun}: {}", self.message), ..self }
    }

    /// Says behind all the rest what else there is.
    #[must_use]
    pub fn followed_by(self, more: impl fmt::Display) -> Self {
        Self { detail: format!("{}{more}", self.detail), ..self }
    }

    /// The error for another thread. Frames of a library stay in theirs.
    pub fn into_sent(self) -> SentError {
        let Self { major, minor, message, errno, detail, reported: _ } = self;
        SentError { major, minor, message, errno, detail }
    }
}

/// An error on its way to another thread.
#[derive(Debug, Clone)]
pub struct SentError {
    major: Option<Major>,
    minor: Minor,
    message: String,
    errno: Option<i32>,
    detail: String,
}

impl SentError {
    /// The error, where it has arrived.
    pub fn into_error(self) -> Error {
        let Self { major, minor, message, errno, detail } = self;
        Error { major, minor, message, errno, detail, reported: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(number) = self.errno {
            write!(f, ", errno = {number}")?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

impl From<h5lake_container::Error> for Error {
    fn from(error: h5lake_container::Error) -> Self {
        use h5lake_container::ErrorKind;
        let minor = match error.kind() {
            ErrorKind::NotFound => Minor::NotFound,
            ErrorKind::AlreadyExists => Minor::Exists,
            ErrorKind::ReadOnly => Minor::WriteError,
            ErrorKind::WrongKind => Minor::BadType,
            ErrorKind::InvalidArgument => Minor::BadValue,
            ErrorKind::Unsupported => Minor::Unsupported,
            ErrorKind::OutOfRange => Minor::BadRange,
            ErrorKind::TooManyLinks => Minor::TooManyLinks,
            ErrorKind::Corrupt | ErrorKind::Gone => Minor::ReadError,
            _ => Minor::CannotOperate,
        };
        Self { errno: error.errno(), ..Self::new(minor, error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_known_by_its_error() {
        use object_stores::{ErrorKind, Operation};
        let error = |kind| {
            let failed = object_stores::Error::new(kind, Operation::Put).in_store("s3://b").because("no");
            Error::new(Minor::CannotOperate, format!("c.h5: {failed}"))
        };
        assert!(error(ErrorKind::Timeout).is_of_silent_store());
        assert!(error(ErrorKind::Unavailable).is_of_silent_store());
        assert!(!error(ErrorKind::PermissionDenied).is_of_silent_store());
    }

    #[test]
    fn the_number_is_told_once_and_whatever_the_text_is() {
        let plain = Error::file(Minor::CannotOpenFile, "unable to open file: name = 'errno = 5'", Some(2));
        assert_eq!(plain.to_string(), "unable to open file: name = 'errno = 5', errno = 2");
        assert_eq!(plain.errno(), Some(2));
        let whole = plain.with_system_message("No such file", "; look elsewhere");
        let said = ", errno = 2, error message = 'No such file'; look elsewhere";
        assert!(whole.to_string().ends_with(said), "{whole}");
        assert_eq!(Error::file(Minor::CannotOpenFile, "no number", None).to_string(), "no number");
    }
}
