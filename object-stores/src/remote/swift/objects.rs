//! A container of Swift, as a store of the crate `object_store`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use md5::{Digest as _, Md5};
use object_store::client::{HttpRequestBody, HttpResponse};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use reqwest::Method;
use reqwest::header::HeaderValue;

use super::super::StoreResult;
use super::super::hex::hex;
use super::super::ranges::{header, is_wanted, part, written};
use super::super::resume::{self, Source};
use super::client::{Ask, SwiftClient, generic};
use super::large::{self, Segments};
use super::refusal::What;

/// The number of objects that one request deletes; Swift allows 10,000.
const DELETES_AT_ONCE: usize = 1000;
/// The number of objects that are inspected or deleted at the same time.
const LOOKS_AT_ONCE: usize = 16;

/// A container. The segments of its large objects are in another container next to it.
#[derive(Clone, Debug)]
pub(super) struct SwiftContainer {
    pub(super) client: Arc<SwiftClient>,
    pub(super) name: Arc<str>,
    /// The maximum length, in bytes, of an object that is put in one piece.
    segment: usize,
}

impl fmt::Display for SwiftContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swift://{}", self.name)
    }
}

/// Converts a text of this crate into a header's value.
pub(super) fn value(text: &str) -> StoreResult<HeaderValue> {
    HeaderValue::from_str(text).map_err(|e| generic(Box::new(e)))
}

/// Returns the MD5 digest, which Swift compares with the bytes that arrive.
pub(super) fn digest(payload: &PutPayload) -> String {
    let mut digest = Md5::new();
    payload.iter().for_each(|piece| digest.update(piece));
    hex(&digest.finalize())
}

fn not_there(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "the store of Swift".into() }
}

impl SwiftContainer {
    pub(super) fn new(client: Arc<SwiftClient>, name: &str, segment: usize) -> Self {
        SwiftContainer { client, name: name.into(), segment }
    }

    fn path(&self, object: &Path) -> String {
        format!("{}/{object}", self.name)
    }

    /// Puts bytes in one piece, at a path below the account; returns the etag.
    pub(super) async fn put_piece(&self, path: String, payload: PutPayload) -> StoreResult<String> {
        let digest = digest(&payload);
        let ask = Ask::new(Method::PUT, path, What::Container);
        let ask = ask.header("etag", value(&digest)?).body(HttpRequestBody::from(payload));
        let answer = self.client.ask(ask).await?;
        // A server that answers without the digest is not Swift; it may be a login page, for example.
        if header(&answer, "etag").is_none_or(|etag| etag.trim_matches('"') != digest) {
            return Err(generic("the answer to a put does not name what was put by its digest".into()));
        }
        Ok(digest)
    }

    async fn head(&self, path: &Path) -> StoreResult<(ObjectMeta, bool)> {
        let ask = Ask::new(Method::HEAD, self.path(path), What::Read);
        let answer = self.client.ask(ask.header("x-newest", HeaderValue::from_static("true"))).await?;
        let size = header(&answer, "content-length").and_then(|length| length.parse().ok());
        let is_large = large::is_large(&answer);
        Ok((meta(path, &answer, size)?, is_large))
    }

    /// Deletes objects, large ones with their segments. Deleting a missing object succeeds.
    async fn delete_batch(self, paths: Vec<StoreResult<Path>>) -> StoreResult<Vec<Path>> {
        let paths: Vec<Path> = paths.into_iter().collect::<StoreResult<_>>()?;
        let mut segments = Vec::new();
        // Without the container of segments no object is large.
        if paths.len() == 1 || self.has_segments().await? {
            let looks = stream::iter(paths.clone()).map(|path| {
                let own = self.clone();
                async move { own.segments_of(&path).await }
            });
            segments = looks.buffer_unordered(LOOKS_AT_ONCE).try_concat().await?;
        }
        self.delete_all(paths.iter().map(|path| self.path(path)).collect()).await?;
        for some in segments.chunks(DELETES_AT_ONCE) {
            self.delete_all(some.to_vec()).await?;
        }
        Ok(paths)
    }

