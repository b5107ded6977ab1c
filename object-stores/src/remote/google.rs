//! Connections to Google Cloud Storage, with the builder of `object_store`.

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::http::{Separate, Server};
use super::options::{ConnectionPlan, Environment, client_options, refusal, retries, with_unit};
use super::other::{check_files, client, documented, prefixed};
use crate::Result;
use crate::settings::{Settings, check_settings};

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
