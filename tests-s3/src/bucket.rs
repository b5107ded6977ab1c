//! Buckets in memory, as S3 documents them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use futures_util::TryStreamExt;
use hyper::header::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use s3s::dto::*;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

use crate::{Behaviour, Conditions};

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    etag: String,
    modified: SystemTime,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    /// The previous versions of objects, by bucket and key.
    earlier: HashMap<(String, String), Object>,
    uploads: HashMap<String, BTreeMap<i32, Bytes>>,
    uploads_begun: u64,
}

/// All buckets, behind one lock, so that a condition is checked and the object put in one atomic step. Clones share
/// them.
#[derive(Clone)]
pub(crate) struct Buckets {
    state: Arc<Mutex<State>>,
    behaviour: Behaviour,
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets").field("behaviour", &self.behaviour).finish_non_exhaustive()
    }
}

/// Returns a digest of the content. It takes hardly any time, so that measurements show the client's time.
fn digest(bytes: &Bytes) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// Returns the etag of an object. S3's etags are digests of the content; the server chooses the digest.
fn etag(bytes: &Bytes, digest: u64) -> String {
    format!("{digest:016x}{:016x}", bytes.len())
}

impl Object {
    fn new(bytes: Bytes, modified: SystemTime) -> Self {
        let digest = digest(&bytes);
        Self::with(bytes, digest, modified)
    }

