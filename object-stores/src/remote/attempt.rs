//! The time limit of one attempt of a request.
//!
//! A request that hangs must not use up the time that the operation has for all of its attempts. So the first attempt
//! is abandoned after a few seconds without progress. Each further attempt gets twice as long, because a slow server is
//! not helped by being asked again and again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind, HttpRequest};
use reqwest::Method;
use tokio::time::{Instant, Sleep};

use crate::deadline::MIN_BYTES_PER_SECOND;

/// The time without progress after which the first attempt is abandoned.
const FIRST_ATTEMPT: Duration = Duration::from_secs(3);
/// The maximum number of doublings.
const MAX_DOUBLINGS: u32 = 4;

/// Returns whether a request deletes an object, or several as S3's DeleteObjects does.
pub(super) fn is_deletion(request: &HttpRequest) -> bool {
    match *request.method() {
        Method::DELETE => true,
        Method::POST => request.uri().query().is_some_and(|query| query.starts_with("delete")),
        _ => false,
    }
}

/// The time without progress after which an attempt is abandoned; `None` if a server may need any time for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptLimit(Option<Duration>);

impl AttemptLimit {
    /// Returns the limit of an attempt that follows `retries` earlier attempts.
    pub(super) fn of(request: &HttpRequest, retries: u64) -> AttemptLimit {
        let doublings = u32::try_from(retries).unwrap_or(MAX_DOUBLINGS).min(MAX_DOUBLINGS);
        let is_short =
            matches!(*request.method(), Method::GET | Method::HEAD | Method::PUT) || is_deletion(request);
        // The server copies an object, or joins the parts of one, before it answers.
        let is_copy = request.headers().keys().any(|name| name.as_str().contains("copy"));
        AttemptLimit((is_short && !is_copy).then(|| FIRST_ATTEMPT * (1 << doublings)))
    }

    /// Waits for the answer to a request with a body of `sent` bytes.
    pub(super) async fn wait<T>(
        self,
        sent: usize,
        answer: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        let Some(limit) = self.0 else { return answer.await };
        let limit = limit + Duration::from_secs(sent as u64 / MIN_BYTES_PER_SECOND);
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Silence(limit).into()),
        }
    }

    /// Returns a timer for the body of an answer.
    pub(super) fn timer(self) -> IdleTimer {
        IdleTimer(self.0.map(|limit| (limit, Box::pin(tokio::time::sleep(limit)))))
    }
}

/// Measures the time since the last progress of a body.
#[derive(Debug)]
pub(super) struct IdleTimer(Option<(Duration, Pin<Box<Sleep>>)>);

impl IdleTimer {
    /// Starts again, because bytes arrived.
    pub(super) fn restart(&mut self) {
        if let Some((limit, sleep)) = &mut self.0 {
            sleep.as_mut().reset(Instant::now() + *limit);
        }
    }

    /// Returns the error of the attempt once no bytes have arrived for too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<HttpError> {
        let Some((limit, sleep)) = &mut self.0 else { return Poll::Pending };
        let limit = *limit;
        sleep.as_mut().poll(context).map(|()| Silence(limit).into())
    }
}

/// The error of an attempt that was abandoned. Further attempts follow within the operation's time.
#[derive(Debug)]
pub(super) struct Silence(Duration);

impl Silence {
    /// Returns whether an error is that of an abandoned attempt.
    pub(super) fn is(error: &HttpError) -> bool {
        std::error::Error::source(error).is_some_and(|source| source.is::<Silence>())
    }
}

impl From<Silence> for HttpError {
    fn from(silence: Silence) -> HttpError {
        HttpError::new(HttpErrorKind::Timeout, silence)
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server sent nothing for {} seconds", self.0.as_secs())
    }
}

impl std::error::Error for Silence {}
