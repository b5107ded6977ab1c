//! Gets and renews credentials from AWS's token service, from the servers of containers and instances, and from
//! programs.
//!
//! `object_store` has providers for some of these sources. They cannot assume a role with other credentials, run no
//! program, ignore a container's URI that has no token file, and drop the servers' reasons; so only the signature of
//! requests is `object_store`'s.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use object_store::CredentialProvider;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::StoreResult;
use super::failure::{NoCredentials, element, one_line, root_text};
use super::identity::{Container, ContainerToken, Instance, Role, Source};
use crate::ErrorKind;

/// The time before the end of credentials from which on they are renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// The longest time for which credentials are cached, also those that do not end.
const MAX_CACHED: Duration = Duration::from_secs(3600);
/// The pause after a failed renewal, while the cached credentials are still valid.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// The time that a program may run that prints credentials.
const PROCESS_TIME: Duration = Duration::from_secs(60);
/// The maximum length of a program's output, in bytes.
const MAX_PROCESS_OUTPUT: u64 = 64 << 10;
/// The number of tries of a request, and the pause before the first retry.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// The maximum length of a server's reason in messages, in characters.
const MAX_REASON: usize = 1000;

const METADATA_TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const METADATA_TOKEN_TIME: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The error that no source of credentials was found.
pub(super) const NONE: &str = "no credentials for S3 were found: neither AWS_ACCESS_KEY_ID and \
                               AWS_SECRET_ACCESS_KEY, nor a profile, nor the role of a container or an instance \
                               (AWS_SKIP_SIGNATURE=true reads anonymously)";

type Got<T> = Result<T, NoCredentials>;

/// AWS's token service.
pub(super) struct TokenService {
    pub(super) client: HttpClient,
    pub(super) url: String,
    pub(super) region: String,
}

/// A provider that gets credentials when they are needed, and renews them before they end.
pub(super) struct Provider {
    pub(super) source: Arc<Source>,
    /// Present if the source needs it.
    pub(super) sts: Option<TokenService>,
    /// The client of the servers of containers and instances, if the source needs it.
    pub(super) local: Option<HttpClient>,
    pub(super) cached: Cache,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

impl CredentialProvider for Provider {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> BoxFuture<'b, StoreResult<Arc<AwsCredential>>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            self.cached
                .get(|| self.fetch(&self.source))
                .await
                .map_err(|none| object_store::Error::Generic { store: "S3", source: Box::new(none) })
        })
    }
}

/// Credentials, and the time at which they end.
struct Issued {
    credential: AwsCredential,
    ends: Option<SystemTime>,
}

/// The cached credentials of a provider.
#[derive(Default)]
pub(super) struct Cache(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    credential: Option<Arc<AwsCredential>>,
    /// The time until which the credentials are used without renewal.
    renew_at: Option<Instant>,
    /// The time at which the credentials end.
    ends_at: Option<Instant>,
    /// The last failure, and its time.
    failed: Option<(Instant, NoCredentials)>,
}

impl Cache {
    /// Returns the cached credentials, or those that `fetch` returns. Callers that waited while another caller's
    /// `fetch` failed get the same error.
    async fn get<'a>(&self, fetch: impl FnOnce() -> BoxFuture<'a, Got<Issued>>) -> Got<Arc<AwsCredential>> {
        let began = Instant::now();
        let mut state = self.0.lock().await;
        let now = Instant::now();
        let is_before = |time: Option<Instant>| time.is_some_and(|time| now < time);
        if let Some(credential) = state.credential.clone().filter(|_| is_before(state.renew_at)) {
            return Ok(credential);
        }
        if let Some((at, failure)) = &state.failed
            && *at >= began
        {
            return Err(failure.clone());
        }
        match fetch().await {
            Ok(Issued { credential, ends }) => {
                let left = match ends {
                    Some(ends) => ends.duration_since(SystemTime::now()).unwrap_or_default(),
                    None => MAX_CACHED + RENEW_BEFORE,
                };
                // Short sessions are renewed when half of their time is left.
                let renew = left.saturating_sub(RENEW_BEFORE).max(left / 2).min(MAX_CACHED);
                let (credential, now) = (Arc::new(credential), Instant::now());
                *state = State {
                    credential: Some(credential.clone()),
                    renew_at: Some(now + renew),
                    ends_at: Some(now + left.min(renew + RENEW_BEFORE)),
                    failed: None,
                };
                Ok(credential)
            }
            Err(failure) => match state.credential.clone().filter(|_| is_before(state.ends_at)) {
                Some(credential) => {
                    state.renew_at = Some(Instant::now() + RENEWAL_PAUSE);
                    Ok(credential)
                }
                None => {
                    *state = State { failed: Some((Instant::now(), failure.clone())), ..State::default() };
                    Err(failure)
                }
            },
        }
    }
}

