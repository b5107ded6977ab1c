//! Configures access to S3: from the variables, files and roles of AWS's tools, and the three variables of H5PyVOL's
//! MinIO example.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::client::{ClientConfigKey, HttpConnector as _};
use url::Url;

use super::amazon_services::{self, Endpoints, Service};
use super::conditions::Conditions;
use super::credentials::{NONE, Provider, TokenService};
use super::failure::Failure;
use super::http::{Connections, without_proxy};
use super::identity::{Identities, Source};
use super::integrity::Unsigned;
use super::kept_names::KeptNames;
use super::options::{
    ConnectionPlan, Environment, client_options, is_yes, needs_no_certificates, refusal, refused, retries,
    with_unit,
};
use super::probe_file::ProbeFile;
use super::profile::{Profile, Profiles};
use super::s3_endpoint::{self, Bucket};
use super::sign_on::SignOn;
use super::{Client, StoreResult};
use crate::settings::{Settings, check_settings};
use crate::{Error, ErrorKind, Operation, Result};

/// The time limit for one request to a server that issues credentials, and for a connection to one that is near.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);
const NEAR_TIMEOUT: Duration = Duration::from_secs(2);
const NEAR_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The names of settings. They take precedence over the environment.
const SETTINGS: [&str; 5] = ["allow-http", "anonymous", "endpoint", "region", "style"];

type ConfigKey = AmazonS3ConfigKey;
type Values = BTreeMap<String, String>;

/// The options for a bucket, by the names that `object_store` uses.
pub(super) struct S3Settings(Values);

impl S3Settings {
    pub(super) fn get(&self, key: &ConfigKey) -> Option<&str> {
        self.0.get(key.as_ref()).map(String::as_str)
    }

    pub(super) fn set(&mut self, key: &ConfigKey, value: impl Into<String>) {
        self.0.insert(key.as_ref().to_owned(), value.into());
    }

    fn set_if_none(&mut self, key: &ConfigKey, value: Option<impl Into<String>>) {
        if let Some(value) = value
            && self.get(key).is_none()
        {
            self.set(key, value);
        }
    }

    pub(super) fn is_yes(&self, key: &ConfigKey) -> Result<bool> {
        is_yes(key.as_ref(), self.get(key).unwrap_or(""))
    }

    pub(super) fn endpoint(&self) -> Option<&str> {
        self.get(&ConfigKey::S3Endpoint).or_else(|| self.get(&ConfigKey::Endpoint))
    }

    fn has_keys(&self) -> bool {
        self.get(&ConfigKey::AccessKeyId).is_some() || self.get(&ConfigKey::SecretAccessKey).is_some()
    }

    /// Returns the keys, if there are any.
    fn keys(&self) -> Option<AwsCredential> {
        Some(AwsCredential {
            key_id: self.get(&ConfigKey::AccessKeyId)?.to_owned(),
            secret_key: self.get(&ConfigKey::SecretAccessKey)?.to_owned(),
            token: self.get(&ConfigKey::Token).map(str::to_owned),
        })
    }

    fn set_keys(&mut self, keys: Option<AwsCredential>) {
        for key in [ConfigKey::AccessKeyId, ConfigKey::SecretAccessKey, ConfigKey::Token] {
            self.0.remove(key.as_ref());
        }
        let Some(AwsCredential { key_id, secret_key, token }) = keys else { return };
        self.set(&ConfigKey::AccessKeyId, key_id);
        self.set(&ConfigKey::SecretAccessKey, secret_key);
        self.set_if_none(&ConfigKey::Token, token);
    }

    pub(super) fn region(&self) -> &str {
        let given = self.get(&ConfigKey::Region).or_else(|| self.get(&ConfigKey::DefaultRegion));
        given.unwrap_or(s3_endpoint::DEFAULT_REGION)
    }
}

