//! OpenStack Swift through its own interface: `swift://container/prefix`.
//!
//! The crate `object_store` does not support Swift. This module implements its traits ([`objects`]), so that the other
//! parts of remote stores serve Swift as they serve S3: limits of an operation, streams, parts of objects, the server's
//! clock.
//!
//! When puts race, Swift honours no condition, so that a container has a single writer at a time. Each read requests
//! the newest copy, because any copy may be outdated while a disk is unavailable.
//!
//! <https://docs.openstack.org/api-ref/object-store/>

mod auth;
mod client;
mod large;
mod listing;
mod objects;
mod refusal;

use std::sync::Arc;

use object_store::client::ClientConfigKey;
use reqwest::Certificate;

pub(super) use client::failure;
pub(super) use refusal::Refusal;

use self::auth::Credentials;
use self::client::{Options, SwiftClient};
use self::objects::SwiftContainer;
use super::Client;
use super::conditions::Conditions;
use super::kept_names::KeptNames;
use super::options::{
    ConnectionPlan, Environment, client_options, is_set, needs_no_certificates, refusal, refused, retries,
};
use super::probe::Verdict;
use crate::Result;
use crate::settings::{Settings, check_settings};

/// The maximum length, in bytes, of an object that is put in one piece; longer objects are split into segments. Swift
/// itself accepts 5 GiB.
const SEGMENT_BYTES: usize = 1 << 30;
/// The least length that the setting can give instead: Swift may refuse smaller segments.
const MIN_SEGMENT_BYTES: usize = 1 << 20;
/// The name of the setting for the length of segments.
const SEGMENT_SIZE: &str = "segment-size";

/// Returns how to connect to the container.
pub(super) fn plan(
    container: &str,
    environment: &Environment,
    settings: &Settings,
) -> Result<ConnectionPlan> {
    check_settings("swift", settings, &[SEGMENT_SIZE])?;
    let segment = segment_bytes(settings)?;
    let credentials = Credentials::of(environment)?;
    let options = options(&credentials, environment)?;
    let certificates = certificates(environment)?;
    let retry = retries(environment)?;
    let ours = |name: &str| ["OS_", "ST_", "SWIFT_"].iter().any(|prefix| name.starts_with(prefix));
    let mut identity: Environment =
        environment.iter().filter(|(name, _)| ours(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    identity.insert("scheme".into(), "swift".into());
    identity.insert("bucket".into(), container.into());
    identity.insert("tries".into(), retry.max_retries.to_string());
    identity.insert(SEGMENT_SIZE.into(), segment.to_string());
    let account = ["ST_USER", "OS_PROJECT_ID", "OS_PROJECT_NAME", "OS_STORAGE_URL", "OS_REGION_NAME"];
    let account = account.into_iter().filter_map(|name| environment.get(name).map(String::as_str));
    let at = std::iter::once(credentials.url().as_str()).chain(account).collect::<Vec<_>>().join(" ")
        + &account_variables(environment);
    let name = container.to_owned();
    let connect = move || {
        let client =
            SwiftClient::new(credentials.clone(), retry.clone(), options.clone(), certificates.clone());
        let client = Arc::new(client.map_err(|e| refused(e, &name))?);
        let objects = Arc::new(SwiftContainer::new(client, &name, segment));
        Ok(Client { objects: objects.clone(), unsigned: None, pages: Some(objects), server: None })
    };
    Ok(ConnectionPlan {
        name: format!("swift://{container}"),
        bucket: container.to_owned(),
        at,
        connect: Box::new(connect),
        conditions: Conditions::Known(Verdict::Swift),
        kept_names: KeptNames::All,
        by_version: false,
        identity,
        endpoint: None,
    })
}

/// Returns the options of clients for the servers of tokens and of the account.
fn options(credentials: &Credentials, environment: &Environment) -> Result<Options> {
    let mut encrypted = client_options();
    if credentials.is_plain() {
        if !is_set(environment, "SWIFT_ALLOW_HTTP")? && !is_set(environment, "HTTP_ALLOW_HTTP")? {
            return Err(refusal(
                "Swift's URL is plain http, which encrypts neither the key nor the data; SWIFT_ALLOW_HTTP=true allows it",
            ));
        }
        encrypted = encrypted.with_config(ClientConfigKey::AllowHttp, "true");
    }
    let spared = needs_no_certificates(["http:"], environment).to_string();
    let plain = encrypted.clone().with_config(ClientConfigKey::NoSystemCertificates, spared);
    Ok(Options { encrypted, plain })
}

/// Returns the other variables that distinguish accounts: two accounts may have containers of the same name.
fn account_variables(environment: &Environment) -> String {
    const DOMAINS: [&str; 2] = ["OS_PROJECT_DOMAIN_ID", "OS_PROJECT_DOMAIN_NAME"];
    // If no project is named, the credentials determine the project.
    const CHOOSING: [&str; 6] = [
        "OS_TENANT_ID",
        "OS_TENANT_NAME",
        "OS_APPLICATION_CREDENTIAL_ID",
        "OS_APPLICATION_CREDENTIAL_NAME",
        "OS_USERNAME",
        "OS_USER_DOMAIN_NAME",
    ];
    let is_named = ["OS_PROJECT_ID", "OS_PROJECT_NAME", "OS_STORAGE_URL"]
        .iter()
        .any(|name| environment.contains_key(*name));
    let said = |name: &str| environment.get(name).map(|value| format!(" {name}={value}"));
    let domains = DOMAINS.iter().filter_map(|name| said(name));
    let domains = domains.filter(|said| !said.to_ascii_lowercase().ends_with("=default"));
    domains.chain(CHOOSING.iter().filter(|_| !is_named).filter_map(|name| said(name))).collect()
}

fn segment_bytes(settings: &Settings) -> Result<usize> {
    let Some(text) = settings.get(SEGMENT_SIZE) else { return Ok(SEGMENT_BYTES) };
    let bytes = text.parse().ok().filter(|bytes| (MIN_SEGMENT_BYTES..=SEGMENT_BYTES).contains(bytes));
    bytes.ok_or_else(|| {
        refusal(format!(
            "the setting '{SEGMENT_SIZE}' of a store 'swift:' is a number of bytes from {MIN_SEGMENT_BYTES} to {SEGMENT_BYTES}"
        ))
    })
}

/// Reads `OS_CACERT`: certificates in addition to the system's.
fn certificates(environment: &Environment) -> Result<Vec<Certificate>> {
    let Some(path) = environment.get("OS_CACERT").filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(path).map_err(|e| refusal(format!("OS_CACERT cannot be read: {e}")))?;
    Certificate::from_pem_bundle(&pem).map_err(|_| refusal("OS_CACERT holds no certificates"))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn only_encrypted_urls_need_certificates() {
        let variables =
            [("ST_AUTH", "http://h/auth"), ("ST_USER", "u"), ("ST_KEY", "k"), ("SWIFT_ALLOW_HTTP", "true")];
        let environment: Environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = options(&Credentials::of(&environment).unwrap(), &environment).unwrap();
        let spared = |url: &str| {
            let key = ClientConfigKey::NoSystemCertificates;
            options.to(&Url::parse(url).unwrap()).get_config_value(&key).is_some_and(|said| said == "true")
        };
        assert!(spared("http://h/v1/A") && !spared("https://h/v1/A"));
    }
}
