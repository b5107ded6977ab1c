//! Opens a store from a URL, settings and the environment, and caches open buckets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use parking_lot::Mutex;

use super::asking::Dialect;
use super::conditions::Conditions;
use super::failure::Failure;
use super::kept_names::KeptNames;
use super::{Bucket, Connect, RemoteStore, azure, google, other, s3, server, swift};
use crate::deadline::Patience;
use crate::per_process::PerProcess;
use crate::settings::{self, Settings};
use crate::{Error, ErrorKind, Key, ObjectStore, Operation, PrefixStore, Result};

/// The time limit for a connection, before it is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit for one request with its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The time since the first try after which no further try begins, for example at a server that requests a later retry.
const MAX_RETRY_TIME: Duration = Duration::from_secs(30);
/// The maximum number of retries if no setting gives one: the time is the actual bound.
const MAX_RETRIES: usize = 1000;
/// The number of buckets with connections that are cached for the next open.
const MAX_IDLE_BUCKETS: usize = 16;

/// Variables of an environment, by name.
pub type Environment = BTreeMap<String, String>;

/// The identity of a bucket and of the way to reach it. It contains secrets and is never shown.
type ServerIdentity = BTreeMap<String, String>;

/// The plan of a connection to a bucket.
pub(super) struct ConnectionPlan {
    pub(super) name: String,
    pub(super) bucket: String,
    /// The location of the bucket, if its name alone is ambiguous: the service's address or the account.
    pub(super) at: String,
    pub(super) connect: Box<Connect>,
    pub(super) conditions: Conditions,
    pub(super) kept_names: KeptNames,
    pub(super) by_version: bool,
    pub(super) identity: ServerIdentity,
    /// The server's name in messages, if the server may turn out not to speak S3's protocol.
    pub(super) endpoint: Option<String>,
}

/// The open buckets, most recently used last. They are cached so that a program that opens files one after the other
/// reuses its connections, and a server's conditions are probed once.
static OPEN: Mutex<Vec<(ServerIdentity, Arc<Bucket>)>> = Mutex::new(Vec::new());