pub(super) const ALLOW_HTTP: ConfigKey = ConfigKey::Client(ClientConfigKey::AllowHttp);
const NO_SYSTEM_CERTIFICATES: ConfigKey = ConfigKey::Client(ClientConfigKey::NoSystemCertificates);
const PROXY: ConfigKey = ConfigKey::Client(ClientConfigKey::ProxyUrl);

/// Returns how to connect to the bucket.
pub(super) fn plan(bucket: &str, environment: &Environment, settings: &Settings) -> Result<ConnectionPlan> {
    check_settings("s3", settings, &SETTINGS)?;
    let address = Bucket::parse(bucket)?;
    let mut options = from_environment(environment);
    minio(&mut options, environment);
    from_settings(&mut options, settings)?;
    let profiles = Profiles::load(environment);
    let profile = profiles.chosen()?;
    from_profile(&mut options, &profile)?;
    check_keys(&options)?;
    let has_endpoint = options.endpoint().is_some();
    let variants = s3_endpoint::Variants::of(environment, &profile)?;
    let endpoints = endpoints(environment, &options, &profile, &variants);
    let token_service = token_service(&endpoints, &options);
    s3_endpoint::set(&mut options, &address, &variants)?;
    check_endpoint(&mut options, bucket, &address)?;
    let identities =
        Identities { environment, profiles: &profiles, profile: &profile, endpoints: &endpoints };
    let source = source(&mut options, &identities)?;
    let allows_http = options.is_yes(&ALLOW_HTTP)?;
    for (service, url) in source.iter().flat_map(|source| services_of(source, &token_service)) {
        amazon_services::check(service, url, allows_http)?;
    }
    let retry = retries(environment)?;
    let certificates = certificates(environment)?;
    let mut identity = options.0.clone();
    identity.insert("scheme".into(), "s3".into());
    identity.insert("bucket".into(), bucket.into());
    identity.insert("tries".into(), retry.max_retries.to_string());
    identity.insert("certificates".into(), environment.get("AWS_CA_BUNDLE").cloned().unwrap_or_default());
    identity.insert("source".into(), source.as_ref().map_or_else(String::new, Source::distinct));
    identity.insert("token service".into(), token_service.url.clone());
    let name = bucket.to_owned();
    let at = options.endpoint().filter(|_| has_endpoint).unwrap_or_default().to_owned();
    // Amazon documents the conditions of S3; other servers with its protocol are probed.
    let conditions = match is_amazon(&options) {
        true => Conditions::Documented,
        false => {
            let signs_all = signs_all(&options);
            let file = ProbeFile::of(environment, &at, bucket, signs_all);
            Conditions::remembered(&at, bucket, signs_all, file)
        }
    };
    let endpoint = options.endpoint().filter(|_| !is_amazon(&options)).and_then(origin);
    let source = source.map(Arc::new);
    let no_certificates = NoCertificates::of(&options, source.as_deref(), &token_service, environment);
    let connect = move || {
        let provider = || {
            let source = source.clone().ok_or_else(|| Failure::new(ErrorKind::Unauthenticated, NONE))?;
            let made = provider(source, &options, &token_service, &certificates, no_certificates);
            made.map_err(|e| refused(e, &name))
        };
        connect(&name, &options, &retry, &certificates, provider, no_certificates.store)
    };
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
    options.endpoint().is_none_or(s3_endpoint::is_amazons)
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

/// Adds the settings of the chosen profile that no other source gives, except its identity.
fn from_profile(options: &mut S3Settings, profile: &Profile) -> Result<()> {
    options.set_if_none(&ConfigKey::DefaultRegion, profile.get("region"));
    if options.endpoint().is_none() {
        options.set_if_none(&ConfigKey::Endpoint, profile.get("endpoint_url"));
    }
    match profile.get("addressing_style").map(String::as_str) {
        None | Some("auto") => (),
        Some("virtual") => options.set_if_none(&ConfigKey::VirtualHostedStyleRequest, Some("true")),
        Some("path") => options.set_if_none(&ConfigKey::VirtualHostedStyleRequest, Some("false")),
        Some(_) => {
            return Err(refusal("the AWS profile's 'addressing_style' is 'auto', 'path' or 'virtual'"));
        }
    }
    Ok(())
}

/// Returns the source of credentials, if the options do not contain keys afterwards.
fn source(options: &mut S3Settings, identities: &Identities<'_>) -> Result<Option<Source>> {
    if options.is_yes(&ConfigKey::SkipSignature)? {
        return Ok(None);
    }
    Ok(match identities.source(options.keys())? {
        Some(Source::Keys(keys)) => {
            options.set_keys(Some(keys));
            None
        }
        source => {
            options.set_keys(None);
            source
        }
    })
}

/// Returns the settings that choose the endpoints of Amazon's services that issue credentials.
fn endpoints<'a>(
    environment: &'a Environment,
    options: &S3Settings,
    profile: &'a Profile,
    variants: &'a s3_endpoint::Variants,
) -> Endpoints<'a> {
    let of_all = options.get(&ConfigKey::Endpoint).map(str::to_owned);
    Endpoints { environment, profile, variants, of_all }
}