    fn with(bytes: Bytes, digest: u64, modified: SystemTime) -> Self {
        Object { etag: etag(&bytes, digest), bytes, modified }
    }
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    let broken = |_| s3_error!(IncompleteBody);
    // The body usually is a single piece, which need not be copied.
    let Some(first) = body.try_next().await.map_err(broken)? else { return Ok(Bytes::new()) };
    let Some(second) = body.try_next().await.map_err(broken)? else { return Ok(first) };
    let begin = BytesMut::from([first, second].concat().as_slice());
    let whole = body.try_fold(begin, |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    whole.await.map(BytesMut::freeze).map_err(broken)
}

fn length(bytes: &Bytes) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

impl State {
    fn bucket(&mut self, name: &str) -> S3Result<&mut BTreeMap<String, Object>> {
        self.buckets.get_mut(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn object(&mut self, bucket: &str, key: &str) -> S3Result<Object> {
        self.bucket(bucket)?.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

impl Buckets {
    pub(crate) fn with(bucket: &str, behaviour: Behaviour) -> Self {
        let mut state = State::default();
        state.buckets.insert(bucket.to_owned(), BTreeMap::new());
        Buckets { state: Arc::new(Mutex::new(state)), behaviour }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Puts an object, under any key.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let object = Object::new(Bytes::copy_from_slice(bytes), SystemTime::now());
        if let Ok(bucket) = self.state().bucket(bucket) {
            bucket.insert(key.to_owned(), object);
        }
    }

    /// Returns whether any object's key contains `part`.
    pub(crate) fn holds(&self, part: &str) -> bool {
        self.state().buckets.values().any(|bucket| bucket.keys().any(|key| key.contains(part)))
    }

    /// Returns the object that a read finds.
    fn read(&self, bucket: &str, key: &str, headers: &HeaderMap) -> S3Result<Object> {
        let mut state = self.state();
        let newest = state.object(bucket, key)?;
        if !self.behaviour.swift || headers.contains_key("x-newest") {
            return Ok(newest);
        }
        Ok(state.earlier.get(&(bucket.to_owned(), key.to_owned())).cloned().unwrap_or(newest))
    }

    fn check(
        &self,
        present: Option<&Object>,
        if_match: Option<&IfMatch>,
        if_none_match: Option<&IfNoneMatch>,
        is_quoted: bool,
    ) -> S3Result<()> {
        if if_match.is_none() && if_none_match.is_none() {
            return Ok(());
        }
        match self.behaviour.conditions {
            Conditions::Ignored => return Ok(()),
            Conditions::Refused => return Err(s3_error!(NotImplemented)),
            Conditions::NeverUpdates if if_match.is_some() => return Err(s3_error!(PreconditionFailed)),
            Conditions::Unquoted if if_match.is_some() && is_quoted => {
                return Err(s3_error!(PreconditionFailed));
            }
            _ => (),
        }
        let is = |condition: &ETagCondition, object: &Object| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == object.etag,
        };
        if if_none_match.is_some_and(|condition| present.is_some_and(|object| is(condition, object))) {
            return Err(s3_error!(PreconditionFailed));
        }
        if if_match.is_some_and(|condition| !present.is_some_and(|object| is(condition, object))) {
            // S3 answers this if there is no object to compare with.
            return Err(if present.is_none() { s3_error!(NoSuchKey) } else { s3_error!(PreconditionFailed) });
        }
        Ok(())
    }
}

#[async_trait]
impl S3 for Buckets {
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let object = self.read(&input.bucket, &input.key, &req.headers)?;
        if self.behaviour.conditions == Conditions::Honoured {
            self.check(Some(&object), input.if_match.as_ref(), None, false)?;
            let is_known = |condition: &ETagCondition| match condition {
                ETagCondition::Any => true,
                ETagCondition::ETag(etag) => etag.value() == object.etag,
            };
            if input.if_none_match.as_ref().is_some_and(is_known) {
                return Err(s3_error!(NotModified));
            }
        }
        let whole = object.bytes.len();
        let mut output = GetObjectOutput {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(Timestamp::from(object.modified)),
            ..GetObjectOutput::default()
        };
        let bytes = match input.range {
            None => object.bytes,
            Some(range) => {
                let part = range.check(whole as u64).map_err(|_| s3_error!(InvalidRange))?;
                output.content_range = Some(format!("bytes {}-{}/{whole}", part.start, part.end - 1));
                object.bytes.slice(part.start as usize..part.end as usize)
            }
        };
        output.content_length = Some(length(&bytes));
        output.body = Some(StreamingBlob::from(Body::from(bytes)));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.read(&req.input.bucket, &req.input.key, &req.headers)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(&object.bytes)),
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(Timestamp::from(object.modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let bytes = collect(input.body).await?;
        let digest = digest(&bytes);
        let object = Object::with(bytes, digest, self.behaviour.time());
        let is = BASE64_STANDARD.encode(digest.to_be_bytes());
        if !self.behaviour.ignores_checksums && input.checksum_crc64nvme.is_some_and(|said| said != is) {
            return Err(s3_error!(BadDigest));
        }
        let is_quoted = req.headers.get("if-match").is_some_and(|text| text.as_bytes().starts_with(b"\""));
        let check = |present: Option<&Object>| {
            self.check(present, input.if_match.as_ref(), input.if_none_match.as_ref(), is_quoted)
        };
        let is_conditional = input.if_match.is_some() || input.if_none_match.is_some();
        let pause = self.behaviour.conditions.pause().filter(|_| is_conditional);
        if let Some(pause) = pause {
            check(self.state().bucket(&input.bucket)?.get(&input.key))?;
            tokio::time::sleep(pause).await;
        }
        let mut state = self.state();
        let bucket = state.bucket(&input.bucket)?;
        if pause.is_none() {
            check(bucket.get(&input.key))?;
        }
        let etag = object.etag.clone();
        let earlier = bucket.insert(input.key.clone(), object);
        if let Some(earlier) = earlier.filter(|_| self.behaviour.swift) {
            state.earlier.insert((input.bucket, input.key), earlier);
        }
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(etag)), ..PutObjectOutput::default() }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.state().bucket(&req.input.bucket)?.remove(&req.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut state = self.state();
        let bucket = state.bucket(&req.input.bucket)?;
        let mut deleted = Vec::new();
        for object in req.input.delete.objects {
            bucket.remove(&object.key);
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let mut state = self.state();
        let bucket = state.bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.as_ref().or(input.start_after.as_ref());
        let from = match after {
            Some(after) if *after >= prefix => Bound::Excluded(after.clone()),
            _ => Bound::Included(prefix.clone()),
        };
        let most = usize::try_from(input.max_keys.unwrap_or(1000).clamp(0, 1000)).unwrap_or(1000);
        let mut found =
            bucket.range((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(&prefix));
        let contents: Vec<_> = found
            .by_ref()
            .take(most)
            .map(|(key, object)| s3s::dto::Object {
                key: Some(key.clone()),
                size: Some(length(&object.bytes)),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                last_modified: Some(Timestamp::from(object.modified)),
                ..s3s::dto::Object::default()
            })
            .collect();
        let more = found.next().is_some();
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len()).ok(),
            is_truncated: Some(more),
            next_continuation_token: contents.last().and_then(|last| last.key.clone()).filter(|_| more),
            contents: Some(contents),
            name: Some(input.bucket),
            prefix: input.prefix,
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut state = self.state();
        state.bucket(&req.input.bucket)?;
        state.uploads_begun += 1;
        let id = format!("upload-{}", state.uploads_begun);
        state.uploads.insert(id.clone(), BTreeMap::new());
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(req.input.bucket),
            key: Some(req.input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let bytes = collect(req.input.body).await?;
        let etag = etag(&bytes, digest(&bytes));
        let mut state = self.state();
        let parts = state.uploads.get_mut(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        parts.insert(req.input.part_number, bytes);
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let mut state = self.state();
        let parts = state.uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut whole = BytesMut::new();
        for (n, part) in named.iter().enumerate() {
            let bytes = part.part_number.and_then(|n| parts.get(&n)).ok_or_else(|| s3_error!(InvalidPart))?;
            if n + 1 < named.len() && bytes.len() < 5 << 20 {
                return Err(s3_error!(EntityTooSmall));
            }
            whole.extend_from_slice(bytes);
        }
        state.uploads.remove(&input.upload_id);
        let object = Object::new(whole.freeze(), self.behaviour.time());
        let etag = object.etag.clone();
        state.bucket(&input.bucket)?.insert(input.key.clone(), object);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        match self.state().uploads.remove(&req.input.upload_id) {
            Some(_) => Ok(S3Response::new(AbortMultipartUploadOutput::default())),
            None => Err(s3_error!(NoSuchUpload)),
        }
    }
}
