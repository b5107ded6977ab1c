//! The body of an answer to a read. If the body breaks off, the remaining bytes of the same version are requested.
//!
//! The crate `object_store` does this for the stores that it supports. This module does it for the stores that this
//! crate implements.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::GetRange;
use object_store::client::{HttpError, HttpResponse};

use super::StoreResult;
use super::ranges::{header, part};

/// The number of times that the remaining bytes of a body are requested.
const MAX_RESUMES: usize = 10;
/// The pause between two tries.
const RESUME_PAUSE: Duration = Duration::from_millis(100);

/// An object of which ranges can be requested.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// The store's name in errors.
    const STORE: &'static str;

    /// Requests a range. The answer may be of another version than the one with this etag; the caller checks that.
    async fn read(&self, range: GetRange, etag: &str) -> StoreResult<HttpResponse>;
}

/// Returns the bytes of an answer with the range `range` of the object: all of them, of a single version, or an error.
pub(super) fn body<S: Source>(
    source: S,
    answer: HttpResponse,
    range: Range<u64>,
) -> BoxStream<'static, StoreResult<Bytes>> {
    let etag = header(&answer, "etag").map(str::to_owned);
    let body = Body { source, etag, pieces: answer.into_body().bytes_stream(), left: range, resumes: 0 };
    stream::try_unfold(body, Body::next).boxed()
}

/// The body of an answer that is being read.
struct Body<S> {
    source: S,
    etag: Option<String>,
    pieces: BoxStream<'static, Result<Bytes, HttpError>>,
    left: Range<u64>,
    resumes: usize,
}

impl<S: Source> Body<S> {
    /// Returns the next piece.
    async fn next(mut self) -> StoreResult<Option<(Bytes, Self)>> {
        loop {
            let left = self.left.end - self.left.start;
            let error = match self.pieces.next().await {
                Some(Ok(piece)) if piece.len() as u64 <= left => {
                    self.left.start += piece.len() as u64;
                    return Ok(Some((piece, self)));
                }
                Some(Ok(_)) => return Err(error::<S>("the answer is longer than the part that it names")),
                _ if left == 0 => return Ok(None),
                Some(Err(e)) => error::<S>(e),
                None => error::<S>(format!("the answer ended {left} bytes early")),
            };
            self.resume(error).await?;
        }
    }

    /// Requests the remaining bytes.
    ///
    /// # Errors
    /// `error`, if the remaining bytes cannot be had: without an etag, they might be another version's.
    async fn resume(&mut self, error: object_store::Error) -> StoreResult<()> {
        let Some(etag) = self.etag.as_deref().filter(|_| self.resumes < MAX_RESUMES) else {
            return Err(error);
        };
        self.resumes += 1;
        tokio::time::sleep(RESUME_PAUSE).await;
        let answer = self.source.read(GetRange::Bounded(self.left.clone()), etag).await?;
        let is_remaining_range = part(&answer).is_some_and(|(came, _)| came == self.left);
        if !is_remaining_range || header(&answer, "etag") != Some(etag) {
            return Err(error);
        }
        self.pieces = answer.into_body().bytes_stream();
        Ok(())
    }
}

fn error<S: Source>(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: S::STORE, source: source.into() }
}
