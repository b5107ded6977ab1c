//! The HTTP client: what one request may take, whatever the server does.
//!
//! `object_store` signs, repeats and understands; this is what it sends by. Answers are bounded in length, an answer
//! that asks to come back later is waited for within the operation's budget, connections that break are not tried for
//! ever, and redirects lead nowhere but to the same server.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context as Polling, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use reqwest::{Method, StatusCode, redirect};

use super::StoreResult;
use super::clock::{Sent, ServerClock};
use super::maker::Maker;
use super::options::is_yes;
use crate::deadline::{Budget, MIN_BYTES_PER_SECOND};
use crate::duration;

/// No further try begins so long after connections began to fail. What asks to come back later is tried for longer.
const MAX_CONNECT_RETRY_TIME: Duration = Duration::from_secs(6);
/// Bytes of an answer that is a document: a thousand keys with all that is said of them have fewer.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 16 << 20;
/// Bytes of an answer that is an error.
const MAX_ERROR_BYTES: u64 = 256 << 10;
/// Redirects within one server that are followed.
const MAX_REDIRECTS: usize = 5;
/// Tries that follow a put which a server denies that may do so in error; pauses of 20, 40, 80, 160 and 320 ms are between them.
const MAX_TRIES_AFTER_DENIAL: u32 = 5;

/// What the requests of a piece of work share.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) budget: Arc<Budget>,
    /// The bytes that an answer may have.
    pub(super) most: u64,
    /// The clock that answers tell.
    clock: Arc<ServerClock>,
    /// What answers tell of the server.
    maker: Arc<Maker>,
    /// Tries that failed, and those that followed them.
    pub(super) tries: Arc<Tries>,
    /// Set when answers have broken off for long enough: `object_store` would ask for the rest again.
    given_up: Arc<OnceLock<HttpErrorKind>>,
}

impl Limits {
    /// The limits of a piece of work that begins now.
    pub(super) fn new(budget: Arc<Budget>, most: u64, clock: Arc<ServerClock>, maker: Arc<Maker>) -> Limits {
        Limits { budget, most, clock, maker, tries: Arc::default(), given_up: Arc::default() }
    }
}

/// The tries of a piece of work. One that begins after another failed is a retry.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Tries that failed, and that none has followed yet.
    failed: AtomicU64,
    retries: AtomicU64,
}

impl Tries {
    fn begin(&self) {
        let one_less = |failed: u64| failed.checked_sub(1);
        if self.failed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the log which try failed. What the server said is left out: it may quote the request.
    fn fail(&self, method: &Method, why: &dyn fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let (retry, why) = (self.retries(), why.to_string());
        tracing::debug!(method = method.as_str(), retry, why, "a try of a request failed");
    }

    /// Requests that were sent again.
    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

tokio::task_local! {
    /// The limits of the work that this task does.
    pub(super) static LIMITS: Limits;
}

/// Connections that several clients share.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    made: Arc<OnceLock<HttpClient>>,
    /// Certificates besides the system's.
    certificates: Vec<reqwest::Certificate>,
    server: Server,
}

impl Connections {
    /// The same, to servers that have credentials.
    pub(super) fn for_credentials(certificates: Vec<reqwest::Certificate>) -> Self {
        Connections { server: Server::Credentials, ..Connections::with_certificates(certificates) }
    }

    /// Connections to servers that these certificates speak for, besides the system's.
    pub(super) fn with_certificates(certificates: Vec<reqwest::Certificate>) -> Self {
        Connections { made: Arc::default(), certificates, server: Server::Store }
    }
}

impl HttpConnector for Connections {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        if let Some(made) = self.made.get() {
            return Ok(made.clone());
        }
        let made = connected(options, &self.certificates, self.server)?;
        Ok(self.made.get_or_init(|| made).clone())
    }
}

/// Whom a client asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Server {
    /// The store, whose clock its answers tell.
    #[default]
    Store,
    /// One that has credentials.
    Credentials,
}