impl Provider {
    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Got<Issued>> {
        Box::pin(async move {
            match source {
                Source::Keys(keys) => Ok(Issued {
                    credential: AwsCredential {
                        key_id: keys.key_id.clone(),
                        secret_key: keys.secret_key.clone(),
                        token: keys.token.clone(),
                    },
                    ends: None,
                }),
                Source::Process { command, profile } => of_process(command.clone(), profile.clone()).await,
                Source::WebIdentity { role, token_file } => self.with_web_identity(role, token_file).await,
                Source::Assumed { role, by } => {
                    let by = self.fetch(by).await?.credential;
                    self.assumed(role, &by).await
                }
                Source::Container(container) => self.of_container(container).await,
                Source::Instance(instance) => self.of_instance(instance).await,
            }
        })
    }

    /// Assumes a role with a token of another identity provider.
    async fn with_web_identity(&self, role: &Role, token_file: &Path) -> Got<Issued> {
        let token = std::fs::read_to_string(token_file).map_err(|e| {
            refused(
                ErrorKind::Unauthenticated,
                format!(
                    "cannot assume the role {} ({}): the web identity token file {} cannot be read: {e}",
                    role.arn,
                    role.setting,
                    token_file.display()
                ),
            )
        })?;
        let token = token.trim();
        let form = form("AssumeRoleWithWebIdentity", role, &[("WebIdentityToken", Some(token))]);
        self.ask_sts(role, form, None, token).await
    }

    /// Assumes a role with credentials.
    async fn assumed(&self, role: &Role, by: &AwsCredential) -> Got<Issued> {
        let form = form("AssumeRole", role, &[("ExternalId", role.external_id.as_deref())]);
        self.ask_sts(role, form, Some(by), &by.secret_key).await
    }

    async fn ask_sts(
        &self,
        role: &Role,
        form: String,
        signer: Option<&AwsCredential>,
        secret: &str,
    ) -> Got<Issued> {
        let why = |kind, why: String| {
            let why = without(why, secret);
            refused(kind, format!("cannot assume the role {} ({}): {why}", role.arn, role.setting))
        };
        let sts = self.sts.as_ref().ok_or_else(|| why(ErrorKind::Io, "no token service".into()))?;
        let make = || {
            let mut request = request(Method::POST, &sts.url, form.clone().into())?;
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            if let Some(signer) = signer {
                AwsAuthorizer::new(signer, "sts", &sts.region)
                    .try_authorize(&mut request, None)
                    .map_err(|_| "the request cannot be signed".to_owned())?;
            }
            Ok(request)
        };
        let answer = send(&sts.client, TRIES, make).await;
        let (status, text) =
            answer.map_err(|(kind, e)| why(kind, format!("the token service {} {e}", sts.url)))?;
        let get = |name| element(&text, name).map(|text| unescaped(&text));
        if !status.is_success() {
            let code = get("Code").unwrap_or_default();
            let said = said(status, &code, &get("Message").unwrap_or_default());
            return Err(why(kind_of(status, &code), format!("the token service {} says {said}", sts.url)));
        }
        let fields = [get("AccessKeyId"), get("SecretAccessKey"), get("SessionToken"), get("Expiration")];
        issued(fields)
            .map_err(|e| why(ErrorKind::Io, format!("the answer of the token service {} {e}", sts.url)))
    }

