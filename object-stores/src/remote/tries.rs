//! Sends a request with retries.

use std::time::Instant;

use object_store::RetryConfig;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse};

/// Sends a request, and repeats it while `may_pass` returns true for the answer's status, or while the connection
/// breaks. Every request here may be repeated: a put has its whole object, and a repeated delete finds no object.
///
/// # Errors
/// The last error of the connection.
pub(super) async fn tried(
    client: &HttpClient,
    retry: &RetryConfig,
    request: HttpRequest,
    may_pass: impl Fn(u16) -> bool,
) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let (begun, mut retries) = (Instant::now(), 0_usize);
    let mut pause = retry.backoff.init_backoff;
    loop {
        let mut request = HttpRequest::new(body.clone());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let answer = client.execute(request).await;
        let again = match &answer {
            Ok(answer) => may_pass(answer.status().as_u16()),
            Err(e) => is_worth_another_try(e),
        };
        if !again || retries == retry.max_retries || begun.elapsed() + pause > retry.retry_timeout {
            return answer;
        }
        retries += 1;
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(retry.backoff.base).min(retry.backoff.max_backoff);
    }
}

fn is_worth_another_try(error: &HttpError) -> bool {
    use HttpErrorKind::{Connect, Interrupted, Request, Timeout};
    matches!(error.kind(), Connect | Request | Timeout | Interrupted)
}
