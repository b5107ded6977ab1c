//! A server on loopback with the XML interface of Google Cloud Storage: one bucket in memory.
//!
//! It follows Google's documentation (<https://cloud.google.com/storage/docs/xml-api/reference-methods>) for the requests that h5lake
//! sends: objects with generations and preconditions on them (`x-goog-if-generation-match`), ranges, conditions of reads on etags,
//! multipart uploads, listings of the second version, and the tokens of the metadata server. An etag is the MD5 of the content, so that
//! two generations with the same content have the same etag. No request was compared with Google's service.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use s3s::dto::TimestampFormat;
use serde_json::json;
use tokio::net::TcpListener;

use crate::background::Background;
use crate::message::{decoded, formatted, header, md5_hex, parameter, range};

/// The bucket that exists.
pub const BUCKET: &str = "lake";
/// The path of the access token at the metadata server of an instance.
const TOKEN_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// The number of keys on a page of a listing ("List Objects", `max-keys`).
const MAX_KEYS: usize = 1000;
/// The minimum length of each part of a multipart upload but the last one ("Multipart uploads").
const MIN_PART_BYTES: usize = 5 << 20;
/// The generation of the first object.
const FIRST_GENERATION: u64 = 1_700_000_000_000_000;

/// The behaviour of the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// Ignores preconditions on generations, like servers that implement the interface in part.
    pub ignores_preconditions: bool,
    /// Accepts requests without a token.
    pub is_public: bool,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    etag: String,
    generation: u64,
    modified: SystemTime,
}

/// The content of the server, and the requests that it received.
#[derive(Debug)]
pub struct State {
    behaviour: Behaviour,
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, BTreeMap<usize, Bytes>>,
    generation: u64,
    token: String,
    /// Requests: method, path and query.
    pub requests: Vec<String>,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct GoogleServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _background: Background,
}

impl GoogleServer {
    /// Starts a server on an unused port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no free port, or no thread can be started.
    pub fn start(behaviour: Behaviour) -> io::Result<GoogleServer> {
        let (background, listener, address) = Background::listen()?;
        let state = Arc::new(Mutex::new(State {
            behaviour,
            objects: BTreeMap::new(),
            uploads: HashMap::new(),
            generation: FIRST_GENERATION,
            token: "token-0".to_owned(),
            requests: Vec::new(),
        }));
        background.spawn(serve(listener, state.clone()));
        Ok(GoogleServer { address, state, _background: background })
    }

    /// Returns the content of the server and the requests that it received.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the variables with which clients find the server, and the metadata server that issues its tokens.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GOOGLE_BASE_URL", format!("http://{}", self.address)),
            ("GOOGLE_ALLOW_HTTP", "true".into()),
            ("GCE_METADATA_HOST", self.address.to_string()),
        ]
    }
}

impl State {
    /// Returns the requests since the last call.
    pub fn take_requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.requests)
    }

    /// Returns whether a request's precondition on the generation of `key` is false.
    fn is_refused(&self, request: &Request<Bytes>, key: &str) -> bool {
        let wanted = header(request, "x-goog-if-generation-match");
        // Generation 0 is that of an object that does not exist.
        let is = self.objects.get(key).map_or(0, |object| object.generation);
        !wanted.is_empty() && !self.behaviour.ignores_preconditions && wanted.parse() != Ok(is)
    }

    /// Stores an object and returns the answer with its etag and generation.
    fn store(&mut self, key: &str, bytes: Bytes, etag: String) -> [(&'static str, String); 3] {
        self.generation += 1;
        let generation = self.generation;
        let object = Object { bytes, etag: etag.clone(), generation, modified: SystemTime::now() };
        self.objects.insert(key.to_owned(), object);
        [("etag", etag), ("x-goog-generation", generation.to_string()), ("x-goog-metageneration", "1".into())]
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // With Nagle's algorithm every answer that is written in two pieces would wait 40 ms for an acknowledgement.
        let _slower_without = stream.set_nodelay(true);
        let state = state.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let state = state.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let request = Request::from_parts(head, body);
                    Ok::<_, Infallible>(answered(&mut state.lock(), &request))
                }
            });
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Bytes>) -> Answer {
    let date = formatted(SystemTime::now(), TimestampFormat::HttpDate);
    let mut response = Response::builder().status(status).header("server", "loopback").header("date", date);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Full::new(body.into())).unwrap_or_default()
}

