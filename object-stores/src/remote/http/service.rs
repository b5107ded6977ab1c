//! The service that sends requests: it follows redirects, retries what a server denied in error, and bounds answers.

use std::pin::Pin;
use std::task::{Context as Polling, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::{Method, StatusCode};

use super::errors::{BrokenOff, GivenUp, NotImplemented, TooLong};
use super::limits::{LIMITS, Limits};
use super::{MAX_DOCUMENT_BYTES, Server};
use crate::deadline::{Budget, MIN_BYTES_PER_SECOND};
use crate::remote::attempt::{AttemptLimit, IdleTimer, Silence, is_deletion};
use crate::remote::clock::Sent;
use crate::remote::{failure, ranges};

/// The time since connections began to fail after which no further try begins. A request that the server asked to retry
/// later is tried for longer.
const MAX_CONNECT_RETRY_TIME: Duration = Duration::from_secs(6);
/// The maximum length, in bytes, of an error document.
const MAX_ERROR_BYTES: u64 = 256 << 10;
/// The number of redirects within one server that are followed.
const MAX_REDIRECTS: usize = 5;
/// The number of retries of a put that was denied, at a server that may deny puts in error; the pauses between them are
/// 20, 40, 80, 160 and 320 ms.
const MAX_TRIES_AFTER_DENIAL: u32 = 5;

/// A client that bounds answers and retries.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) client: HttpClient,
    pub(super) server: Server,
}

/// The future that a call of an HTTP service returns.
pub(in crate::remote) type Called<'a> =
    Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Bounded {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Called<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async {
            // Requests for credentials are made without these limits; their client has its own.
            let Ok(limits) = LIMITS.try_with(Limits::clone) else {
                return follow(&self.client, request).await;
            };
            if let Some(kind) = limits.given_up.get() {
                return Err(GivenUp::at(*kind, HttpError::new(*kind, BrokenOff)));
            }
            let sent = request.body().content_length();
            let asked = Sent::now(request.method());
            let method = request.method().clone();
            let is_deletion = is_deletion(&request);
            limits.tries.begin();
            let limit = AttemptLimit::of(&request, limits.tries.retries());
            let answer = match self.server {
                Server::Store => limit.wait(sent, heard(&self.client, request, &limits)).await,
                Server::Credentials => follow(&self.client, request).await,
            };
            match answer {
                // `object_store` would retry again and again, although the server never implements the request (RFC
                // 9110, section 15.6.2).
                Ok(response) if response.status() == StatusCode::NOT_IMPLEMENTED => {
                    Err(HttpError::new(HttpErrorKind::Unknown, NotImplemented))
                }
                Ok(response) => {
                    if is_to_come_back(&response) {
                        limits
                            .tries
                            .fail(&method, &format_args!("HTTP status {}", response.status().as_u16()));
                    }
                    if self.server == Server::Store {
                        limits.clock.see(asked, &response);
                    }
                    Ok(bounded(looked_at(response, sent, &limits).await, limits, limit))
                }
                Err(e) if Silence::is(&e) => {
                    limits.tries.fail(&method, &e);
                    limits.budget.refused(failure::transport_text(e.kind(), &e));
                    Err(repeatable(e, is_deletion))
                }
                Err(e) => {
                    limits.tries.fail(&method, &format_args!("{:?}", e.kind()));
                    Err(tried(repeatable(e, is_deletion), &limits.budget))
                }
            }
        })
    }
}

/// Sends a request to a store. Sends it once more if the first answer shows that the server needs another form of the
/// request, and retries a put that the server denied and may allow a moment later.
async fn heard(
    client: &HttpClient,
    mut request: HttpRequest,
    limits: &Limits,
) -> Result<HttpResponse, HttpError> {
    let newest = limits.maker.ask_for_newest(&mut request);
    let is_deletion = is_deletion(&request);
    let puts = matches!(*request.method(), Method::PUT | Method::POST).then(|| request.clone());
    let answer = follow(client, request).await?;
    limits.maker.see(&answer);
    let answer = match (newest, puts) {
        (Some(newest), _) if limits.maker.is_swift() => follow(client, newest).await?,
        (_, Some(put)) if is_denied(&answer) && limits.maker.may_deny_in_error() => {
            put_again(client, &put, answer, limits).await?
        }
        _ => answer,
    };
    match answer.status().is_client_error() {
        true => refused(answer).await,
        // The answer to a deletion of several objects is a document.
        false if is_deletion => received(answer, MAX_DOCUMENT_BYTES).await.map(|(answer, _)| answer),
        false => Ok(answer),
    }
}