/// Connections of one client alone: those that ask for credentials have other options than those that use them.
#[derive(Debug)]
pub(super) struct Separate {
    pub(super) server: Server,
}

impl HttpConnector for Separate {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        connected(options, &[], self.server)
    }
}

/// Connections to a server on this machine, which no proxy is between: at a port, or at a socket in a folder.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) socket: Option<PathBuf>,
}

impl HttpConnector for Local {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        let client = builder(options, &[]).and_then(|builder| {
            let builder = builder.no_proxy();
            let builder = match &self.socket {
                Some(socket) => builder.unix_socket(socket.as_path()),
                None => builder,
            };
            Ok(builder.build()?)
        });
        bounded_client(client, Server::Store)
    }
}

fn connected(
    options: &ClientOptions,
    certificates: &[reqwest::Certificate],
    server: Server,
) -> StoreResult<HttpClient> {
    let client = builder(options, certificates).and_then(|builder| Ok(builder.build()?));
    bounded_client(client, server)
}

fn bounded_client(client: Result<reqwest::Client, BoxError>, server: Server) -> StoreResult<HttpClient> {
    let client = client.map_err(|e| object_store::Error::Generic { store: "HTTP client", source: e })?;
    Ok(HttpClient::new(Bounded { client: HttpClient::new(client), server }))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client that the options mean. `object_store` has one, too, which follows every redirect; here [`follow`] does.
fn builder(
    options: &ClientOptions,
    certificates: &[reqwest::Certificate],
) -> Result<reqwest::ClientBuilder, BoxError> {
    use ClientConfigKey as Key;
    let text = |key| options.get_config_value(&key);
    let is_set = |key| text(key).is_some_and(|value| is_yes("", &value).unwrap_or(false));
    let time = |key| text(key).map(|value| duration::parse(&value).ok_or(value)).transpose();
    let number = |key| text(key).map(|value| value.parse::<usize>()).transpose();
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(
            text(Key::UserAgent).unwrap_or_else(|| concat!("h5lake/", env!("CARGO_PKG_VERSION")).into()),
        )
        .https_only(!is_set(Key::AllowHttp))
        .danger_accept_invalid_certs(is_set(Key::AllowInvalidCertificates));
    let certificates = certificates.iter().cloned();
    builder = match is_set(Key::NoSystemCertificates) {
        true => builder.tls_certs_only(certificates),
        false => builder.tls_certs_merge(certificates),
    };
    if let Some(url) = text(Key::ProxyUrl) {
        let mut proxy = reqwest::Proxy::all(url)?;
        if let Some(certificate) = text(Key::ProxyCaCertificate) {
            builder = builder.tls_certs_merge([reqwest::Certificate::from_pem(certificate.as_bytes())?]);
        }
        if let Some(excluded) = text(Key::ProxyExcludes) {
            proxy = proxy.no_proxy(reqwest::NoProxy::from_string(&excluded));
        }
        builder = builder.proxy(proxy);
    }
    if let Some(time) = time(Key::Timeout)? {
        builder = builder.timeout(time);
    }
    if let Some(time) = time(Key::ConnectTimeout)? {
        builder = builder.connect_timeout(time);
    }
    if let Some(time) = time(Key::ReadTimeout)? {
        builder = builder.read_timeout(time);
    }
    if let Some(time) = time(Key::PoolIdleTimeout)? {
        builder = builder.pool_idle_timeout(time);
    }
    if let Some(most) = number(Key::PoolMaxIdlePerHost)? {
        builder = builder.pool_max_idle_per_host(most);
    }
    if is_set(Key::Http1Only) {
        builder = builder.http1_only();
    }
    // Bodies are stored as they are; their length tells the object's.
    Ok(builder)
}

/// Sends a request. A redirect of one that reads is followed where it leads to the same server; signed requests are for no other host.
/// One that changes something is not sent elsewhere than it was meant for, nor turned into another request: what
/// that one answers would be taken for this one's success.
async fn follow(client: &HttpClient, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut next = reads.then(|| request.clone());
    let mut answer = client.execute(request).await?;
    for _ in 0..MAX_REDIRECTS {
        let Some(mut again) = next.filter(|_| is_redirect(answer.status())) else { break };
        let Some(to) = redirected(&again, &answer) else { break };
        let Ok(to) = to.parse() else { break };
        *again.uri_mut() = to;
        next = Some(again.clone());
        answer = client.execute(again).await?;
    }
    Ok(answer)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where an answer says that what was asked for is, if that is at the same server.
fn redirected(asked: &HttpRequest, answer: &HttpResponse) -> Option<String> {
    let from = url::Url::parse(&asked.uri().to_string()).ok()?;
    let to = from.join(answer.headers().get("location")?.to_str().ok()?).ok()?;
    let origin = |url: &url::Url| {
        (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
    };
    if origin(&from) != origin(&to) {
        return None;
    }
    Some(to.into())
}

/// A connection that was tried for long enough: it is not tried again.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) kind: HttpErrorKind,
    source: HttpError,
}

impl GivenUp {
    /// An error of a kind that nobody tries again.
    fn at(kind: HttpErrorKind, source: HttpError) -> HttpError {
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

/// Answers begin and do not come to their end.
#[derive(Debug)]
struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answers break off")
    }
}

impl std::error::Error for BrokenOff {}

/// An answer that is longer than anything that was asked for.
#[derive(Debug)]
pub(super) struct TooLong(u64);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} bytes, which were to come at most", self.0)
    }
}

