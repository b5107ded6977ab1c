//! Gets credentials for a login in a browser, and renews the login.

use std::io::Write as _;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use object_store::client::{HttpClient, HttpRequestBody};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::answers::{TRIES, issued, json_reason, kind_of, origin, request, said, send, without};
use super::cache::Issued;
use super::{Got, refused};
use crate::ErrorKind;
use crate::remote::failure::NoCredentials;
use crate::remote::sign_on::SignOn;

const BEARER_TOKEN: HeaderName = HeaderName::from_static("x-amz-sso_bearer_token");
/// A token that ends within this time is renewed before it is used.
const RENEW_BEFORE: TimeDelta = TimeDelta::minutes(5);
/// The maximum length of a file with tokens, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Gets the credentials of the role (`GetRoleCredentials` of the IAM Identity Center portal API).
pub(super) async fn of_sign_on(client: &HttpClient, login: &SignOn) -> Got<Issued> {
    let token = valid_token(client, login).await?;
    let why = |kind, why: String| failed(login, kind, &without(why, &token));
    let mut url = url::Url::parse(&format!("{}/federation/credentials", login.portal))
        .map_err(|_| why(ErrorKind::InvalidArgument, "the portal's address is not a URL".to_owned()))?;
    url.query_pairs_mut().append_pair("role_name", &login.role).append_pair("account_id", &login.account);
    let make = || {
        let mut request = request(Method::GET, url.as_str(), HttpRequestBody::empty())?;
        let value = HeaderValue::from_str(&token)
            .map_err(|_| "the token of the login contains characters that no header may".to_owned())?;
        request.headers_mut().insert(BEARER_TOKEN, value);
        Ok(request)
    };
    let portal = origin(&login.portal);
    let (status, text) =
        send(client, TRIES, make).await.map_err(|(kind, e)| why(kind, format!("the portal {portal} {e}")))?;
    if !status.is_success() {
        let (code, message) = json_reason(&text);
        let hint = if status == StatusCode::UNAUTHORIZED { login_hint(login) } else { String::new() };
        let said = said(status, &code, &message);
        return Err(why(kind_of(status, &code), format!("the portal {portal} says {said}{hint}")));
    }
    of_portal(&text).map_err(|e| why(ErrorKind::Io, format!("the answer of the portal {portal} {e}")))
}

/// Returns the credentials in the portal's answer.
fn of_portal(text: &str) -> Result<Issued, String> {
    let document: Value = serde_json::from_str(text).map_err(|_| "is not a JSON document".to_owned())?;
    let found = document.get("roleCredentials").ok_or("contains no roleCredentials")?;
    let get = |name: &str| found.get(name).and_then(Value::as_str).map(str::to_owned);
    let ends = match found.get("expiration") {
        None => None,
        Some(millis) => {
            let time = millis.as_i64().and_then(DateTime::from_timestamp_millis);
            Some(time.ok_or("contains an invalid expiration")?.to_rfc3339())
        }
    };
    issued([get("accessKeyId"), get("secretAccessKey"), get("sessionToken"), ends])
}

/// Returns the token of the login. A token that has ended or ends soon is renewed, if the login permits this.
async fn valid_token(client: &HttpClient, login: &SignOn) -> Got<String> {
    let tokens = Tokens::read(&login.token_file).map_err(|e| no_login(login, &e))?;
    let now = Utc::now();
    if tokens.ends - RENEW_BEFORE > now {
        return Ok(tokens.access);
    }
    let renewed = match (&login.logins, tokens.renewal(now)) {
        (Some(url), Some(renewal)) => {
            renew(client, url, &renewal).await.map(|answer| (tokens.document, answer))
        }
        _ => Err((ErrorKind::Unauthenticated, "the login has ended and cannot be renewed".to_owned())),
    };
    match renewed {
        Ok((document, answer)) => {
            let access = answer.access.clone();
            // The credentials are valid even if the next process has to renew the login again.
            let _login_is_renewed_again = write(&login.token_file, document, answer);
            Ok(access)
        }
        Err(_) if tokens.ends > now => Ok(tokens.access),
        // Another process may have renewed the login meanwhile, after which the old refresh token is not valid.
        Err((kind, why)) => match Tokens::read(&login.token_file) {
            Ok(other) if other.access != tokens.access && other.ends > Utc::now() => Ok(other.access),
            _ if kind == ErrorKind::Unavailable => Err(failed(login, kind, &why)),
            _ => Err(no_login(login, &why)),
        },
    }
}

/// The content of a file with tokens.
struct Tokens {
    document: Map<String, Value>,
    access: String,
    ends: DateTime<Utc>,
}

/// The values that renew a login.
struct Renewal {
    client_id: String,
    client_secret: String,
    refresh_token: String,
}