/// Reads the document of an answer, and returns the answer with its document, of at most `most` bytes. If it breaks off, the attempt has failed. `object_store` retries no answer that
/// it has begun to read.
async fn received(answer: HttpResponse, most: u64) -> Result<(HttpResponse, Bytes), HttpError> {
    let (head, body) = answer.into_parts();
    let body =
        Limited::new(body, most as usize).collect().await.map_err(|e| match e.downcast::<HttpError>() {
            Ok(e) => HttpError::new(HttpErrorKind::Interrupted, *e),
            Err(_) => HttpError::new(HttpErrorKind::Decode, TooLong(most)),
        })?;
    let body = body.to_bytes();
    Ok((HttpResponse::from_parts(head, HttpResponseBody::from(body.clone())), body))
}

/// Reads the error document of an answer: its status alone does not say what the server refused.
async fn refused(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut answer, body) = received(answer, MAX_ERROR_BYTES).await?;
    if answer.status() == StatusCode::BAD_REQUEST && is_timeout_of_request(&body) {
        *answer.status_mut() = StatusCode::REQUEST_TIMEOUT;
    }
    Ok(answer)
}

/// Returns whether the server says that the request did not arrive in time. S3 sends this code with status 400; HTTP has
/// the status 408 for it, which `object_store` retries. Such a request has no effect.
fn is_timeout_of_request(document: &[u8]) -> bool {
    const CODE: &[u8] = b"<Code>RequestTimeout</Code>";
    document.windows(CODE.len()).any(|part| part == CODE)
}

fn is_denied(answer: &HttpResponse) -> bool {
    answer.status() == StatusCode::FORBIDDEN
}

/// Repeats a denied put until it is no longer denied, or was tried often enough. A denied put has no effect, so its
/// condition means the same at each try.
async fn put_again(
    client: &HttpClient,
    put: &HttpRequest,
    mut answer: HttpResponse,
    limits: &Limits,
) -> Result<HttpResponse, HttpError> {
    for attempt in 0..MAX_TRIES_AFTER_DENIAL {
        if !is_denied(&answer) {
            break;
        }
        limits.tries.fail(put.method(), &"the put was denied");
        tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        limits.tries.begin();
        answer = follow(client, put.clone()).await?;
    }
    Ok(answer)
}

/// Returns whether the answer says that the server may fulfil the request later.
fn is_to_come_back(response: &HttpResponse) -> bool {
    response.status().is_server_error() || matches!(response.status().as_u16(), 408 | 429)
}

/// Records in the budget how the server answered. If the answer says when to retry, it is returned only after that
/// time, within the budget, so that the caller's retry comes no earlier.
async fn looked_at(response: HttpResponse, sent: usize, limits: &Limits) -> HttpResponse {
    let budget = &limits.budget;
    let status = response.status();
    if is_to_come_back(&response) {
        budget.refused(format!("the store answered with HTTP status {}", status.as_u16()));
        let wait =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        if let Some(seconds) = wait.filter(|seconds| *seconds > 0) {
            tokio::time::sleep(Duration::from_secs(seconds).min(budget.remaining())).await;
        }
    } else {
        budget.progressed(sent);
    }
    response
}

/// Records that a connection failed; returns whether connections have failed for long enough to stop retrying.
fn failed_for_long(error: &HttpError, budget: &Budget) -> bool {
    let since = budget.broke(failure::transport_text(error.kind(), error));
    since.elapsed() >= MAX_CONNECT_RETRY_TIME
        && !matches!(error.kind(), HttpErrorKind::Decode | HttpErrorKind::Unknown)
}

