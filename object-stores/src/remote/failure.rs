//! Converts the errors of remote stores into this crate's kinds.
//!
//! Messages repeat only the code and the sentence of an error document, and the root cause of a transport error. Other
//! parts may contain secrets: S3 repeats the signed headers, and Azure's URLs contain signatures.

use std::error::Error as StdError;

use object_store::Error as StoreResult;
use object_store::client::{HttpError, HttpErrorKind};

use super::http::{GivenUp, NotImplemented, TooLong};
use super::server;
use super::swift::{self, Refusal};
use crate::ErrorKind;

/// A failed request: its kind, and a sentence without secrets.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    /// The store's own error code, if it gave one.
    pub(super) code: Option<String>,
}

/// The error that there are no credentials: none were found, or the server or program that issues them refused.
#[derive(Clone, Debug)]
pub(super) struct NoCredentials {
    pub(super) kind: ErrorKind,
    /// The reason, without secrets.
    pub(super) why: String,
}

impl std::fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl StdError for NoCredentials {}

impl Failure {
    pub(super) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Failure { kind, detail: detail.into(), code: None }
    }

    /// Returns the failure that `answer` means for a request to the bucket or container `bucket`.
    pub(super) fn of(answer: &StoreResult, bucket: &str) -> Self {
        if let Some(none) = in_chain::<NoCredentials>(answer) {
            return Failure::new(none.kind, none.why.clone());
        }
        if let Some(long) = in_chain::<TooLong>(answer) {
            return Failure::new(ErrorKind::Io, long.to_string());
        }
        if let Some(refusal) = in_chain::<Refusal>(answer) {
            return swift::failure(refusal);
        }
        if let Some(refusal) = in_chain::<server::Refusal>(answer) {
            return server::failure(refusal);
        }
        if let Some(failure) = of_token_request(answer) {
            return failure;
        }
        if let Some(never) = in_chain::<NotImplemented>(answer) {
            return Failure::new(ErrorKind::Unsupported, never.to_string());
        }
        if let Some(given_up) = in_chain::<GivenUp>(answer) {
            return Failure::new(of_transport(given_up.kind), transport_text(given_up.kind, given_up));
        }
        if let Some(http) = in_chain::<HttpError>(answer) {
            return Failure::new(of_transport(http.kind()), transport_text(http.kind(), http));
        }
        // `object_store` does not expose the error document, but prints it.
        let text = answer.to_string();
        if text.contains("non-partial response") || text.contains("Range request not supported") {
            let why = "the server ignores ranges: it answers with the whole object; download it, or use another server";
            return Failure::new(ErrorKind::Unsupported, why);
        }
        let status = status(&text);
        let code = element(&text, "Code");
        let message = element(&text, "Message");
        let kind = code
            .as_deref()
            .and_then(of_code)
            .or_else(|| of_variant(answer))
            .or_else(|| status.and_then(of_status))
            .unwrap_or(ErrorKind::Io);
        let detail = match (&code, status) {
            (Some(code), _) => explain(code, message.as_deref(), bucket),
            (None, Some(status)) if (300..400).contains(&status) => format!(
                "the store answered with HTTP status {status}, a redirect to another server, which is not followed; \
                 the setting has to name that server if it is to be asked"
            ),
            (None, Some(status)) if !is_plain(kind) => match json_message(&text) {
                Some(said) => format!("the store says {said} (HTTP status {status})"),
                None => format!("the store answered with HTTP status {status}"),
            },
            (None, None) if !is_plain(kind) => root_text(answer),
            _ => String::new(),
        };
        Failure { kind, detail, code }
    }
}

/// The beginnings of `object_store`'s errors about requests for tokens.
const TOKEN_REQUESTS: [&str; 2] = ["Error performing token request", "Error getting token response body"];
/// The ways to name credentials, by `object_store`'s name of the store.
const CREDENTIALS: [(&str, &str); 2] = [
    ("GCS", "set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for anonymous access"),
    ("MicrosoftAzure", "set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_SECRET"),
];

/// Returns the failure of a request for a token, which the identity service of Google or Azure issues, or the metadata service of an
/// instance if no credentials are named. `None` if the request was one to the store.
fn of_token_request(answer: &StoreResult) -> Option<Failure> {
    let StoreResult::Generic { store, source } = answer else { return None };
    let text = source.to_string();
    TOKEN_REQUESTS.iter().any(|begin| text.starts_with(begin)).then_some(())?;
    let (_, remedy) = CREDENTIALS.iter().find(|(name, _)| name == store)?;
    let cause = match status(&text) {
        Some(status) => match json_message(&text) {
            Some(said) => format!("says {said} (HTTP status {status})"),
            None => format!("answered with HTTP status {status}"),
        },
        None => format!("cannot be reached: {}", root_text(answer)),
    };
    let why = format!("no credentials for the store: the service that issues tokens {cause}; {remedy}");
    Some(Failure::new(ErrorKind::Unauthenticated, why))
}

