//! Ranges of objects: collected, or passed on as they arrive.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{GetOptions, GetRange, ObjectStoreExt as _};

use super::failure::Failure;
use super::http::MAX_DOCUMENT_BYTES;
use super::{Client, Path, RemoteStore, StoreResult};
use crate::store::check_exact;
use crate::{ErrorKind, Etag, Key, ObjectMeta, Operation, Result};

/// The number of bytes that are passed to a waiting thread at once: waking a thread costs more than copying a few
/// pieces that came from the network.
const MAX_SINGLE_REQUEST_BYTES: usize = 256 << 10;

/// A range of an object as it arrived, in pieces.
pub(super) struct Part {
    pub(super) meta: object_store::ObjectMeta,
    pub(super) pieces: Vec<Bytes>,
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// The answer to a read on the condition that the object's etag differs from a known one.
pub(super) enum IfNoneMatch {
    /// The object has another etag; this is the requested range.
    Changed(Part),
    /// The object has the known etag.
    Unchanged,
    /// The server did not compare the etags: it cannot compare this one, or it refused the range first.
    NotCompared,
}

/// The greatest length of an object in which a range can lie: some servers store the numbers of a range in 63 bits.
const MAX_OBJECT_BYTES: u64 = i64::MAX as u64;

fn http_range(range: Range<u64>) -> GetRange {
    if range.end > MAX_OBJECT_BYTES { GetRange::Offset(range.start) } else { GetRange::Bounded(range) }
}

async fn get_part(
    client: Client,
    path: Path,
    range: Option<Range<u64>>,
    conditions: GetOptions,
) -> StoreResult<Part> {
    let options = GetOptions { range: range.map(http_range), ..conditions };
    let got = client.objects.get_opts(&path, options).await?;
    let meta = got.meta.clone();
    let pieces = got.into_stream().try_collect().await?;
    Ok(Part { meta, pieces })
}

type Pieces = mpsc::Sender<Vec<Bytes>>;

/// Passes the bytes that arrive to the waiting thread, some pieces at a time.
async fn send_part(
    client: Client,
    path: Path,
    range: Range<u64>,
    to: Pieces,
) -> StoreResult<object_store::ObjectMeta> {
    let options = GetOptions { range: Some(http_range(range)), ..GetOptions::default() };
    let got = client.objects.get_opts(&path, options).await?;
    let meta = got.meta.clone();
    let mut stream = got.into_stream();
    let (mut some, mut length) = (Vec::new(), 0);
    while let Some(piece) = stream.try_next().await? {
        length += piece.len();
        some.push(piece);
        if length >= MAX_SINGLE_REQUEST_BYTES {
            let _nobody_waits = to.send(std::mem::take(&mut some));
            length = 0;
        }
    }
    let _nobody_waits = to.send(some);
    Ok(meta)
}

impl RemoteStore {
    /// Reads the range `range` of an object. A range that is empty in any object cannot be expressed in HTTP, so only
    /// the metadata is requested for it.
    pub(super) fn part(&self, key: &Key, range: Option<Range<u64>>) -> std::result::Result<Part, Failure> {
        let path = self.bucket.path(key)?;
        let is_empty = range.as_ref().is_some_and(|range| range.is_empty() || range.start > MAX_OBJECT_BYTES);
        // If the whole object is requested, the answer's length is not bounded.
        let most = range.as_ref().map_or(u64::MAX, |range| range.end.saturating_sub(range.start));
        let part = self.bucket.ask_for(most.max(MAX_DOCUMENT_BYTES), |client| async move {
            if is_empty {
                let meta = client.objects.head(&path).await?;
                return Ok(Part { meta, pieces: Vec::new() });
            }
            get_part(client, path, range, GetOptions::default()).await
        })?;
        Ok(part)
    }

    /// Reads a range of an object on the condition that its etag is `etag`. A server that reports another etag may
    /// compare etags in a way of its own: the range is then read again without the condition, and the caller compares.
    /// If the etags turn out to be equal, the server gets no such condition any more.
    pub(super) fn part_if_match(
        &self,
        key: &Key,
        range: Range<u64>,
        etag: &Etag,
    ) -> std::result::Result<Part, Failure> {
        if !self.is_comparable(etag) || self.bucket.misreads_if_match.load(Ordering::Relaxed) {
            return self.part(key, Some(range));
        }
        let if_match = Some(etag.as_str().to_owned());
        let (to, condition) = (self.bucket.path(key)?, GetOptions { if_match, ..GetOptions::default() });
        let most = range.end.saturating_sub(range.start).max(MAX_DOCUMENT_BYTES);
        let wanted = Some(range.clone());
        let asked = self.bucket.ask_for(most, |client| get_part(client, to, wanted, condition));
        match asked {
            Err(failure) if failure.kind == ErrorKind::PreconditionFailed => {
                let part = self.part(key, Some(range))?;
                if self.bucket.etag_of(&part.meta).as_ref() == Some(etag) {
                    self.bucket.misreads_if_match.store(true, Ordering::Relaxed);
                }
                Ok(part)
            }
            asked => asked,
        }
    }