/// Returns the process's environment variables.
pub(crate) fn environment() -> Environment {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

/// Opens the store `scheme:rest`.
pub(crate) fn open(
    scheme: &str,
    rest: &str,
    settings: &Settings,
    environment: &Environment,
) -> Result<Arc<dyn ObjectStore>> {
    let (bucket, prefix) = match scheme {
        "h5store+unix" => server::split_socket(rest)?,
        _ => split(scheme, rest)?,
    };
    let (timeout, settings) = (settings::timeout(settings)?, &settings::without_timeout(settings));
    let mut plan = match scheme {
        "s3" | "s3a" => s3::plan(bucket, environment, settings)?,
        "gs" => google::plan(bucket, environment, settings)?,
        "swift" => swift::plan(bucket, environment, settings)?,
        "az" => azure::plan(bucket, environment, settings)?,
        _ if server::SCHEMES.contains(&scheme) => server::plan(scheme, bucket, environment, settings)?,
        _ => other::web(scheme, bucket, environment, settings)?,
    };
    plan.identity.insert("operation".into(), format!("{timeout:?}"));
    let bucket = opened(plan, timeout)?;
    if server::SCHEMES.contains(&scheme) {
        server::ask_promises(&bucket)?;
    }
    let prefix = prefix.map(|prefix| Key::new(prefix).map_err(|e| refusal(e.to_string()))).transpose()?;
    let store = Arc::new(RemoteStore { bucket, prefix: prefix.clone() });
    Ok(match prefix {
        Some(prefix) => Arc::new(PrefixStore::new(store, prefix)),
        None => store,
    })
}

fn opened(plan: ConnectionPlan, timeout: Duration) -> Result<Arc<Bucket>> {
    let mut open = OPEN.lock();
    let found = open.iter().position(|(identity, _)| *identity == plan.identity);
    let entry = match found {
        Some(at) => open.remove(at),
        None => {
            let bucket = Bucket {
                name: plan.name,
                bucket: plan.bucket,
                at: plan.at,
                connect: plan.connect,
                clients: PerProcess::new(),
                conditions: plan.conditions,
                kept_names: plan.kept_names,
                by_version: plan.by_version,
                patience: Patience::new(timeout),
                dialect: plan.endpoint.map(|endpoint| Dialect { endpoint, is_known: AtomicBool::new(false) }),
                clock: Default::default(),
                maker: Default::default(),
                misreads_if_match: AtomicBool::new(false),
                misreads_if_none_match: AtomicBool::new(false),
            };
            // A bad configuration is reported when the store is opened.
            bucket.client().map_err(|f| bucket.error(Operation::Open, f))?;
            (plan.identity, Arc::new(bucket))
        }
    };
    let bucket = entry.1.clone();
    open.push(entry);
    if open.len() > MAX_IDLE_BUCKETS {
        open.remove(0);
    }
    Ok(bucket)
}

/// Splits `//bucket/prefix` into the bucket (for web servers: the host) and the prefix.
fn split<'a>(scheme: &str, rest: &'a str) -> Result<(&'a str, Option<&'a str>)> {
    let what = match scheme {
        "az" | "swift" => "CONTAINER",
        _ if scheme.starts_with("http") => "HOST",
        "h5store+http" => "HOST",
        _ => "BUCKET",
    };
    let bad =
        || refusal(format!("a store '{scheme}:' is written {scheme}://{what} or {scheme}://{what}/PREFIX"));
    let path = rest.strip_prefix("//").ok_or_else(bad)?;
    if path.contains(['?', '#']) {
        return Err(refusal(format!("a store '{scheme}:' takes no '?' or '#'")));
    }
    let is_arn = matches!(scheme, "s3" | "s3a") && path.starts_with("arn:");
    let (bucket, prefix) = split_bucket(path, is_arn);
    let is_name = |c: char| {
        c.is_ascii_alphanumeric()
            || "-._".contains(c)
            || (what == "HOST" && ":[]".contains(c))
            || (is_arn && ":/".contains(c))
    };
    // An '@' would follow credentials, which must not be in a URL that is stored and shown.
    if bucket.is_empty() || !bucket.chars().all(is_name) {
        return Err(bad());
    }
    let prefix = prefix.trim_matches('/');
    Ok((bucket, (!prefix.is_empty()).then_some(prefix)))
}

/// Splits a path into the bucket and the prefix. The ARN of an access point may contain a slash before the name.
fn split_bucket(path: &str, is_arn: bool) -> (&str, &str) {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if !is_arn || !first.ends_with(":accesspoint") {
        return (first, rest);
    }
    let name = rest.split_once('/').map_or(rest.len(), |(name, _)| name.len());
    let (bucket, rest) = path.split_at((first.len() + 1 + name).min(path.len()));
    (bucket, rest.trim_start_matches('/'))
}

/// Returns an error about the URL, a setting or a variable.
pub(super) fn refusal(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, Operation::Open).because(why)
}

/// Converts an error of a builder of `object_store`.
pub(super) fn refused(error: object_store::Error, bucket: &str) -> Failure {
    let failure = Failure::of(&error, bucket);
    match failure.kind {
        ErrorKind::Io => Failure { kind: ErrorKind::InvalidArgument, ..failure },
        _ => failure,
    }
}

/// Returns the client's default options. HTTP's own variables (`AWS_TIMEOUT`, `AWS_CONNECT_TIMEOUT` …) change them.
pub(super) fn client_options() -> ClientOptions {
    // TLS needs a provider of cryptography. A second call changes nothing.
    let _set_already = rustls::crypto::ring::default_provider().install_default();
    ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT)
}

/// Variables that name a proxy for plain http.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Returns whether a client that uses only these URLs needs no certificates: neither the URLs nor a proxy on the way
/// are encrypted. Loading the system's certificates takes time, and a slim image has none.
pub(super) fn needs_no_certificates<'a>(
    urls: impl IntoIterator<Item = &'a str>,
    environment: &Environment,
) -> bool {
    let begins =
        |url: &str, with: &str| url.get(..with.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(with));
    let mut proxies = PROXIES.iter().filter_map(|name| environment.get(*name));
    urls.into_iter().all(|url| begins(url, "http:")) && !proxies.any(|proxy| begins(proxy, "https:"))
}

