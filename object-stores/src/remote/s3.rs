//! Configures access to S3: from the variables, files and roles of AWS's tools, and the three variables of H5PyVOL's
//! MinIO example.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::client::ClientConfigKey;
use object_store::{CredentialProvider, RetryConfig};
use url::Url;

use super::conditions::Conditions;
use super::failure::{Failure, NoCredentials};
use super::http::{Connections, Separate, Server};
use super::integrity::Unsigned;
use super::kept_names::KeptNames;
use super::options::{
    ConnectionPlan, Environment, client_options, is_yes, needs_no_certificates, refusal, refused, retries,
    with_unit,
};
use super::{Client, StoreResult, profile};
use crate::settings::{Settings, check_settings};
use crate::{Error, ErrorKind, Operation, Result};

/// The names of settings. They take precedence over the environment.
const SETTINGS: [&str; 5] = ["allow-http", "anonymous", "endpoint", "region", "style"];

type ConfigKey = AmazonS3ConfigKey;
type Values = BTreeMap<String, String>;

/// The options for a bucket, by the names that `object_store` uses.
struct S3Settings(Values);

impl S3Settings {
    fn get(&self, key: &ConfigKey) -> Option<&str> {
        self.0.get(key.as_ref()).map(String::as_str)
    }

    fn set(&mut self, key: &ConfigKey, value: impl Into<String>) {
        self.0.insert(key.as_ref().to_owned(), value.into());
    }

    fn set_if_none(&mut self, key: &ConfigKey, value: Option<impl Into<String>>) {
        if let Some(value) = value
            && self.get(key).is_none()
        {
            self.set(key, value);
        }
    }

    fn is_yes(&self, key: &ConfigKey) -> Result<bool> {
        is_yes(key.as_ref(), self.get(key).unwrap_or(""))
    }

    fn endpoint(&self) -> Option<&str> {
        self.get(&ConfigKey::S3Endpoint).or_else(|| self.get(&ConfigKey::Endpoint))
    }

    fn has_keys(&self) -> bool {
        self.get(&ConfigKey::AccessKeyId).is_some() || self.get(&ConfigKey::SecretAccessKey).is_some()
    }

    /// Returns whether the environment names a source of credentials that takes precedence over an instance's role.
    fn has_other_source(&self) -> bool {
        [
            &ConfigKey::WebIdentityTokenFile,
            &ConfigKey::ContainerCredentialsRelativeUri,
            &ConfigKey::ContainerCredentialsFullUri,
        ]
        .into_iter()
        .any(|key| self.get(key).is_some())
    }
}

const ALLOW_HTTP: ConfigKey = ConfigKey::Client(ClientConfigKey::AllowHttp);
const NO_SYSTEM_CERTIFICATES: ConfigKey = ConfigKey::Client(ClientConfigKey::NoSystemCertificates);
const PROXY: ConfigKey = ConfigKey::Client(ClientConfigKey::ProxyUrl);

/// Returns how to connect to the bucket.
pub(super) fn plan(bucket: &str, environment: &Environment, settings: &Settings) -> Result<ConnectionPlan> {
    check_settings("s3", settings, &SETTINGS)?;
    let mut options = from_environment(environment);
    minio(&mut options, environment);
    from_settings(&mut options, settings)?;
    from_profile(&mut options, environment)?;
    check_keys(&options)?;
    check_endpoint(&mut options, bucket)?;
    let retry = retries(environment)?;
    let certificates = certificates(environment)?;
    let mut identity = options.0.clone();
    identity.insert("scheme".into(), "s3".into());
    identity.insert("bucket".into(), bucket.into());
    identity.insert("tries".into(), retry.max_retries.to_string());
    identity
        .insert("metadata".into(), environment.get("AWS_EC2_METADATA_DISABLED").cloned().unwrap_or_default());
    identity.insert("certificates".into(), environment.get("AWS_CA_BUNDLE").cloned().unwrap_or_default());
    let metadata = !is_yes(
        "AWS_EC2_METADATA_DISABLED",
        environment.get("AWS_EC2_METADATA_DISABLED").map_or("", String::as_str),
    )?;
    let name = bucket.to_owned();
    let at = options.endpoint().unwrap_or_default().to_owned();
    // Amazon documents the conditions of S3; other servers with its protocol are probed.
    let conditions = match is_amazon(&options) {
        true => Conditions::Documented,
        false => Conditions::remembered(&at, bucket, signs_all(&options)),
    };
    let endpoint = options.endpoint().filter(|_| !is_amazon(&options)).and_then(origin);
    let spared = Spared::of(&options, environment);
    let connect = move || connect(&name, &options, &retry, &certificates, metadata, spared);
    Ok(ConnectionPlan {
        name: format!("s3://{bucket}"),
        bucket: bucket.to_owned(),
        at,
        connect: Box::new(connect),
        conditions,
        kept_names: KeptNames::All,
        by_version: false,
        identity,
        endpoint,
    })
}