fn document(status: u16, headers: &[(&str, String)], root: &str, content: &str) -> Answer {
    answer(status, headers, format!("<?xml version='1.0' encoding='UTF-8'?><{root}>{content}</{root}>"))
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    document(status, &[], "Error", &format!("<Code>{code}</Code><Message>{message}</Message>"))
}

fn missing() -> Answer {
    error(404, "NoSuchKey", "The specified key does not exist.")
}

fn precondition_failed() -> Answer {
    error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.")
}

fn answered(state: &mut State, request: &Request<Bytes>) -> Answer {
    let path = request.uri().path();
    if path == TOKEN_PATH {
        let token = json!({ "access_token": state.token, "expires_in": 3600, "token_type": "Bearer" });
        return match header(request, "metadata-flavor") {
            "Google" => answer(200, &[("metadata-flavor", "Google".into())], token.to_string()),
            _ => answer(403, &[], "Missing required header: Metadata-Flavor"),
        };
    }
    state.requests.push(format!("{} {}", request.method(), request.uri()));
    if !state.behaviour.is_public && header(request, "authorization") != format!("Bearer {}", state.token) {
        return error(401, "AuthenticationRequired", "Authentication required.");
    }
    let (bucket, key) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let key = decoded(key);
    if decoded(bucket) != BUCKET {
        return error(404, "NoSuchBucket", "The specified bucket does not exist.");
    }
    let has = |name| parameter(request, name).is_some();
    match *request.method() {
        Method::GET if key.is_empty() => list(state, request),
        Method::GET | Method::HEAD => read(state, request, &key),
        Method::PUT if has("uploadId") => put_part(state, request),
        Method::PUT => put(state, request, &key),
        Method::POST if has("uploads") => {
            state.generation += 1;
            let id = format!("upload-{}", state.generation);
            state.uploads.insert(id.clone(), BTreeMap::new());
            document(200, &[], "InitiateMultipartUploadResult", &format!("<UploadId>{id}</UploadId>"))
        }
        Method::POST if has("uploadId") => complete(state, request, &key),
        Method::DELETE if has("uploadId") => {
            let upload = state.uploads.remove(&parameter(request, "uploadId").unwrap_or_default());
            upload.map_or_else(no_upload, |_| answer(204, &[], ""))
        }
        Method::DELETE => state.objects.remove(&key).map_or_else(missing, |_| answer(204, &[], "")),
        _ => error(400, "InvalidArgument", "Invalid argument."),
    }
}

fn no_upload() -> Answer {
    error(404, "NoSuchUpload", "The specified multipart upload does not exist.")
}

fn put(state: &mut State, request: &Request<Bytes>, key: &str) -> Answer {
    if state.is_refused(request, key) {
        return precondition_failed();
    }
    let etag = format!("\"{}\"", md5_hex(request.body()));
    let headers = state.store(key, request.body().clone(), etag);
    answer(200, &headers, "")
}

fn put_part(state: &mut State, request: &Request<Bytes>) -> Answer {
    let parts = state.uploads.get_mut(&parameter(request, "uploadId").unwrap_or_default());
    let number = parameter(request, "partNumber").and_then(|number| number.parse().ok());
    match (parts, number) {
        (Some(parts), Some(number)) => {
            parts.insert(number, request.body().clone());
            answer(200, &[("etag", format!("\"{}\"", md5_hex(request.body())))], "")
        }
        (None, _) => no_upload(),
        (_, None) => error(400, "InvalidArgument", "Invalid argument."),
    }
}