    /// Returns the paths below the account of this store's segments of an object; none if the object is not large, or
    /// does not exist.
    pub(super) async fn segments_of(&self, path: &Path) -> StoreResult<Vec<String>> {
        match self.head(path).await {
            Ok((_, true)) => large::segments(self, self.path(path)).await,
            Ok((_, false)) | Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Deletes the objects at paths below the account.
    pub(super) async fn delete_all(&self, paths: Vec<String>) -> StoreResult<()> {
        if paths.len() > 1 && large::delete_in_bulk(&self.client, &paths).await? {
            return Ok(());
        }
        let deletes = stream::iter(paths).map(|path| async move {
            match self.client.ask(Ask::new(Method::DELETE, path, What::Read)).await {
                Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
                Err(e) => Err(e),
            }
        });
        deletes.buffer_unordered(LOOKS_AT_ONCE).try_collect().await
    }
}

/// Reads the metadata of the object at `path` from an answer's headers.
fn meta(path: &Path, answer: &HttpResponse, size: Option<u64>) -> StoreResult<ObjectMeta> {
    let bad = |what: &str| generic(format!("the answer has no {what} that makes sense").into());
    let modified = header(answer, "last-modified").and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    Ok(ObjectMeta {
        location: path.clone(),
        last_modified: modified.ok_or_else(|| bad("Last-Modified"))?.with_timezone(&Utc),
        size: size.ok_or_else(|| bad("Content-Length"))?,
        e_tag: header(answer, "etag").map(str::to_owned),
        version: None,
    })
}

/// An object from which the remaining bytes can be requested if the body of an answer breaks off.
struct SwiftObject {
    container: SwiftContainer,
    path: Path,
}

#[async_trait]
impl Source for SwiftObject {
    const STORE: &'static str = "Swift";

    async fn read(&self, range: GetRange, etag: &str) -> StoreResult<HttpResponse> {
        self.container.read(&self.path, Some(&range), [("if-match", Some(etag))]).await
    }
}

impl SwiftContainer {
    async fn read(
        &self,
        path: &Path,
        range: Option<&GetRange>,
        conditions: impl IntoIterator<Item = (&'static str, Option<&str>)>,
    ) -> StoreResult<HttpResponse> {
        let ask = Ask::new(Method::GET, self.path(path), What::Read);
        let mut ask = ask.header("x-newest", HeaderValue::from_static("true"));
        if let Some(range) = range {
            ask = ask.header("range", value(&written(range))?);
        }
        for (name, etag) in conditions {
            if let Some(etag) = etag {
                ask = ask.header(name, value(etag)?);
            }
        }
        self.client.ask(ask).await
    }
}

#[async_trait]
impl ObjectStore for SwiftContainer {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if options.mode != PutMode::Overwrite {
            return Err(not_there("a put with a condition"));
        }
        if payload.content_length() > self.segment {
            let mut segments = Segments::new(self.clone(), path.clone()).await?;
            let put = async {
                for part in large::split(payload, self.segment) {
                    segments.put_part(part).await?;
                }
                segments.complete().await
            };
            return match put.await {
                Ok(put) => Ok(put),
                Err(e) => {
                    let _what_stays_is_named_in_the_manual = segments.abort().await;
                    Err(e)
                }
            };
        }
        let e_tag = Some(self.put_piece(self.path(path), payload).await?);
        Ok(PutResult { e_tag, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        _: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Ok(Box::new(Segments::new(self.clone(), path.clone()).await?))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if options.head {
            let (meta, _) = self.head(path).await?;
            let payload = GetResultPayload::Stream(stream::empty().boxed());
            let range = 0..meta.size;
            let (attributes, extensions) = Default::default();
            return Ok(GetResult { payload, range, meta, attributes, extensions });
        }
        let conditions =
            [("if-match", options.if_match.as_deref()), ("if-none-match", options.if_none_match.as_deref())];
        let answer = self.read(path, options.range.as_ref(), conditions).await?;
        let (range, size) =
            part(&answer).ok_or_else(|| generic("the answer does not say which part it has".into()))?;
        if options.range.as_ref().is_some_and(|wanted| !is_wanted(wanted, &range, size)) {
            return Err(generic("the answer has another part of the object than was requested".into()));
        }
        let meta = meta(path, &answer, Some(size))?;
        let object = SwiftObject { container: self.clone(), path: path.clone() };
        let payload = GetResultPayload::Stream(resume::body(object, answer, range.clone()));
        let (attributes, extensions) = Default::default();
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let own = self.clone();
        let batches = paths.chunks(DELETES_AT_ONCE).then(move |batch| own.clone().delete_batch(batch));
        batches.map_ok(|paths| stream::iter(paths.into_iter().map(Ok))).try_flatten().boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        stream::once(async { Err(not_there("a listing without pages")) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> StoreResult<ListResult> {
        Err(not_there("a listing by folders"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> StoreResult<()> {
        Err(not_there("a copy"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn payloads_have_md5_as_swift_computes_it() {
        assert_eq!(digest(&PutPayload::from("abc")), "900150983cd24fb0d6963f7d28e17f72");
        let pieces: PutPayload =
            ["a", "bc"].map(|text| Bytes::from_static(text.as_bytes())).into_iter().collect();
        assert_eq!(digest(&pieces), "900150983cd24fb0d6963f7d28e17f72");
    }
}