/// Returns whether the server is Amazon's own service, and not another one with its protocol.
fn is_amazon(options: &S3Settings) -> bool {
    options.endpoint().is_none_or(|endpoint| {
        Url::parse(endpoint)
            .is_ok_and(|url| url.host_str().is_some_and(|host| host.ends_with(".amazonaws.com")))
    })
}

/// Returns the origin of an endpoint, without its path.
fn origin(endpoint: &str) -> Option<String> {
    Url::parse(endpoint).ok().map(|url| url.origin().ascii_serialization())
}

/// Returns whether long payloads are signed like short ones: if a variable demands or forbids it or sets a checksum, if
/// requests are not signed at all, and for Amazon without TLS, as Amazon's tools do.
fn signs_all(options: &S3Settings) -> bool {
    let is_said =
        options.get(&ConfigKey::UnsignedPayload).is_some() || options.get(&ConfigKey::Checksum).is_some();
    let is_plain = options.endpoint().is_some_and(|endpoint| endpoint.starts_with("http:"));
    is_said || options.is_yes(&ConfigKey::SkipSignature).unwrap_or(false) || (is_plain && is_amazon(options))
}

/// Reads every variable `AWS_…` that `object_store` knows; AWS's tools have more of them.
fn from_environment(environment: &Environment) -> S3Settings {
    let mut options = S3Settings(Values::new());
    let ours = environment.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
    for (name, value) in ours {
        match name.to_ascii_lowercase().parse::<ConfigKey>() {
            // The URL names the bucket.
            Ok(ConfigKey::Bucket) | Err(_) => (),
            Ok(key) => options.set(&key, with_unit(key.as_ref(), value)),
        }
    }
    options
}

/// Applies H5PyVOL's variables if AWS's variables name no endpoint.
fn minio(options: &mut S3Settings, environment: &Environment) {
    let Some(address) = environment.get("MINIO_ADDRESS").filter(|address| !address.is_empty()) else {
        return;
    };
    if options.endpoint().is_some() {
        return;
    }
    let allowed = options.is_yes(&ALLOW_HTTP).unwrap_or(false);
    let scheme = if allowed { "http" } else { "https" };
    let has_scheme = address.contains("://");
    options.set(
        &ConfigKey::S3Endpoint,
        if has_scheme { address.clone() } else { format!("{scheme}://{address}") },
    );
    if !options.has_keys() {
        options.set_if_none(&ConfigKey::AccessKeyId, environment.get("ACCESS_KEY"));
        options.set_if_none(&ConfigKey::SecretAccessKey, environment.get("SECRET_KEY"));
    }
}

fn from_settings(options: &mut S3Settings, settings: &Settings) -> Result<()> {
    for (name, value) in settings {
        match name.as_str() {
            "endpoint" => options.set(&ConfigKey::S3Endpoint, value),
            "region" => options.set(&ConfigKey::Region, value),
            "allow-http" => options.set(&ALLOW_HTTP, is_yes(name, value)?.to_string()),
            "anonymous" => options.set(&ConfigKey::SkipSignature, is_yes(name, value)?.to_string()),
            _ => {
                let is_virtual = match value.as_str() {
                    "path" => false,
                    "virtual" => true,
                    _ => return Err(refusal("the setting 'style' of a store 's3:' is 'path' or 'virtual'")),
                };
                options.set(&ConfigKey::VirtualHostedStyleRequest, is_virtual.to_string());
            }
        }
    }
    Ok(())
}

/// Adds the settings of the chosen profile in AWS's files that no other source gives.
fn from_profile(options: &mut S3Settings, environment: &Environment) -> Result<()> {
    let profile = profile::read(environment)?;
    options.set_if_none(&ConfigKey::DefaultRegion, profile.get("region"));
    if options.endpoint().is_none() {
        options.set_if_none(&ConfigKey::Endpoint, profile.get("endpoint_url"));
    }
    if options.has_keys() || options.has_other_source() || options.is_yes(&ConfigKey::SkipSignature)? {
        return Ok(());
    }
    if !profile.contains_key("aws_access_key_id")
        && let Some(way) = profile::UNSUPPORTED.into_iter().find(|way| profile.contains_key(*way))
    {
        return Err(refusal(format!(
            "the AWS profile gets its credentials by '{way}', which is not supported here; \
             'aws configure export-credentials --format env' gives them as variables"
        )));
    }
    options.set_if_none(&ConfigKey::AccessKeyId, profile.get("aws_access_key_id"));
    options.set_if_none(&ConfigKey::SecretAccessKey, profile.get("aws_secret_access_key"));
    options.set_if_none(&ConfigKey::Token, profile.get("aws_session_token"));
    Ok(())
}

