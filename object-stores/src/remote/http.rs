//! The HTTP client, which bounds each request whatever the server does.
//!
//! `object_store` signs and retries requests and parses answers; it sends requests through this client. The length of
//! answers is bounded. If an answer asks the client to retry later, the client waits within the operation's budget.
//! Connections that break are not retried for ever. A redirect is followed only to the same server.

mod errors;
mod limits;
mod service;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use object_store::ClientOptions;
use object_store::client::{ClientConfigKey, HttpClient, HttpConnector};
use reqwest::redirect;

pub(super) use self::errors::{GivenUp, NotImplemented, TooLong};
pub(super) use self::limits::{LIMITS, Limits, Tries};
use self::service::Bounded;
pub(super) use self::service::Called;
use super::StoreResult;
use super::options::is_yes;
use crate::duration;

/// The maximum length, in bytes, of an answer that is a document: a listing of a thousand keys with all their metadata
/// is shorter.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// Connections that several clients share.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    made: Arc<OnceLock<HttpClient>>,
    /// Certificates in addition to the system's.
    certificates: Vec<reqwest::Certificate>,
    server: Server,
}

impl Connections {
    /// Returns connections to servers that issue credentials.
    pub(super) fn for_credentials(certificates: Vec<reqwest::Certificate>) -> Self {
        Connections { server: Server::Credentials, ..Connections::with_certificates(certificates) }
    }

    /// Returns connections to stores. A server's certificate has to be trusted by the system or by one of
    /// `certificates`.
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

/// The kind of server that a client sends requests to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Server {
    /// The store. Its answers show its clock.
    #[default]
    Store,
    /// A server that issues credentials.
    Credentials,
}

/// Connections of a single client: the client that requests credentials has other options than the clients that use
/// them.
#[derive(Debug)]
pub(super) struct Separate {
    pub(super) server: Server,
}

impl HttpConnector for Separate {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        connected(options, &[], self.server)
    }
}

/// Connections to a server on this machine, without a proxy: to a port, or to a socket in a folder.
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

/// Returns a client of a server that issues credentials on this machine or its own network, without a proxy: the
/// request carries secrets, and such an address means another server to a proxy.
pub(super) fn without_proxy(
    options: &ClientOptions,
    certificates: &[reqwest::Certificate],
) -> StoreResult<HttpClient> {
    let client = builder(options, certificates).and_then(|builder| Ok(builder.no_proxy().build()?));
    bounded_client(client, Server::Credentials)
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

/// Returns a builder for the client that the options describe. The client of `object_store` would follow every
/// redirect; here the [service] decides.
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
    // Bodies are stored unchanged: compression would hide the object's length.
    Ok(builder)
}
