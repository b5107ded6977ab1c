//! A streamed put: one put if the object is small, otherwise an upload in parts.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _};

use super::asking::PendingRequest;
use super::failure::Failure;
use super::http::MAX_DOCUMENT_BYTES;
use super::{Bucket, Path};
use crate::{Error, ErrorKind, Key, Operation, PutResult, PutStream, Result};

/// The length of a part, in bytes. S3 accepts 10,000 parts of at least 5 MiB, so an object may have 78 GiB.
const PART_BYTES: usize = 8 << 20;
/// The number of parts in flight at the same time; with the part that is being filled, this bounds the memory.
const MAX_PARTS_UNDER_WAY: usize = 4;

pub(super) struct Upload {
    bucket: Arc<Bucket>,
    key: Key,
    path: Path,
    filling: Vec<u8>,
    parts: Option<Parts>,
}

struct Parts {
    upload: Box<dyn MultipartUpload>,
    under_way: VecDeque<PendingRequest<()>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn new(bucket: Arc<Bucket>, key: Key, path: Path) -> Self {
        Upload { bucket, key, path, filling: Vec::new(), parts: None }
    }

    fn fail(&self, operation: Operation, failure: Failure) -> Error {
        self.bucket.error(operation, failure).at(&self.key)
    }

    fn start_parts(&self) -> std::result::Result<Parts, Failure> {
        let path = self.path.clone();
        let upload = self.bucket.ask(|client| async move { client.objects.put_multipart(&path).await })?;
        Ok(Parts { upload, under_way: VecDeque::new() })
    }

    /// Sends the buffered bytes as a part. If many parts are in flight, waits for the oldest one first.
    fn send_part(&mut self) -> std::result::Result<(), Failure> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self.start_parts()?,
        };
        let bytes = Bytes::from(std::mem::take(&mut self.filling));
        let part = parts.upload.put_part(bytes.into());
        let sent = self.bucket.start(MAX_DOCUMENT_BYTES, part).and_then(|asked| {
            parts.under_way.push_back(asked);
            if parts.under_way.len() > MAX_PARTS_UNDER_WAY { self.finish_part(&mut parts) } else { Ok(()) }
        });
        self.parts = Some(parts);
        sent
    }

    fn finish_part(&self, parts: &mut Parts) -> std::result::Result<(), Failure> {
        let Some(part) = parts.under_way.pop_front() else { return Ok(()) };
        self.bucket.wait(part)
    }

    fn finish_all(&mut self) -> std::result::Result<PutResult, Failure> {
        if self.parts.is_none() {
            let (path, bytes) = (self.path.clone(), Bytes::from(std::mem::take(&mut self.filling)));
            let put =
                self.bucket.ask(|client| async move { client.objects.put(&path, bytes.into()).await })?;
            return Ok(self.bucket.put_result(put));
        }
        if !self.filling.is_empty() {
            self.send_part()?;
        }
        let Some(mut parts) = self.parts.take() else {
            return Err(Failure::new(ErrorKind::Io, "the upload was given up"));
        };
        while !parts.under_way.is_empty() {
            if let Err(failure) = self.finish_part(&mut parts) {
                self.parts = Some(parts);
                return Err(failure);
            }
        }
        let mut upload = parts.upload;
        let completed = self.bucket.ask(|_| async move {
            let answer = upload.complete().await;
            Ok((answer, upload))
        });
        let (answer, upload) = completed?;
        match answer {
            Ok(put) => Ok(self.bucket.put_result(put)),
            Err(e) => {
                self.parts = Some(Parts { upload, under_way: VecDeque::new() });
                let mut failure = Failure::of(&e, &self.bucket.bucket);
                if failure.kind == ErrorKind::NotFound {
                    // The first request completed the upload, so that its repetition does not find the upload any more.
                    failure =
                        Failure::new(ErrorKind::Io, "the store did not say whether the upload is complete");
                }
                Err(failure)
            }
        }
    }

    /// Asks the store to discard the parts, without waiting for that.
    fn give_up(&mut self) -> Option<PendingRequest<()>> {
        let Parts { mut upload, under_way } = self.parts.take()?;
        let aborting = async move {
            // A part that arrives after the abort remains until the store's own clean-up.
            drop(under_way);
            upload.abort().await
        };
        self.bucket.start(MAX_DOCUMENT_BYTES, aborting).ok()
    }
}

impl PutStream for Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = PART_BYTES - self.filling.len();
            let (now, later) = rest.split_at(left.min(rest.len()));
            self.filling.extend_from_slice(now);
            rest = later;
            if self.filling.len() == PART_BYTES {
                self.send_part().map_err(|f| self.fail(Operation::StreamWrite, f))?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<PutResult> {
        // After an error, `drop` discards the parts.
        self.finish_all().map_err(|f| self.fail(Operation::StreamFinish, f))
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        if let Some(mut parts) = self.parts.take() {
            while !parts.under_way.is_empty() {
                let _it_is_given_up_anyway = self.finish_part(&mut parts);
            }
            self.parts = Some(parts);
        }
        let Some(aborting) = self.give_up() else { return Ok(()) };
        self.bucket.wait(aborting).map_err(|f| self.fail(Operation::StreamAbort, f))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _the_stores_own_clean_up_takes_what_stays = self.give_up();
    }
}