impl std::error::Error for TooLong {}

/// The server answers with 501: it does not know what it was asked for, and never will.
#[derive(Debug)]
pub(super) struct NotImplemented;

impl fmt::Display for NotImplemented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server does not implement this request (HTTP status 501)")
    }
}

impl std::error::Error for NotImplemented {}

/// A client whose answers and tries have bounds.
#[derive(Debug)]
struct Bounded {
    client: HttpClient,
    server: Server,
}

/// What a call of an HTTP service gives.
pub(super) type Called<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Bounded {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Called<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async {
            // Credentials are asked for without limits of ours; their client has its own.
            let Ok(limits) = LIMITS.try_with(Limits::clone) else {
                return follow(&self.client, request).await;
            };
            if let Some(kind) = limits.given_up.get() {
                return Err(GivenUp::at(*kind, HttpError::new(*kind, BrokenOff)));
            }
            let sent = request.body().content_length();
            let asked = Sent::now(request.method());
            let method = request.method().clone();
            limits.tries.begin();
            let answer = match self.server {
                Server::Store => heard(&self.client, request, &limits).await,
                Server::Credentials => follow(&self.client, request).await,
            };
            match answer {
                // The crate would ask again and again for what the server says it will never do (RFC 9110, section 15.6.2).
                Ok(response) if response.status() == StatusCode::NOT_IMPLEMENTED => {
                    Err(HttpError::new(HttpErrorKind::Unknown, NotImplemented))
                }
                Ok(response) => {
                    if is_to_come_back(&response) {
                        limits
                            .tries
                            .fail(&method, &format_args!("HTTP status {}", response.status().as_u16()));
                    }
                    if self.server == Server::Store {
                        limits.clock.see(asked, &response);
                    }
                    Ok(bounded(looked_at(response, sent, &limits).await, limits))
                }
                Err(e) => {
                    limits.tries.fail(&method, &format_args!("{:?}", e.kind()));
                    Err(tried(e, &limits.budget))
                }
            }
        })
    }
}

/// Sends a request to a store, and again where the first answer tells that this server wants to be asked in another way, or
/// denies what it may allow a moment later.
async fn heard(
    client: &HttpClient,
    mut request: HttpRequest,
    limits: &Limits,
) -> Result<HttpResponse, HttpError> {
    let newest = limits.maker.ask_for_newest(&mut request);
    let puts = matches!(*request.method(), Method::PUT | Method::POST).then(|| request.clone());
    let answer = follow(client, request).await?;
    limits.maker.see(&answer);
    match (newest, puts) {
        (Some(newest), _) if limits.maker.is_swift() => follow(client, newest).await,
        (_, Some(put)) if is_denied(&answer) && limits.maker.may_deny_in_error() => {
            put_again(client, &put, answer, limits).await
        }
        _ => Ok(answer),
    }
}

