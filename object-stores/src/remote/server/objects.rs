//! A store server, as a store of the crate `object_store`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::client::{HttpRequestBody, HttpResponse};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use reqwest::Method;
use reqwest::header::{IF_MATCH, IF_NONE_MATCH, RANGE};
use serde_json::Value;

use super::super::StoreResult;
use super::super::ranges::{header, is_wanted, part, written};
use super::super::resume::{self, Source};
use super::client::{Ask, ServerClient, broken, nonsense};
use super::upload::Upload;

/// The number of objects of a page, if the caller gives no number.
const PAGE: usize = 1000;
/// The number of deletes in flight at the same time.
const DELETES_AT_ONCE: usize = 16;

/// The objects of a server.
#[derive(Clone, Debug)]
pub(super) struct ServerObjects {
    client: Arc<ServerClient>,
}

impl fmt::Display for ServerObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store server")
    }
}

/// Returns the path of an object, below the protocol's version.
pub(super) fn place(key: &Path) -> String {
    format!("/objects/{key}")
}

/// Returns the etag in the answer to a put.
pub(super) fn put_result(answer: &HttpResponse) -> StoreResult<PutResult> {
    let e_tag = header(answer, "etag").filter(|etag| is_etag(etag)).map(str::to_owned);
    let e_tag = Some(e_tag.ok_or_else(|| nonsense("the answer to a put has no ETag"))?);
    Ok(PutResult { e_tag, version: None, extensions: Default::default() })
}

/// Returns whether a text is a strong etag in HTTP's form, of a plausible length.
pub(super) fn is_etag(text: &str) -> bool {
    text.len() > 2 && text.len() < 256 && text.starts_with('"') && text.ends_with('"')
}

/// Reads an object's metadata from an answer's headers.
fn meta(key: &Path, answer: &HttpResponse, size: Option<u64>) -> StoreResult<ObjectMeta> {
    let missing = |what: &str| nonsense(&format!("the answer has no {what} that makes sense"));
    let modified = header(answer, "last-modified").and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    let etag = header(answer, "etag").filter(|etag| is_etag(etag));
    Ok(ObjectMeta {
        location: key.clone(),
        last_modified: modified.ok_or_else(|| missing("Last-Modified"))?.with_timezone(&Utc),
        size: size.filter(|size| *size <= i64::MAX as u64).ok_or_else(|| missing("length"))?,
        e_tag: Some(etag.ok_or_else(|| missing("ETag"))?.to_owned()),
        version: None,
    })
}

fn not_there(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "the store protocol".into() }
}

impl ServerObjects {
    pub(super) fn new(client: Arc<ServerClient>) -> Self {
        ServerObjects { client }
    }

    async fn delete(&self, key: Path) -> StoreResult<Path> {
        match self.client.ask(Ask::new(Method::DELETE, &place(&key))).await {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(key),
            Err(e) => Err(e),
        }
    }
}

/// An object from which the remaining bytes can be requested if the body of an answer breaks off.
struct ServerObject {
    client: Arc<ServerClient>,
    key: Path,
}

#[async_trait]
impl Source for ServerObject {
    const STORE: &'static str = "store server";

    async fn read(&self, range: GetRange, _: &str) -> StoreResult<HttpResponse> {
        let ask = Ask::new(Method::GET, &place(&self.key)).header(RANGE, &written(&range))?;
        self.client.ask(ask).await
    }
}

