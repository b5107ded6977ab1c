//! Failures that Swift answers, as errors that name the place, the cause and the remedy.

use std::fmt;

use object_store::client::HttpResponse;
use url::Url;

use crate::ErrorKind;

/// The object of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum What {
    /// A token.
    Token,
    /// The bytes or metadata of an object.
    Read,
    /// Anything that fails if the container does not exist: a put, a listing.
    Container,
}

/// An answer that reports a failure. It contains neither a token nor a body of the request.
#[derive(Debug)]
pub(in super::super) struct Refusal {
    what: What,
    /// The URL without its query.
    url: String,
    status: u16,
    transaction: Option<String>,
    said: Option<String>,
}

impl Refusal {
    /// Returns a failure that the answer's status does not show; `said` describes it.
    pub(super) fn new(what: What, url: &Url, answer: &HttpResponse, said: &str) -> Self {
        let said = Some(said.to_owned());
        Refusal { said, ..Refusal::of(what, url, answer) }
    }

    /// Returns the failure in an answer.
    pub(super) fn of(what: What, url: &Url, answer: &HttpResponse) -> Self {
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let transaction = header("x-trans-id").or_else(|| header("x-openstack-request-id"));
        let mut url = url.clone();
        url.set_query(None);
        Refusal {
            what,
            url: url.into(),
            status: answer.status().as_u16(),
            transaction: transaction.map(|id| id.chars().filter(char::is_ascii_graphic).take(80).collect()),
            said: None,
        }
    }

    /// Returns the kind of failure.
    pub(in super::super) fn kind(&self) -> ErrorKind {
        match (self.status, self.what) {
            (401, _) | (403, What::Token) => ErrorKind::Unauthenticated,
            (403, _) => ErrorKind::PermissionDenied,
            (404, What::Read) => ErrorKind::NotFound,
            (404, What::Container) => ErrorKind::NoStore,
            (404, What::Token) => ErrorKind::InvalidArgument,
            (405 | 501, _) => ErrorKind::Unsupported,
            (408 | 504, _) => ErrorKind::Timeout,
            (413 | 507, _) => ErrorKind::NoSpace,
            (416, _) => ErrorKind::ShortRead,
            (409 | 429 | 498 | 500..=599, _) => ErrorKind::Unavailable,
            // Only a read with If-None-Match is answered with 304.
            (304 | 412, _) => ErrorKind::PreconditionFailed,
            (400, _) => ErrorKind::InvalidArgument,
            _ => ErrorKind::Io,
        }
    }

    /// Returns the remedy.
    fn advice(&self) -> &str {
        match (self.status, self.what) {
            (401 | 403, What::Token) => {
                "the user or the key is wrong: ST_USER and ST_KEY, or OS_USERNAME and OS_PASSWORD"
            }
            (401, _) => {
                "a new token was refused too: the user may not use this account, OS_PROJECT_NAME may name another one"
            }
            (403, _) => "the user has no right to this there; the container's access list gives it",
            (404, What::Container) => {
                "there is no such container, it has to be made first: swift post CONTAINER"
            }
            (404, What::Token) => {
                "no authentication service answers there: set ST_AUTH or OS_AUTH_URL to its URL"
            }
            (409, _) => "a newer change is there already: a clock of Swift's may be wrong",
            (413 | 507, _) => "the account's or the container's quota is used up, or the disks are full",
            (422, _) => "the bytes that arrived were not those that were sent",
            (429 | 498, _) => "too many requests: ask for less at a time, or raise the limit",
            (500..=599, _) => {
                "the servers cannot do it now: try again later, and show its operator the transaction's id"
            }
            _ => "the operator of the servers finds the reason by the transaction's id",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered with HTTP status {}", self.url, self.status)?;
        if let Some(transaction) = &self.transaction {
            write!(f, ", transaction {transaction}")?;
        }
        write!(f, ": {}", self.said.as_deref().unwrap_or_else(|| self.advice()))
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for object_store::Error {
    fn from(refusal: Refusal) -> Self {
        let path = refusal.url.clone();
        match refusal.kind() {
            ErrorKind::NotFound => object_store::Error::NotFound { path, source: Box::new(refusal) },
            _ => object_store::Error::Generic { store: "Swift", source: Box::new(refusal) },
        }
    }
}
