//! Authentication: Swift's own (v1) and Keystone's (v3), from the variables that OpenStack's tools use.
//!
//! <https://docs.openstack.org/swift/latest/overview_auth.html>,
//! <https://docs.openstack.org/api-ref/identity/v3/#password-authentication-with-scoped-authorization>

use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use url::Url;

use super::super::options::{Environment, refusal};
use super::refusal::{Refusal, What};
use crate::{Error, ErrorKind, Operation, Result};

/// The credentials for a token.
#[derive(Clone)]
pub(super) enum Credentials {
    /// Swift's own authentication: a user, a key, and the URL that returns a token and an account's URL.
    Own { url: Url, user: String, key: String },
    /// Keystone: the URL that returns tokens, the request's body, and the choice among the account's URLs.
    Keystone { url: Url, said: Value, endpoint: Endpoint },
}

/// The choice of an object store in Keystone's catalog.
#[derive(Clone)]
pub(super) struct Endpoint {
    region: Option<String>,
    interface: String,
    /// The URL that the environment names: the catalog is not used then.
    storage: Option<Url>,
}

/// A token, and the account's URL.
pub(super) struct Session {
    pub(super) token: HeaderValue,
    pub(super) account: Url,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("account", &self.account.as_str()).finish_non_exhaustive()
    }
}

struct Variables<'a>(&'a Environment);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &str, beside: &str) -> Result<String> {
        self.get(name).map(str::to_owned).ok_or_else(|| {
            let why = format!("{beside} is given without {name}, which belongs to it");
            Error::new(ErrorKind::Unauthenticated, Operation::Open).because(why)
        })
    }

    fn url(&self, name: &str) -> Result<Option<Url>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // The message does not repeat the text, because it may contain credentials.
        let bad = || refusal(format!("{name} is a URL such as https://HOST:5000/v3, without a user"));
        let url = Url::parse(text).map_err(|_| bad())?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
            Ok(Some(url))
        } else {
            Err(bad())
        }
    }
}

const NONE: &str = "no credentials for Swift were found: neither ST_AUTH, ST_USER and ST_KEY, nor OS_AUTH_URL with a \
                    password (OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME) or an application credential \
                    (OS_APPLICATION_CREDENTIAL_ID, OS_APPLICATION_CREDENTIAL_SECRET)";

impl Credentials {
    /// Returns the credentials that an environment names: Swift's own variables take precedence over Keystone's.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if the environment has no credentials, or only a part of them;
    /// [`ErrorKind::InvalidArgument`] for a bad URL or another version of Keystone.
    pub(super) fn of(environment: &Environment) -> Result<Credentials> {
        let given = Variables(environment);
        if let Some(url) = given.url("ST_AUTH")? {
            let (user, key) = (given.required("ST_USER", "ST_AUTH")?, given.required("ST_KEY", "ST_AUTH")?);
            return Ok(Credentials::Own { url, user, key });
        }
        let Some(url) = given.url("OS_AUTH_URL")? else {
            return Err(Error::new(ErrorKind::Unauthenticated, Operation::Open).because(NONE));
        };
        if given.get("OS_IDENTITY_API_VERSION").is_some_and(|version| !version.starts_with('3')) {
            return Err(refusal("OS_IDENTITY_API_VERSION names another version of Keystone than 3"));
        }
        let endpoint = Endpoint {
            region: given.get("OS_REGION_NAME").map(str::to_owned),
            interface: given.get("OS_INTERFACE").unwrap_or("public").trim_end_matches("URL").to_owned(),
            storage: given.url("OS_STORAGE_URL")?,
        };
        Ok(Credentials::Keystone { url: tokens(url), said: said_to_keystone(&given)?, endpoint })
    }

    /// Returns the URL that tokens are requested from.
    pub(super) fn url(&self) -> &Url {
        match self {
            Credentials::Own { url, .. } | Credentials::Keystone { url, .. } => url,
        }
    }

    /// Returns whether any request would use a connection that is not encrypted.
    pub(super) fn is_plain(&self) -> bool {
        let storage = match self {
            Credentials::Keystone { endpoint, .. } => endpoint.storage.as_ref(),
            Credentials::Own { .. } => None,
        };
        self.url().scheme() == "http" || storage.is_some_and(|url| url.scheme() == "http")
    }

    /// Returns the request for a token.
    pub(super) fn request(&self) -> Option<HttpRequest> {
        let body = match self {
            Credentials::Own { .. } => HttpRequestBody::empty(),
            Credentials::Keystone { said, .. } => HttpRequestBody::from(said.to_string()),
        };
        let mut request = HttpRequest::new(body);
        *request.uri_mut() = self.url().as_str().parse().ok()?;
        let headers = request.headers_mut();
        match self {
            Credentials::Own { user, key, .. } => {
                for (name, value) in [("x-auth-user", user), ("x-auth-key", key)] {
                    headers.insert(HeaderName::from_static(name), secret(value)?);
                }
            }
            Credentials::Keystone { .. } => {
                headers.insert("content-type", HeaderValue::from_static("application/json"));
                *request.method_mut() = Method::POST;
            }
        }
        Some(request)
    }