    /// Gets the credentials of a container's role.
    async fn of_container(&self, container: &Container) -> Got<Issued> {
        let Container { url, variable, token } = container;
        let begin = format!("cannot get the credentials of the container's role ({variable}): ");
        let why = |kind, why: String| refused(kind, format!("{begin}{why}"));
        let token = match token {
            None => None,
            Some(ContainerToken::Text(token)) => Some(token.clone()),
            Some(ContainerToken::File(path)) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| {
                        let file = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
                        let text = format!("{file}, {}, cannot be read: {e}", path.display());
                        why(ErrorKind::Unauthenticated, text)
                    })?
                    .trim()
                    .to_owned(),
            ),
        };
        let client =
            self.local.as_ref().ok_or_else(|| why(ErrorKind::Io, "there is no client".to_owned()))?;
        let make = || {
            let mut request = request(Method::GET, url, HttpRequestBody::empty())?;
            if let Some(token) = &token {
                let value = HeaderValue::from_str(token).map_err(|_| {
                    "the authorization token contains characters that no header may".to_owned()
                })?;
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            Ok(request)
        };
        let server = origin(url);
        let (status, text) = send(client, TRIES, make)
            .await
            .map_err(|(kind, e)| why(kind, format!("the server {server} {e}")))?;
        if !status.is_success() {
            let (code, message) = json_reason(&text);
            let said = said(status, &code, &message);
            let said = token.iter().fold(said, |said, token| without(said, token));
            return Err(why(kind_of(status, &code), format!("the server {server} says {said}")));
        }
        of_json(&text, "Token")
            .map_err(|e| why(ErrorKind::Io, format!("the answer of the server {server} {e}")))
    }

    /// Gets the credentials of an instance's role.
    async fn of_instance(&self, instance: &Instance) -> Got<Issued> {
        const PATH: &str = "/latest/meta-data/iam/security-credentials/";
        let url = &instance.url;
        let why = |kind, why: String| refused(kind, format!("{NONE}; the metadata service {url} {why}"));
        let client = self.local.as_ref().ok_or_else(|| why(ErrorKind::Io, "has no client".to_owned()))?;
        let begin = || {
            let mut request =
                request(Method::PUT, &format!("{url}/latest/api/token"), HttpRequestBody::empty())?;
            request.headers_mut().insert(METADATA_TOKEN_TIME, HeaderValue::from_static("600"));
            Ok(request)
        };
        let unreachable = |(_, e)| why(ErrorKind::Unauthenticated, e);
        let answered = |what: &str, status: StatusCode, text: &str| {
            let (code, message) = json_reason(text);
            let said = said(status, &code, &message);
            why(kind_of(status, &code), format!("says {said}, when {what} was requested"))
        };
        // Outside of Amazon's machines no server answers, which has to be noticed soon.
        let token = match send(client, 1, begin).await.map_err(unreachable)? {
            (status, token) if status.is_success() => Some(
                HeaderValue::from_str(token.trim())
                    .map_err(|_| why(ErrorKind::Io, "returned an invalid session token".to_owned()))?,
            ),
            (StatusCode::FORBIDDEN, _) if instance.permits_v1 => None,
            (status, text) => return Err(answered("a session token", status, &text)),
        };
        let get = |path: String| {
            let token = token.clone();
            move || {
                let mut request = request(Method::GET, &path, HttpRequestBody::empty())?;
                if let Some(token) = &token {
                    request.headers_mut().insert(METADATA_TOKEN, token.clone());
                }
                Ok(request)
            }
        };
        let (status, roles) = send(client, TRIES, get(format!("{url}{PATH}"))).await.map_err(unreachable)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if status == StatusCode::NOT_FOUND || (status.is_success() && role.is_empty()) {
            return Err(why(ErrorKind::Unauthenticated, "says that the instance has no role".to_owned()));
        }
        if !status.is_success() {
            return Err(answered("the role", status, &roles));
        }
        let asked = get(format!("{url}{PATH}{role}"));
        let (status, text) = send(client, TRIES, asked).await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(answered("the role's credentials", status, &text));
        }
        of_json(&text, "Token").map_err(|e| why(ErrorKind::Io, format!("returned an answer that {e}")))
    }
}

