//! An S3 server on loopback for tests, with faults on request; servers for Google's protocol and Swift's in their modules.
//!
//! The crate `s3s` implements the protocol and checks signatures. The objects are in memory, behind one lock, so that
//! conditional puts behave as S3 documents. (`s3s-fs` stores objects in files, but checks conditions without a lock,
//! cannot store `a` beside `a/b`, and makes file names that are too long from long keys.)
#![forbid(unsafe_code)]

mod background;
mod bucket;
pub mod faults;
pub mod google;
mod message;
pub mod proxy;
pub mod relay;
pub mod swift;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::dto::TimestampFormat;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};

use crate::background::Background;
use crate::bucket::Buckets;
use crate::faults::{Faults, Outcome};
use crate::message::formatted;

/// The access key that the server knows.
pub const ACCESS_KEY: &str = "loopback";
/// Its secret key.
pub const SECRET_KEY: &str = "loopback-secret";
/// The bucket that exists.
pub const BUCKET: &str = "lake";

/// The maximum body length, announced in a request's head, for which memory is allocated in advance.
const MAX_ALLOCATED_AHEAD: usize = 64 << 20;

/// The server's treatment of `If-None-Match` and `If-Match` in puts, and, if it honours them, of `If-Match` in gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conditions {
    /// Honours conditions as S3 documents.
    #[default]
    Honoured,
    /// Ignores conditions, as s3rver does.
    Ignored,
    /// Answers 501, as some proxies and older servers do.
    Refused,
    /// Compares the text of `If-Match` with the etag without its quotes, as Ceph's gateway (16.2) does.
    Unquoted,
    /// Answers 412 to each `If-Match`, whatever its value.
    NeverUpdates,
    /// Checks the condition, and puts a moment later without a lock in between, as OpenStack Swift does.
    Racy,
}

impl Conditions {
    /// Returns the pause between the check and the put.
    fn pause(self) -> Option<Duration> {
        (self == Conditions::Racy).then_some(Duration::from_millis(10))
    }
}

/// The server's behaviour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// See [`Conditions`].
    pub conditions: Conditions,
    /// Stores payloads that do not match their checksum, like servers that do not know that header.
    pub ignores_checksums: bool,
    /// Sends the headers of OpenStack Swift. A read that does not request the newest copy of an object gets the
    /// previous version, as if it came from a disk that was unavailable during the last put.
    pub swift: bool,
    /// Sends MinIO's name in its answers.
    pub minio: bool,
    /// Answers every request with the error that the clocks differ too much.
    pub skewed: bool,
    /// The difference between the server's clock and this process's, in seconds.
    pub ahead: i64,
}

impl Behaviour {
    /// Returns the time of the server's clock.
    fn time(&self) -> SystemTime {
        let (now, by) = (SystemTime::now(), Duration::from_secs(self.ahead.unsigned_abs()));
        if self.ahead < 0 { now - by } else { now + by }
    }

    /// Returns the time of the server's clock in HTTP's form.
    fn date(&self) -> String {
        formatted(self.time(), TimestampFormat::HttpDate)
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    buckets: Buckets,
    faults: Faults,
    _background: Background,
}

impl Server {
    /// Starts a server on an unused port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no free port, or no thread can be started.
    pub fn start(behaviour: Behaviour) -> io::Result<Server> {
        let (background, listener, address) = Background::listen()?;
        let faults = Faults::default();
        let buckets = Buckets::with(BUCKET, behaviour);
        background.spawn(serve(listener, service(buckets.clone(), behaviour), faults.clone(), behaviour));
        Ok(Server { address, buckets, faults, _background: background })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the faults that strike requests, and the journal of requests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Returns the requests since the last call, as `METHOD path`. Waits for requests in the background first: after a
    /// probe a client deletes the probe's objects.
    pub fn take_requests(&self) -> Vec<String> {
        let begun = Instant::now();
        while self.buckets.holds(".h5lake-probe-") && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.faults.take_requests()
    }

    /// Puts an object into the bucket as another program would, under any key.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.buckets.put(BUCKET, key, bytes);
    }

