//! Runs a piece of work at a server within the limits of the caller's operation, and explains its errors.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use object_store::list::PaginatedListOptions;

use super::failure::Failure;
use super::http::{LIMITS, Limits, MAX_DOCUMENT_BYTES, Tries};
use super::runtime::{self, Started};
use super::{Bucket, Client, StoreResult};
use crate::ErrorKind;
use crate::deadline::{self, Budget};
use crate::meter::add_retries;

/// The error that the operation's time is used up.
#[derive(Debug)]
pub(super) struct Late;

/// The outcome of a piece of work.
pub(super) type Outcome<T> = std::result::Result<StoreResult<T>, Late>;

/// Work in progress.
#[derive(Debug)]
pub(super) struct PendingRequest<T> {
    started: Started<Outcome<T>>,
    budget: Arc<Budget>,
    tries: Arc<Tries>,
    since: Instant,
}

/// Does `work` until it is done or the budget is used up. Other requests may prolong the budget meanwhile.
pub(super) async fn limited<T>(limits: Limits, work: impl Future<Output = StoreResult<T>>) -> Outcome<T> {
    let budget = limits.budget.clone();
    LIMITS
        .scope(limits, async move {
            let mut work = pin!(work);
            loop {
                let answer = tokio::time::timeout_at(budget.ends().into(), work.as_mut()).await;
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(_) if budget.remaining().is_zero() => return Err(Late),
                    Err(_) => (),
                }
            }
        })
        .await
}

/// The knowledge whether a server that is addressed with S3's protocol speaks it.
#[derive(Debug)]
pub(super) struct Dialect {
    /// The server's name in messages.
    pub(super) endpoint: String,
    pub(super) is_known: AtomicBool,
}

impl Bucket {
    /// Returns the limits of a piece of work that begins now, with answers of at most `most` bytes.
    pub(super) fn limits(&self, most: u64) -> Limits {
        Limits::new(deadline::budget(|| self.patience.left()), most, self.clock.clone(), self.maker.clone())
    }

    /// Returns the time that an operation may wait for the store.
    pub(super) fn timeout(&self) -> Duration {
        deadline::budget(|| self.patience.left()).timeout()
    }

    /// Starts work with answers of at most `most` bytes.
    pub(super) fn start<T: Send + 'static>(
        &self,
        most: u64,
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> std::result::Result<PendingRequest<T>, Failure> {
        self.start_with_follow_up(most, work, std::future::ready(()))
    }

    /// Starts work with answers of at most `most` bytes, and after it `follow_up`, for which no caller waits.
    pub(super) fn start_with_follow_up<T: Send + 'static>(
        &self,
        most: u64,
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
        follow_up: impl Future<Output = ()> + Send + 'static,
    ) -> std::result::Result<PendingRequest<T>, Failure> {
        let (limits, since) = (self.limits(most), Instant::now());
        let (budget, tries) = (limits.budget.clone(), limits.tries.clone());
        if budget.remaining().is_zero() {
            return Err(self.late(&budget));
        }
        let started = runtime::start_with_follow_up(limited(limits, work), follow_up)
            .map_err(|e| Failure::new(ErrorKind::Io, format!("a request was not made: {e}")))?;
        Ok(PendingRequest { started, budget, tries, since })
    }

    /// Waits for work.
    pub(super) fn wait<T: 'static>(&self, asked: PendingRequest<T>) -> std::result::Result<T, Failure> {
        let PendingRequest { started, budget, tries, since } = asked;
        let outcome = started.wait();
        add_retries(tries.retries());
        let outcome =
            outcome.map_err(|e| Failure::new(ErrorKind::Io, format!("a request was not made: {e}")))?;
        let failure = match outcome {
            Ok(Ok(answer)) => {
                self.patience.restore();
                budget.answered();
                budget.succeeded();
                return Ok(answer);
            }
            Ok(Err(e)) => Failure::of(&e, &self.bucket),
            Err(Late) => self.late(&budget),
        };
        match failure.kind {
            ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Io => {
                self.patience.spend(budget.charge(since));
            }
            _ => {
                self.patience.restore();
                budget.answered();
                budget.succeeded();
            }
        }
        Err(self.checked(failure))
    }

    /// Runs one or several requests with answers that are documents or little longer, and waits for their result.
    pub(super) fn ask<T, F>(&self, requests: impl FnOnce(Client) -> F) -> std::result::Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        self.ask_for(MAX_DOCUMENT_BYTES, requests)
    }

    /// Runs one or several requests with answers of at most `most` bytes, and waits for their result.
    pub(super) fn ask_for<T, F>(
        &self,
        most: u64,
        requests: impl FnOnce(Client) -> F,
    ) -> std::result::Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let work = requests(self.client()?.clone());
        self.wait(self.start(most, work)?)
    }

    fn late(&self, budget: &Budget) -> Failure {
        let time = budget.timeout().as_secs_f32();
        let last = budget.last_failure().map_or_else(String::new, |last| format!("; the last try: {last}"));
        let why = format!("nothing came of it within {time} seconds, by the setting 'timeout'{last}");
        Failure::new(ErrorKind::Timeout, why)
    }

    /// Returns the failure, or a clearer one if the server reports a missing object and does not look like S3 at all.
    /// An answer to `HEAD` has no error code, so one listing is requested to find out.
    fn checked(&self, failure: Failure) -> Failure {
        let Some(dialect) = &self.dialect else { return failure };
        if failure.code.is_some() {
            dialect.is_known.store(true, Ordering::Relaxed);
        }
        if failure.kind != ErrorKind::NotFound || dialect.is_known.load(Ordering::Relaxed) {
            return failure;
        }
        let listed = self.client().and_then(|client| {
            let pages = client.pages.clone();
            let options = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
            let work = async move {
                match pages {
                    Some(pages) => pages.list_paginated(None, options).await.map(drop),
                    None => Ok(()),
                }
            };
            self.start(MAX_DOCUMENT_BYTES, work)
        });
        let listed = listed.and_then(|asked| {
            let unavailable = |e: std::io::Error| Failure::new(ErrorKind::Unavailable, e.to_string());
            match asked.started.wait().map_err(unavailable)? {
                Ok(answer) => answer.map_err(|e| Failure::of(&e, &self.bucket)),
                Err(Late) => Err(self.late(&asked.budget)),
            }
        });
        match listed {
            Err(f) if f.code.is_none() && matches!(f.kind, ErrorKind::NotFound | ErrorKind::Io) => {
                Failure::new(
                    ErrorKind::InvalidArgument,
                    format!(
                        "{} does not look like S3: it answers with HTTP status 404 and without an error code of S3; \
                     AWS_ENDPOINT_URL has to name the service itself",
                        dialect.endpoint
                    ),
                )
            }
            Err(f) if f.code.is_none() => failure,
            _ => {
                dialect.is_known.store(true, Ordering::Relaxed);
                failure
            }
        }
    }
}
