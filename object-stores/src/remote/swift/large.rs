//! Large objects: segments in a second container next to that of the object, and a manifest that joins them, written last.
//!
//! Swift's static large objects (<https://docs.openstack.org/swift/latest/overview_large_objects.html>). A manifest
//! names up to a thousand segments; for more segments, a manifest names manifests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::client::HttpResponse;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, UploadPart};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::super::StoreResult;
use super::super::failure::Failure;
use super::super::ranges::header;
use super::client::{Ask, SwiftClient, broken, generic};
use super::objects::SwiftContainer;
use super::refusal::What;

/// The number of entries of a manifest that every Swift accepts.
const MAX_ENTRIES: usize = 1000;
/// The maximum depth of manifests that name manifests: this store never writes deeper ones.
const MAX_DEPTH: usize = 3;

/// Returns whether an answer is that of a large object.
pub(super) fn is_large(answer: &HttpResponse) -> bool {
    header(answer, "x-static-large-object").is_some_and(|said| said.eq_ignore_ascii_case("true"))
}

/// A segment that has been put.
#[derive(Clone, Debug)]
struct Segment {
    number: usize,
    path: String,
    bytes: usize,
    digest: String,
}

/// A large object that is being put.
#[derive(Debug)]
pub(super) struct Segments {
    container: SwiftContainer,
    object: Path,
    /// The common prefix of all segments' paths.
    base: String,
    begun: usize,
    there: Arc<Mutex<Vec<Segment>>>,
    /// Set when the upload is aborted: parts that are still in flight then delete their segments themselves.
    given_up: Arc<AtomicBool>,
    /// True if the manifest was put, and no answer proves that it does not exist. Readers may then see an object that
    /// consists of these segments.
    is_in_doubt: bool,
}

impl SwiftContainer {
    /// Returns the name of the container for segments.
    fn segments_container(&self) -> String {
        format!("{}_segments", self.name)
    }

