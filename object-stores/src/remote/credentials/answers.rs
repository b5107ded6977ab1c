//! Sends requests for credentials, and reads the answers of the servers.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use object_store::aws::AwsCredential;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::cache::Issued;
use crate::ErrorKind;
use crate::remote::failure::{one_line, root_text};
use crate::remote::identity::Role;

/// The number of tries of a request, and the pause before the first retry.
pub(super) const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// The maximum length of a server's reason in messages, in characters.
const MAX_REASON: usize = 1000;

/// Returns a server's text without a secret, which the server might have repeated.
pub(super) fn without(text: String, secret: &str) -> String {
    if secret.is_empty() { text } else { text.replace(secret, "…") }
}

/// Returns the form of a request to AWS's token service.
pub(super) fn form(action: &str, role: &Role, more: &[(&str, Option<&str>)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action)
        .append_pair("Version", "2011-06-15")
        .append_pair("RoleArn", &role.arn)
        .append_pair("RoleSessionName", &role.session_name)
        .append_pair("DurationSeconds", &role.duration.as_secs().to_string());
    for (name, value) in more {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    form.finish()
}

pub(super) fn request(method: Method, url: &str, body: HttpRequestBody) -> Result<HttpRequest, String> {
    let mut request = HttpRequest::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|_| "has an address that is not a URL".to_owned())?;
    Ok(request)
}

/// Sends a request, and retries it if the server cannot be reached or asks for it. Returns the last answer.
pub(super) async fn send(
    client: &HttpClient,
    tries: u32,
    make: impl Fn() -> Result<HttpRequest, String>,
) -> Result<(StatusCode, String), (ErrorKind, String)> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let answer = send_once(client, make().map_err(|e| (ErrorKind::InvalidArgument, e))?).await;
        let again = match &answer {
            Ok((status, _)) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Err(_) => true,
        };
        if !again || attempt >= tries {
            return answer.map_err(|e| match e.kind() {
                HttpErrorKind::Connect => {
                    (ErrorKind::Unavailable, format!("cannot be reached: {}", root_text(&e)))
                }
                HttpErrorKind::Timeout => (ErrorKind::Unavailable, "did not answer in time".to_owned()),
                _ => (ErrorKind::Unavailable, format!("answered incompletely: {}", root_text(&e))),
            });
        }
        tokio::time::sleep(PAUSE * attempt).await;
    }
}

async fn send_once(client: &HttpClient, request: HttpRequest) -> Result<(StatusCode, String), HttpError> {
    let response = client.execute(request).await?;
    let status = response.status();
    let bytes = response.into_body().bytes().await?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

pub(super) fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// Returns the server's code and message, as the server worded them, or the HTTP status.
pub(super) fn said(status: StatusCode, code: &str, message: &str) -> String {
    let both = match (code.is_empty(), message.is_empty()) {
        (false, false) => format!("{code}: {message}"),
        (false, true) => code.to_owned(),
        (true, false) => format!("{message} (HTTP status {})", status.as_u16()),
        (true, true) => format!("HTTP status {}", status.as_u16()),
    };
    one_line(&both, MAX_REASON)
}

/// Returns the code and the message of an error document of ECS, EKS, the metadata service or IAM Identity Center; a plain
/// text is a message.
pub(super) fn json_reason(text: &str) -> (String, String) {
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        let is_page = text.trim_start().starts_with('<');
        return (String::new(), if is_page { String::new() } else { text.trim().to_owned() });
    };
    let get = |names: &[&str]| {
        names.iter().find_map(|name| document.get(*name)?.as_str()).unwrap_or_default().to_owned()
    };
    // The type of an error has the name of its interface before it.
    let code = get(&["code", "Code", "error", "__type"]);
    let code = code.rsplit_once('#').map_or(code.as_str(), |(_, code)| code).to_owned();
    (code, get(&["message", "Message", "error_description"]))
}

pub(super) fn kind_of(status: StatusCode, code: &str) -> ErrorKind {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        ErrorKind::Unavailable
    } else if code.starts_with("AccessDenied") || code.starts_with("Forbidden") {
        ErrorKind::PermissionDenied
    } else {
        ErrorKind::Unauthenticated
    }
}

/// Returns a text of XML without its entities.
pub(super) fn unescaped(text: &str) -> String {
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    entities.into_iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Returns the credentials in a JSON document, in which `token` is the name of the session token. An error describes the
/// fault of the document without quoting it.
pub(super) fn of_json(text: &str, token: &str) -> Result<Issued, String> {
    let document: Value = serde_json::from_str(text).map_err(|_| "is not a JSON document".to_owned())?;
    let get = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(code) = get("Code").filter(|code| code != "Success") {
        let message = get("Message").unwrap_or_default();
        return Err(format!("reports {}", one_line(&format!("{code}: {message}"), MAX_REASON)));
    }
    issued([get("AccessKeyId"), get("SecretAccessKey"), get(token), get("Expiration")])
}

/// Returns credentials from an id, a secret, a session token and a time.
pub(super) fn issued([id, secret, token, ends]: [Option<String>; 4]) -> Result<Issued, String> {
    let checked = |name: &str, value: Option<String>| match value {
        Some(value) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(value),
        Some(_) => Err(format!("contains an invalid {name}")),
        None => Err(format!("contains no {name}")),
    };
    let key_id = checked("AccessKeyId", id)?;
    let secret_key = checked("SecretAccessKey", secret)?;
    let token = token.map(|token| checked("session token", Some(token))).transpose()?;
    let ends = match ends {
        None => None,
        Some(text) => {
            let time = DateTime::parse_from_rfc3339(&text)
                .map_err(|_| "contains an invalid Expiration".to_owned())?;
            let time = SystemTime::from(time.with_timezone(&Utc));
            if time <= SystemTime::now() {
                return Err(
                    "contains credentials that have expired, or this machine's clock is wrong".to_owned()
                );
            }
            Some(time)
        }
    };
    Ok(Issued { credential: AwsCredential { key_id, secret_key, token }, ends })
}
