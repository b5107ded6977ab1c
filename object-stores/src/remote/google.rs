//! Connections to Google Cloud Storage, with the builder of `object_store`.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};

use super::http::{Separate, Server};
use super::options::{ConnectionPlan, Environment, client_options, is_set, refusal, retries, with_unit};
use super::other::{Service, check_endpoint, check_files, client, plan_of, prefixed};
use crate::Result;
use crate::settings::{Settings, check_settings};

/// Google's service (<https://cloud.google.com/storage/docs/request-endpoints>).
const GOOGLE: Service = Service { scheme: "gs", domains: &["googleapis.com"] };

/// The variables with the path of a service account's file, and the variable with its content.
const ACCOUNT_FILES: [&str; 2] = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"];
const ACCOUNT_KEY: &str = "GOOGLE_SERVICE_ACCOUNT_KEY";
const BASE_URL: &str = "GOOGLE_BASE_URL";
const SKIP_SIGNATURE: &str = "GOOGLE_SKIP_SIGNATURE";

/// Returns the URL of the server, if the variables or the service account's file name one, and the variable with it.
fn base_url(options: &Environment) -> Option<(&'static str, String)> {
    if let Some(url) = options.get(BASE_URL) {
        return Some((BASE_URL, url.clone()));
    }
    let of = |name: &'static str, text: &str| {
        let account: serde_json::Value = serde_json::from_str(text).ok()?;
        Some((name, account.get("gcs_base_url")?.as_str()?.to_owned()))
    };
    let key = options.get(ACCOUNT_KEY).and_then(|text| of(ACCOUNT_KEY, text));
    let file = |name: &'static str| of(name, &std::fs::read_to_string(options.get(name)?).ok()?);
    key.or_else(|| ACCOUNT_FILES.into_iter().find_map(file))
}

/// Returns the plan for `gs://bucket`, from the variables `GOOGLE_…` and `SERVICE_ACCOUNT`.
pub(super) fn plan(bucket: &str, environment: &Environment, settings: &Settings) -> Result<ConnectionPlan> {
    check_settings("gs", settings, &[])?;
    let mut options = prefixed(environment, "GOOGLE_");
    if environment.get("STORAGE_EMULATOR_HOST").is_some_and(|host| !host.is_empty()) {
        return Err(refusal(
            "STORAGE_EMULATOR_HOST is set, but emulators of Google Cloud Storage do not implement the XML interface \
             that 'gs:' uses; unset STORAGE_EMULATOR_HOST, or name a server with this interface in GOOGLE_BASE_URL",
        ));
    }
    let files = [
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SERVICE_ACCOUNT",
    ];
    check_files(environment, &files)?;
    if let Some(path) = environment.get("SERVICE_ACCOUNT").filter(|path| !path.is_empty()) {
        options.entry("GOOGLE_SERVICE_ACCOUNT".into()).or_insert_with(|| path.clone());
    }
    let endpoint = base_url(&options);
    if let Some((name, url)) = &endpoint {
        check_endpoint(url, (name, "https://storage.googleapis.com"), "GOOGLE_ALLOW_HTTP", &options)?;
    }
    let is_anonymous = is_set(&options, SKIP_SIGNATURE)?;
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
        if is_anonymous {
            // The library skips the signature of reads alone, and would request credentials for puts from the metadata server.
            let none = GcpCredential { bearer: String::new() };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(none)));
        }
        client(builder.with_bucket_name(&name).build(), &name)
    };
    let endpoint = endpoint.as_ref().map(|(_, url)| url.as_str());
    let plan = plan_of(&GOOGLE, bucket, (environment, &options), endpoint, Box::new(connect));
    Ok(ConnectionPlan { by_version: true, ..plan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_variables_that_cannot_be_used_are_named() {
        for (name, value) in [
            ("STORAGE_EMULATOR_HOST", "localhost:4443"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/no/file"),
            ("GOOGLE_SERVICE_ACCOUNT", "/no/file"),
            ("SERVICE_ACCOUNT", "/no/file"),
        ] {
            let environment = Environment::from([(name.to_owned(), value.to_owned())]);
            let error = plan("lake", &environment, &Settings::new()).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
            assert!(value != "/no/file" || error.contains("/no/file"), "{error}");
        }
    }
}
