//! Connections to plain web servers, and the parts that plans for Google's and Azure's stores share.

use std::sync::Arc;

use object_store::client::ClientConfigKey;
use object_store::http::HttpBuilder;
use object_store::list::PaginatedListStore;
use url::Url;

use super::conditions::Conditions;
use super::failure::Failure;
use super::http::{Separate, Server};
use super::kept_names::KeptNames;
use super::options::{
    ConnectionPlan, Environment, client_options, is_set, needs_no_certificates, refusal, refused, retries,
};
use super::probe_file::ProbeFile;
use super::{Client, Connect};
use crate::Result;
use crate::settings::{Settings, check_settings};

pub(super) fn prefixed(environment: &Environment, prefix: &str) -> Environment {
    let ours = environment.iter().filter(|(name, value)| name.starts_with(prefix) && !value.is_empty());
    ours.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn identity(scheme: &str, bucket: &str, options: &Environment) -> Environment {
    let mut identity = options.clone();
    identity.insert("scheme".into(), scheme.into());
    identity.insert("bucket".into(), bucket.into());
    identity
}

/// Makes a client from a built store, which serves both requests for objects and listings.
pub(super) fn client<S: object_store::ObjectStore + PaginatedListStore>(
    built: object_store::Result<S>,
    bucket: &str,
) -> std::result::Result<Client, Failure> {
    let store = Arc::new(built.map_err(|e| refused(e, bucket))?);
    Ok(Client { objects: store.clone(), unsigned: None, pages: Some(store), server: None })
}

/// A service that documents the conditions of its puts.
pub(super) struct Service {
    pub(super) scheme: &'static str,
    /// The ends of the host names of the service.
    pub(super) domains: &'static [&'static str],
}

impl Service {
    fn is_at(&self, endpoint: &str) -> bool {
        let host = Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        let is_in = |host: &str, domain: &str| {
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        host.is_some_and(|host| self.domains.iter().any(|domain| is_in(&host, domain)))
    }

    /// Returns the conditions of a bucket of the service, or at `endpoint`, if the variables name one. A server at an endpoint that is not
    /// the service's own is probed: it may implement the interface without the conditions.
    fn conditions(&self, endpoint: Option<&str>, bucket: &str, environment: &Environment) -> Conditions {
        match endpoint.filter(|endpoint| !self.is_at(endpoint)) {
            Some(endpoint) => {
                let file = ProbeFile::of(environment, endpoint, bucket, true);
                Conditions::remembered(endpoint, bucket, true, file)
            }
            None => Conditions::Documented,
        }
    }
}

/// Returns the plan for a bucket of a service, or for a bucket at `endpoint`. The name of the bucket is unambiguous.
pub(super) fn plan_of(
    service: &Service,
    bucket: &str,
    (environment, options): (&Environment, &Environment),
    endpoint: Option<&str>,
    connect: Box<Connect>,
) -> ConnectionPlan {
    let scheme = service.scheme;
    ConnectionPlan {
        name: format!("{scheme}://{bucket}"),
        bucket: bucket.to_owned(),
        at: String::new(),
        connect,
        conditions: service.conditions(endpoint, bucket, environment),
        kept_names: KeptNames::All,
        by_version: false,
        identity: identity(scheme, bucket, options),
        endpoint: None,
    }
}

/// Refuses an endpoint, which the variable `name` contains, that is no URL, or that is plain http without `allows`.
pub(super) fn check_endpoint(
    endpoint: &str,
    (name, example): (&str, &str),
    allows: &str,
    options: &Environment,
) -> Result<()> {
    let allowed = is_set(options, allows)?;
    match Url::parse(endpoint).ok().as_ref().map(Url::scheme) {
        Some("https") => Ok(()),
        Some("http") if allowed => Ok(()),
        Some("http") => Err(refusal(format!(
            "the endpoint in {name} is plain http, which is not encrypted; {allows}=true allows it"
        ))),
        _ => Err(refusal(format!("{name} is a URL such as {example}"))),
    }
}

/// Refuses variables that name files which cannot be read.
pub(super) fn check_files(environment: &Environment, variables: &[&str]) -> Result<()> {
    for variable in variables {
        if let Some(path) = environment.get(*variable).filter(|path| !path.is_empty())
            && let Err(e) = std::fs::File::open(path)
        {
            return Err(refusal(format!("the file '{path}', which {variable} names, cannot be read: {e}")));
        }
    }
    Ok(())
}

/// Returns the plan for reading from `https://host` and, if `HTTP_ALLOW_HTTP` or `AWS_ALLOW_HTTP` allows it, from
/// `http://host`.
pub(super) fn web(
    scheme: &str,
    host: &str,
    environment: &Environment,
    settings: &Settings,
) -> Result<ConnectionPlan> {
    check_settings(scheme, settings, &[])?;
    let mut client = client_options();
    if scheme == "http" {
        if !is_set(environment, "HTTP_ALLOW_HTTP")? && !is_set(environment, "AWS_ALLOW_HTTP")? {
            return Err(refusal("plain http is not encrypted; HTTP_ALLOW_HTTP=true allows it"));
        }
        let spared = needs_no_certificates(["http:"], environment).to_string();
        client = client
            .with_config(ClientConfigKey::AllowHttp, "true")
            .with_config(ClientConfigKey::NoSystemCertificates, spared);
    }
    let retry = retries(environment)?;
    let url = format!("{scheme}://{host}");
    let (name, bucket) = (url.clone(), host.to_owned());
    let connect = move || {
        let builder = HttpBuilder::new().with_url(&url).with_client_options(client.clone());
        let builder =
            builder.with_retry(retry.clone()).with_http_connector(Separate { server: Server::Store });
        let store = builder.build().map_err(|e| refused(e, &bucket))?;
        Ok(Client { objects: Arc::new(store), unsigned: None, pages: None, server: None })
    };
    Ok(ConnectionPlan {
        name,
        bucket: host.to_owned(),
        at: String::new(),
        connect: Box::new(connect),
        conditions: Conditions::ReadOnly,
        kept_names: KeptNames::All,
        by_version: false,
        identity: identity(scheme, host, &Environment::new()),
        endpoint: None,
    })
}