fn refused(kind: ErrorKind, why: String) -> NoCredentials {
    NoCredentials { kind, why }
}

/// Returns a server's text without a secret, which the server might have repeated.
fn without(text: String, secret: &str) -> String {
    if secret.is_empty() { text } else { text.replace(secret, "…") }
}

/// Returns the form of a request to AWS's token service.
fn form(action: &str, role: &Role, more: &[(&str, Option<&str>)]) -> String {
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

fn request(method: Method, url: &str, body: HttpRequestBody) -> Result<HttpRequest, String> {
    let mut request = HttpRequest::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|_| "has an address that is not a URL".to_owned())?;
    Ok(request)
}

/// Sends a request, and retries it if the server cannot be reached or asks for it. Returns the last answer.
async fn send(
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

fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// Returns the server's code and message, as the server worded them, or the HTTP status.
fn said(status: StatusCode, code: &str, message: &str) -> String {
    let both = match (code.is_empty(), message.is_empty()) {
        (false, false) => format!("{code}: {message}"),
        (false, true) => code.to_owned(),
        (true, false) => format!("{message} (HTTP status {})", status.as_u16()),
        (true, true) => format!("HTTP status {}", status.as_u16()),
    };
    one_line(&both, MAX_REASON)
}

/// Returns the code and the message of an error document of ECS, EKS or the metadata service; a plain text is a message.
fn json_reason(text: &str) -> (String, String) {
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        let is_page = text.trim_start().starts_with('<');
        return (String::new(), if is_page { String::new() } else { text.trim().to_owned() });
    };
    let get = |names: [&str; 2]| {
        names.iter().find_map(|name| document.get(name)?.as_str()).unwrap_or_default().to_owned()
    };
    (get(["code", "Code"]), get(["message", "Message"]))
}

fn kind_of(status: StatusCode, code: &str) -> ErrorKind {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        ErrorKind::Unavailable
    } else if code.starts_with("AccessDenied") {
        ErrorKind::PermissionDenied
    } else {
        ErrorKind::Unauthenticated
    }
}

