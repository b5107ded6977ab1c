//! Connections to Google's and Azure's stores and to plain web servers, with the builders of `object_store`.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::list::PaginatedListStore;

use super::conditions::Conditions;
use super::failure::Failure;
use super::http::{Separate, Server};
use super::kept_names::KeptNames;
use super::options::{
    ConnectionPlan, Environment, client_options, is_yes, needs_no_certificates, refusal, refused, retries,
    with_unit,
};
use super::{Client, Connect};
use crate::Result;
use crate::settings::{Settings, check_settings};

fn prefixed(environment: &Environment, prefix: &str) -> Environment {
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
fn client<S: object_store::ObjectStore + PaginatedListStore>(
    built: object_store::Result<S>,
    bucket: &str,
) -> std::result::Result<Client, Failure> {
    let store = Arc::new(built.map_err(|e| refused(e, bucket))?);
    Ok(Client { objects: store.clone(), unsigned: None, pages: Some(store), server: None })
}

/// Returns the plan for a bucket of a service that documents its conditions and has an unambiguous name.
fn documented(scheme: &str, bucket: &str, options: &Environment, connect: Box<Connect>) -> ConnectionPlan {
    ConnectionPlan {
        name: format!("{scheme}://{bucket}"),
        bucket: bucket.to_owned(),
        at: String::new(),
        connect,
        conditions: Conditions::Documented,
        kept_names: KeptNames::All,
        by_version: false,
        identity: identity(scheme, bucket, options),
        endpoint: None,
    }
}

/// Returns the plan for `gs://bucket`, from the variables `GOOGLE_…` and `SERVICE_ACCOUNT`.
pub(super) fn google(bucket: &str, environment: &Environment, settings: &Settings) -> Result<ConnectionPlan> {
    check_settings("gs", settings, &[])?;
    let mut options = prefixed(environment, "GOOGLE_");
    if let Some(path) = environment.get("SERVICE_ACCOUNT") {
        options.entry("GOOGLE_SERVICE_ACCOUNT".into()).or_insert_with(|| path.clone());
    }
    let (retry, name, given) = (retries(environment)?, bucket.to_owned(), options.clone());
    let connect = move || {
        let builder = GoogleCloudStorageBuilder::new()
            .with_client_options(client_options())
            .with_http_connector(Separate { server: Server::Store });
        let mut builder = builder.with_retry(retry.clone());
        for (variable, value) in &given {
            match variable.to_ascii_lowercase().parse() {
                Ok(GoogleConfigKey::Bucket) | Err(_) => (),
                Ok(key) => builder = builder.with_config(key, with_unit(variable, value)),
            }
        }
        client(builder.with_bucket_name(&name).build(), &name)
    };
    Ok(ConnectionPlan { by_version: true, ..documented("gs", bucket, &options, Box::new(connect)) })
}

/// Returns the plan for `az://container`, from the variables `AZURE_…`.
pub(super) fn azure(
    container: &str,
    environment: &Environment,
    settings: &Settings,
) -> Result<ConnectionPlan> {
    check_settings("az", settings, &[])?;
    let options = prefixed(environment, "AZURE_");
    let where_it_is = |name: &&String| name.contains("ACCOUNT_NAME") || name.contains("ENDPOINT");
    let at =
        options.keys().filter(where_it_is).map(|name| options[name].as_str()).collect::<Vec<_>>().join(" ");
    let (retry, name, given) = (retries(environment)?, container.to_owned(), options.clone());
    let connect = move || {
        let builder = MicrosoftAzureBuilder::new()
            .with_client_options(client_options())
            .with_http_connector(Separate { server: Server::Store });
        let mut builder = builder.with_retry(retry.clone());
        for (variable, value) in &given {
            match variable.to_ascii_lowercase().parse() {
                Ok(AzureConfigKey::ContainerName) | Err(_) => (),
                Ok(key) => builder = builder.with_config(key, with_unit(variable, value)),
            }
        }
        client(builder.with_container_name(&name).build(), &name)
    };
    let plan = documented("az", container, &options, Box::new(connect));
    Ok(ConnectionPlan { at, kept_names: KeptNames::Azure, ..plan })
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
        let allows = |name| is_yes(name, environment.get(name).map_or("", String::as_str));
        if !allows("HTTP_ALLOW_HTTP")? && !allows("AWS_ALLOW_HTTP")? {
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