/// Refuses an access key id without its secret, or a secret without its id: most often a variable was forgotten.
fn check_keys(options: &S3Settings) -> Result<()> {
    let is_there = |key| options.get(key).is_some();
    let (there, missing) = match (is_there(&ConfigKey::AccessKeyId), is_there(&ConfigKey::SecretAccessKey)) {
        (true, false) => ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        (false, true) => ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        _ => return Ok(()),
    };
    let why = format!("{there} is given without {missing}, which belongs to it");
    Err(Error::new(ErrorKind::Unauthenticated, Operation::Open).because(why))
}

fn check_endpoint(options: &mut S3Settings, bucket: &str) -> Result<()> {
    let Some(endpoint) = options.endpoint() else { return Ok(()) };
    // The message does not repeat the text, because it may contain credentials.
    let bad = || refusal("the endpoint of S3 is a URL such as https://host or https://host:9000");
    let mut url = Url::parse(endpoint).map_err(|_| bad())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(bad());
    }
    if url.scheme() == "http" && !options.is_yes(&ALLOW_HTTP)? {
        return Err(refusal(
            "the endpoint of S3 is plain http, which is not encrypted; AWS_ALLOW_HTTP=true allows it",
        ));
    }
    // `object_store` expects the bucket in the endpoint's host; AWS's tools add it themselves.
    if options.is_yes(&ConfigKey::VirtualHostedStyleRequest)? && !host.starts_with(&format!("{bucket}.")) {
        url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|_| bad())?;
    }
    let text = url.as_str().trim_end_matches('/').to_owned();
    options.set(&ConfigKey::S3Endpoint, text);
    Ok(())
}

/// The clients that do not load the system's certificates, because none of their URLs is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spared {
    store: bool,
    credentials: bool,
}

impl Spared {
    fn of(options: &S3Settings, environment: &Environment) -> Spared {
        if options.get(&NO_SYSTEM_CERTIFICATES).is_some() {
            // The variable applies to all clients.
            return Spared { store: false, credentials: false };
        }
        let is_spared =
            |urls: &[Option<&str>]| needs_no_certificates(urls.iter().flatten().copied(), environment);
        let proxy = options.get(&PROXY);
        // Sessions of directory buckets, and tokens for a role, come from Amazon, and only through https.
        let is_express = options.is_yes(&ConfigKey::S3Express).unwrap_or(false);
        let session = is_express.then_some("https:");
        let role = options.get(&ConfigKey::WebIdentityTokenFile).map(|_| "https:");
        let (container, instance) =
            (options.get(&ConfigKey::ContainerCredentialsFullUri), options.get(&ConfigKey::MetadataEndpoint));
        Spared {
            store: is_spared(&[Some(options.endpoint().unwrap_or("https:")), session, proxy]),
            credentials: is_spared(&[role, container, instance, proxy]),
        }
    }
}

/// Reads `AWS_CA_BUNDLE`: certificates in addition to the system's.
fn certificates(environment: &Environment) -> Result<Vec<reqwest::Certificate>> {
    let Some(path) = environment.get("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(path).map_err(|e| refusal(format!("AWS_CA_BUNDLE cannot be read: {e}")))?;
    reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| refusal("AWS_CA_BUNDLE holds no certificates"))
}

fn connect(
    bucket: &str,
    options: &S3Settings,
    retry: &RetryConfig,
    certificates: &[reqwest::Certificate],
    metadata: bool,
    spared: Spared,
) -> std::result::Result<Client, Failure> {
    let fill = |mut builder: AmazonS3Builder, is_spared: bool| {
        for (name, value) in &options.0 {
            if let Ok(key) = name.parse() {
                builder = builder.with_config(key, value);
            }
        }
        if is_spared {
            builder = builder.with_config(NO_SYSTEM_CERTIFICATES, "true");
        }
        builder.with_bucket_name(bucket)
    };
    let builder = AmazonS3Builder::new().with_client_options(client_options()).with_retry(retry.clone());
    let mut builder = fill(builder, spared.store);
    let is_anonymous = options.is_yes(&ConfigKey::SkipSignature).unwrap_or(false);
    if !is_anonymous && !options.has_keys() {
        let fill = |builder| fill(builder, spared.credentials);
        builder = builder.with_credentials(searched(bucket, options, fill, metadata)?);
    }
    let connections = Connections::with_certificates(certificates.to_vec());
    builder = builder.with_http_connector(connections.clone());
    let unsigned = match signs_all(options) {
        true => None,
        false => Some(Unsigned::beside(&builder, &connections).map_err(|e| refused(e, bucket))?),
    };
    let s3 = Arc::new(builder.build().map_err(|e| refused(e, bucket))?);
    Ok(Client { objects: s3.clone(), unsigned, pages: Some(s3), server: None })
}