    /// Returns whether the container for segments exists, so that there can be large objects.
    pub(super) async fn has_segments(&self) -> StoreResult<bool> {
        let ask = Ask::new(Method::HEAD, self.segments_container(), What::Read);
        match self.client.ask(ask.header("x-newest", HeaderValue::from_static("true"))).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Segments {
    /// Starts an object; creates the container for segments if it does not exist.
    pub(super) async fn new(container: SwiftContainer, object: Path) -> StoreResult<Segments> {
        let beside = container.segments_container();
        container.client.ask(Ask::new(Method::PUT, &beside, What::Container)).await?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| generic(e.to_string().into()))?;
        let base = format!("{beside}/{:032x}", u128::from_be_bytes(random));
        let (there, given_up) = Default::default();
        Ok(Segments { container, object, base, begun: 0, there, given_up, is_in_doubt: false })
    }

    /// Puts manifests of the segments until a single manifest can name all entries that remain; returns these entries.
    /// Adds the paths of the manifests to `made`.
    async fn entries(&self, mut entries: Vec<Value>, made: &mut Vec<String>) -> StoreResult<Vec<Value>> {
        while entries.len() > MAX_ENTRIES {
            let mut next = Vec::new();
            for some in entries.chunks(MAX_ENTRIES) {
                let path = format!("{}/manifest-{:08}", self.base, made.len());
                put_manifest(&self.container.client, path.clone(), some).await?;
                made.push(path.clone());
                next.push(json!({ "path": format!("/{path}") }));
            }
            entries = next;
        }
        Ok(entries)
    }

    async fn finish(&mut self, made: &mut Vec<String>) -> StoreResult<PutResult> {
        let mut there = self.there.lock().clone();
        there.sort_unstable_by_key(|segment| segment.number);
        if there.len() != self.begun {
            return Err(generic("a segment was not put".into()));
        }
        let entries = there
            .iter()
            .map(|s| json!({ "path": format!("/{}", s.path), "size_bytes": s.bytes, "etag": s.digest }))
            .collect();
        let entries = self.entries(entries, made).await?;
        let replaced = self.container.segments_of(&self.object).await?;
        let path = format!("{}/{}", self.container.name, self.object);
        self.is_in_doubt = true;
        let answer = put_manifest(&self.container.client, path, &entries).await.inspect_err(|e| {
            self.is_in_doubt = Failure::of(e, &self.container.name).kind.is_ambiguous();
        })?;
        let e_tag = header(&answer, "etag").map(str::to_owned);
        // The new object exists already, so an error when deleting the segments of the replaced object is not a failure
        // of this put.
        let _garbage_at_worst = self.container.delete_all(replaced).await;
        Ok(PutResult { e_tag, version: None, extensions: Default::default() })
    }
}

/// Puts a manifest. When this returns, the object exists, and Swift has compared its segments with their digests.
async fn put_manifest(client: &SwiftClient, path: String, entries: &[Value]) -> StoreResult<HttpResponse> {
    let ask = Ask::new(Method::PUT, path, What::Container).query("multipart-manifest", "put");
    client.ask(ask.body(Value::from(entries).to_string())).await
}

#[async_trait]
impl MultipartUpload for Segments {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (number, container) = (self.begun, self.container.clone());
        self.begun += 1;
        let path = format!("{}/{number:08}", self.base);
        let (there, given_up) = (self.there.clone(), self.given_up.clone());
        Box::pin(async move {
            let bytes = part.content_length();
            let digest = container.put_piece(path.clone(), part).await?;
            if given_up.load(Ordering::Relaxed) {
                return container.delete_all(vec![path]).await;
            }
            there.lock().push(Segment { number, path, bytes, digest });
            Ok(())
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let mut made = Vec::new();
        let put = self.finish(&mut made).await;
        if put.is_err() && !self.is_in_doubt {
            let _garbage_at_worst = self.container.delete_all(made).await;
        }
        put
    }

    async fn abort(&mut self) -> StoreResult<()> {
        if self.is_in_doubt {
            return Ok(());
        }
        self.given_up.store(true, Ordering::Relaxed);
        let there = std::mem::take(&mut *self.there.lock());
        for some in there.chunks(MAX_ENTRIES) {
            self.container.delete_all(some.iter().map(|segment| segment.path.clone()).collect()).await?;
        }
        Ok(())
    }
}

/// Splits a payload into pieces of at most `most` bytes, without copying.
pub(super) fn split(payload: PutPayload, most: usize) -> Vec<PutPayload> {
    let (mut parts, mut part, mut length) = (Vec::new(), Vec::<Bytes>::new(), 0);
    for mut piece in payload {
        while length + piece.len() > most {
            part.push(piece.split_to(most - length));
            parts.push(std::mem::take(&mut part).into_iter().collect());
            length = 0;
        }
        length += piece.len();
        part.push(piece);
    }
    if length > 0 {
        parts.push(part.into_iter().collect());
    }
    parts
}

/// Returns the paths of all segments that a manifest names, and of those that its nested manifests name. The caller
/// deletes these objects, so only paths that this store can have written are returned: a user who may put an object can
/// name in its manifest any object that they may read.
pub(super) async fn segments(container: &SwiftContainer, manifest: String) -> StoreResult<Vec<String>> {
    let (mut found, mut next) = (Vec::new(), vec![manifest]);
    let place = container.segments_container();
    for _ in 0..MAX_DEPTH {
        let mut below = Vec::new();
        for path in std::mem::take(&mut next) {
            let ask = Ask::new(Method::GET, path, What::Read).query("multipart-manifest", "get");
            let ask = ask.header("x-newest", HeaderValue::from_static("true"));
            let answer = container.client.ask(ask).await?;
            let body = answer.into_body().bytes().await.map_err(broken)?;
            let named = Named::of(&body, &place)?;
            if named.foreign > 0 {
                tracing::warn!(
                    store = %container,
                    objects = named.foreign,
                    "a large object consists of objects that are not of this store; they are not deleted with it"
                );
            }
            found.extend(named.segments);
            below.extend(named.manifests);
        }
        next = below;
    }
    Ok(found)
}

/// The objects that a manifest names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// The paths of this store's segments.
    segments: Vec<String>,
    /// The paths of those segments that are manifests.
    manifests: Vec<String>,
    /// The number of other objects that it names.
    foreign: usize,
}

impl Named {
    /// Reads a manifest of a store that keeps its segments in the container `place`.
    fn of(body: &[u8], place: &str) -> StoreResult<Named> {
        let entries: Vec<Value> =
            serde_json::from_slice(body).map_err(|_| generic("the manifest is not understood".into()))?;
        let mut named = Named::default();
        for entry in entries {
            let path = entry["name"].as_str().and_then(|name| name.strip_prefix('/'));
            let Some(path) = path.filter(|path| is_own_segment(path, place)) else {
                named.foreign += 1;
                continue;
            };
            if entry["sub_slo"] == true {
                named.manifests.push(path.to_owned());
            }
            named.segments.push(path.to_owned());
        }
        Ok(named)
    }
}

/// Returns whether [`Segments`] writes such paths: `PLACE/<32 hexadecimal digits>/<number>`, or `…/manifest-<number>`.
/// A path with dots would mean another path in a URL.
fn is_own_segment(path: &str, place: &str) -> bool {
    let below = path.strip_prefix(place).and_then(|rest| rest.strip_prefix('/'));
    let Some((upload, name)) = below.and_then(|below| below.split_once('/')) else { return false };
    let is_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let number = name.strip_prefix("manifest-").unwrap_or(name);
    upload.len() == 32
        && upload.bytes().all(is_hexadecimal)
        && number.len() >= 8
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Deletes objects with one request; returns false if the servers do not support such requests.
pub(super) async fn delete_in_bulk(client: &SwiftClient, paths: &[String]) -> StoreResult<bool> {
    let lines: Vec<_> =
        paths.iter().map(|path| utf8_percent_encode(path, NON_ALPHANUMERIC).to_string()).collect();
    let ask = Ask::new(Method::POST, "", What::Container)
        .query("bulk-delete", "true")
        .header("accept", HeaderValue::from_static("application/json"))
        .header("content-type", HeaderValue::from_static("text/plain"))
        .body(lines.join("\n"));
    let answer = match client.ask(ask).await {
        Ok(answer) => answer,
        // The caller then deletes each object by itself, which gives a more precise error.
        Err(Error::NotFound { .. } | Error::Generic { .. }) => return Ok(false),
        Err(e) => return Err(e),
    };
    let body = answer.into_body().bytes().await.map_err(broken)?;
    // Servers without bulk deletes interpret this request as a change of the account's metadata, and answer without a
    // document.
    let document = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    Ok(document["Response Status"].as_str().is_some_and(|status| status.starts_with("200"))
        && document["Errors"].as_array().is_some_and(Vec::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn a_manifest_names_the_segments_deleted_with_it() {
        let (segment, manifest) =
            (format!("lake_segments/{UPLOAD}/00000000"), format!("lake_segments/{UPLOAD}/manifest-00000001"));
        let body = json!([
            { "name": format!("/{segment}"), "bytes": 5, "hash": "0" },
            { "name": format!("/{manifest}"), "sub_slo": true },
        ]);
        let named = Named::of(body.to_string().as_bytes(), "lake_segments").unwrap();
        let expected =
            Named { segments: vec![segment, manifest.clone()], manifests: vec![manifest], foreign: 0 };
        assert_eq!(named, expected);
        assert!(Named::of(b"{}", "lake_segments").is_err());
    }

    #[test]
    fn foreign_segments_of_a_manifest_are_not_deleted() {
        let foreign = [
            "/private/thesis.h5".to_owned(),
            "/lake/x.h5".to_owned(),
            "/lake_segments/thesis.h5".to_owned(),
            format!("/lake_segments_2/{UPLOAD}/00000000"),
            format!("/other_segments/{UPLOAD}/00000000"),
            format!("/lake_segments/{UPLOAD}"),
            format!("/lake_segments/{UPLOAD}/"),
            format!("/lake_segments/{UPLOAD}/thesis.h5"),
            format!("/lake_segments/{UPLOAD}/manifest-"),
            format!("/lake_segments/{UPLOAD}/00000000/more"),
            format!("/lake_segments/{UPLOAD}/../../private/00000000"),
            format!("/lake_segments/{}/00000000", UPLOAD.to_uppercase()),
            format!("/lake_segments/../private{UPLOAD}/00000000"),
            format!("lake_segments/{UPLOAD}/00000000"),
            String::new(),
        ];
        for name in &foreign {
            let body = json!([{ "name": name, "sub_slo": true }]).to_string();
            let named = Named::of(body.as_bytes(), "lake_segments").unwrap();
            assert_eq!(named, Named { foreign: 1, ..Named::default() }, "{name}");
        }
    }

    #[test]
    fn a_payload_is_split_where_segments_end() {
        let pieces = [vec![1_u8; 3], vec![2; 8], vec![], vec![3; 1]].map(Bytes::from);
        let parts = split(pieces.into_iter().collect(), 4);
        let bytes: Vec<Vec<u8>> = parts.into_iter().map(|part| Bytes::from(part).to_vec()).collect();
        assert_eq!(bytes, [vec![1, 1, 1, 2], vec![2; 4], vec![2, 2, 2, 3]]);
    }
}
