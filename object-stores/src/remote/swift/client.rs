//! Requests to Swift: with a token that is renewed when it expires, and with bounded retries.

use std::sync::Arc;

use bytes::Bytes;
use object_store::client::{
    HttpClient, HttpConnector as _, HttpError, HttpRequest, HttpRequestBody, HttpResponse,
};
use object_store::{ClientOptions, RetryConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Mutex;
use url::Url;

use super::super::StoreResult;
use super::super::failure::Failure;
use super::super::http::{Connections, Separate, Server};
use super::super::tries::tried;
use super::auth::{Credentials, Session};
use super::refusal::{Refusal, What};
use crate::ErrorKind;

/// The characters that are percent-encoded in a URL's path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// The characters that are percent-encoded in a query; a slash is not encoded there either.
const QUERY: &AsciiSet = PATH;

/// A request, without the account's URL and the token.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Below the account: `container/object`, not encoded.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: HttpRequestBody,
    pub(super) what: What,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>, what: What) -> Ask {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Ask { method, path: path.into(), query, headers, body: HttpRequestBody::empty(), what }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: HeaderValue) -> Ask {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    pub(super) fn body(mut self, body: impl Into<HttpRequestBody>) -> Ask {
        self.body = body.into();
        self
    }

    fn url(&self, account: &Url) -> Url {
        let mut url = account.clone();
        let base = account.path().trim_end_matches('/').to_owned();
        let path = utf8_percent_encode(&self.path, PATH);
        url.set_path(&if self.path.is_empty() { base } else { format!("{base}/{path}") });
        let query: Vec<_> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)))
            .collect();
        url.set_query(Some(query.join("&").as_str()).filter(|query| !query.is_empty()));
        url
    }
}

/// The options of clients: for encrypted URLs, and for unencrypted ones, which need no certificates.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) encrypted: ClientOptions,
    pub(super) plain: ClientOptions,
}

impl Options {
    /// Returns the options of a client for requests to this server.
    pub(super) fn to(&self, server: &Url) -> &ClientOptions {
        if is_plain(server) { &self.plain } else { &self.encrypted }
    }
}

fn is_plain(server: &Url) -> bool {
    server.scheme() == "http"
}

/// A client of one account.
#[derive(Debug)]
pub(super) struct SwiftClient {
    /// Connections to accounts with an `http` URL, and to accounts with an `https` URL. The answer with the token
    /// contains the account's URL.
    plain: Connections,
    encrypted: Connections,
    options: Options,
    authentication: HttpClient,
    credentials: Credentials,
    retry: RetryConfig,
    session: Mutex<Option<Arc<Session>>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("url", &self.url().as_str()).finish_non_exhaustive()
    }
}

impl SwiftClient {
    pub(super) fn new(
        credentials: Credentials,
        retry: RetryConfig,
        options: Options,
        certificates: Vec<reqwest::Certificate>,
    ) -> StoreResult<SwiftClient> {
        let plain = Connections::with_certificates(certificates.clone());
        let encrypted = Connections::with_certificates(certificates.clone());
        let of_tokens = options.to(credentials.url());
        let authentication = match certificates.is_empty() {
            true => Separate { server: Server::Credentials }.connect(of_tokens)?,
            false => Connections::for_credentials(certificates).connect(of_tokens)?,
        };
        let session = Mutex::new(None);
        Ok(SwiftClient { plain, encrypted, options, authentication, credentials, retry, session })
    }

    /// Returns the client of an account, which is made when it is first used.
    fn store(&self, account: &Url) -> StoreResult<HttpClient> {
        let connections = if is_plain(account) { &self.plain } else { &self.encrypted };
        connections.connect(self.options.to(account))
    }

    /// Sends a request, and returns a successful answer.
    ///
    /// An expired token is renewed, once for each request and by one request at a time.
    ///
    /// # Errors
    /// [`Refusal`], or the error of the connection.
    pub(super) async fn ask(&self, ask: Ask) -> StoreResult<HttpResponse> {
        let mut session = self.session(None).await?;
        let mut renewed = false;
        loop {
            let url = ask.url(&session.account);
            let mut request = HttpRequest::new(ask.body.clone());
            *request.method_mut() = ask.method.clone();
            *request.uri_mut() = url.as_str().parse().map_err(|e| generic(Box::new(e)))?;
            *request.headers_mut() = ask.headers.clone();
            request.headers_mut().insert("x-auth-token", session.token.clone());
            let store = self.store(&session.account)?;
            let answer = self.tried(&store, request).await?;
            match answer.status().as_u16() {
                200..=299 => return Ok(answer),
                401 if !renewed => {
                    renewed = true;
                    session = self.session(Some(&session)).await?;
                }
                _ => return Err(Refusal::of(ask.what, &url, &answer).into()),
            }
        }
    }

    /// Returns the session; a new one if the known session is the one that was `refused`.
    async fn session(&self, refused: Option<&Arc<Session>>) -> StoreResult<Arc<Session>> {
        let mut known = self.session.lock().await;
        if let Some(session) = known.as_ref()
            && refused.is_none_or(|refused| !Arc::ptr_eq(refused, session))
        {
            return Ok(session.clone());
        }
        let request = self.credentials.request().ok_or_else(|| {
            let why = "a user's name or key has characters that no header can have";
            generic(Box::new(std::io::Error::other(why)))
        })?;
        let answer = self.tried(&self.authentication, request).await?;
        if !answer.status().is_success() {
            return Err(Refusal::of(What::Token, self.credentials.url(), &answer).into());
        }
        let (head, body) = answer.into_parts();
        let body = body.bytes().await.map_err(broken)?;
        let answer = HttpResponse::from_parts(head, Bytes::new().into());
        let session = Arc::new(self.credentials.session(&answer, &body)?);
        *known = Some(session.clone());
        Ok(session)
    }

    /// Sends a request, and repeats it while that may help: after a temporary failure of the servers, a conflict with
    /// another change, or a broken connection.
    async fn tried(&self, client: &HttpClient, request: HttpRequest) -> StoreResult<HttpResponse> {
        let may_pass = |status| matches!(status, 408 | 409 | 422 | 429 | 498 | 500 | 502..=504);
        tried(client, &self.retry, request, may_pass).await.map_err(broken)
    }
}

/// Wraps the error of a failed connection as an error of `object_store`.
pub(super) fn broken(error: HttpError) -> object_store::Error {
    generic(Box::new(error))
}

pub(super) fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::Generic { store: "Swift", source }
}

/// Converts a failure of Swift into this crate's kinds.
pub(in super::super) fn failure(refusal: &Refusal) -> Failure {
    let detail = if refusal.kind() == ErrorKind::NotFound { String::new() } else { refusal.to_string() };
    Failure::new(refusal.kind(), detail)
}