    /// Returns the variables that AWS's tools need to find the server.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }
}

fn service(buckets: Buckets, behaviour: Behaviour) -> S3Service {
    let mut builder = S3ServiceBuilder::new(buckets);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    if behaviour.skewed {
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = 0;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    }
    builder.build()
}

async fn serve(listener: TcpListener, service: S3Service, faults: Faults, behaviour: Behaviour) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(stream, service.clone(), faults.clone(), behaviour));
    }
}

async fn connection(stream: TcpStream, service: S3Service, faults: Faults, behaviour: Behaviour) {
    // With Nagle's algorithm every answer that is written in two pieces would wait 40 ms for an acknowledgement.
    let _slower_without = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let (service, faults) = (service.clone(), faults.clone());
        async move {
            tokio::time::sleep(faults.latency()).await;
            let mut response = respond(request, &service, &faults).await?;
            if let Ok(date) = behaviour.date().parse() {
                response.headers_mut().insert("date", date);
            }
            if behaviour.swift {
                let id = HeaderValue::from_static("tx4eb0cc56b3d046a985071-006b042de1");
                response.headers_mut().insert("x-trans-id", id.clone());
                response.headers_mut().insert("x-openstack-request-id", id);
            }
            if behaviour.minio {
                response.headers_mut().insert("server", HeaderValue::from_static("MinIO"));
            }
            Ok::<_, Cut>(response)
        }
    });
    // A client that disconnects, and a fault that cuts the connection, cause an error here.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

/// The error that ends the connection without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// Returns the whole body. Its length is usually known, so that each piece is copied once, to its final place, and the
/// connection's buffer can be reused: allocating fresh memory would take longer than all other work of this server.
async fn whole(mut body: Incoming) -> Result<Bytes, Cut> {
    let length = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(length.min(MAX_ALLOCATED_AHEAD));
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(|_| Cut)?.into_data() {
            whole.extend_from_slice(&piece);
        }
    }
    Ok(whole.freeze())
}

async fn respond(
    request: hyper::Request<Incoming>,
    service: &S3Service,
    faults: &Faults,
) -> Result<hyper::Response<s3s::Body>, Cut> {
    let unsigned = request.headers().get("x-amz-content-sha256").is_some_and(|sum| sum == "UNSIGNED-PAYLOAD");
    let fault = faults.strike(request.method().as_str(), request.uri().path(), unsigned);
    let (head, body) = request.into_parts();
    let body = whole(body).await?;
    let call = |body: Bytes| {
        let mut request = hyper::Request::new(s3s::Body::from(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        async move { service.call(request).await.map_err(|_| Cut) }
    };
    let Some(fault) = fault else { return call(body).await };
    match fault {
        Outcome::Instead(status, code) => Ok(faults::error(status, code)),
        Outcome::After(status, code) => {
            call(body).await?;
            Ok(faults::error(status, code))
        }
        Outcome::CutBefore => Err(Cut),
        Outcome::CutAfter => {
            call(body).await?;
            Err(Cut)
        }
        Outcome::Twice => {
            call(body.clone()).await?;
            call(body).await
        }
        Outcome::Delay(time) => {
            tokio::time::sleep(time).await;
            call(body).await
        }
        Outcome::CutBody(keep) => {
            faults::damaged(call(body).await?, |bytes| (bytes.slice(..keep.min(bytes.len())), true)).await
        }
        Outcome::Shorten(keep) => {
            faults::damaged(call(body).await?, |bytes| (bytes.slice(..keep.min(bytes.len())), false)).await
        }
        Outcome::Flip(at) => {
            faults::damaged(call(body).await?, |bytes| (faults::flipped(&bytes, at), false)).await
        }
        Outcome::FlipSent(at) => call(faults::flipped(&body, at)).await,
    }
}