/// The answer to a renewal.
struct Renewed {
    access: String,
    ends: DateTime<Utc>,
    refresh_token: Option<String>,
}

impl Tokens {
    /// Reads a file with tokens. An error describes the file without quoting it.
    fn read(path: &Path) -> Result<Tokens, String> {
        use std::io::Read as _;
        let named = |why: String| format!("the file {} {why}", path.display());
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|e| named(format!("cannot be read: {e}")))?;
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|e| named(format!("cannot be read: {e}")))?;
        let document: Map<String, Value> =
            serde_json::from_str(&text).map_err(|_| named("is not a JSON document".to_owned()))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let access =
            text("accessToken").ok_or_else(|| named("contains no accessToken".to_owned()))?.to_owned();
        let ends = text("expiresAt")
            .and_then(time)
            .ok_or_else(|| named("contains no expiresAt, or an invalid one".to_owned()))?;
        Ok(Tokens { access, ends, document })
    }

    /// Returns the values that renew the login, if the file has all of them and the registration of the client lasts.
    fn renewal(&self, now: DateTime<Utc>) -> Option<Renewal> {
        let text = |name: &str| self.document.get(name).and_then(Value::as_str).map(str::to_owned);
        let lasts =
            text("registrationExpiresAt").is_none_or(|text| time(&text).is_some_and(|ends| ends > now));
        let [client_id, client_secret, refresh_token] =
            ["clientId", "clientSecret", "refreshToken"].map(text);
        lasts.then_some(())?;
        Some(Renewal { client_id: client_id?, client_secret: client_secret?, refresh_token: refresh_token? })
    }
}

/// Returns a time. Earlier versions of AWS's tools end a time with "UTC" in place of "Z".
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.strip_suffix("UTC").map_or_else(|| text.to_owned(), |time| format!("{time}Z"));
    DateTime::parse_from_rfc3339(&text).ok().map(|time| time.with_timezone(&Utc))
}

/// Renews a login (`CreateToken` of the IAM Identity Center OIDC API).
async fn renew(client: &HttpClient, url: &str, renewal: &Renewal) -> Result<Renewed, (ErrorKind, String)> {
    let Renewal { client_id, client_secret, refresh_token } = renewal;
    let body = json!({
        "clientId": client_id, "clientSecret": client_secret, "grantType": "refresh_token",
        "refreshToken": refresh_token,
    });
    let make = || {
        let mut request = request(Method::POST, &format!("{url}/token"), body.to_string().into())?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    };
    let server = origin(url);
    let hidden = |text: String| without(without(text, refresh_token), client_secret);
    let (status, text) =
        send(client, TRIES, make).await.map_err(|(kind, e)| (kind, format!("the server {server} {e}")))?;
    if !status.is_success() {
        let (code, message) = json_reason(&text);
        let said = hidden(said(status, &code, &message));
        return Err((
            kind_of(status, &code),
            format!("the server {server} says {said}, when the login was renewed"),
        ));
    }
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let token = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let seconds = answer.get("expiresIn").and_then(Value::as_i64).and_then(TimeDelta::try_seconds);
    match (token("accessToken"), seconds.and_then(|time| Utc::now().checked_add_signed(time))) {
        (Some(access), Some(ends)) => Ok(Renewed { access, ends, refresh_token: token("refreshToken") }),
        _ => Err((ErrorKind::Io, format!("the server {server} answered without accessToken or expiresIn"))),
    }
}

/// Replaces the file with tokens. Other values in the file remain.
fn write(path: &Path, mut document: Map<String, Value>, renewed: Renewed) -> std::io::Result<()> {
    let Renewed { access, ends, refresh_token } = renewed;
    document.insert("accessToken".to_owned(), access.into());
    document.insert("expiresAt".to_owned(), ends.to_rfc3339_opts(SecondsFormat::Secs, true).into());
    if let Some(token) = refresh_token {
        document.insert("refreshToken".to_owned(), token.into());
    }
    // Only the user may read this file, as a temporary file, too.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(Value::from(document).to_string().as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn failed(login: &SignOn, kind: ErrorKind, why: &str) -> NoCredentials {
    let SignOn { profile, role, account, .. } = login;
    let text = format!(
        "cannot get the credentials of the role '{role}' in account {account} (the login of the AWS profile '{profile}'): {why}"
    );
    refused(kind, text)
}

/// Returns the error that there is no login, or that it has ended.
fn no_login(login: &SignOn, why: &str) -> NoCredentials {
    failed(login, ErrorKind::Unauthenticated, &format!("{why}{}", login_hint(login)))
}

fn login_hint(login: &SignOn) -> String {
    format!("; run 'aws sso login --profile {}'", login.profile)
}
