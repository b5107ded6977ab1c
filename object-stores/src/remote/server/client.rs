//! Requests of the store protocol, and the meaning of their answers.

use std::fmt;
use std::path::PathBuf;

use object_store::client::{
    HttpClient, HttpConnector as _, HttpError, HttpRequest, HttpRequestBody, HttpResponse,
};
use object_store::{ClientOptions, RetryConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::super::StoreResult;
use super::super::http::{LIMITS, Local};
use super::super::tries::tried;
use crate::ErrorKind;

/// The version of the protocol.
pub(super) const VERSION: u64 = 1;
/// The characters that are percent-encoded in a URL; a slash is encoded neither in paths nor in queries.
const TEXT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The number of characters of a server's own text that errors repeat.
const MAX_WORDS: usize = 200;

/// A request.
#[derive(Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    query: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: HttpRequestBody,
    /// The meaning of status 412: true if a create found an object, false if an update found another version.
    pub(super) is_create: bool,
}

impl Ask {
    /// Returns a request for the resource at `path`, which is not encoded yet, below the protocol's version.
    pub(super) fn new(method: Method, path: &str) -> Ask {
        let path = format!("v{VERSION}{}", utf8_percent_encode(path, TEXT));
        Ask {
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: HttpRequestBody::empty(),
            is_create: false,
        }
    }

    pub(super) fn query(mut self, name: &str, value: impl fmt::Display) -> Ask {
        self.query.push(format!("{name}={}", utf8_percent_encode(&value.to_string(), TEXT)));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> StoreResult<Ask> {
        let value = HeaderValue::from_str(value).map_err(|e| generic(Box::new(e)))?;
        self.headers.push((name, value));
        Ok(self)
    }

    /// Adds a body with its length, because small servers do not support other transfers.
    pub(super) fn body(mut self, body: impl Into<HttpRequestBody>) -> Ask {
        self.body = body.into();
        self.headers.push((CONTENT_LENGTH, HeaderValue::from(self.body.content_length())));
        self
    }
}

/// A server's description of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Description {
    /// True if exactly one of several racing creates wins.
    pub(in super::super) creates: bool,
    /// True if exactly one of several racing updates wins.
    pub(in super::super) updates: bool,
    /// True if the server can filter numbers.
    pub(in super::super) filters: bool,
}

/// A client of one server.
#[derive(Debug)]
pub(in super::super) struct ServerClient {
    http: HttpClient,
    retry: RetryConfig,
    base: Url,
}

impl ServerClient {
    pub(super) fn new(
        base: Url,
        retry: RetryConfig,
        options: &ClientOptions,
        socket: Option<PathBuf>,
    ) -> StoreResult<ServerClient> {
        Ok(ServerClient { http: Local { socket }.connect(options)?, retry, base })
    }

    /// Sends a request, and returns a successful answer.
    ///
    /// # Errors
    /// [`Refusal`], or the error of the connection.
    pub(super) async fn ask(&self, ask: Ask) -> StoreResult<HttpResponse> {
        let mut url = self.base.clone();
        url.set_path(&ask.path);
        url.set_query(Some(ask.query.join("&").as_str()).filter(|query| !query.is_empty()));
        let mut request = HttpRequest::new(ask.body);
        *request.method_mut() = ask.method;
        *request.uri_mut() = url.as_str().parse().map_err(|e| generic(Box::new(e)))?;
        request.headers_mut().extend(ask.headers);
        let may_pass = |status| matches!(status, 408 | 429 | 500 | 502..=504);
        let answer = tried(&self.http, &self.retry, request, may_pass).await.map_err(broken)?;
        match answer.status().as_u16() {
            200..=299 => {
                // Work that consists of many requests, such as deleting many objects, gets additional time with each of
                // them.
                let _outside_of_an_operation = LIMITS.try_with(|limits| limits.budget.answered());
                Ok(answer)
            }
            status => Err(Refusal { status, is_create: ask.is_create, words: words(answer).await }.into()),
        }
    }