#[async_trait]
impl ObjectStore for ServerObjects {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        let mut ask = Ask::new(Method::PUT, &place(key)).body(HttpRequestBody::from(payload));
        match options.mode {
            PutMode::Overwrite => (),
            PutMode::Create => {
                ask = ask.header(IF_NONE_MATCH, "*")?;
                ask.is_create = true;
            }
            PutMode::Update(version) => ask = ask.header(IF_MATCH, &version.e_tag.unwrap_or_default())?,
        }
        put_result(&self.client.ask(ask).await?)
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        _: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload::new(self.client.clone(), key.clone())?))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let method = if options.head { Method::HEAD } else { Method::GET };
        let mut ask = Ask::new(method, &place(key));
        if let Some(range) = &options.range {
            ask = ask.header(RANGE, &written(range))?;
        }
        if let Some(known) = &options.if_none_match {
            ask = ask.header(IF_NONE_MATCH, known)?;
        }
        let answer = self.client.ask(ask).await?;
        let (range, size) =
            part(&answer).ok_or_else(|| nonsense("an answer does not say which part it has"))?;
        let meta = meta(key, &answer, Some(size))?;
        if options.range.as_ref().is_some_and(|wanted| !is_wanted(wanted, &range, size)) {
            return Err(nonsense("an answer has another part of an object than was requested"));
        }
        let payload = match options.head {
            true => stream::empty().boxed(),
            false => {
                let object = ServerObject { client: self.client.clone(), key: key.clone() };
                resume::body(object, answer, range.clone())
            }
        };
        let (attributes, extensions) = Default::default();
        Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes, extensions })
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let own = self.clone();
        let deletes = keys.map(move |key| {
            let own = own.clone();
            async move { own.delete(key?).await }
        });
        deletes.buffered(DELETES_AT_ONCE).boxed()
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

#[async_trait]
impl PaginatedListStore for ServerObjects {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> StoreResult<PaginatedListResult> {
        let limit = options.max_keys.unwrap_or(PAGE).clamp(1, PAGE);
        let prefix = prefix.unwrap_or_default();
        // A page begins after the last key of the previous page.
        let after = options.page_token.or(options.offset);
        let mut ask = Ask::new(Method::GET, "/objects").query("prefix", prefix).query("limit", limit);
        if let Some(after) = &after {
            ask = ask.query("after", after);
        }
        let body = self.client.ask(ask).await?.into_body().bytes().await.map_err(broken)?;
        let (objects, more) = page(&body).ok_or_else(|| nonsense("a listing is not understood"))?;
        let mut last = after.as_deref();
        for key in objects.iter().map(|object| object.location.as_ref()) {
            if last.is_some_and(|last| key <= last) || !key.starts_with(prefix) {
                return Err(nonsense("a listing is out of order, or has keys that were not requested"));
            }
            last = Some(key);
        }
        if objects.len() > limit || (more && objects.is_empty()) {
            return Err(nonsense("a listing has too many objects, or promises more behind nothing"));
        }
        let page_token = last.filter(|_| more).map(str::to_owned);
        let result = ListResult { objects, common_prefixes: Vec::new(), extensions: Default::default() };
        Ok(PaginatedListResult { result, page_token })
    }
}

/// Returns the objects of a page, and whether there may be more.
fn page(body: &[u8]) -> Option<(Vec<ObjectMeta>, bool)> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let object = |object: &Value| {
        let key = object["key"].as_str()?;
        let location = Path::parse(key).ok().filter(|path| path.as_ref() == key)?;
        Some(ObjectMeta {
            location,
            last_modified: DateTime::from_timestamp(object["modified"].as_i64()?, 0)?,
            size: object["size"].as_u64().filter(|size| *size <= i64::MAX as u64)?,
            e_tag: Some(object["etag"].as_str().filter(|etag| is_etag(etag))?.to_owned()),
            version: None,
        })
    };
    let objects = document["objects"].as_array()?.iter().map(object).collect::<Option<Vec<_>>>()?;
    Some((objects, document["more"].as_bool()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_parsed_completely_or_refused() {
        let body =
            br#"{"objects": [{"key": "a/b", "size": 3, "modified": 7, "etag": "\"1\""}], "more": true}"#;
        let (objects, more) = page(body).unwrap();
        assert_eq!((objects[0].location.as_ref(), objects[0].size, more), ("a/b", 3, true));
        for bad in [
            r#"{"objects": [], "more": 1}"#,
            r#"{"objects": [{"key": "a//b", "size": 3, "modified": 7, "etag": "\"1\""}], "more": true}"#,
            r#"{"objects": [{"key": "a", "size": -3, "modified": 7, "etag": "\"1\""}], "more": true}"#,
            r#"{"objects": [{"key": "a", "size": 3, "modified": 7, "etag": "1"}], "more": true}"#,
            r#"{"objects": [{"key": "a", "size": 3, "modified": 9e18, "etag": "\"1\""}], "more": true}"#,
            "[]",
            "",
            "<html>",
        ] {
            assert!(page(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
