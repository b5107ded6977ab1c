//! A Swift server on loopback: one account and one container in memory, with tokens from Swift's own authentication and
//! from Keystone's.
//!
//! It implements the requests that h5lake sends: objects with MD5, ranges, listings with markers, static large objects,
//! bulk deletes. A read that does not request the newest copy gets the previous version.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use s3s::dto::TimestampFormat;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::background::Background;
use crate::message::{decoded, formatted, header, md5_hex, parameter, range};

/// The user, key and password that the server knows.
pub const USER: &str = "test:tester";
/// See [`USER`].
pub const KEY: &str = "s3cr3t-key";
/// The container that exists.
pub const CONTAINER: &str = "lake";

/// Returns the time at which the server started, in the form of HTTP or of listings. All objects have this time.
fn started(format: TimestampFormat) -> String {
    static STARTED: LazyLock<SystemTime> = LazyLock::new(|| {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        UNIX_EPOCH + Duration::from_secs(seconds)
    });
    formatted(*STARTED, format)
}

#[derive(Clone, Debug, Default)]
struct Object {
    bytes: Bytes,
    /// The segments of a large object.
    manifest: Option<Vec<Value>>,
    etag: String,
}

/// The server's content, and the requests that it received.
#[derive(Debug, Default)]
pub struct State {
    /// Objects by container and name; `container` itself is an entry without a slash.
    objects: BTreeMap<String, Object>,
    earlier: BTreeMap<String, Object>,
    tokens: usize,
    /// Requests: method, path and query.
    pub requests: Vec<String>,
    /// The statuses of the next answers to requests for objects.
    pub failures: Vec<u16>,
    /// The bodies of the next reads break off after this many bytes.
    pub cuts: Vec<usize>,
    /// The server issues tokens, but accepts none.
    pub refuses_tokens: bool,
    /// The server does not support bulk deletes.
    pub no_bulk: bool,
    /// A request that would change an object is redirected to a public page of this server.
    pub wants_login: bool,
    /// Manifests are put, but the answer is an error.
    pub hides_manifests: bool,
    /// A read of a range returns bytes from the beginning of the object, whatever range was requested.
    pub gives_first_parts: bool,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct SwiftServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _background: Background,
}

impl SwiftServer {
    /// Starts a server on an unused port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no free port, or no thread can be started.
    pub fn start() -> io::Result<SwiftServer> {
        let (background, listener, address) = Background::listen()?;
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().objects.insert(CONTAINER.into(), Object::default());
        background.spawn(serve(listener, address, state.clone()));
        Ok(SwiftServer { address, state, _background: background })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the server's content and the requests that it received.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Expires all tokens that were issued.
    pub fn expire_tokens(&self) {
        self.state().tokens += 1;
    }

    /// Returns the variables of Swift's own authentication.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let auth = format!("{}/auth/v1.0", self.endpoint());
        vec![
            ("ST_AUTH", auth),
            ("ST_USER", USER.into()),
            ("ST_KEY", KEY.into()),
            ("SWIFT_ALLOW_HTTP", "true".into()),
        ]
    }

    /// Returns the variables of Keystone.
    pub fn keystone(&self) -> Vec<(&'static str, String)> {
        let auth = format!("{}/v3", self.endpoint());
        vec![
            ("OS_AUTH_URL", auth),
            ("OS_APPLICATION_CREDENTIAL_ID", "of-a-test".into()),
            ("OS_APPLICATION_CREDENTIAL_SECRET", KEY.into()),
            ("SWIFT_ALLOW_HTTP", "true".into()),
        ]
    }
}

impl State {
    /// Returns the names of a container's objects.
    pub fn names(&self, container: &str) -> Vec<String> {
        let begin = format!("{container}/");
        self.objects.keys().filter_map(|key| key.strip_prefix(&begin)).map(str::to_owned).collect()
    }

    /// Returns the requests since the last call.
    pub fn take_requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.requests)
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = state.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let state = state.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    Ok::<_, Infallible>(answered(
                        &mut state.lock(),
                        address,
                        &Request::from_parts(head, body),
                    ))
                }
            });
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder()
        .status(status)
        .header("x-trans-id", "tx-of-a-test")
        .header("date", started(TimestampFormat::HttpDate));
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Full::new(body.into())).unwrap_or_default()
}

fn answered(state: &mut State, address: SocketAddr, request: &Request<Bytes>) -> Answer {
    let uri = request.uri();
    state.requests.push(format!("{} {uri}", request.method()));
    let account = format!("http://{address}/v1/AUTH_test");
    let token = format!("token-{}", state.tokens);
    match uri.path() {
        "/auth/v1.0" if header(request, "x-auth-user") == USER && header(request, "x-auth-key") == KEY => {
            return answer(200, &[("x-auth-token", token), ("x-storage-url", account)], "");
        }
        "/v3/auth/tokens" => {
            let said: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            if said["auth"]["identity"]["application_credential"]["secret"] == KEY {
                let endpoint = json!({ "interface": "public", "region": "one", "url": account });
                let catalog = json!([{ "type": "object-store", "endpoints": [endpoint] }]);
                let body = json!({ "token": { "catalog": catalog } });
                return answer(201, &[("x-subject-token", token)], body.to_string());
            }
            return answer(401, &[], "");
        }
        "/login" => return answer(200, &[], "log in here"),
        _ => (),
    }
    if header(request, "x-auth-token") != token || state.refuses_tokens {
        return answer(401, &[], "");
    }
    if !state.failures.is_empty() {
        return answer(state.failures.remove(0), &[], "what the server says");
    }
    if state.wants_login && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(303, &[("location", "/login".to_owned())], "");
    }
    let path = decoded(uri.path().strip_prefix("/v1/AUTH_test").unwrap_or_default().trim_start_matches('/'));
    let query = |name: &str| parameter(request, name);
    match (request.method(), path.split_once('/')) {
        (&Method::POST, None) if path.is_empty() => bulk_delete(state, request),
        (_, None) => container(state, request, &path, &query),
        (_, Some((container, _))) if !state.objects.contains_key(container) => answer(404, &[], ""),
        (&Method::PUT, _) => put(state, request, &path, query("multipart-manifest").is_some()),
        (&Method::DELETE, _) => {
            state.earlier.remove(&path);
            answer(state.objects.remove(&path).map_or(404, |_| 204), &[], "")
        }
        _ => read(state, request, &path, query("multipart-manifest").is_some()),
    }
}