    /// Returns whether a read may have this etag as its condition. Google's store identifies versions by numbers, and
    /// compares only digests of the content in reads.
    fn is_comparable(&self, etag: &Etag) -> bool {
        !self.bucket.by_version && !etag.is_weak() && !etag.as_str().is_empty()
    }

    /// Reads a range of an object, or all of it, on the condition that its etag differs from `known`. Returns
    /// `NotCompared` if the caller has to compare the object's metadata.
    pub(super) fn part_if_none_match(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> std::result::Result<IfNoneMatch, Failure> {
        let is_empty = range.as_ref().is_some_and(|range| range.is_empty() || range.start > MAX_OBJECT_BYTES);
        let misreads = &self.bucket.misreads_if_none_match;
        // HTTP's etags are quoted. A server may reject a request with an unquoted etag as malformed.
        let is_comparable = self.is_comparable(known) && known.as_str().ends_with('"');
        if is_empty || !is_comparable || misreads.load(Ordering::Relaxed) {
            return Ok(IfNoneMatch::NotCompared);
        }
        let if_none_match = Some(known.as_str().to_owned());
        let (to, condition) = (self.bucket.path(key)?, GetOptions { if_none_match, ..GetOptions::default() });
        let most = range.as_ref().map_or(u64::MAX, |range| range.end.saturating_sub(range.start));
        let asked = self
            .bucket
            .ask_for(most.max(MAX_DOCUMENT_BYTES), |client| get_part(client, to, range, condition));
        match asked {
            Ok(part) if self.bucket.etag_of(&part.meta).as_ref() == Some(known) => {
                // The server sent the known version, and would do so again.
                misreads.store(true, Ordering::Relaxed);
                Ok(IfNoneMatch::Unchanged)
            }
            Ok(part) => Ok(IfNoneMatch::Changed(part)),
            // HTTP's 304, or 412 from a server that mistakes the condition for that of a put.
            Err(failure) if failure.kind == ErrorKind::PreconditionFailed => Ok(IfNoneMatch::Unchanged),
            // HTTP evaluates the condition before the range (RFC 9110, section 13.2.2). MinIO evaluates the range first, and no range
            // of an empty object is satisfiable.
            Err(failure) if failure.kind == ErrorKind::ShortRead => Ok(IfNoneMatch::NotCompared),
            Err(failure) => Err(failure),
        }
    }

    /// Implements [`ObjectStore::get_each`](crate::ObjectStore::get_each); `range` does not end before it starts.
    /// Arriving bytes are passed to `take` in this thread, while the runtime's threads wait for more.
    pub(super) fn each(
        &self,
        key: &Key,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<ObjectMeta> {
        let fail = |failure| self.fail(Operation::GetInto, key, failure);
        let length = range.end - range.start;
        let mut came = 0;
        let meta = if range.is_empty() || range.start > MAX_OBJECT_BYTES {
            self.part(key, Some(range.clone())).map_err(fail)?.meta
        } else {
            let path = self.bucket.path(key).map_err(fail)?;
            let client = self.bucket.client().map_err(fail)?.clone();
            let (to, pieces) = mpsc::channel();
            let asked =
                self.bucket.start(length, send_part(client, path, range.clone(), to)).map_err(fail)?;
            for piece in pieces.into_iter().flatten() {
                came += piece.len() as u64;
                // Bytes beyond the requested range are dropped.
                if came <= length {
                    take(&piece);
                }
            }
            self.bucket.wait(asked).map_err(fail)?
        };
        check_exact(range.start, length, meta.size).map_err(|e| e.at(key).in_store(&self.bucket.name))?;
        if came != length {
            return Err(fail(Failure::new(ErrorKind::Io, format!("{came} bytes came for {length}"))));
        }
        self.bucket.meta(meta).map_err(fail)
    }
}
