//! Sends long payloads unsigned, with a cheap checksum, if the server compares the checksum.
//!
//! A signature over the payload costs a SHA-256 on each side, more than everything else in a long put. S3's checksum
//! CRC-64/NVME detects damage by the network at a tenth of that cost; its header is signed with the other headers
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>). A server that does not
//! know the checksum ignores it, and would store damaged bytes. So a server has to prove that it compares: a probe
//! sends a payload that does not match its checksum, and the server has to refuse the payload for this reason. After
//! any other answer, payloads are signed.

use std::sync::Arc;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, HttpService};
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _};

use super::failure::Failure;
use super::http::{Called, Connections};
use super::{Path, StoreResult};

/// The length, in bytes, below which payloads are signed: that costs less than a tenth of a millisecond.
pub(super) const MIN_CHECKSUMMED_BYTES: usize = 256 << 10;

/// The payload that the probe computes the checksum of, and the payload that it sends.
const SAID: &str = "probe of checksums: 0";
const SENT: &str = "probe of checksums: 1";

/// Clients for long payloads.
#[derive(Clone)]
pub(super) struct Unsigned {
    /// Puts payloads with a checksum, but without a signature over them.
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Puts payloads like `objects`, but sends other bytes than those it computed the checksum of.
    damaging: Arc<dyn ObjectStore>,
}

impl Unsigned {
    /// Returns clients that differ from the one that `signed` builds only in this respect.
    pub(super) fn beside(signed: &AmazonS3Builder, connections: &Connections) -> StoreResult<Unsigned> {
        let builder = signed.clone().with_unsigned_payload(true).with_checksum_algorithm(Checksum::CRC64NVME);
        let damaging = builder.clone().with_http_connector(Damaging(connections.clone())).build()?;
        Ok(Unsigned { objects: Arc::new(builder.build()?), damaging: Arc::new(damaging) })
    }

    /// Puts a damaged payload at `at`, as a probe.
    pub(super) async fn put_damaged(&self, at: &Path) -> StoreResult<()> {
        self.damaging.put(at, SAID.into()).await.map(drop)
    }
}

/// Returns whether a server refused a payload because its checksum does not match: S3 and most other servers report
/// `BadDigest`, MinIO `XAmzContentChecksumMismatch`, Garage `InvalidDigest`.
pub(super) fn is_mismatch(failure: &Failure) -> bool {
    matches!(failure.code.as_deref(), Some("BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch"))
}

/// Connections on which the probe's payload is damaged.
#[derive(Debug)]
struct Damaging(Connections);

impl HttpConnector for Damaging {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        Ok(HttpClient::new(DamagingClient(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct DamagingClient(HttpClient);

impl HttpService for DamagingClient {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Called<'a>
    where
        's: 'a,
        Self: 'a,
    {
        let (head, _) = request.into_parts();
        let damaged = HttpRequestBody::from(Bytes::from_static(SENT.as_bytes()));
        Box::pin(self.0.execute(HttpRequest::from_parts(head, damaged)))
    }
}
