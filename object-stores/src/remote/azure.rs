//! Connections to Azure Blob Storage, with the builder of `object_store`.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::failure::Failure;
use super::http::{Separate, Server};
use super::kept_names::KeptNames;
use super::options::{ConnectionPlan, Environment, client_options, is_set, refusal, retries, with_unit};
use super::other::{Service, check_endpoint, check_files, client, plan_of, prefixed};
use crate::settings::{Settings, check_settings};
use crate::{ErrorKind, Result};

/// Returns the plan for `az://container`, from the variables `AZURE_…`.
pub(super) fn plan(
    container: &str,
    environment: &Environment,
    settings: &Settings,
) -> Result<ConnectionPlan> {
    check_settings("az", settings, &[])?;
    let Account { options, key_from } = Account::of(environment)?;
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
        let built = builder.with_container_name(&name).build();
        // The library's text for a bad key does not name the setting.
        let is_bad_key = built.as_ref().is_err_and(|e| e.to_string().contains("Invalid Access Key"));
        match is_bad_key {
            true => Err(Failure::new(
                ErrorKind::InvalidArgument,
                format!("the key in {key_from} is not base64; copy the whole key of the storage account"),
            )),
            false => client(built, &name),
        }
    };
    let emulator = is_set(&options, EMULATOR)?.then_some(EMULATOR_ENDPOINT);
    let endpoint = options.get(ENDPOINT).map(String::as_str).or(emulator);
    let plan = plan_of(&AZURE, container, (environment, &options), endpoint, Box::new(connect));
    Ok(ConnectionPlan { at, kept_names: KeptNames::Azure, ..plan })
}

/// Microsoft's service in its clouds (<https://learn.microsoft.com/azure/storage/common/storage-account-overview>, "Storage account
/// endpoints").
const AZURE: Service = Service {
    scheme: "az",
    domains: &[
        "core.windows.net",
        "storage.azure.net",
        "core.usgovcloudapi.net",
        "core.chinacloudapi.cn",
        "fabric.microsoft.com",
    ],
};
/// The endpoint of the emulator, unless another one is named.
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000";

/// The names of the variables that `object_store` reads, and of the variables with which Azure's own tools name the
/// same values.
const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT_NAME";
const ACCOUNT_KEY: &str = "AZURE_STORAGE_ACCOUNT_KEY";
const SAS: &str = "AZURE_STORAGE_SAS_TOKEN";
const ENDPOINT: &str = "AZURE_STORAGE_ENDPOINT";
const EMULATOR: &str = "AZURE_STORAGE_USE_EMULATOR";
const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
/// The names by which `object_store` knows each of these values; the first one is used here.
const ALIASES: [&[&str]; 4] = [
    &[ACCOUNT, "AZURE_STORAGE_ACCOUNT"],
    &[ACCOUNT_KEY, "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"],
    &[SAS, "AZURE_STORAGE_SAS_KEY"],
    &[ENDPOINT, "AZURE_ENDPOINT"],
];

/// A storage account of Azure, and how to access it.
struct Account {
    /// The variables, each value under one name only.
    options: Environment,
    /// The variable that contains the account's key.
    key_from: &'static str,
}