    /// Returns the session in a successful answer.
    ///
    /// # Errors
    /// [`Refusal`] if the answer contains no token, or no usable account URL.
    pub(super) fn session(
        &self,
        answer: &HttpResponse,
        body: &[u8],
    ) -> std::result::Result<Session, Refusal> {
        let none = |what: &str| Refusal::new(What::Token, self.url(), answer, what);
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let (token, account) = match self {
            Credentials::Own { .. } => (
                header("x-auth-token").or_else(|| header("x-storage-token")),
                header("x-storage-url").and_then(|url| Url::parse(url).ok()),
            ),
            Credentials::Keystone { endpoint, .. } => (header("x-subject-token"), endpoint.find(body)),
        };
        let token = token.and_then(secret).ok_or_else(|| none("the answer names no token"))?;
        let account = account.ok_or_else(|| {
            none("the answer names no object store; OS_REGION_NAME and OS_INTERFACE choose one, OS_STORAGE_URL names one")
        })?;
        // A token must not be sent over an unencrypted connection unless the user has allowed that.
        if account.scheme() == "http" && self.url().scheme() == "https" && !self.is_plain() {
            return Err(none("the account's URL is plain http, though the token came by https"));
        }
        Ok(Session { token, account })
    }
}

/// Returns a header's value that is hidden wherever headers are shown.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the URL of Keystone's tokens, from a URL of Keystone with or without its version.
fn tokens(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/auth/tokens").unwrap_or(path);
    let path =
        if path.ends_with("/v3") { format!("{path}/auth/tokens") } else { format!("{path}/v3/auth/tokens") };
    url.set_path(&path);
    url
}

/// Returns a domain, by id or name; the id of Keystone's first domain is `default`.
fn domain(given: &Variables<'_>, kind: &str) -> Value {
    let of = |suffix: &str| {
        given
            .get(&format!("OS_{kind}_DOMAIN_{suffix}"))
            .or_else(|| given.get(&format!("OS_DEFAULT_DOMAIN_{suffix}")))
    };
    match (of("ID"), of("NAME")) {
        (Some(id), _) => json!({ "id": id }),
        (None, Some(name)) => json!({ "name": name }),
        (None, None) => json!({ "id": "default" }),
    }
}

fn said_to_keystone(given: &Variables<'_>) -> Result<Value> {
    let user = |given: &Variables<'_>| match given.get("OS_USER_ID") {
        Some(id) => Some(json!({ "id": id })),
        None => given.get("OS_USERNAME").map(|name| json!({ "name": name, "domain": domain(given, "USER") })),
    };
    let (id, name) = (given.get("OS_APPLICATION_CREDENTIAL_ID"), given.get("OS_APPLICATION_CREDENTIAL_NAME"));
    if id.is_some() || name.is_some() {
        let secret =
            given.required("OS_APPLICATION_CREDENTIAL_SECRET", "an application credential of Keystone")?;
        let mut credential = json!({ "secret": secret });
        match (id, name) {
            (Some(id), _) => credential["id"] = json!(id),
            (None, name) => {
                let user = user(given);
                given.required(
                    if user.is_some() { "OS_APPLICATION_CREDENTIAL_NAME" } else { "OS_USERNAME" },
                    "OS_APPLICATION_CREDENTIAL_NAME",
                )?;
                credential["name"] = json!(name);
                credential["user"] = json!(user);
            }
        }
        let identity = json!({ "methods": ["application_credential"], "application_credential": credential });
        return Ok(json!({ "auth": { "identity": identity } }));
    }
    let Some(mut user) = user(given) else {
        return Err(Error::new(ErrorKind::Unauthenticated, Operation::Open).because(NONE));
    };
    user["password"] = json!(given.required("OS_PASSWORD", "a user of Keystone")?);
    let identity = json!({ "methods": ["password"], "password": { "user": user } });
    let mut auth = json!({ "identity": identity });
    let project = |suffix| {
        given.get(&format!("OS_PROJECT_{suffix}")).or_else(|| given.get(&format!("OS_TENANT_{suffix}")))
    };
    if let Some(id) = project("ID") {
        auth["scope"] = json!({ "project": { "id": id } });
    } else if let Some(name) = project("NAME") {
        auth["scope"] = json!({ "project": { "name": name, "domain": domain(given, "PROJECT") } });
    }
    Ok(json!({ "auth": auth }))
}