/// Returns the error of an attempt as one after which `object_store` tries again, if the request is a deletion. It repeats only
/// requests that it considers idempotent, and a deletion is not one of them. A repeated deletion has the same effect.
fn repeatable(error: HttpError, is_deletion: bool) -> HttpError {
    match error.kind() {
        HttpErrorKind::Timeout | HttpErrorKind::Interrupted if is_deletion => {
            HttpError::new(HttpErrorKind::Request, error)
        }
        _ => error,
    }
}

fn tried(error: HttpError, budget: &Budget) -> HttpError {
    if !failed_for_long(&error, budget) {
        return error;
    }
    GivenUp::at(error.kind(), error)
}

fn bounded(response: HttpResponse, limits: Limits, limit: AttemptLimit) -> HttpResponse {
    let most = if response.status().is_success() { limits.most } else { MAX_ERROR_BYTES };
    let part = ranges::part(&response).filter(|_| response.status() == StatusCode::PARTIAL_CONTENT);
    let missing = part.map_or(0, |(range, _)| range.end - range.start);
    let (head, body) = response.into_parts();
    let idle = limit.timer();
    let body = BoundedBody { body, most, left: most, missing, limits, idle };
    HttpResponse::from_parts(head, HttpResponseBody::new(body))
}

/// A body that ends with an error if it exceeds its maximum length.
struct BoundedBody {
    body: HttpResponseBody,
    most: u64,
    left: u64,
    /// The number of bytes of the announced part of an object that are yet to come.
    missing: u64,
    limits: Limits,
    idle: IdleTimer,
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        polling: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(polling) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return self.idle.poll(polling).map(|silence| Some(Err(silence))),
        };
        self.idle.restart();
        if frame.is_none() && self.missing > 0 {
            return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Interrupted, BrokenOff))));
        }
        let budget = &self.limits.budget;
        match &frame {
            Some(Err(e)) if failed_for_long(e, budget) => {
                let _it_is_set_once = self.limits.given_up.set(e.kind());
            }
            // The answer arrived completely, or enough of it to prove that the connection works.
            None => budget.succeeded(),
            Some(Ok(_)) if self.most - self.left >= MIN_BYTES_PER_SECOND => budget.succeeded(),
            Some(_) => (),
        }
        if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let length = bytes.len();
            self.limits.budget.progressed(length);
            self.missing = self.missing.saturating_sub(length as u64);
            match self.left.checked_sub(length as u64) {
                Some(left) => self.left = left,
                None => {
                    let error = HttpError::new(HttpErrorKind::Decode, TooLong(self.most));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.missing == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A server that announces a huge length and does not send it must not make the client allocate memory for it.
        let hint = self.body.size_hint();
        let mut bounded = SizeHint::new();
        bounded.set_lower(hint.lower().min(self.most));
        if let Some(upper) = hint.upper() {
            bounded.set_upper(upper.max(bounded.lower()));
        }
        bounded
    }
}

/// Sends a request. If the request reads, a redirect to the same server is followed; signed requests are valid for no
/// other host. A redirect of a request that changes something is not followed, because the request must not go to
/// another server nor become a different request: the answer to that one would be mistaken for the success of this one.
async fn follow(client: &HttpClient, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut next = reads.then(|| request.clone());
    let mut answer = client.execute(request).await?;
    for _ in 0..MAX_REDIRECTS {
        let Some(mut again) = next.filter(|_| is_redirect(answer.status())) else { break };
        let Some(to) = redirected(&again, &answer) else { break };
        let Ok(to) = to.parse() else { break };
        *again.uri_mut() = to;
        next = Some(again.clone());
        answer = client.execute(again).await?;
    }
    Ok(answer)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the target of a redirect, if it is on the same server.
fn redirected(asked: &HttpRequest, answer: &HttpResponse) -> Option<String> {
    let from = url::Url::parse(&asked.uri().to_string()).ok()?;
    let to = from.join(answer.headers().get("location")?.to_str().ok()?).ok()?;
    let origin = |url: &url::Url| {
        (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
    };
    if origin(&from) != origin(&to) {
        return None;
    }
    Some(to.into())
}
