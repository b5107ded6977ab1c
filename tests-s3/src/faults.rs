//! Faults that strike requests in transit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use parking_lot::{Mutex, MutexGuard};

use crate::Cut;

/// The outcome of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The request has no effect; the answer is this status with this S3 error code.
    Instead(u16, &'static str),
    /// The request has its effect, but the answer is an error.
    After(u16, &'static str),
    /// The connection ends before the effect.
    CutBefore,
    /// The connection ends after the effect: the answer is lost.
    CutAfter,
    /// The request has its effect twice, as if a proxy had repeated it.
    Twice,
    /// The request is delayed.
    Delay(Duration),
    /// The connection ends after this many bytes of the answer's body.
    CutBody(usize),
    /// The answer ends after this many bytes of its body, and says that it is complete.
    Shorten(usize),
    /// One bit of the byte at this offset (modulo the length) of the answer's body is flipped.
    Flip(usize),
    /// One bit of the byte at this offset (modulo the length) of the request's body is flipped.
    FlipSent(usize),
}

type Select = dyn Fn(&str, &str) -> bool + Send + Sync;

struct Rule {
    select: Box<Select>,
    skip: usize,
    outcomes: VecDeque<Outcome>,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    requests: Vec<String>,
    unsigned: usize,
    latency: Duration,
}

/// The faults of a server and the journal of its requests. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").field("requests", &self.plan().requests.len()).finish_non_exhaustive()
    }
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock()
    }

    /// Sets the additional time of every request, as if the server were far away.
    pub fn set_latency(&self, latency: Duration) {
        self.plan().latency = latency;
    }

    pub(crate) fn latency(&self) -> Duration {
        self.plan().latency
    }

    /// Adds a rule: each request that `select` chooses by method and path gets the next outcome, except for the first
    /// `skip` requests.
    pub fn add(
        &self,
        select: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
        skip: usize,
        outcomes: impl IntoIterator<Item = Outcome>,
    ) {
        let rule = Rule { select: Box::new(select), skip, outcomes: outcomes.into_iter().collect() };
        self.plan().rules.push(rule);
    }

    /// Removes all rules; returns the number of outcomes that were not used.
    pub fn clear(&self) -> usize {
        self.plan().rules.drain(..).map(|rule| rule.outcomes.len()).sum()
    }

    /// Returns the requests since the last call, as `METHOD path`.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.plan().requests)
    }

    /// Returns the number of requests since the last call with a signature that did not cover the payload.
    pub fn take_unsigned(&self) -> usize {
        std::mem::take(&mut self.plan().unsigned)
    }

    pub(crate) fn strike(&self, method: &str, path: &str, unsigned: bool) -> Option<Outcome> {
        let mut plan = self.plan();
        plan.unsigned += usize::from(unsigned);
        plan.requests.push(format!("{method} {path}"));
        for rule in &mut plan.rules {
            if !(rule.select)(method, path) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if let Some(outcome) = rule.outcomes.pop_front() {
                return Some(outcome);
            }
        }
        None
    }
}

/// Returns `bytes` with one flipped bit.
pub(crate) fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    let length = bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at % length) {
        *byte ^= 0x10;
    }
    bytes.into()
}

/// Returns an error document of S3.
pub(crate) fn error(status: u16, code: &str) -> hyper::Response<s3s::Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>"
    );
    let mut response = hyper::Response::new(s3s::Body::from(text));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::IM_A_TEAPOT);
    response
}

/// Returns the response with its body changed by `change`. If `change` also returns true, the connection is cut after
/// the body.
pub(crate) async fn damaged(
    response: hyper::Response<s3s::Body>,
    change: impl FnOnce(Bytes) -> (Bytes, bool),
) -> Result<hyper::Response<s3s::Body>, Cut> {
    let (mut head, body) = response.into_parts();
    let whole = BodyExt::collect(body).await.map_err(|_| Cut)?.to_bytes();
    let (is_empty, length) = (whole.is_empty(), whole.len());
    let (bytes, cut) = change(whole);
    if is_empty {
        // The length in an answer to HEAD is that of the object.
        let whole = hyper::Response::from_parts(head, s3s::Body::from(bytes));
        return if cut { Err(Cut) } else { Ok(whole) };
    }
    head.headers.insert(hyper::header::CONTENT_LENGTH, if cut { length } else { bytes.len() }.into());
    if !cut {
        return Ok(hyper::Response::from_parts(head, s3s::Body::from(bytes)));
    }
    // Without a pause the connection would end before the head of the answer was sent.
    let cut = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(Cut)
    };
    let frames = StreamExt::chain(stream::iter([Ok(Frame::data(bytes))]), stream::once(cut));
    let body = s3s::Body::http_body_unsync(StreamBody::new(frames));
    Ok(hyper::Response::from_parts(head, body))
}
