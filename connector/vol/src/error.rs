//! Errors of the connector as HDF5 sees them: a major and a minor code and one line of text.
//! Errors of the connector in HDF5's terms: a major and a minor code and one line of text.
//!
//! The text carries `errno = N` if the operating system or the store gave a number, because h5py chooses the Python
//! exception of a failed open by it (FileNotFoundError for 2, BlockingIOError for 11, ...).

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

/// The kind of the error (HDF5's minor error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minor {
    /// The object or link does not exist.
    NotFound,
    /// The object or link exists already.
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
    /// The operation is not possible with this connector.
    Unsupported,
    /// Too many soft links followed.
    TooManyLinks,
    /// Too many links followed, of which at least one external link leads to the others.
    TooManyExternalLinks,
    /// An operation failed for a reason the text gives.
    CannotOperate,
    /// Conversion between datatypes failed.
    CannotConvert,
    /// A panic was caught.
    Internal,
}

/// The frames that a library reported for a failed call of its own, removed from its error stack.
pub trait Frames: fmt::Debug {
    /// Puts the frames back on the error stack. No public function may be called between this and the return of the
    /// callback.
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
    /// The text behind the number.
    detail: String,
    reported: Option<Rc<dyn Frames>>,
}

/// Result with the connector's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error with the major code of the callback in which it occurs.
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

    /// Makes the error of an unsupported operation, named like `H5Dread of a virtual dataset`.
    pub fn unsupported(operation: impl fmt::Display) -> Self {
        Self::new(Minor::Unsupported, format!("{operation} is not supported yet"))
    }

    /// Makes the error of a bad argument.
    pub fn argument(message: impl Into<String>) -> Self {
        Self { major: Some(Major::Argument), ..Self::new(Minor::BadValue, message) }
    }

    /// Makes the error of a failed call into libhdf5. It names the call, because the call's own frames are lost in the
    /// following clean-up.
    pub fn call(function: &str) -> Self {
        Self::new(Minor::CannotOperate, format!("{function} failed"))
    }

    /// Makes the error of a damaged object in HDF5's encoding: no part of it is passed to the library.
    pub fn damaged_encoding(what: &str, why: &str) -> Self {
        let text =
            format!("the encoding of a stored {what} is damaged: {why}; restore the container from a copy");
        Self::new(Minor::ReadError, text)
    }

    /// Makes the error of a file that could not be opened or created. h5py chooses the exception by `errno`.
    pub fn file(minor: Minor, message: impl Into<String>, errno: Option<i32>) -> Self {
        Self { major: Some(Major::File), errno, ..Self::new(minor, message) }
    }

    /// Returns whether a file's name does not exist, as opposed to a file that does not open.
    pub fn is_of_nothing_there(&self) -> bool {
        matches!(self.errno, Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG))
    }

    /// Makes the error of a failed call of the native connector that the library explained: the application gets the
    /// library's frames and none of h5lake's.
    pub fn reported(frames: impl Frames + 'static) -> Self {
        Self {
            reported: Some(Rc::new(frames)),
            ..Self::new(Minor::CannotOperate, "a call of the native connector failed")
        }
    }

    /// Appends the message of the system or the store behind the number, and then `advice`.
    #[must_use]
    pub fn with_system_message(mut self, said: impl fmt::Display, advice: &str) -> Self {
        self.detail = format!(", error message = '{said}'{advice}");
        self
    }

    /// Returns whether a store did not answer, or a lock was not free in time. Only the text of a store's error is preserved up to here.
    pub fn is_of_silent_store(&self) -> bool {
        use object_stores::ErrorKind::{Locked, Timeout, Unavailable};
        [Locked, Timeout, Unavailable].iter().any(|kind| self.message.contains(&format!(": {kind}")))
    }

    /// Returns the library's own frames, if the library reported the error.
    pub fn frames(&self) -> Option<&dyn Frames> {
        self.reported.as_deref()
    }

    /// Sets the major code.
    #[must_use]
    pub fn in_class(mut self, major: Major) -> Self {
        self.major = Some(major);
        self
    }

    /// Returns the major code, or the callback's own.
    pub fn major(&self, callback: Major) -> Major {
        self.major.unwrap_or(callback)
    }

    /// Returns the number that the operating system or the store gave.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// Returns the minor code.
    pub fn minor(&self) -> Minor {
        self.minor
    }

    /// Sets the minor code. Frames that the library reported are replaced by the text.
    #[must_use]
    pub fn of_kind(self, minor: Minor) -> Self {
        Self { minor, reported: None, ..self }
    }

    /// Puts the interrupted operation in front of the text.
    #[must_use]
    pub fn after(self, begun: impl fmt::Display) -> Self {
        Self { message: format!("{begun}: {}", self.message), ..self }
    }

    /// Appends further information behind everything else.
    #[must_use]
    pub fn followed_by(self, more: impl fmt::Display) -> Self {
        Self { detail: format!("{}{more}", self.detail), ..self }
    }

    /// Converts the error for another thread. Frames of a library remain in its thread.
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
    /// Converts the error back in the receiving thread.
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
        assert!(error(ErrorKind::Locked).is_of_silent_store());
        assert!(!error(ErrorKind::PermissionDenied).is_of_silent_store());
    }

    #[test]
    fn errno_is_shown_once_for_any_text() {
        let plain = Error::file(Minor::CannotOpenFile, "unable to open file: name = 'errno = 5'", Some(2));
        assert_eq!(plain.to_string(), "unable to open file: name = 'errno = 5', errno = 2");
        assert_eq!(plain.errno(), Some(2));
        let whole = plain.with_system_message("No such file", "; look elsewhere");
        let said = ", errno = 2, error message = 'No such file'; look elsewhere";
        assert!(whole.to_string().ends_with(said), "{whole}");
        assert_eq!(Error::file(Minor::CannotOpenFile, "no number", None).to_string(), "no number");
    }
}