/// Returns a provider of credentials that have to be requested: from a token service, or for the role of a container or
/// an instance.
fn searched(
    bucket: &str,
    options: &S3Settings,
    fill: impl Fn(AmazonS3Builder) -> AmazonS3Builder,
    metadata: bool,
) -> std::result::Result<AwsCredentialProvider, Failure> {
    if !metadata && !options.has_other_source() {
        return Err(Failure::new(ErrorKind::Unauthenticated, NONE));
    }
    // Outside of Amazon's machines no server answers, which has to be noticed soon.
    let retry =
        RetryConfig { max_retries: 1, retry_timeout: Duration::from_secs(2), ..RetryConfig::default() };
    let builder = fill(AmazonS3Builder::new().with_client_options(client_options()).with_retry(retry));
    let found = builder
        .with_http_connector(Separate { server: Server::Credentials })
        .build()
        .map_err(|e| refused(e, bucket))?;
    Ok(Arc::new(Searched(found.credentials().clone())))
}

const NONE: &str = "no credentials for S3 were found: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                    nor a profile, nor the role of a container or an instance \
                    (AWS_SKIP_SIGNATURE=true reads anonymously)";

/// A provider that reports in plain words that no credentials were found.
#[derive(Debug)]
struct Searched(AwsCredentialProvider);

impl CredentialProvider for Searched {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> BoxFuture<'b, StoreResult<Arc<AwsCredential>>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            self.0.get_credential().await.map_err(|_| object_store::Error::Generic {
                store: "S3",
                source: Box::new(NoCredentials(NONE.to_owned())),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_payloads_counts_and_amazon_is_not_sent_unsigned_ones_in_plain() {
        let signs = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            signs_all(&from_environment(&all.collect()))
        };
        let at = |endpoint| ("AWS_ENDPOINT_URL", endpoint);
        assert!(!signs(&[]));
        assert!(!signs(&[at("http://127.0.0.1:9000")]));
        assert!(!signs(&[at("https://s3.eu-north-1.amazonaws.com")]));
        assert!(signs(&[at("http://s3.eu-north-1.amazonaws.com")]));
        for (name, value) in [
            ("AWS_UNSIGNED_PAYLOAD", "false"),
            ("AWS_UNSIGNED_PAYLOAD", "true"),
            ("AWS_CHECKSUM_ALGORITHM", "sha256"),
            ("AWS_SKIP_SIGNATURE", "true"),
        ] {
            assert!(signs(&[(name, value)]), "{name}={value}");
        }
    }

    #[test]
    fn certificates_are_spared_where_nothing_is_encrypted() {
        let spared = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let environment: Environment = all.collect();
            let Spared { store, credentials } = Spared::of(&from_environment(&environment), &environment);
            (store, credentials)
        };
        let plain = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
        // The roles of an instance, and of a container by a path, are requested without encryption.
        assert_eq!(spared(&[plain]), (true, true));
        assert_eq!(spared(&[]), (false, true));
        assert_eq!(spared(&[("AWS_ENDPOINT_URL", "https://127.0.0.1:9000")]), (false, true));
        for (name, value) in [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://169.254.170.23/v1"),
            ("AWS_METADATA_ENDPOINT", "https://metadata"),
        ] {
            assert_eq!(spared(&[plain, (name, value)]), (true, false), "{name}");
        }
        let container = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1");
        assert_eq!(spared(&[plain, container]), (true, true));
        assert_eq!(spared(&[plain, ("AWS_S3_EXPRESS", "true")]), (false, true));
        for (name, value) in [
            ("AWS_PROXY_URL", "https://proxy"),
            ("http_proxy", "https://proxy"),
            ("AWS_DISABLE_SYSTEM_CERTIFICATES", "false"),
        ] {
            assert_eq!(spared(&[plain, (name, value)]), (false, false), "{name}");
        }
    }
}