/// Returns whether the kind needs no further text.
fn is_plain(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::PreconditionFailed)
}

fn in_chain<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn of_variant(answer: &StoreResult) -> Option<ErrorKind> {
    Some(match answer {
        StoreResult::NotFound { .. } => ErrorKind::NotFound,
        StoreResult::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        StoreResult::Precondition { .. } | StoreResult::NotModified { .. } => ErrorKind::PreconditionFailed,
        StoreResult::PermissionDenied { .. } => ErrorKind::PermissionDenied,
        StoreResult::Unauthenticated { .. } => ErrorKind::Unauthenticated,
        StoreResult::NotSupported { .. } | StoreResult::NotImplemented { .. } => ErrorKind::Unsupported,
        StoreResult::InvalidPath { .. } | StoreResult::UnknownConfigurationKey { .. } => {
            ErrorKind::InvalidArgument
        }
        _ => return None,
    })
}

/// Returns the kind for a code of S3, GCS's XML interface or Azure that the HTTP status alone does not show correctly.
fn of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "NoSuchBucket" | "ContainerNotFound" => ErrorKind::NoStore,
        "InvalidBucketName" => ErrorKind::InvalidArgument,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "TokenRefreshRequired"
        | "RequestTimeTooSkewed"
        | "RequestExpired"
        | "AuthenticationFailed" => ErrorKind::Unauthenticated,
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
            ErrorKind::InvalidArgument
        }
        "SlowDown" | "ServiceUnavailable" | "InternalError" | "ServerBusy" => ErrorKind::Unavailable,
        "RequestTimeout" | "OperationTimedOut" => ErrorKind::Timeout,
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "EntityTooLarge" => {
            ErrorKind::NoSpace
        }
        "NotImplemented" | "MethodNotAllowed" => ErrorKind::Unsupported,
        "InvalidRange" => ErrorKind::ShortRead,
        _ => return None,
    })
}

fn of_status(status: u16) -> Option<ErrorKind> {
    Some(match status {
        300..=400 => ErrorKind::InvalidArgument,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        408 | 504 => ErrorKind::Timeout,
        409 => ErrorKind::AlreadyExists,
        412 => ErrorKind::PreconditionFailed,
        416 => ErrorKind::ShortRead,
        429 | 500..=503 => ErrorKind::Unavailable,
        507 => ErrorKind::NoSpace,
        _ => return None,
    })
}

fn of_transport(kind: HttpErrorKind) -> ErrorKind {
    match kind {
        HttpErrorKind::Timeout => ErrorKind::Timeout,
        HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Io,
    }
}