/// Returns the endpoint of AWS's token service.
fn token_service(endpoints: &Endpoints<'_>, options: &S3Settings) -> TokenService {
    let region = options.region();
    TokenService { url: endpoints.url(Service::Roles, region), region: region.to_owned() }
}

/// Returns the services of Amazon's that a source needs, with their URLs.
fn services_of<'a>(
    source: &'a Source,
    token_service: &'a TokenService,
) -> impl Iterator<Item = (Service, &'a str)> {
    let sts = source.needs_sts().then_some((Service::Roles, token_service.url.as_str()));
    sts.into_iter().chain(source.sign_on().into_iter().flat_map(SignOn::services))
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

fn check_endpoint(options: &mut S3Settings, bucket: &str, address: &Bucket) -> Result<()> {
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
    let is_virtual = options.is_yes(&ConfigKey::VirtualHostedStyleRequest)?;
    if let Bucket::AccessPoint(point) = address {
        let named = format!("{}.", point.label());
        if !host.starts_with(&named) {
            url.set_host(Some(&format!("{named}{host}"))).map_err(|_| bad())?;
        }
    } else if is_virtual && !host.starts_with(&format!("{bucket}.")) {
        url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|_| bad())?;
    }
    let text = url.as_str().trim_end_matches('/').to_owned();
    options.set(&ConfigKey::S3Endpoint, text);
    Ok(())
}

/// True for the clients that do not load the system's certificates, because none of their URLs is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoCertificates {
    store: bool,
    services: bool,
    near: bool,
}