fn is_denied(answer: &HttpResponse) -> bool {
    answer.status() == StatusCode::FORBIDDEN
}

/// Sends a put that was denied again, until it is not or that was tried often enough. What is denied has no effect, so a condition
/// means the same each time.
async fn put_again(
    client: &HttpClient,
    put: &HttpRequest,
    mut answer: HttpResponse,
    limits: &Limits,
) -> Result<HttpResponse, HttpError> {
    for attempt in 0..MAX_TRIES_AFTER_DENIAL {
        if !is_denied(&answer) {
            break;
        }
        limits.tries.fail(put.method(), &"the put was denied");
        tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        limits.tries.begin();
        answer = follow(client, put.clone()).await?;
    }
    Ok(answer)
}

/// Whether an answer says that the server may do later what it was asked for.
fn is_to_come_back(response: &HttpResponse) -> bool {
    response.status().is_server_error() || matches!(response.status().as_u16(), 408 | 429)
}

/// Notes what an answer says of the server. One that says when to come back is handed on no earlier, as far as the budget
/// goes: whoever tries again does it then.
async fn looked_at(response: HttpResponse, sent: usize, limits: &Limits) -> HttpResponse {
    let budget = &limits.budget;
    let status = response.status();
    if is_to_come_back(&response) {
        budget.refused(format!("the store answered with HTTP status {}", status.as_u16()));
        let wait =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        if let Some(seconds) = wait.filter(|seconds| *seconds > 0) {
            tokio::time::sleep(Duration::from_secs(seconds).min(budget.remaining())).await;
        }
    } else {
        budget.progressed(sent);
    }
    response
}

/// Notes that a connection failed; says whether connections have failed for long enough.
fn failed_for_long(error: &HttpError, budget: &Budget) -> bool {
    let since = budget.broke(super::failure::transport_text(error.kind(), error));
    since.elapsed() >= MAX_CONNECT_RETRY_TIME
        && !matches!(error.kind(), HttpErrorKind::Decode | HttpErrorKind::Unknown)
}

fn tried(error: HttpError, budget: &Budget) -> HttpError {
    if !failed_for_long(&error, budget) {
        return error;
    }
    GivenUp::at(error.kind(), error)
}

fn bounded(response: HttpResponse, limits: Limits) -> HttpResponse {
    let most = if response.status().is_success() { limits.most } else { MAX_ERROR_BYTES };
    let (head, body) = response.into_parts();
    HttpResponse::from_parts(head, HttpResponseBody::new(BoundedBody { body, most, left: most, limits }))
}

/// A body that ends with an error when it is longer than it may be.
struct BoundedBody {
    body: HttpResponseBody,
    most: u64,
    left: u64,
    limits: Limits,
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        polling: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(polling));
        let budget = &self.limits.budget;
        match &frame {
            Some(Err(e)) if failed_for_long(e, budget) => {
                let _it_is_set_once = self.limits.given_up.set(e.kind());
            }
            // It came whole, or so much of it that the connection is one.
            None => budget.succeeded(),
            Some(Ok(_)) if self.most - self.left >= MIN_BYTES_PER_SECOND => budget.succeeded(),
            Some(_) => (),
        }
        if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let length = bytes.len();
            self.limits.budget.progressed(length);
            match self.left.checked_sub(length as u64) {
                Some(left) => self.left = left,
                None => {
                    let error = HttpError::new(HttpErrorKind::Decode, TooLong(self.most));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A length that is said and not sent must not become memory.
        let hint = self.body.size_hint();
        let mut bounded = SizeHint::new();
        bounded.set_lower(hint.lower().min(self.most));
        if let Some(upper) = hint.upper() {
            bounded.set_upper(upper.max(bounded.lower()));
        }
        bounded
    }
}