/// The options that contain times, by the names that `object_store` uses.
const TIMES: [&str; 4] = ["timeout", "connect_timeout", "read_timeout", "pool_idle_timeout"];

/// Returns a value in the form that `object_store` reads: a time without a unit is in seconds, as in AWS's tools.
pub(super) fn with_unit(option: &str, value: &str) -> String {
    let is_time = TIMES.iter().any(|name| option.to_ascii_lowercase().ends_with(name));
    match crate::duration::parse(value).filter(|_| is_time && value.trim().parse::<f64>().is_ok()) {
        Some(time) => format!("{}ms", time.as_millis()),
        None => value.to_owned(),
    }
}

/// Returns the retry policy: back-off from 100 ms to 2 s, for a bounded time. A longer failure of a server is reported
/// as an error.
pub(super) fn retries(environment: &Environment) -> Result<RetryConfig> {
    let max_retries = match environment.get("AWS_MAX_ATTEMPTS").map(|text| text.parse::<usize>()) {
        None => MAX_RETRIES,
        Some(Ok(attempts)) if (1..=1000).contains(&attempts) => attempts - 1,
        Some(_) => return Err(refusal("AWS_MAX_ATTEMPTS is a number from 1 to 1000")),
    };
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    };
    Ok(RetryConfig { backoff, max_retries, retry_timeout: MAX_RETRY_TIME })
}

/// Parses the value of a boolean variable or setting.
pub(super) fn is_yes(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(refusal(format!("'{name}' is 'true' or 'false'"))),
    }
}

/// Parses the value of a boolean variable; a missing one is false.
pub(super) fn is_set(environment: &Environment, name: &str) -> Result<bool> {
    is_yes(name, environment.get(name).map_or("", String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_bucket_and_a_prefix() {
        assert_eq!(split("s3", "//b").unwrap(), ("b", None));
        assert_eq!(split("s3", "//b/").unwrap(), ("b", None));
        assert_eq!(split("s3", "//b/c/d/").unwrap(), ("b", Some("c/d")));
        assert_eq!(split("s3", "//b//tmp/d").unwrap(), ("b", Some("tmp/d")));
        assert_eq!(split("http", "//127.0.0.1:80/c").unwrap(), ("127.0.0.1:80", Some("c")));
        let arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint";
        for (rest, point, prefix) in [
            (format!("//{arn}/lab"), format!("{arn}/lab"), None),
            (format!("//{arn}/lab/"), format!("{arn}/lab"), None),
            (format!("//{arn}/lab/c/d"), format!("{arn}/lab"), Some("c/d")),
            (format!("//{arn}:lab/c/d"), format!("{arn}:lab"), Some("c/d")),
            (format!("//{arn}"), arn.to_owned(), None),
        ] {
            assert_eq!(split("s3", &rest).unwrap(), (point.as_str(), prefix));
        }
        split("gs", "//arn:aws:s3:eu-west-1:123456789012:accesspoint:lab").unwrap_err();
        for bad in ["b", "//", "///x", "//key:secret@b/x", "//b:9000/x", "//b/x?y=1"] {
            let error = split("s3", bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn certificates_are_needed_where_anything_is_encrypted() {
        let (none, mut proxied) = (Environment::new(), Environment::new());
        assert!(needs_no_certificates(["http://a", "HTTP://b:1"], &none) && needs_no_certificates([], &none));
        assert!(!needs_no_certificates(["http://a", "https://b"], &none));
        proxied.insert("http_proxy".into(), "http://proxy:1".into());
        assert!(needs_no_certificates(["http://a"], &proxied));
        proxied.insert("ALL_PROXY".into(), "https://proxy:1".into());
        assert!(!needs_no_certificates(["http://a"], &proxied));
    }
}