impl Endpoint {
    /// Returns the account's URL in Keystone's answer.
    fn find(&self, body: &[u8]) -> Option<Url> {
        if let Some(storage) = &self.storage {
            return Some(storage.clone());
        }
        let answer: Value = serde_json::from_slice(body).ok()?;
        let services = answer["token"]["catalog"].as_array()?.iter();
        let mut endpoints = services
            .filter(|service| service["type"] == "object-store")
            .flat_map(|service| service["endpoints"].as_array().into_iter().flatten());
        let found = endpoints.find(|endpoint| {
            let is_there =
                |region: &String| endpoint["region_id"] == **region || endpoint["region"] == **region;
            endpoint["interface"] == *self.interface && self.region.as_ref().is_none_or(is_there)
        })?;
        Url::parse(found["url"].as_str()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpResponseBody;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn said(pairs: &[(&str, &str)]) -> Value {
        match Credentials::of(&environment(pairs)).unwrap() {
            Credentials::Keystone { said, .. } => said["auth"].clone(),
            Credentials::Own { .. } => panic!("Swift's own"),
        }
    }

    #[test]
    fn keystone_gets_the_openstack_variables() {
        let url = ("OS_AUTH_URL", "https://k:5000/v3");
        let password = said(&[
            url,
            ("OS_USERNAME", "ann"),
            ("OS_PASSWORD", "pw"),
            ("OS_PROJECT_NAME", "p"),
            ("OS_PROJECT_DOMAIN_NAME", "d"),
            ("OS_USER_DOMAIN_ID", "u"),
        ]);
        let user = json!({ "name": "ann", "domain": { "id": "u" }, "password": "pw" });
        assert_eq!(password["identity"], json!({ "methods": ["password"], "password": { "user": user } }));
        assert_eq!(password["scope"], json!({ "project": { "name": "p", "domain": { "name": "d" } } }));
        let credential =
            said(&[url, ("OS_APPLICATION_CREDENTIAL_ID", "i"), ("OS_APPLICATION_CREDENTIAL_SECRET", "s")]);
        assert_eq!(credential["identity"]["application_credential"], json!({ "id": "i", "secret": "s" }));
        assert!(credential.get("scope").is_none(), "an application credential has its own");
    }

    #[test]
    fn missing_variables_are_named_without_secrets() {
        for (pairs, named) in [
            (&[][..], "ST_AUTH"),
            (&[("ST_AUTH", "https://h/auth/v1.0"), ("ST_USER", "u")], "ST_KEY"),
            (&[("OS_AUTH_URL", "https://k"), ("OS_USERNAME", "u")], "OS_PASSWORD"),
            (&[("OS_AUTH_URL", "https://ann:s3cr3t@k")], "OS_AUTH_URL"),
            (
                &[("OS_AUTH_URL", "https://k"), ("OS_APPLICATION_CREDENTIAL_ID", "i")],
                "OS_APPLICATION_CREDENTIAL_SECRET",
            ),
            (&[("OS_AUTH_URL", "https://k"), ("OS_IDENTITY_API_VERSION", "2.0")], "OS_IDENTITY_API_VERSION"),
        ] {
            let error = Credentials::of(&environment(pairs)).map(drop).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn tokens_are_requested_below_the_version() {
        for url in ["https://k:5000", "https://k:5000/v3/", "https://k:5000/v3/auth/tokens"] {
            assert_eq!(tokens(Url::parse(url).unwrap()).as_str(), "https://k:5000/v3/auth/tokens");
        }
        let behind = tokens(Url::parse("https://k/identity").unwrap());
        assert_eq!(behind.as_str(), "https://k/identity/v3/auth/tokens");
    }

    #[test]
    fn the_catalog_names_the_account() {
        let of = |interface: &str, region: &str, url: &str| json!({ "interface": interface, "region_id": region, "region": region, "url": url });
        let endpoints = [
            of("internal", "a", "https://i/v1/A"),
            of("public", "a", "https://a/v1/A"),
            of("public", "b", "https://b/v1/B"),
        ];
        let body = json!({ "token": { "catalog": [
            { "type": "compute", "endpoints": [of("public", "a", "https://no")] },
            { "type": "object-store", "endpoints": endpoints },
        ] } });
        let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
        answer.headers_mut().insert("x-subject-token", HeaderValue::from_static("tok"));
        let account = |more: &[(&str, &str)]| {
            let base = [("OS_AUTH_URL", "https://k"), ("OS_USERNAME", "u"), ("OS_PASSWORD", "p")];
            let credentials = Credentials::of(&environment(&[&base[..], more].concat())).unwrap();
            credentials
                .session(&answer, body.to_string().as_bytes())
                .map(|session| session.account.to_string())
        };
        assert_eq!(account(&[]).unwrap(), "https://a/v1/A");
        assert_eq!(account(&[("OS_REGION_NAME", "b")]).unwrap(), "https://b/v1/B");
        assert_eq!(account(&[("OS_INTERFACE", "internal")]).unwrap(), "https://i/v1/A");
        assert_eq!(account(&[("OS_STORAGE_URL", "https://s/v1/S")]).unwrap(), "https://s/v1/S");
        assert!(account(&[("OS_REGION_NAME", "c")]).unwrap_err().to_string().contains("OS_REGION_NAME"));
    }
}