fn complete(state: &mut State, request: &Request<Bytes>, key: &str) -> Answer {
    if state.is_refused(request, key) {
        return precondition_failed();
    }
    let Some(parts) = state.uploads.remove(&parameter(request, "uploadId").unwrap_or_default()) else {
        return no_upload();
    };
    let text = String::from_utf8_lossy(request.body());
    let numbers = text.split("<PartNumber>").skip(1).filter_map(|part| part.split('<').next()?.parse().ok());
    let named: Vec<&Bytes> = numbers.filter_map(|number: usize| parts.get(&number)).collect();
    if named.len() != parts.len() {
        return error(400, "InvalidPart", "One or more of the specified parts could not be found.");
    }
    if named.iter().rev().skip(1).any(|part| part.len() < MIN_PART_BYTES) {
        return error(
            400,
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed object size.",
        );
    }
    let whole: Vec<u8> = named.iter().flat_map(|part| part.iter().copied()).collect();
    // The etag of an object of several parts is no MD5 of its content.
    let etag = format!("\"{}-{}\"", md5_hex(&whole), parts.len());
    let headers = state.store(key, whole.into(), etag.clone());
    document(200, &headers, "CompleteMultipartUploadResult", &format!("<ETag>{}</ETag>", escaped(&etag)))
}

fn read(state: &State, request: &Request<Bytes>, key: &str) -> Answer {
    let Some(object) = state.objects.get(key) else { return missing() };
    let (if_match, if_none_match) = (header(request, "if-match"), header(request, "if-none-match"));
    if (!if_match.is_empty() && if_match != object.etag) || state.is_refused(request, key) {
        return precondition_failed();
    }
    let mut headers = vec![
        ("etag", object.etag.clone()),
        ("x-goog-generation", object.generation.to_string()),
        ("last-modified", formatted(object.modified, TimestampFormat::HttpDate)),
    ];
    if !if_none_match.is_empty() && if_none_match == object.etag {
        return answer(304, &headers, "");
    }
    let whole = object.bytes.len();
    let Some(range) = range(header(request, "range"), whole) else {
        return error(416, "InvalidRange", "The requested range cannot be satisfied.");
    };
    let is_part = !header(request, "range").is_empty();
    if is_part {
        headers.push(("content-range", format!("bytes {}-{}/{whole}", range.start, range.end - 1)));
    }
    headers.push(("content-length", range.len().to_string()));
    let bytes = if *request.method() == Method::HEAD { Bytes::new() } else { object.bytes.slice(range) };
    answer(if is_part { 206 } else { 200 }, &headers, bytes)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn list(state: &State, request: &Request<Bytes>) -> Answer {
    let parameter = |name| parameter(request, name).unwrap_or_default();
    if parameter("list-type") != "2" {
        return error(400, "InvalidArgument", "Only the second version of listings is served here.");
    }
    let (prefix, token) = (parameter("prefix"), parameter("continuation-token"));
    let after = if token.is_empty() { parameter("start-after") } else { token };
    let from = match after.is_empty() || after < prefix {
        true => Bound::Included(prefix.as_str()),
        false => Bound::Excluded(after.as_str()),
    };
    let most = parameter("max-keys").parse().unwrap_or(MAX_KEYS).min(MAX_KEYS);
    let found = state.objects.range::<str, _>((from, Bound::Unbounded));
    let mut found = found.take_while(|(key, _)| key.starts_with(&prefix)).peekable();
    let (mut content, mut last) = (String::new(), "");
    for (key, object) in found.by_ref().take(most) {
        let modified = formatted(object.modified, TimestampFormat::DateTime);
        let _a_string_takes_all = write!(
            content,
            "<Contents><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>\
             <LastModified>{modified}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
            escaped(key),
            object.generation,
            escaped(&object.etag),
            object.bytes.len()
        );
        last = key;
    }
    let is_truncated = found.peek().is_some();
    if is_truncated {
        content += &format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last));
    }
    let head = format!("<Name>{BUCKET}</Name><IsTruncated>{is_truncated}</IsTruncated>");
    document(200, &[], "ListBucketResult", &(head + &content))
}