/// Returns the text for a transport error of this kind.
pub(super) fn transport_text(kind: HttpErrorKind, error: &(dyn StdError + 'static)) -> String {
    let root = root_text(error);
    match kind {
        HttpErrorKind::Connect => format!("the store cannot be reached: {root}"),
        HttpErrorKind::Timeout => "the store did not answer in time".to_owned(),
        HttpErrorKind::Request | HttpErrorKind::Interrupted => format!("the connection broke: {root}"),
        _ => format!("the answer was not understood: {root}"),
    }
}

/// Returns the text of the root cause, which contains no URL.
pub(super) fn root_text(error: &(dyn StdError + 'static)) -> String {
    let mut root = error;
    while let Some(next) = root.source() {
        root = next;
    }
    root.to_string()
}

fn explain(code: &str, message: Option<&str>, bucket: &str) -> String {
    let said = message.map_or_else(|| code.to_owned(), |message| format!("{code}: {}", shortened(message)));
    match code {
        "NoSuchBucket" => format!("there is no bucket '{bucket}', it has to be made first ({code})"),
        "ContainerNotFound" => format!("there is no container '{bucket}', it has to be made first ({code})"),
        "InvalidAccessKeyId" => format!("the store does not know the access key, AWS_ACCESS_KEY_ID ({code})"),
        "SignatureDoesNotMatch" => {
            format!("the secret key, AWS_SECRET_ACCESS_KEY, is not that of the access key ({code})")
        }
        "ExpiredToken" | "RequestExpired" => format!("the session token has expired ({code})"),
        "RequestTimeTooSkewed" => {
            format!("the clock of this machine and the store's differ by too much ({code})")
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => {
            format!("the region or the endpoint is not that of the bucket '{bucket}' ({said})")
        }
        _ => format!("the store says {said}"),
    }
}

fn shortened(text: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    one_line(text, MAX_CHARACTERS)
}

/// Returns the first `most` characters of a text, on one line.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    line.trim().to_owned()
}

/// Returns the HTTP status in an error text of `object_store`.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("non-2xx status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Returns the message of an error document in JSON at the end of `text`: of Google's service, or of an identity service (RFC 6749,
/// section 5.2).
fn json_message(text: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(text.get(text.find('{')?..)?.trim()).ok()?;
    let of_store = document.get("error").and_then(|error| error.get("message"));
    Some(shortened(of_store.or_else(|| document.get("error_description"))?.as_str()?))
}

/// Returns the text of the first element `name` of an XML document somewhere in `text`.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    Some(content.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Failure {
        Failure::of(&StoreResult::Generic { store: "S3", source: text.into() }, "b")
    }

    #[test]
    fn error_codes_take_precedence_over_statuses() {
        let body = "Error performing GET http://h/b/k in 1ms - Server returned non-2xx status code: 403 Forbidden: \
                    <Error><Code>RequestTimeTooSkewed</Code><Message>m</Message>\
                    <StringToSign>secret</StringToSign></Error>";
        let found = failure(body);
        assert_eq!(found.kind, ErrorKind::Unauthenticated);
        assert!(found.detail.contains("clock") && !found.detail.contains("secret"), "{}", found.detail);
    }

    #[test]
    fn statuses_have_kinds() {
        for (status, kind) in [
            ("301 Moved", ErrorKind::InvalidArgument),
            ("416 Range", ErrorKind::ShortRead),
            ("429 Slow", ErrorKind::Unavailable),
            ("500 Oh", ErrorKind::Unavailable),
            ("504 Gateway", ErrorKind::Timeout),
            ("501 Not", ErrorKind::Unsupported),
        ] {
            let found = failure(&format!("Server returned non-2xx status code: {status}: secret body"));
            assert_eq!(found.kind, kind, "{status}");
            assert!(!found.detail.contains("secret"), "{}", found.detail);
        }
    }

    #[test]
    fn googles_message_is_reported() {
        let body = r#"{"error":{"code":400,"message":"invalid uploadType","errors":[{"debug":"secret"}]}}"#;
        let found = failure(&format!("Server returned non-2xx status code: 400 Bad Request: {body}"));
        assert_eq!(found.detail, "the store says invalid uploadType (HTTP status 400)");
    }

    #[test]
    fn a_token_that_is_refused_is_no_answer_of_the_store() {
        let refused = |store, text: &str| {
            let text = format!("Error performing token request: {text}");
            Failure::of(&StoreResult::Generic { store, source: text.into() }, "b")
        };
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret"}"#;
        let found = refused(
            "MicrosoftAzure",
            &format!("Server returned non-2xx status code: 401 Unauthorized: {body}"),
        );
        assert_eq!(found.kind, ErrorKind::Unauthenticated);
        for words in ["says AADSTS7000215: Invalid client secret (HTTP status 401)", "AZURE_CLIENT_SECRET"] {
            assert!(found.detail.contains(words), "{}", found.detail);
        }
        let found = refused("GCS", "Server returned non-2xx status code: 403 Forbidden: <html>secret</html>");
        assert_eq!(found.kind, ErrorKind::Unauthenticated);
        assert!(
            found.detail.contains("HTTP status 403; set GOOGLE_APPLICATION_CREDENTIALS"),
            "{}",
            found.detail
        );
        let found = refused("GCS", "connection refused");
        assert!(found.detail.contains("cannot be reached: "), "{}", found.detail);
    }

    #[test]
    fn azures_containers_are_called_containers() {
        let found = failure("non-2xx status code: 404 Not Found: <Code>ContainerNotFound</Code>");
        assert_eq!(found.kind, ErrorKind::NoStore);
        assert!(found.detail.starts_with("there is no container 'b'"), "{}", found.detail);
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let source = "non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>".into();
        let found = Failure::of(&StoreResult::NotFound { path: "k".into(), source }, "some-bucket");
        assert_eq!(found.kind, ErrorKind::NoStore);
        assert!(found.detail.contains("'some-bucket'"), "{}", found.detail);
        let source = "non-2xx status code: 404 Not Found: ".into();
        assert_eq!(
            Failure::of(&StoreResult::NotFound { path: "k".into(), source }, "b").kind,
            ErrorKind::NotFound
        );
    }
}