impl Account {
    /// Reads the variables `AZURE_…`. Variables that contradict each other are refused, because they name different
    /// accounts or identities.
    fn of(environment: &Environment) -> Result<Account> {
        let mut options = prefixed(environment, "AZURE_");
        let mut key_from = ACCOUNT_KEY;
        for names in ALIASES {
            let mut found: Option<(&'static str, String)> = None;
            for name in names {
                let Some(value) = options.remove(*name) else { continue };
                match &found {
                    Some((other, given)) if *given != value => return Err(contradiction(other, name)),
                    Some(_) => (),
                    None => found = Some((name, value)),
                }
            }
            if let (Some((name, value)), Some(first)) = (found, names.first()) {
                if *first == ACCOUNT_KEY {
                    key_from = name;
                }
                options.insert((*first).to_owned(), value);
            }
        }
        if let Some(text) = options.remove(CONNECTION_STRING) {
            let values = connection(&text)?;
            if values.contains_key(ACCOUNT_KEY) {
                key_from = CONNECTION_STRING;
            }
            for (name, value) in values {
                match options.get(name) {
                    Some(given) if *given != value => return Err(contradiction(CONNECTION_STRING, name)),
                    _ => options.insert(name.to_owned(), value),
                };
            }
        }
        check_files(environment, &["AZURE_FEDERATED_TOKEN_FILE"])?;
        if !options.contains_key(ACCOUNT) && !is_set(&options, EMULATOR)? {
            return Err(refusal(format!(
                "no storage account is named; set {ACCOUNT} (or AZURE_STORAGE_ACCOUNT, or {CONNECTION_STRING})"
            )));
        }
        if let Some(endpoint) = options.get(ENDPOINT) {
            let name = "AZURE_STORAGE_ENDPOINT or AZURE_STORAGE_CONNECTION_STRING";
            let example = "https://ACCOUNT.blob.core.windows.net";
            check_endpoint(endpoint, (name, example), "AZURE_ALLOW_HTTP", &options)?;
        }
        Ok(Account { options, key_from })
    }
}

fn contradiction(one: &str, other: &str) -> crate::Error {
    refusal(format!("{one} and {other} contradict each other; unset one of these variables"))
}

/// Returns the values of a connection string, by the names of the variables with the same meaning.
fn connection(text: &str) -> Result<std::collections::BTreeMap<&'static str, String>> {
    let bad = |why: &str| refusal(format!("{CONNECTION_STRING} {why}; copy it from the storage account"));
    let mut given = std::collections::BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) =
            part.split_once('=').ok_or_else(|| bad("is a list of NAME=VALUE with semicolons"))?;
        given.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut values = std::collections::BTreeMap::new();
    if given.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        values.insert(EMULATOR, "true".to_owned());
        return Ok(values);
    }
    let account = given.remove("accountname");
    let protocol = given.remove("defaultendpointsprotocol").unwrap_or_else(|| "https".to_owned());
    let suffix = given.remove("endpointsuffix");
    let endpoint = match (given.remove("blobendpoint"), &account, suffix) {
        (Some(endpoint), ..) => Some(endpoint.trim_end_matches('/').to_owned()),
        (None, Some(account), suffix) if suffix.is_some() || protocol != "https" => {
            let suffix = suffix.unwrap_or_else(|| "core.windows.net".to_owned());
            Some(format!("{protocol}://{account}.blob.{suffix}"))
        }
        _ => None,
    };
    // An endpoint of a service names the account, if no other value does.
    let of_endpoint = || {
        let url = url::Url::parse(endpoint.as_deref()?).ok()?;
        url.host_str()?.split_once(".blob.").map(|(account, _)| account.to_owned())
    };
    let account = account.or_else(of_endpoint).ok_or_else(|| bad("has no AccountName"))?;
    values.insert(ACCOUNT, account);
    values.extend(endpoint.map(|endpoint| (ENDPOINT, endpoint)));
    values.extend(given.remove("accountkey").map(|key| (ACCOUNT_KEY, key)));
    values.extend(
        given.remove("sharedaccesssignature").map(|sas| (SAS, sas.trim_start_matches('?').to_owned())),
    );
    if !values.contains_key(ACCOUNT_KEY) && !values.contains_key(SAS) {
        return Err(bad("has neither AccountKey nor SharedAccessSignature"));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::conditions::Conditions;

    fn account(pairs: &[(&str, &str)]) -> Result<Environment> {
        let all = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Account::of(&all.collect()).map(|account| account.options)
    }

    #[test]
    fn the_variables_of_azures_tools_name_the_account() {
        let known = Environment::from([(ACCOUNT.into(), "lab".into()), (ACCOUNT_KEY.into(), "a2V5".into())]);
        let string = "DefaultEndpointsProtocol=https;AccountName=lab;AccountKey=a2V5";
        for variables in [
            &[("AZURE_STORAGE_ACCOUNT", "lab"), ("AZURE_STORAGE_KEY", "a2V5")][..],
            &[("AZURE_STORAGE_ACCOUNT_NAME", "lab"), ("AZURE_STORAGE_ACCESS_KEY", "a2V5")],
            &[("AZURE_STORAGE_ACCOUNT", "lab"), ("AZURE_STORAGE_CONNECTION_STRING", string)],
            &[("AZURE_STORAGE_CONNECTION_STRING", string)],
        ] {
            assert_eq!(account(variables).unwrap(), known, "{variables:?}");
        }
        let text = |text: &str| account(&[(CONNECTION_STRING, text), ("AZURE_ALLOW_HTTP", "true")]).unwrap();
        assert_eq!(text(&format!("{string};EndpointSuffix=e.net"))[ENDPOINT], "https://lab.blob.e.net");
        assert_eq!(text(&format!("{string};BlobEndpoint=http://h:1/lab/;"))[ENDPOINT], "http://h:1/lab");
        let shared =
            text("BlobEndpoint=https://lab.blob.core.windows.net;SharedAccessSignature=?sv=1&sig=a%3D");
        assert_eq!((shared[ACCOUNT].as_str(), shared[SAS].as_str()), ("lab", "sv=1&sig=a%3D"));
        assert_eq!(text("UseDevelopmentStorage=true")[EMULATOR], "true");
    }

    #[test]
    fn azures_variables_that_cannot_be_used_are_named() {
        let string = "AccountName=lab;AccountKey=s3cr3t";
        for (variables, words) in [
            (&[][..], "set AZURE_STORAGE_ACCOUNT_NAME"),
            (&[("AZURE_STORAGE_KEY", "s3cr3t")], "no storage account"),
            (&[("AZURE_STORAGE_ACCOUNT", "a"), (ACCOUNT, "b")], "AZURE_STORAGE_ACCOUNT contradict"),
            (&[("AZURE_STORAGE_ACCOUNT", "a"), (CONNECTION_STRING, string)], "contradict"),
            (&[("AZURE_STORAGE_KEY", "a"), (CONNECTION_STRING, string)], "contradict"),
            (&[(CONNECTION_STRING, "s3cr3t")], "AZURE_STORAGE_CONNECTION_STRING"),
            (&[(CONNECTION_STRING, "AccountKey=s3cr3t")], "no AccountName"),
            (&[(CONNECTION_STRING, "AccountName=lab")], "neither AccountKey"),
            (&[(ACCOUNT, "lab"), (ENDPOINT, "http://h:1")], "AZURE_ALLOW_HTTP=true"),
            (&[(ACCOUNT, "lab"), (ENDPOINT, "h:1")], "AZURE_STORAGE_ENDPOINT"),
            (&[(ACCOUNT, "lab"), ("AZURE_FEDERATED_TOKEN_FILE", "/no/file")], "AZURE_FEDERATED_TOKEN_FILE"),
        ] {
            let error = account(variables).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(words) && !text.contains("s3cr3t"), "{text}");
        }
        for (name, key) in
            [("AZURE_STORAGE_KEY", "s3 cr3t"), (CONNECTION_STRING, "AccountName=lab;AccountKey=s3 cr3t")]
        {
            let mut environment = Environment::from([(name.to_owned(), key.to_owned())]);
            environment.insert(ACCOUNT.into(), "lab".into());
            let plan = plan("lake", &environment, &Settings::new()).unwrap();
            let failure = (plan.connect)().err().unwrap();
            assert!(failure.detail.contains(name) && !failure.detail.contains("cr3t"), "{}", failure.detail);
        }
    }

    #[test]
    fn servers_that_are_not_microsofts_are_probed() {
        for (variables, is_probed) in [
            (&[][..], false),
            (&[(ENDPOINT, "https://lab.blob.core.windows.net")], false),
            (&[(ENDPOINT, "https://LAB.blob.core.usgovcloudapi.net/")], false),
            (&[(ENDPOINT, "https://core.windows.net.example.org")], true),
            (&[(ENDPOINT, "https://notcore.windows.net")], true),
            (&[(ENDPOINT, "https://storage.example.org/lab")], true),
            (&[(EMULATOR, "true")], true),
        ] {
            let mut environment =
                Environment::from([(ACCOUNT.into(), "lab".into()), (ACCOUNT_KEY.into(), "a2V5".into())]);
            environment
                .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            let plan = plan("lake", &environment, &Settings::new()).unwrap();
            assert_eq!(matches!(plan.conditions, Conditions::Probed(_)), is_probed, "{variables:?}");
        }
    }
}