fn bulk_delete(state: &mut State, request: &Request<Bytes>) -> Answer {
    if state.no_bulk {
        return answer(204, &[], "");
    }
    let lines = String::from_utf8_lossy(request.body()).into_owned();
    for line in lines.lines() {
        state.objects.remove(&decoded(line));
    }
    answer(200, &[], json!({ "Response Status": "200 OK", "Errors": [] }).to_string())
}

fn container(
    state: &mut State,
    request: &Request<Bytes>,
    name: &str,
    query: &dyn Fn(&str) -> Option<String>,
) -> Answer {
    let is_there = state.objects.contains_key(name);
    match *request.method() {
        Method::PUT => {
            state.objects.entry(name.to_owned()).or_default();
            answer(201, &[], "")
        }
        _ if !is_there => answer(404, &[], ""),
        Method::GET => {
            let begin = format!("{name}/");
            let prefix = format!("{begin}{}", query("prefix").unwrap_or_default());
            let after = format!("{begin}{}", query("marker").unwrap_or_default());
            let limit = query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10_000);
            let behind = state.objects.range::<str, _>((Bound::Excluded(after.as_str()), Bound::Unbounded));
            let listed = started(TimestampFormat::DateTime).trim_end_matches('Z').to_owned();
            let found: Vec<_> = behind
                .filter(|(key, _)| key.starts_with(&prefix))
                .take(limit)
                .map(|(key, object)| {
                    json!({ "name": &key[begin.len()..], "bytes": object.bytes.len(), "hash": object.etag,
                        "last_modified": listed })
                })
                .collect();
            answer(200, &[], Value::from(found).to_string())
        }
        _ => answer(204, &[], ""),
    }
}

fn put(state: &mut State, request: &Request<Bytes>, path: &str, is_manifest: bool) -> Answer {
    let mut object = Object { bytes: request.body().clone(), etag: md5_hex(request.body()), manifest: None };
    if is_manifest {
        let entries: Vec<Value> = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut bytes = Vec::new();
        for entry in &entries {
            let name = entry["path"].as_str().unwrap_or_default().trim_start_matches('/');
            match state.objects.get(name) {
                Some(segment) if entry["etag"].is_null() || segment.etag == entry["etag"] => {
                    bytes.extend_from_slice(&segment.bytes);
                }
                _ => return answer(400, &[], "a segment is missing"),
            }
        }
        let etag = format!("\"{}\"", md5_hex(&bytes));
        object = Object { bytes: bytes.into(), etag, manifest: Some(entries) };
    } else if header(request, "etag") != object.etag {
        return answer(422, &[], "");
    }
    let etag = object.etag.clone();
    if let Some(earlier) = state.objects.insert(path.to_owned(), object) {
        state.earlier.insert(path.to_owned(), earlier);
    }
    if is_manifest && state.hides_manifests {
        return answer(503, &[], "");
    }
    answer(201, &[("etag", etag)], "")
}

fn read(state: &mut State, request: &Request<Bytes>, path: &str, wants_manifest: bool) -> Answer {
    let newest = header(request, "x-newest") == "true";
    let earlier = state.earlier.get(path).filter(|_| !newest);
    let Some(object) = earlier.or_else(|| state.objects.get(path)).cloned() else {
        return answer(404, &[], "");
    };
    let if_match = header(request, "if-match").trim_matches('"');
    if !if_match.is_empty() && if_match != object.etag.trim_matches('"') {
        return answer(412, &[], "");
    }
    let if_none_match = header(request, "if-none-match").trim_matches('"');
    if !if_none_match.is_empty() && if_none_match == object.etag.trim_matches('"') {
        return answer(304, &[("etag", object.etag)], "");
    }
    let mut headers = vec![("etag", object.etag), ("last-modified", started(TimestampFormat::HttpDate))];
    let large = object.manifest.as_ref();
    headers.extend(large.map(|_| ("x-static-large-object", "True".to_owned())));
    if wants_manifest {
        let entries = large.into_iter().flatten().map(|e| json!({ "name": e["path"], "sub_slo": false }));
        return answer(200, &headers, Value::from(entries.collect::<Vec<_>>()).to_string());
    }
    let whole = object.bytes.len();
    let Some(mut range) = range(header(request, "range"), whole) else { return answer(416, &[], "") };
    if state.gives_first_parts {
        range = 0..range.len();
    }
    if range.len() < whole {
        headers.push(("content-range", format!("bytes {}-{}/{whole}", range.start, range.end - 1)));
    }
    let status = if range.len() < whole { 206 } else { 200 };
    headers.push(("content-length", range.len().to_string()));
    let bytes = match *request.method() {
        Method::HEAD => Bytes::new(),
        _ => object.bytes.slice(range),
    };
    // A body that is shorter than its announced length ends the connection.
    let keep = if bytes.is_empty() || state.cuts.is_empty() { bytes.len() } else { state.cuts.remove(0) };
    answer(status, &headers, bytes.slice(..keep.min(bytes.len())))
}
