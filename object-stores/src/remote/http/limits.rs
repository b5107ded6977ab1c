//! The limits of the requests of one piece of work, and the counters of tries.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use object_store::client::HttpErrorKind;
use reqwest::Method;

use crate::deadline::Budget;
use crate::remote::clock::ServerClock;
use crate::remote::maker::Maker;

/// The limits that the requests of one piece of work share.
#[derive(Clone, Debug)]
pub(in crate::remote) struct Limits {
    pub(in crate::remote) budget: Arc<Budget>,
    /// The maximum length of an answer, in bytes.
    pub(in crate::remote) most: u64,
    /// The server's clock, as answers show it.
    pub(super) clock: Arc<ServerClock>,
    /// The server's software, as answers show it.
    pub(super) maker: Arc<Maker>,
    /// The counters of failed tries and of retries.
    pub(in crate::remote) tries: Arc<Tries>,
    /// Set when answers have broken off for so long that the work is abandoned: otherwise `object_store` would request
    /// the remaining bytes again.
    pub(super) given_up: Arc<OnceLock<HttpErrorKind>>,
}

impl Limits {
    /// Returns the limits of a piece of work that begins now.
    pub(in crate::remote) fn new(
        budget: Arc<Budget>,
        most: u64,
        clock: Arc<ServerClock>,
        maker: Arc<Maker>,
    ) -> Limits {
        Limits { budget, most, clock, maker, tries: Arc::default(), given_up: Arc::default() }
    }
}

/// The tries of a piece of work. A try that begins after another one failed is a retry.
#[derive(Debug, Default)]
pub(in crate::remote) struct Tries {
    /// The number of failed tries that no retry has followed yet.
    failed: AtomicU64,
    retries: AtomicU64,
}

impl Tries {
    pub(super) fn begin(&self) {
        let one_less = |failed: u64| failed.checked_sub(1);
        if self.failed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Logs that a try failed. The server's text is left out, because it may quote the request.
    pub(super) fn fail(&self, method: &Method, why: &dyn fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let (retry, why) = (self.retries(), why.to_string());
        tracing::debug!(method = method.as_str(), retry, why, "a try of a request failed");
    }

    /// Returns the number of requests that were sent again.
    pub(in crate::remote) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

tokio::task_local! {
    /// The limits of the work that this task does.
    pub(in crate::remote) static LIMITS: Limits;
}