    /// Requests the server's description of itself.
    ///
    /// # Errors
    /// [`Refusal`] if the server does not speak this version of the protocol.
    pub(in super::super) async fn describe(&self) -> StoreResult<Description> {
        let stranger = |words: &str| Refusal { status: 0, is_create: false, words: words.to_owned() };
        let answer = match self.ask(Ask::new(Method::GET, "")).await {
            Err(object_store::Error::NotFound { .. }) => return Err(stranger("it knows no /v1").into()),
            answer => answer?,
        };
        let body = answer.into_body().bytes().await.map_err(broken)?;
        let description = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let versions = description["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        if description["protocol"] != "h5store"
            || !versions.iter().any(|version| version.as_u64() == Some(VERSION))
        {
            return Err(stranger("what it says of itself is something else").into());
        }
        let has = |name: &str| {
            description["capabilities"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
        };
        let (creates, updates, filters) = (has("atomic-create"), has("atomic-update"), has("filter"));
        Ok(Description { creates, updates, filters })
    }
}

/// Returns a server's description of a failure: the member "error" of a JSON object, or any text.
async fn words(answer: HttpResponse) -> String {
    // If the body cannot be read, that error matters less than the failure itself.
    let body = answer.into_body().bytes().await.unwrap_or_default();
    let document = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let text = document["error"].as_str().unwrap_or(&text);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_WORDS)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Wraps the error of a failed connection as an error of `object_store`.
pub(super) fn broken(error: HttpError) -> object_store::Error {
    generic(Box::new(error))
}

pub(super) fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "store server", source }
}

/// Returns the error of an answer that violates the protocol.
pub(super) fn nonsense(what: &str) -> object_store::Error {
    generic(format!("the server breaks the store protocol: {what}").into())
}

/// An answer that reports a failure.
#[derive(Debug)]
pub(in super::super) struct Refusal {
    /// The HTTP status; 0 if the server does not speak this protocol.
    status: u16,
    is_create: bool,
    words: String,
}

impl Refusal {
    /// Returns the kind of failure.
    pub(in super::super) fn kind(&self) -> ErrorKind {
        match self.status {
            0 | 400 => ErrorKind::InvalidArgument,
            401 => ErrorKind::Unauthenticated,
            403 => ErrorKind::PermissionDenied,
            404 => ErrorKind::NotFound,
            405 | 501 => ErrorKind::Unsupported,
            408 | 504 => ErrorKind::Timeout,
            410 => ErrorKind::NoStore,
            412 if self.is_create => ErrorKind::AlreadyExists,
            // Only a read with If-None-Match may be answered with 304.
            304 | 412 => ErrorKind::PreconditionFailed,
            413 | 507 => ErrorKind::NoSpace,
            416 => ErrorKind::ShortRead,
            429 | 500 | 502 | 503 => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status == 0 {
            let words = &self.words;
            return write!(
                f,
                "something answers there that is no store server of version {VERSION}: {words}"
            );
        }
        write!(f, "the store server answered with HTTP status {}", self.status)?;
        if self.words.is_empty() { Ok(()) } else { write!(f, ": {}", self.words) }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for object_store::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.status {
            404 => object_store::Error::NotFound { path: String::new(), source: Box::new(refusal) },
            _ => generic(Box::new(refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_kinds() {
        let kind = |status, is_create| Refusal { status, is_create, words: String::new() }.kind();
        assert_eq!(kind(412, true), ErrorKind::AlreadyExists);
        assert_eq!([304, 412].map(|status| kind(status, false)), [ErrorKind::PreconditionFailed; 2]);
        assert_eq!(
            [404, 416, 503, 507, 302].map(|status| kind(status, false)),
            [
                ErrorKind::NotFound,
                ErrorKind::ShortRead,
                ErrorKind::Unavailable,
                ErrorKind::NoSpace,
                ErrorKind::Io
            ]
        );
    }

    #[test]
    fn keys_are_encoded_but_for_their_slashes() {
        let ask = Ask::new(Method::GET, "/objects/a b/é%2F?").query("after", "a&b=/");
        assert_eq!(ask.path, "v1/objects/a%20b/%C3%A9%252F%3F");
        assert_eq!(ask.query, ["after=a%26b%3D/"]);
    }
}