impl NoCertificates {
    fn of(
        options: &S3Settings,
        source: Option<&Source>,
        token_service: &TokenService,
        environment: &Environment,
    ) -> NoCertificates {
        if options.get(&NO_SYSTEM_CERTIFICATES).is_some() {
            // The variable applies to all clients.
            return NoCertificates { store: false, services: false, near: false };
        }
        let needs_none = |url: &str| {
            let urls = [Some(url), options.get(&PROXY)];
            needs_no_certificates(urls.into_iter().flatten(), environment)
        };
        let near = source.and_then(Source::local_url);
        NoCertificates {
            store: needs_none(options.endpoint().unwrap_or("https:")),
            services: source
                .is_none_or(|source| services_of(source, token_service).all(|(_, url)| needs_none(url))),
            // No proxy is on the way.
            near: near.is_none_or(|url| needs_no_certificates([url], &Environment::new())),
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
    provider: impl FnOnce() -> std::result::Result<AwsCredentialProvider, Failure>,
    no_certificates: bool,
) -> std::result::Result<Client, Failure> {
    let mut builder = AmazonS3Builder::new().with_client_options(client_options()).with_retry(retry.clone());
    for (name, value) in &options.0 {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    if no_certificates {
        builder = builder.with_config(NO_SYSTEM_CERTIFICATES, "true");
    }
    builder = builder.with_bucket_name(bucket);
    let is_anonymous = options.is_yes(&ConfigKey::SkipSignature).unwrap_or(false);
    if !is_anonymous && !options.has_keys() {
        builder = builder.with_credentials(provider()?);
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

/// Returns a provider of the credentials of `source`, with clients of the servers that it needs.
fn provider(
    source: Arc<Source>,
    options: &S3Settings,
    token_service: &TokenService,
    certificates: &[reqwest::Certificate],
    no_certificates: NoCertificates,
) -> StoreResult<AwsCredentialProvider> {
    let with_variables = |mut client: ClientOptions, has_none: bool| {
        for (name, value) in &options.0 {
            if let Ok(ConfigKey::Client(key)) = name.parse() {
                client = client.with_config(key, value);
            }
        }
        if has_none {
            client = client.with_config(ClientConfigKey::NoSystemCertificates, "true");
        }
        client
    };
    let services = match services_of(&source, token_service).next() {
        Some(_) => {
            let client = client_options().with_timeout(CREDENTIALS_TIMEOUT);
            let client = with_variables(client, no_certificates.services);
            Some(Connections::for_credentials(certificates.to_vec()).connect(&client)?)
        }
        None => None,
    };
    let local = match source.local_url() {
        Some(_) => {
            let client =
                client_options().with_timeout(NEAR_TIMEOUT).with_connect_timeout(NEAR_CONNECT_TIMEOUT);
            let client = with_variables(client, no_certificates.near).with_allow_http(true);
            Some(without_proxy(&client, certificates)?)
        }
        None => None,
    };
    let sts = token_service.clone();
    Ok(Arc::new(Provider { source, sts, services, local, cached: Default::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_settings_apply_and_amazon_gets_no_unsigned_plain_payloads() {
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
    fn certificates_are_not_loaded_where_nothing_is_encrypted() {
        let needs_none = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let environment: Environment = all.collect();
            let mut options = from_environment(&environment);
            let profiles = Profiles::load(&environment);
            let profile = Profile::new();
            let variants = s3_endpoint::Variants::of(&environment, &profile).unwrap();
            let endpoints = endpoints(&environment, &options, &profile, &variants);
            let sts = token_service(&endpoints, &options);
            let identities = Identities {
                environment: &environment,
                profiles: &profiles,
                profile: &profile,
                endpoints: &endpoints,
            };
            let source = source(&mut options, &identities).unwrap();
            let found = NoCertificates::of(&options, source.as_ref(), &sts, &environment);
            (found.store, found.services, found.near)
        };
        let plain = ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000");
        // The roles of an instance, and of a container by a path, are requested without encryption.
        assert_eq!(needs_none(&[plain]), (true, true, true));
        assert_eq!(needs_none(&[]), (false, true, true));
        assert_eq!(needs_none(&[("AWS_ENDPOINT_URL", "https://127.0.0.1:9000")]), (false, true, true));
        let role = [("AWS_ROLE_ARN", "arn:1"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
        assert_eq!(needs_none(&[plain, role[0], role[1]]), (true, false, true));
        // The endpoint of all services is that of the token service, too.
        let all = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
        assert_eq!(needs_none(&[all, role[0], role[1]]), (true, true, true));
        for (name, value) in [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://169.254.170.23/v1"),
            ("AWS_METADATA_ENDPOINT", "https://metadata"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://metadata"),
        ] {
            assert_eq!(needs_none(&[plain, (name, value)]), (true, true, false), "{name}");
        }
        let container = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1");
        assert_eq!(needs_none(&[plain, container]), (true, true, true));
        for (name, value) in [("AWS_PROXY_URL", "https://proxy"), ("http_proxy", "https://proxy")] {
            let proxied = [all, role[0], role[1], (name, value)];
            assert_eq!(needs_none(&proxied), (false, false, true), "{name}");
        }
        assert_eq!(needs_none(&[plain, ("AWS_DISABLE_SYSTEM_CERTIFICATES", "false")]), (false, false, false));
    }
}
