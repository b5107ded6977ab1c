//! The errors that the HTTP client adds to those of connections.

use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};

/// The error of a connection that was retried for long enough: it is not retried again.
#[derive(Debug)]
pub(in crate::remote) struct GivenUp {
    pub(in crate::remote) kind: HttpErrorKind,
    source: HttpError,
}

impl GivenUp {
    /// Returns an error of a kind that `object_store` does not retry.
    pub(super) fn at(kind: HttpErrorKind, source: HttpError) -> HttpError {
        HttpError::new(HttpErrorKind::Unknown, GivenUp { kind, source })
    }
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for GivenUp {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.source)
    }
}

/// The error that answers begin and break off before their end.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answers break off")
    }
}

impl std::error::Error for BrokenOff {}

/// The error that an answer is longer than any expected answer.
#[derive(Debug)]
pub(in crate::remote) struct TooLong(pub(super) u64);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} bytes, which were to come at most", self.0)
    }
}

impl std::error::Error for TooLong {}

/// The error that the server answers with 501: it does not implement the request, and a retry cannot help.
#[derive(Debug)]
pub(in crate::remote) struct NotImplemented;

impl fmt::Display for NotImplemented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server does not implement this request (HTTP status 501)")
    }
}

impl std::error::Error for NotImplemented {}