/// Returns a text of XML without its entities.
fn unescaped(text: &str) -> String {
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    entities.into_iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Returns the credentials in a JSON document whose session token has the name `token`; or what is wrong with the
/// document, without quoting it.
fn of_json(text: &str, token: &str) -> Result<Issued, String> {
    let document: Value = serde_json::from_str(text).map_err(|_| "is not a JSON document".to_owned())?;
    let get = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(code) = get("Code").filter(|code| code != "Success") {
        let message = get("Message").unwrap_or_default();
        return Err(format!("reports {}", one_line(&format!("{code}: {message}"), MAX_REASON)));
    }
    issued([get("AccessKeyId"), get("SecretAccessKey"), get(token), get("Expiration")])
}

/// Returns credentials from an id, a secret, a session token and a time.
fn issued([id, secret, token, ends]: [Option<String>; 4]) -> Result<Issued, String> {
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

/// Runs a program that prints credentials ("Sourcing credentials with an external process" of the AWS SDKs and Tools
/// guide). The program's standard error is the caller's, and is never part of an error, because it may contain secrets.
async fn of_process(command: String, profile: String) -> Got<Issued> {
    let why = |e: String| {
        let text = format!("credential_process of the AWS profile '{profile}' {e}");
        refused(ErrorKind::Unauthenticated, text)
    };
    let run = tokio::task::spawn_blocking(move || output_of(&command, PROCESS_TIME));
    let text = run.await.map_err(|_| why("was not run".to_owned()))?.map_err(why)?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|_| why("did not print a JSON document; run the command to see its output".to_owned()))?;
    if document.get("Version").and_then(Value::as_u64) != Some(1) {
        return Err(why("printed a document whose Version is not 1".to_owned()));
    }
    of_json(&text, "SessionToken").map_err(|e| why(format!("printed a document that {e}")))
}

/// Runs a command in a shell, and returns its output.
fn output_of(command: &str, time: Duration) -> Result<String, String> {
    use std::io::Read as _;
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot be run: {e}"))?;
    let (send, output) = std::sync::mpsc::channel();
    let mut pipe = child.stdout.take();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = pipe.as_mut().map(|pipe| pipe.take(MAX_PROCESS_OUTPUT).read_to_end(&mut text));
        let _nobody_waits = send.send(read.is_some_and(|read| read.is_ok()).then_some(text));
    });
    let output = output.recv_timeout(time);
    let Ok(text) = output else {
        let _it_has_ended = child.kill();
        let _it_was_killed = child.wait();
        return Err(format!("did not end within {} seconds", time.as_secs()));
    };
    // A program that closed its output ends soon, unless it has more to print than is read.
    let ends = Instant::now() + Duration::from_secs(1);
    let status = loop {
        match child.try_wait().map_err(|e| format!("cannot be run: {e}"))? {
            Some(status) => break status,
            None if Instant::now() >= ends => {
                let _it_has_ended = child.kill();
                break child.wait().map_err(|e| format!("cannot be run: {e}"))?;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if !status.success() {
        return Err(format!("failed: {status}; run the command to see why"));
    }
    let text = text.ok_or_else(|| "has an output that cannot be read".to_owned())?;
    String::from_utf8(text).map_err(|_| "did not print a JSON document".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    fn issued_for(seconds: Option<u64>) -> Got<Issued> {
        let credential =
            AwsCredential { key_id: "id".into(), secret_key: "s3cr3t".into(), token: Some("s3cr3t".into()) };
        Ok(Issued { credential, ends: seconds.map(|time| SystemTime::now() + Duration::from_secs(time)) })
    }

    fn failure() -> Got<Issued> {
        Err(refused(ErrorKind::Unavailable, "on purpose".into()))
    }

    /// Ages the cached credentials by a time.
    async fn age(cache: &Cache, by: Duration) {
        let mut state = cache.0.lock().await;
        let State { renew_at, ends_at, .. } = &mut *state;
        for time in [renew_at, ends_at].into_iter().flatten() {
            *time -= by;
        }
    }

    #[test]
    fn credentials_are_renewed_and_outlive_failed_renewals() {
        run(async {
            for (lifetime, fresh, old) in [
                (Some(3600), 3290, 3310),
                (Some(400), 190, 210),
                (Some(40_000), 3590, 3610),
                (None, 3590, 3610),
            ] {
                let cache = Cache::default();
                let asked = AtomicU32::new(0);
                let get = |answer: Got<Issued>| {
                    let asked = &asked;
                    cache.get(move || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        Box::pin(async { answer })
                    })
                };
                get(issued_for(lifetime)).await.unwrap();
                age(&cache, Duration::from_secs(fresh)).await;
                get(failure()).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 1, "{lifetime:?}");
                age(&cache, Duration::from_secs(old - fresh)).await;
                get(failure()).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 2, "{lifetime:?}");
                get(failure()).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 2, "a failed renewal is followed by a pause");
                age(&cache, Duration::from_secs(300)).await;
                get(failure()).await.unwrap_err();
                get(issued_for(lifetime)).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 4, "{lifetime:?}");
            }
        });
    }

    /// Requests that wait for the same credentials cause one request for them, also if it fails.
    #[test]
    fn waiting_requests_share_one_answer() {
        run(async {
            for answer in [|| issued_for(None), failure] {
                let (cache, asked) = (Cache::default(), AtomicU32::new(0));
                let get = || {
                    cache.get(|| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        Box::pin(async move {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            answer()
                        })
                    })
                };
                let all = futures_util::future::join_all((0..50).map(|_| get())).await;
                assert!(all.iter().all(|got| got.is_ok() == answer().is_ok()));
                assert_eq!(asked.load(Ordering::Relaxed), 1);
            }
        });
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let begun = Instant::now();
        let error = output_of("sleep 60; echo x", Duration::from_millis(200)).unwrap_err();
        assert!(error.contains("did not end within"), "{error}");
        let error = output_of("echo x; exec >&-; exec sleep 60", Duration::from_secs(20)).unwrap_err();
        assert!(error.contains("failed: signal: 9"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(output_of("printf \"%s\" 'a b'", Duration::from_secs(20)).unwrap(), "a b");
    }
}
